//! HTTP endpoints of probes and metrics, without TLS.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::metrics::ExpositionFormat;
use crate::webhook::{ServerLimits, serve_plain};

/// The reason why a probe fails.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The controller's first lists are not complete.
    #[error("filling stores")]
    FillingStores,
    /// The controller's loop has not turned for this time.
    #[error("the controller's loop is stuck: its last turn was {} s ago", .0.as_secs())]
    LoopStalled(Duration),
    /// The injector has no serving certificate.
    #[error("there is no serving certificate yet")]
    NoServingCertificate,
    /// The injector's first lists are not complete.
    #[error("Bundles and Namespaces are still being listed")]
    Listing,
}

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen for {purpose} on port {port}")]
pub struct ListenError {
    purpose: &'static str,
    port: u16,
    source: io::Error,
}

/// Returns the readiness probe at `path` and the health probe at `/healthz`: 200, or 503 with the reason why not.
pub fn probes<R, H>(path: &str, readiness: R, health: H) -> Router
where
    R: Fn() -> Result<(), ProbeError> + Clone + Send + Sync + 'static,
    H: Fn() -> Result<(), ProbeError> + Clone + Send + Sync + 'static,
{
    Router::new()
        .route(path, get(move || std::future::ready(probe(readiness()))))
        .route("/healthz", get(move || std::future::ready(probe(health()))))
}

fn probe(result: Result<(), ProbeError>) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// Returns the route `/metrics`, which serves the registry in the negotiated format, each time after `prepare`.
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

/// Serves a router in the background of a runtime, on every address.
///
/// # Errors
/// When the port cannot be bound.
pub async fn listen(runtime: &Handle, purpose: &'static str, port: u16, router: Router) -> Result<(), ListenError> {
    let listener = bind(runtime, port).await.map_err(|source| ListenError { purpose, port, source })?;
    runtime.spawn(serve_plain(listener, router, ServerLimits::admin()));
    Ok(())
}

/// Binds a listener on every address that is driven by `runtime`.
///
/// # Errors
/// When the port cannot be bound.
pub async fn bind(runtime: &Handle, port: u16) -> io::Result<TcpListener> {
    runtime.spawn(bind_all_addresses(port)).await?
}

/// Binds a listener on every address that is driven by the current runtime.
///
/// # Errors
/// When the port cannot be bound.
pub async fn bind_all_addresses(port: u16) -> io::Result<TcpListener> {
    // An IPv6 socket takes IPv4 connections, too; there are machines without IPv6.
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}
