//! Probes and metrics over plain HTTP.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::error;

/// The readiness probe at `path`, true once `ready` is, and the health probe at `/healthz`.
pub fn probes(path: &str, ready: Arc<AtomicBool>) -> Router {
    let readiness = move || {
        let ready = ready.load(Ordering::Relaxed);
        std::future::ready(if ready {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "filling stores")
        })
    };
    Router::new().route(path, get(readiness)).route("/healthz", get("ok"))
}

/// Metrics in the Prometheus text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
pub fn metrics() -> Router {
    const BUILD: &str = concat!(
        "# HELP rootcast_build_info Version of this program.\n# TYPE rootcast_build_info gauge\n",
        "rootcast_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"} 1\n"
    );
    Router::new().route("/metrics", get(([("content-type", "text/plain; version=0.0.4")], BUILD)))
}

/// Serves in the background, on every address.
///
/// # Errors
/// When the port cannot be had.
pub async fn listen(what: &'static str, port: u16, router: Router) -> anyhow::Result<()> {
    // An IPv6 socket takes IPv4 connections, too; there are machines without IPv6.
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    };
    let listener = listener.with_context(|| format!("listen for {what} on port {port}"))?;
    tokio::spawn(async move {
        if let Err(cause) = axum::serve(listener, router).await {
            error!("{what} are no longer served: {cause}");
        }
    });
    Ok(())
}
