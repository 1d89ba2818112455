//! Where reviews are decided: small ones at once, large ones on threads of their own, so that no review keeps others,
//! handshakes or probes waiting.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The largest review that is decided by the thread that serves connections, in bytes: it takes less than a millisecond,
/// and hardly a pod is larger.
const INLINE_MAX_BYTES: usize = 64 * 1024;

/// How many larger ones are decided at the same time. The others wait, and their time is limited as that of any request.
const MAX_CONCURRENT_LARGE: usize = 2;

/// The budget of decisions. Clones share it.
#[derive(Clone)]
pub(super) struct DecisionPool(Arc<Semaphore>);

impl DecisionPool {
    /// All of the budget.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT_LARGE)))
    }

    /// What `decide` answers to a review. One that was begun on a thread of its own goes on, and takes its part of the
    /// budget, when nobody waits for it any more.
    pub(super) async fn run<F>(&self, body: Bytes, decide: impl FnOnce(Bytes) -> F + Send + 'static) -> Response
    where
        F: Future<Output = Response>,
    {
        if body.len() <= INLINE_MAX_BYTES {
            return decide(body).await;
        }
        let permit = self.0.clone().acquire_owned().await.expect("it is never closed");
        let runtime = Handle::current();
        let decided = spawn_blocking(move || {
            let _turn = permit;
            runtime.block_on(decide(body))
        });
        match decided.await {
            Ok(response) => response,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the server stops").into_response(),
        }
    }
}
