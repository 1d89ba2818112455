//! The connection for all requests.
//!
//! kube's own client takes one contiguous body for each request and hides the headers of a refusal. Here bodies are made
//! of parts that requests share, and `Retry-After` is seen. Authentication and TLS are kube's, and so are watches, events
//! and the Lease: its client works over this connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::ConfigExt;
use kube::core::Status;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::metrics::{RequestMetrics, ResponseClass, WatchMetrics};
use crate::text;

use super::dial::{Dialer, Proxy};
use super::leader_election::{LeadershipWatch, WriteFenceLayer};

/// How long one request may take before it counts as unanswered.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// How long an idle connection is kept: its buffers are memory.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How much of a body a connection takes at a time, in bytes: one TLS record (RFC 8446, 5.1). What is in a connection's
/// buffers is memory, times the number of writes in flight.
const FRAME: usize = 16 * 1024;

/// Asks for an answer without content: 1 KB comes back instead of the object.
pub(crate) const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A body in parts, some of which many requests share.
#[derive(Debug)]
pub(crate) struct SegmentedBody {
    /// In reverse order.
    rest: Vec<Bytes>,
}

/// A connection pool. Clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: Arc<Mutex<Sender>>,
    default_namespace: String,
    requests: RequestMetrics,
    watches: WatchMetrics,
}

type Sender = BoxCloneService<Request<OutgoingBody>, Response<Incoming>, BoxError>;

/// A body on its way out.
enum OutgoingBody {
    /// Of a request of ours.
    Segmented(SegmentedBody),
    /// Of a request of kube's.
    Whole(kube::client::Body),
}

/// One request.
pub(crate) struct ApiRequest {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) uri: String,
    /// The wanted form of the answer.
    pub(crate) accept: &'static str,
    /// The body and its media type.
    pub(crate) body: Option<(&'static str, SegmentedBody)>,
}

/// Why there is no answer that one could use.
#[derive(Debug, PartialEq)]
pub(crate) enum ApiError {
    /// The API server refuses.
    Refused(Box<Status>),
    /// The API server asks for patience (429, 503), perhaps for a time: nothing was done.
    Busy(Option<Duration>, String),
    /// The API server or its etcd failed (other 5xx): the request may have been carried out or not.
    Failed(String),
    /// The connection failed: the request may have been carried out or not.
    Lost(String),
    /// No answer in time: the request may have been carried out or not.
    TimedOut(String),
}

impl Connection {
    /// A connection to the cluster of a configuration, through the proxy if there is one: what the configuration itself
    /// says of proxies is not looked at. Each request is sent once: who sent it knows what to do with a refusal, and when.
    ///
    /// # Errors
    /// When its certificates or credentials cannot be used.
    pub fn new(config: &Config, proxy: Option<Proxy>) -> kube::Result<Self> {
        let dialer = Dialer::new(config, proxy)?;
        let forwarding = dialer.forwarding_proxy(&config.cluster_url);
        let https = config.rustls_https_connector_with_connector(dialer)?;
        let client: Client<_, OutgoingBody> = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(2 * FRAME)
            .build(https);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(client);
        let service = match forwarding {
            None => BoxCloneService::new(service),
            Some(proxy) => BoxCloneService::new({
                let answering = proxy.clone();
                let service = service.map_request(move |request| proxy.authorize(request));
                service.map_result(move |answer: Result<Response<Incoming>, BoxError>| {
                    answering.reject_proxy_error(answer?)
                })
            }),
        };
        let requests = RequestMetrics::default();
        let counts = requests.clone();
        let counted = service.map_result(move |answer: Result<Response<Incoming>, BoxError>| {
            counts.count(
                answer.as_ref().map_or(ResponseClass::Lost, |answer| ResponseClass::Status(answer.status().as_u16())),
            );
            answer
        });
        let sender = Arc::new(Mutex::new(BoxCloneService::new(counted)));
        Ok(Self {
            sender,
            default_namespace: config.default_namespace.clone(),
            requests,
            watches: WatchMetrics::default(),
        })
    }

    /// How many requests were sent, in whatever way.
    #[must_use]
    pub fn requests(&self) -> &RequestMetrics {
        &self.requests
    }

