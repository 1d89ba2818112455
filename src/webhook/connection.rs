//! One connection: the TLS handshake, if there is one, then requests with complete bodies, one after the other.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::connection_table::{BodyLimitReached, ConnectionId, ConnectionPhase};
use super::server_state::{ServerState, Shutdown};

/// The multiple of the limit up to which a too large body is read and discarded, so that its sender gets the response.
const BODY_DISCARD_FACTOR: usize = 4;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection's entry in the table, which is removed on drop.
pub(super) struct ConnectionGuard {
    /// The server of the connection.
    pub(super) server: Arc<ServerState>,
    /// The key of the entry.
    pub(super) id: ConnectionId,
}

/// Serves one connection to its end.
pub(super) async fn serve_connection(stream: TcpStream, guard: ConnectionGuard) {
    // Without the option responses are slower, and nothing else.
    let _ = stream.set_nodelay(true);
    // What opens a connection is boxed, so that it takes no memory while requests are served.
    match &guard.server.acceptor {
        None => serve_http(Box::pin(open_plain(stream, &guard)), &guard).await,
        Some(acceptor) => serve_http(Box::pin(open_tls(stream, acceptor, &guard)), &guard).await,
    }
}

/// Waits for the first byte of a request. Buffers are allocated only then, by [`serve_http`].
async fn open_plain(stream: TcpStream, guard: &ConnectionGuard) -> Option<TcpStream> {
    if stream.peek(&mut [0]).await.ok()? == 0 {
        return None;
    }
    guard.set_phase(ConnectionPhase::Idle);
    Some(stream)
}

/// Agrees on TLS and waits for the first byte of a request, as [`open_plain`] does.
///
/// Failed handshakes are not logged: anybody can cause them.
async fn open_tls(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    guard: &ConnectionGuard,
) -> Option<Box<TlsStream<TcpStream>>> {
    let stream = Box::new(Box::pin(acceptor.accept(stream)).await.ok()?);
    guard.set_phase(ConnectionPhase::Idle);
    let (tcp, tls) = stream.get_ref();
    if tls.wants_read() {
        tcp.readable().await.ok()?;
    }
    Some(stream)
}

/// Answers requests until the client or the server ends the connection; `opened` is the stream at its first request.
async fn serve_http<S>(opened: impl Future<Output = Option<S>>, guard: &ConnectionGuard)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut shutdown = guard.server.shutdown.clone();
    let mut closing = pin!(shutdown.wait_for(|shutdown| *shutdown == Shutdown::Closing));
    let stream = tokio::select! {
        opened = opened => opened,
        _ = &mut closing => None,
    };
    let Some(stream) = stream else { return };
    let service = service_fn(|request| async { Ok::<_, Infallible>(guard.respond(request).await) });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(guard.server.limits.buffer_bytes)
        .serve_connection(PhaseTrackingStream { stream: TokioIo::new(stream), guard }, service);
    let mut connection = Box::pin(connection);
    tokio::select! {
        // Errors of a client's connection are not logged: anybody can cause them.
        _ = &mut connection => return,
        _ = closing => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

impl ConnectionGuard {
    fn set_phase(&self, phase: ConnectionPhase) {
        self.server.table().set_phase(self.id, Instant::now(), phase);
    }

    async fn respond(&self, request: Request<Incoming>) -> Response {
        self.set_phase(ConnectionPhase::Body);
        let ServerState { router, limits, shutdown, .. } = &*self.server;
        let deadline = Instant::now() + limits.request_timeout;
        let (head, body) = request.into_parts();
        let late = |_| Rejection::BodyTimeout(limits.request_timeout);
        let body = timeout_at(deadline, self.read_body(&head.headers, body)).await.map_err(late).flatten();
        let mut response = match body {
            Err(rejection) => rejection.into_response(),
            Ok(body) => {
                self.set_phase(ConnectionPhase::Decision);
                let request = Request::from_parts(head, Body::from(body));
                match timeout_at(deadline, router.clone().oneshot(request)).await {
                    Ok(Ok(response)) => response,
                    Err(_) => Rejection::DecisionTimeout(limits.request_timeout).into_response(),
                }
            }
        };
        if *shutdown.borrow() != Shutdown::Running {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        self.set_phase(ConnectionPhase::Response);
        response
    }

    /// Reads a body. Memory is allocated as it arrives: a `Content-Length` alone gets none.
    async fn read_body(&self, headers: &HeaderMap, mut body: Incoming) -> Result<Vec<u8>, Rejection> {
        let limit = self.server.limits.max_body_bytes;
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut received = Vec::new();
        let mut size = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Rejection::BrokenOff)?;
            let Ok(data) = frame.into_data() else { continue };
            size = size.saturating_add(data.len());
            if size > limit.saturating_mul(BODY_DISCARD_FACTOR) {
                break;
            }
            if size > limit || announced.is_some_and(|announced: usize| announced > limit) {
                continue;
            }
            if size > received.capacity() {
                let capacity = (2 * size).min(announced.unwrap_or(limit)).max(size);
                self.reserve_bytes(capacity - received.capacity())?;
                received.reserve_exact(capacity - received.len());
            }
            received.extend_from_slice(&data);
        }
        if size > limit {
            return Err(Rejection::TooLarge(limit));
        }
        Ok(received)
    }

    fn reserve_bytes(&self, bytes: usize) -> Result<(), Rejection> {
        let limits = &self.server.limits;
        let evicted = self.server.table().reserve_bytes(self.id, bytes, Instant::now(), limits);
        evicted
            .map_err(|BodyLimitReached| Rejection::BodyLimitReached(limits.max_total_body_bytes))?
            .iter()
            .for_each(AbortHandle::abort);
        Ok(())
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.server.table().remove(self.id);
    }
}

/// The reason why a request is not decided; the text of its response.
#[derive(Debug, thiserror::Error)]
enum Rejection {
    #[error("the body is larger than {0} bytes, the most that is taken")]
    TooLarge(usize),
    #[error("bodies in flight hold {0} bytes already: try again")]
    BodyLimitReached(usize),
    #[error("the body broke off: {0}")]
    BrokenOff(hyper::Error),
    #[error("the body did not arrive in {0:?}")]
    BodyTimeout(Duration),
    #[error("body and decision took longer than {0:?}")]
    DecisionTimeout(Duration),
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let code = match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyLimitReached(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenOff(_) => StatusCode::BAD_REQUEST,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::DecisionTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        // The rest of the request would be taken for the next one.
        (code, [(CONNECTION, CLOSE)], self.to_string()).into_response()
    }
}

/// A stream that sets the connection's phase when it reads and flushes.
struct PhaseTrackingStream<'a, S> {
    stream: TokioIo<S>,
    guard: &'a ConnectionGuard,
}

impl<S: AsyncRead + Unpin> Read for PhaseTrackingStream<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.guard.set_phase(ConnectionPhase::Head);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for PhaseTrackingStream<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.guard.set_phase(ConnectionPhase::Idle);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
