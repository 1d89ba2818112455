//! Pool in which reviews are decided: small ones at once, large ones on threads of their own.
//!
//! So no review delays others, handshakes or probes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The most bytes of a review that is decided by the thread that serves connections: that takes less than a
/// millisecond, and hardly a pod is larger.
const INLINE_MAX_BYTES: usize = 64 * 1024;

/// The number of larger reviews that are decided at the same time. The others wait, at most for the time of a request.
const MAX_CONCURRENT_LARGE: usize = 2;

/// Bound on concurrent decisions of large reviews; clones share it.
#[derive(Clone)]
pub(super) struct DecisionPool(Arc<Semaphore>);

impl DecisionPool {
    /// Returns a pool in which nothing is being decided.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT_LARGE)))
    }

    /// Returns the response of `decide` to the body of a review.
    ///
    /// A decision that was begun on a thread of its own goes on, and keeps its permit, when the request is cancelled.
    pub(super) async fn run<F>(&self, body: Bytes, decide: impl FnOnce(Bytes) -> F + Send + 'static) -> Response
    where
        F: Future<Output = Response>,
    {
        if body.len() <= INLINE_MAX_BYTES {
            return decide(body).await;
        }
        let permit = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let runtime = Handle::current();
        let decided = spawn_blocking(move || {
            let _permit = permit;
            runtime.block_on(decide(body))
        });
        match decided.await {
            Ok(response) => response,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the server stops").into_response(),
        }
    }
}