    /// When watches over it last told something.
    #[must_use]
    pub fn watches(&self) -> &WatchMetrics {
        &self.watches
    }

    /// The same connection, but that requests other than reads get through only while the mandate holds. One that has
    /// not got through when the mandate ends is given up, and so it is never sent: that is looked at again before each
    /// step of a request, such as after a connection was made.
    #[must_use]
    pub fn fenced(&self, leadership: LeadershipWatch) -> Self {
        let sender = BoxCloneService::new(WriteFenceLayer(leadership).layer(self.sender()));
        Self { sender: Arc::new(Mutex::new(sender)), ..self.clone() }
    }

    /// kube's client over this connection.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let connection = self.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            connection.sender().oneshot(request.map(OutgoingBody::Whole))
        });
        kube::Client::new(service, self.default_namespace.clone())
    }

    fn sender(&self) -> Sender {
        self.sender.lock().expect("nobody panics with it").clone()
    }

    /// Sends a request once and reads the whole answer.
    pub(crate) async fn send(&self, api_request: ApiRequest) -> Result<Bytes, ApiError> {
        self.with_timeout(async {
            let answer = self.sender().oneshot(http_request(api_request)?).await.map_err(connection_error)?;
            let (code, headers, body) = collect_response(answer).await?;
            if code.is_success() { Ok(body) } else { Err(parse_error_response(code, &headers, &body)) }
        })
        .await
    }

    /// Sends a request once; the body of a good answer is still to be read.
    pub(crate) async fn open(&self, api_request: ApiRequest) -> Result<Incoming, ApiError> {
        self.with_timeout(async {
            let answer = self.sender().oneshot(http_request(api_request)?).await.map_err(connection_error)?;
            if answer.status().is_success() {
                return Ok(answer.into_body());
            }
            let (code, headers, body) = collect_response(answer).await?;
            Err(parse_error_response(code, &headers, &body))
        })
        .await
    }

    async fn with_timeout<T>(&self, answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(|_| {
            self.requests.count(ResponseClass::TimedOut);
            Err(ApiError::TimedOut(format!("no answer within {} s", TIMEOUT.as_secs())))
        })
    }
}

fn http_request(api_request: ApiRequest) -> Result<Request<OutgoingBody>, ApiError> {
    let ApiRequest { method, uri, accept, body } = api_request;
    let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, accept);
    let (media_type, parts) = body.unwrap_or(("", SegmentedBody::new(Vec::new())));
    if !media_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, media_type);
    }
    request.body(OutgoingBody::Segmented(parts)).map_err(|error| {
        let status = Status::failure(&error.to_string(), "BadRequest").with_code(400);
        ApiError::Refused(Box::new(status))
    })
}

async fn collect_response(answer: Response<Incoming>) -> Result<(StatusCode, HeaderMap, Bytes), ApiError> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| connection_error(error.into()))?;
    Ok((parts.status, parts.headers, body.to_bytes()))
}

#[allow(clippy::needless_pass_by_value, reason = "it maps an error")]
fn connection_error(error: BoxError) -> ApiError {
    ApiError::Lost(error_chain(&*error))
}

/// What an answer means that is not a success.
fn parse_error_response(code: StatusCode, headers: &HeaderMap, body: &Bytes) -> ApiError {
    let unexplained = |_| Status::failure(&text::cause(&String::from_utf8_lossy(body).trim()), "Unexplained");
    let status: Status = serde_json::from_slice(body).unwrap_or_else(unexplained);
    let status = status.with_code(code.as_u16());
    let cause = || text::cause(&status.message);
    match code {
        _ if is_admission_refusal(&status) => ApiError::Refused(Box::new(status)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ApiError::Busy(retry_after(headers), cause())
        }
        StatusCode::GATEWAY_TIMEOUT => ApiError::TimedOut(cause()),
        _ if code.is_server_error() => ApiError::Failed(cause()),
        _ => ApiError::Refused(Box::new(status)),
    }
}

/// Parts of messages that only admission of the object at hand gives: an answer with one of them tells nothing of the API
/// server, whatever its code. A webhook chooses the code itself
/// (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>).
const ADMISSION_MARKERS: [&str; 6] = [
    "admission webhook \"",
    "failed calling webhook",
    "denied request",
    "exceeded quota",
    "status unknown for quota",
    "quota evaluation timed out",
];

