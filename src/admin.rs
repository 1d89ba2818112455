//! Probes and metrics over plain HTTP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::metrics::ExpositionFormat;
use crate::webhook::{ServerLimits, serve_plain};

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

/// Metrics in the format that is asked for, each time as they are once `prepare` is done.
pub fn metrics<P, F>(registry: Registry, prepare: P) -> Router
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let registry = Arc::new(registry);
    let scrape = move |headers: HeaderMap| async move {
        prepare().await;
        let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let format = ExpositionFormat::negotiate(&accepted.join(","));
        let written = format.write(&registry).map(|body| ([(CONTENT_TYPE, format.content_type())], body));
        written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    Router::new().route("/metrics", get(scrape))
}

/// Serves in the background of a runtime, on every address.
///
/// # Errors
/// When the port cannot be had.
pub async fn listen(runtime: &Handle, what: &'static str, port: u16, router: Router) -> anyhow::Result<()> {
    let listener = bind(runtime, port).await;
    let listener = listener.with_context(|| format!("listen for {what} on port {port}"))?;
    runtime.spawn(serve_plain(listener, router, ServerLimits::admin()));
    Ok(())
}

/// A listener on every address, at home in a runtime.
///
/// # Errors
/// When the port cannot be had.
pub async fn bind(runtime: &Handle, port: u16) -> io::Result<TcpListener> {
    runtime.spawn(bind_all_addresses(port)).await?
}

/// A listener on every address, at home in the current runtime.
///
/// # Errors
/// When the port cannot be had.
pub async fn bind_all_addresses(port: u16) -> io::Result<TcpListener> {
    // An IPv6 socket takes IPv4 connections, too; there are machines without IPv6.
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}
