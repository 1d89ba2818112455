//! Probes and metrics over plain HTTP.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing::error;

/// The readiness probe at `path` and the health probe at `/healthz`: 200, or 503 with the reason why not.
pub fn probes<R, H>(path: &str, readiness: R, health: H) -> Router
where
    R: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    H: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
{
    Router::new()
        .route(path, get(move || std::future::ready(probe(readiness()))))
        .route("/healthz", get(move || std::future::ready(probe(health()))))
}

fn probe(result: Result<(), String>) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// Metrics in the text format of `OpenMetrics` (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), each time as they
/// are once `prepare` is done.
pub fn metrics<P, F>(registry: Registry, prepare: P) -> Router
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let registry = Arc::new(registry);
    let scrape = move || async move {
        prepare().await;
        let mut body = String::new();
        let written = text::encode(&mut body, &registry).map(|()| ([("content-type", OPEN_METRICS)], body));
        written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    Router::new().route("/metrics", get(scrape))
}

/// Serves in the background, on every address.
///
/// # Errors
/// When the port cannot be had.
pub async fn listen(what: &'static str, port: u16, router: Router) -> anyhow::Result<()> {
    let listener = bind(port).await;
    let listener = listener.with_context(|| format!("listen for {what} on port {port}"))?;
    tokio::spawn(async move {
        if let Err(cause) = axum::serve(listener, router).await {
            error!("{what} are no longer served: {cause}");
        }
    });
    Ok(())
}

/// A listener on every address.
///
/// # Errors
/// When the port cannot be had.
pub async fn bind(port: u16) -> std::io::Result<TcpListener> {
    // An IPv6 socket takes IPv4 connections, too; there are machines without IPv6.
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}