/// Whether admission of an object refused it, or could not be had.
pub(crate) fn is_admission_refusal(status: &Status) -> bool {
    ADMISSION_MARKERS.iter().any(|part| status.message.contains(part))
}

/// The seconds of `Retry-After`, the only form that Kubernetes uses (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with its causes.
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    text::cause(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(status) => f.write_str(&text::cause(&status.message)),
            Self::Busy(_, text) if text.is_empty() => f.write_str("the API server is busy"),
            Self::Busy(_, cause) | Self::Failed(cause) | Self::Lost(cause) | Self::TimedOut(cause) => {
                f.write_str(cause)
            }
        }
    }
}

impl SegmentedBody {
    /// These parts, in this order.
    pub(crate) fn new(mut parts: Vec<Bytes>) -> Self {
        parts.reverse();
        Self { rest: parts }
    }
}

impl Body for SegmentedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = self.rest.pop().map(|mut part| {
            if part.len() > FRAME {
                let frame = part.split_to(FRAME);
                self.rest.push(part);
                return Ok(Frame::data(frame));
            }
            Ok(Frame::data(part))
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.iter().map(|part| part.len() as u64).sum())
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Segmented(parts) => Pin::new(parts).poll_frame(context).map_err(BoxError::from),
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Segmented(parts) => parts.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Segmented(parts) => parts.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_and_anything_else_is_ignored() {
        let parsed = |value: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(parsed("3"), Some(Duration::from_secs(3)));
        assert_eq!(parsed("soon"), None);
        let plain = parse_error_response(
            StatusCode::TOO_MANY_REQUESTS,
            &HeaderMap::new(),
            &Bytes::from_static(b"Too many requests."),
        );
        assert!(matches!(plain, ApiError::Busy(None, text) if text == "Too many requests."));
    }

    #[test]
    fn a_refusal_in_plain_text_is_quoted() {
        let refused = parse_error_response(StatusCode::CONFLICT, &HeaderMap::new(), &Bytes::from_static(b"not now\n"));
        let ApiError::Refused(status) = refused else { panic!("{refused:?}") };
        assert_eq!((status.code, status.message.as_str()), (409, "not now"));
    }

    #[test]
    fn an_admission_refusal_is_no_server_failure_whatever_its_code() {
        let denied = "admission webhook \"w.example.com\" denied the request: slow down";
        let called = "Internal error occurred: failed calling webhook \"w.example.com\": context deadline exceeded";
        let policed =
            "configmaps \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no";
        let rows = [
            (429, denied, "refused"),
            (503, denied, "refused"),
            (504, denied, "refused"),
            (500, denied, "refused"),
            (409, denied, "refused"),
            (500, called, "refused"),
            (422, policed, "refused"),
            (403, "configmaps \"b\" is forbidden: exceeded quota: q", "refused"),
            (500, "Internal error occurred: resource quota evaluation timed out", "refused"),
            (422, "ConfigMap \"b\" is invalid", "refused"),
            (429, "storage is (re)initializing", "busy"),
            (503, "apiserver is shutting down", "busy"),
            (504, "Timeout: request did not complete within requested timeout", "timed out"),
            (500, "etcdserver: request timed out", "failed"),
            (500, "etcdserver: too many requests", "failed"),
            (500, "etcdserver: leader changed", "failed"),
            (502, "no backend", "failed"),
        ];
        for (code, message, expected) in rows {
            let status = Status::failure(message, "").with_code(code);
            let body = serde_json::to_vec(&status).expect("JSON");
            let failure = parse_error_response(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), &body.into());
            let word = match &failure {
                ApiError::Refused(status) => {
                    assert_eq!(status.code, code);
                    "refused"
                }
                ApiError::Busy(..) => "busy",
                ApiError::TimedOut(_) => "timed out",
                ApiError::Failed(_) => "failed",
                ApiError::Lost(_) => "lost",
            };
            assert_eq!((word, failure.to_string().as_str()), (expected, message), "{code}");
        }
    }
}
