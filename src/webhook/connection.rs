//! One connection: TLS, where it is spoken, then requests, each with its body in full, one after the other.

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
use tower::ServiceExt;

use super::crowd::{NoRoom, Number, Phase};
use super::server::House;

/// When connections are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The server runs.
    NotYet,
    /// With the next answer.
    WithNextAnswer,
    /// With the answer that is being made, if one is.
    Now,
}

/// How much of a body that is too large is read, and forgotten, so that its sender comes to hear why it is refused.
const PATIENCE: usize = 4;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection's place in the house. Dropping it gives it up.
pub(super) struct Seat {
    pub(super) house: Arc<House>,
    pub(super) number: Number,
}

/// Serves one connection to its end.
pub(super) async fn attend(stream: TcpStream, seat: Seat) {
    let mut farewell = seat.house.farewell.clone();
    let mut farewell = pin!(farewell.wait_for(|farewell| *farewell == Farewell::Now));
    // A failure to set it costs time, and nothing else.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = &seat.house.acceptor else {
        // Buffers for requests are made when the first one comes.
        let mut first = [0];
        tokio::select! {
            peeked = stream.peek(&mut first) => if !matches!(peeked, Ok(1)) { return },
            _ = &mut farewell => return,
        }
        seat.turn(Phase::Waiting);
        return converse(stream, &seat, farewell).await;
    };
    let stream = tokio::select! {
        stream = Box::pin(acceptor.accept(stream)) => stream,
        _ = &mut farewell => return,
    };
    // Who speaks no TLS, trusts us not or goes away is nothing to report: anybody can.
    let Ok(stream) = stream.map(Box::new) else { return };
    seat.turn(Phase::Waiting);
    let (tcp, tls) = stream.get_ref();
    if tls.wants_read() {
        tokio::select! {
            readable = tcp.readable() => if readable.is_err() { return },
            _ = &mut farewell => return,
        }
    }
    converse(stream, &seat, farewell).await;
}

/// Answers requests until one side ends it.
async fn converse<S>(stream: S, seat: &Seat, farewell: impl Future)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answering = service_fn(|request| async { Ok::<_, Infallible>(seat.answer(request).await) });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(seat.house.limits.buffer)
        .serve_connection(Watched { stream: TokioIo::new(stream), seat }, answering);
    let mut connection = Box::pin(connection);
    tokio::select! {
        // What went wrong with a client's connection is the client's to report.
        _ = &mut connection => return,
        _ = farewell => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

impl Seat {
    fn turn(&self, phase: Phase) {
        self.house.crowd().turn(self.number, Instant::now(), phase);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response {
        self.turn(Phase::Body);
        let House { router, limits, farewell, .. } = &*self.house;
        let deadline = Instant::now() + limits.request;
        let (head, body) = request.into_parts();
        let late = |_| Rejection::LateBody(limits.request);
        let body = timeout_at(deadline, self.receive(&head.headers, body)).await.map_err(late).flatten();
        let mut response = match body {
            Err(rejection) => rejection.into_response(),
            Ok(body) => {
                self.turn(Phase::Decision);
                let request = Request::from_parts(head, Body::from(body));
                match timeout_at(deadline, router.clone().oneshot(request)).await {
                    Ok(Ok(response)) => response,
                    Err(_) => Rejection::LateDecision(limits.request).into_response(),
                }
            }
        };
        if *farewell.borrow() != Farewell::NotYet {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        self.turn(Phase::Answer);
        response
    }

    /// Takes in a body. Memory is taken as it arrives: an announcement alone gets none.
    async fn receive(&self, headers: &HeaderMap, mut body: Incoming) -> Result<Vec<u8>, Rejection> {
        let limit = self.house.limits.body;
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut received = Vec::new();
        let mut size = 0_usize;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Rejection::BrokenOff)?;
            let Ok(data) = frame.into_data() else { continue };
            size = size.saturating_add(data.len());
            if size > limit.saturating_mul(PATIENCE) {
                break;
            }
            if size > limit || announced.is_some_and(|announced: usize| announced > limit) {
                continue;
            }
            if size > received.capacity() {
                let capacity = (2 * size).min(announced.unwrap_or(limit)).max(size);
                self.hold(capacity - received.capacity())?;
                received.reserve_exact(capacity - received.len());
            }
            received.extend_from_slice(&data);
        }
        if size > limit {
            return Err(Rejection::TooLarge(limit));
        }
        Ok(received)
    }

    fn hold(&self, bytes: usize) -> Result<(), Rejection> {
        let limits = &self.house.limits;
        let leaving = self.house.crowd().hold(self.number, bytes, Instant::now(), limits);
        leaving.map_err(|NoRoom| Rejection::NoRoom(limits.bodies))?.iter().for_each(AbortHandle::abort);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.house.crowd().leave(self.number);
    }
}

/// Why a request ends before it is decided, or instead.
#[derive(Debug, thiserror::Error)]
enum Rejection {
    #[error("the body is larger than {0} bytes, the most that is taken")]
    TooLarge(usize),
    #[error("bodies in flight hold {0} bytes already: try again")]
    NoRoom(usize),
    #[error("the body broke off: {0}")]
    BrokenOff(hyper::Error),
    #[error("the body did not arrive in {0:?}")]
    LateBody(Duration),
    #[error("body and decision took longer than {0:?}")]
    LateDecision(Duration),
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let code = match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenOff(_) => StatusCode::BAD_REQUEST,
            Self::LateBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::LateDecision(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        // What is left of the request would be taken for the next one.
        (code, [(CONNECTION, CLOSE)], self.to_string()).into_response()
    }
}

/// A stream that tells where in a request it is.
struct Watched<'a, S> {
    stream: TokioIo<S>,
    seat: &'a Seat,
}

impl<S: AsyncRead + Unpin> Read for Watched<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.seat.turn(Phase::Head);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Watched<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.seat.turn(Phase::Waiting);
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
