//! A fence that only the leader's writes pass.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tower::{BoxError, Layer, Service};

use super::LeadershipWatch;

/// A layer that lets requests other than reads pass only while this process leads.
pub(in crate::client) struct WriteFenceLayer(pub(in crate::client) LeadershipWatch);

impl<S> Layer<S> for WriteFenceLayer {
    type Service = WriteFence<S>;

    fn layer(&self, inner: S) -> WriteFence<S> {
        WriteFence { inner, leadership: self.0.clone() }
    }
}

/// A service behind the fence.
#[derive(Clone)]
pub(in crate::client) struct WriteFence<S> {
    inner: S,
    leadership: LeadershipWatch,
}

#[derive(Debug, thiserror::Error)]
#[error("not sent or given up: this process does not lead")]
struct FencedError;

impl<S, R, B> Service<Request<R>> for WriteFence<S>
where
    S: Service<Request<R>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let is_read = request.method().is_safe();
        let leadership = self.leadership.clone();
        let mut response: Pin<Box<S::Future>> = Box::pin(self.inner.call(request));
        Box::pin(poll_fn(move |context| {
            if is_read || leadership.is_leader() {
                response.as_mut().poll(context)
            } else {
                Poll::Ready(Err(FencedError.into()))
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use kube::client::Body;
    use tokio::sync::watch;
    use tokio::time::{Instant, sleep};

    use super::super::LeadershipState;
    use super::*;

    /// A server that takes a second to connect to, and whether a request reached it.
    fn server()
    -> (impl Service<Request<Body>, Response = Response<()>, Error = BoxError, Future: Send>, Arc<AtomicBool>) {
        let reached = Arc::new(AtomicBool::new(false));
        let seen = reached.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            let seen = seen.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                seen.store(true, Ordering::Relaxed);
                Ok(Response::new(()))
            }
        });
        (service, reached)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_sent_only_if_this_process_still_leads_once_connected() {
        for (leads_for, method, through) in [
            (None, "GET", true),
            (None, "PATCH", false),
            (None, "POST", false),
            (None, "DELETE", false),
            (Some(0), "PUT", false),
            (Some(1), "PUT", false),
            (Some(2), "PUT", true),
        ] {
            let leadership = leads_for.map_or(LeadershipState::Standby, |seconds| LeadershipState::Leading {
                until: Instant::now() + Duration::from_secs(seconds),
            });
            let (_sender, receiver) = watch::channel(leadership);
            let (service, reached) = server();
            let mut fence = WriteFenceLayer(LeadershipWatch::from_election(receiver)).layer(service);
            let request = Request::builder().method(method).body(Body::empty()).unwrap();
            let response = fence.call(request).await;
            let case = format!("{method}, leading for {leads_for:?} s");
            assert_eq!(reached.load(Ordering::Relaxed), through, "{case}");
            assert_eq!(response.is_ok(), through, "{case}");
        }
    }
}
