//! Probes and metrics over plain HTTP.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::error;

use crate::cluster::Vitals;

/// The readiness probe at `path`, true once all stores are filled, and the health probe at `/healthz`, true while the
/// controller's loop turns. Neither asks whether we lead or whether the API server is there.
pub fn probes(path: &str, vitals: Arc<Vitals>) -> Router {
    let readiness = {
        let vitals = vitals.clone();
        move || {
            std::future::ready(if vitals.is_ready() {
                (StatusCode::OK, "ok")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "filling stores")
            })
        }
    };
    let health = move || {
        std::future::ready(match vitals.stuck() {
            None => (StatusCode::OK, "ok".to_owned()),
            Some(since) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the controller's loop is stuck: its last turn was {} s ago", since.as_secs()),
            ),
        })
    };
    Router::new().route(path, get(readiness)).route("/healthz", get(health))
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
