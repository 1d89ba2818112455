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

use super::api_error::ApiError;
use super::dial::{Dialer, Proxy};
use super::leader_election::{LeadershipWatch, WriteFenceLayer};
use super::segmented_body::{FRAME, SegmentedBody};

/// How long one request may take before it counts as unanswered.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// How long an idle connection is kept: its buffers are memory.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks for an answer without content: 1 KB comes back instead of the object.
pub(super) const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

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
pub(super) struct ApiRequest {
    pub(super) method: Method,
    /// Path and query.
    pub(super) uri: String,
    /// The wanted form of the answer.
    pub(super) accept: &'static str,
    /// The body and its media type.
    pub(super) body: Option<(&'static str, SegmentedBody)>,
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
    pub(super) async fn send(&self, api_request: ApiRequest) -> Result<Bytes, ApiError> {
        self.with_timeout(async {
            let answer = self.sender().oneshot(http_request(api_request)?).await?;
            let (code, headers, body) = collect_response(answer).await?;
            if code.is_success() { Ok(body) } else { Err(ApiError::from_response(code, &headers, &body)) }
        })
        .await
    }

    /// Sends a request once; the body of a good answer is still to be read.
    pub(super) async fn open(&self, api_request: ApiRequest) -> Result<Incoming, ApiError> {
        self.with_timeout(async {
            let answer = self.sender().oneshot(http_request(api_request)?).await?;
            if answer.status().is_success() {
                return Ok(answer.into_body());
            }
            let (code, headers, body) = collect_response(answer).await?;
            Err(ApiError::from_response(code, &headers, &body))
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
    let body = body.collect().await.map_err(BoxError::from)?;
    Ok((parts.status, parts.headers, body.to_bytes()))
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
