//! The connection that carries all requests to the API server.
//!
//! kube's own client takes one contiguous body for each request and hides the headers of a refusal. Here bodies consist
//! of parts that requests share, and `Retry-After` is read. Authentication and TLS are kube's. kube's clients for events,
//! the Lease and the interactive commands work over this connection, too.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::ConfigExt;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::metrics::{RequestMetrics, ResponseClass, WatchMetrics};

use super::api_error::ApiError;
use super::dial::{Dialer, Proxy};
use super::leader_election::{LeadershipWatch, WriteFenceLayer};
use super::segmented_body::{FRAME, SegmentedBody};
use super::server_clock::ServerClock;

/// The time after which a request counts as unanswered.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// The time for which an idle connection is kept: its buffers are memory.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// The `Accept` header for a response without content: about 1 KB instead of the object.
pub(super) const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A pool of connections to one API server. Clones share the pool.
#[derive(Clone)]
pub struct Connection {
    sender: Arc<Mutex<Sender>>,
    default_namespace: String,
    requests: RequestMetrics,
    watches: WatchMetrics,
    server_clock: ServerClock,
}

type Sender = BoxCloneService<Request<OutgoingBody>, Response<Incoming>, BoxError>;

/// The body of any request.
enum OutgoingBody {
    /// The body of a request of this crate.
    Segmented(SegmentedBody),
    /// The body of a request of kube's client.
    Whole(kube::client::Body),
}

/// A request to the API server.
pub(super) struct ApiRequest {
    /// HTTP method of the request.
    pub(super) method: Method,
    /// Path and query.
    pub(super) uri: String,
    /// Value of the `Accept` header.
    pub(super) accept: &'static str,
    /// Media type and body.
    pub(super) body: Option<(&'static str, SegmentedBody)>,
}

impl Connection {
    /// Creates a connection to the cluster of a configuration, through `proxy` if there is one.
    ///
    /// The proxy of the configuration itself is ignored. Each request is sent once; retries are the caller's.
    ///
    /// # Errors
    /// When the certificates or credentials of the configuration cannot be used.
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
                let rejecting = proxy.clone();
                let service = service.map_request(move |request| proxy.authorize(request));
                service.map_result(move |response: Result<Response<Incoming>, BoxError>| {
                    rejecting.reject_proxy_error(response?)
                })
            }),
        };
        let requests = RequestMetrics::default();
        let server_clock = ServerClock::default();
        let (counts, clock) = (requests.clone(), server_clock.clone());
        let counted = service.map_result(move |response: Result<Response<Incoming>, BoxError>| {
            if let Ok(response) = &response {
                clock.observe(response.headers());
            }
            counts.count(
                response
                    .as_ref()
                    .map_or(ResponseClass::Lost, |response| ResponseClass::Status(response.status().as_u16())),
            );
            response
        });
        let sender = Arc::new(Mutex::new(BoxCloneService::new(counted)));
        Ok(Self {
            sender,
            default_namespace: config.default_namespace.clone(),
            requests,
            watches: WatchMetrics::default(),
            server_clock,
        })
    }

    /// Returns the clock of the API server.
    pub(crate) fn server_clock(&self) -> &ServerClock {
        &self.server_clock
    }

    /// Returns the counts of the requests sent over this connection, those of kube's client included.
    #[must_use]
    pub fn requests(&self) -> &RequestMetrics {
        &self.requests
    }

    /// Returns the times at which the watches over this connection were last active.
    #[must_use]
    pub fn watches(&self) -> &WatchMetrics {
        &self.watches
    }

    /// Returns a connection that refuses requests other than reads unless this process is the leader.
    ///
    /// Leadership is checked again before each step of a request, such as after a connection was established: no write
    /// leaves after the leadership has ended.
    #[must_use]
    pub fn fenced(&self, leadership: LeadershipWatch) -> Self {
        let sender = BoxCloneService::new(WriteFenceLayer(leadership).layer(self.sender()));
        Self { sender: Arc::new(Mutex::new(sender)), ..self.clone() }
    }

    /// Creates a client of kube that works over this connection.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let connection = self.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            connection.sender().oneshot(request.map(OutgoingBody::Whole))
        });
        kube::Client::new(service, self.default_namespace.clone())
    }

    fn sender(&self) -> Sender {
        self.sender.lock().expect("no holder of the lock panics").clone()
    }

    /// Creates a client of kube whose requests are sent and fail as those of [`Connection::send`]: once, with its
    /// time-out, and with an [`ApiError`].
    ///
    /// It logs the whole of a response that is no JSON at level WARN, so only commands without a log read Secrets by it.
    pub(super) fn bounded_client(&self) -> kube::Client {
        let connection = self.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let connection = connection.clone();
            async move {
                match connection.exchange(request.map(OutgoingBody::Whole)).await {
                    Ok(body) => Ok(Response::new(Full::new(body))),
                    Err(ApiError::Refused(status)) => Err(BoxError::from(kube::Error::Api(status))),
                    Err(failure) => Err(failure.into()),
                }
            }
        });
        kube::Client::new(service, self.default_namespace.clone())
    }

    /// Sends a request once and reads the whole response.
    pub(super) async fn send(&self, api_request: ApiRequest) -> Result<Bytes, ApiError> {
        self.exchange(http_request(api_request)?).await
    }

    async fn exchange(&self, request: Request<OutgoingBody>) -> Result<Bytes, ApiError> {
        self.with_timeout(async {
            let response = self.sender().oneshot(request).await?;
            let (code, headers, body) = collect_response(response).await?;
            if code.is_success() { Ok(body) } else { Err(ApiError::from_response(code, &headers, &body)) }
        })
        .await
    }

    /// Sends a request once and returns the body of a successful response, to be read by the caller.
    pub(super) async fn open(&self, api_request: ApiRequest) -> Result<Incoming, ApiError> {
        self.with_timeout(async {
            let response = self.sender().oneshot(http_request(api_request)?).await?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            let (code, headers, body) = collect_response(response).await?;
            Err(ApiError::from_response(code, &headers, &body))
        })
        .await
    }

    async fn with_timeout<T>(&self, response: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        tokio::time::timeout(TIMEOUT, response).await.unwrap_or_else(|_| {
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
    request.body(OutgoingBody::Segmented(parts)).map_err(|error| ApiError::bad_request(&error))
}

async fn collect_response(response: Response<Incoming>) -> Result<(StatusCode, HeaderMap, Bytes), ApiError> {
    let (parts, body) = response.into_parts();
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
