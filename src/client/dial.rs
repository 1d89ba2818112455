//! Connections to the API server: direct, or through a proxy.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, PROXY_AUTHORIZATION};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use kube::Config;
use kube::client::ConfigExt;
use tower::util::{BoxCloneSyncService, BoxService};
use tower::{BoxError, Service, ServiceExt};

use crate::text::error_chain;

/// The maximum time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum time for a proxy to connect to the server behind it.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(15);

/// A proxy server. Its `Display` leaves out the credentials of its URL.
#[derive(Clone, Debug)]
pub struct Proxy {
    protocol: ProxyProtocol,
    /// The URL without its credentials.
    url: Uri,
    /// The part of the configuration that names the proxy.
    origin: String,
    intercept: Intercept,
}

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyProtocol {
    Http,
    Https,
    Socks5,
}

/// A proxy URL that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxyUrlError {
    /// The text is no URL, or the URL has no host.
    #[error("{0} is no URL of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
    Url(String),
    /// The protocol is not supported.
    #[error(
        "{0} names a proxy by {1}://, which is not supported: use one that is reached by http://, https:// or socks5://"
    )]
    Scheme(String, String),
}

impl Proxy {
    /// Parses the URL of a proxy. `origin` names the part of the configuration that the URL comes from.
    ///
    /// # Errors
    /// When the URL cannot be used. The error leaves out the URL itself, which may hold a password.
    pub fn new(origin: impl Into<String>, url: &str) -> Result<Self, ProxyUrlError> {
        let origin = origin.into();
        let invalid = || ProxyUrlError::Url(origin.clone());
        let scheme = url.split_once("://").ok_or_else(invalid)?.0.to_ascii_lowercase();
        let protocol = match &*scheme {
            "http" => ProxyProtocol::Http,
            "https" => ProxyProtocol::Https,
            "socks5" | "socks5h" => ProxyProtocol::Socks5,
            _ => return Err(ProxyUrlError::Scheme(origin, scheme)),
        };
        let matcher = Matcher::builder().all(url).build();
        let intercept = matcher.intercept(&Uri::from_static("https://any")).ok_or_else(invalid)?;
        let host = intercept.uri().host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let port = intercept.uri().port_u16().unwrap_or(match protocol {
            ProxyProtocol::Http => 80,
            ProxyProtocol::Https => 443,
            ProxyProtocol::Socks5 => 1080,
        });
        let url = Uri::builder().scheme(&*scheme).authority(format!("{host}:{port}")).path_and_query("/").build();
        let url = url.map_err(|_| invalid())?;
        Ok(Self { protocol, url, origin, intercept })
    }

    /// Returns the value of `Proxy-Authorization`, if the URL has credentials.
    fn authorization(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }

    /// Formats the refusal of an HTTP proxy to connect, with its remedy.
    fn refusal_message(&self, target: &str, status: StatusCode) -> String {
        let remedy = match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED if self.authorization().is_some() => {
                "correct the user and the password in its URL"
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                "put the user and the password that it wants into its URL: http://USER:PASSWORD@HOST:PORT"
            }
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                "it does not reach that server: look at its log, or go around it (NO_PROXY, or no proxy-url)"
            }
            _ => "have it allow this connection, or go around it (NO_PROXY, or no proxy-url)",
        };
        format!("{self} refuses to connect to {target}: {status}: {remedy}")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.url.scheme_str().unwrap_or_default(), self.url.authority());
        write!(f, "the proxy {scheme}://{} ({})", authority.map_or("", Authority::as_str), self.origin)
    }
}

/// A hyper connector that makes plain connections, even to servers that are reached by TLS: TLS is layered on top.
#[derive(Clone)]
pub struct Dialer {
    /// The connector to the server, or to the proxy.
    next: BoxCloneSyncService<Uri, Socket, BoxError>,
    proxy: Option<Proxy>,
}

impl Dialer {
    /// Creates a connector that goes through the proxy, if there is one. The TLS of an `https://` proxy is that of the
    /// configuration, as in client-go.
    ///
    /// # Errors
    /// When the certificates of the configuration cannot be used.
    pub fn new(config: &Config, proxy: Option<Proxy>) -> kube::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let next = if proxy.as_ref().is_some_and(|proxy| proxy.protocol == ProxyProtocol::Https) {
            let https = config.rustls_https_connector_with_connector(http)?;
            BoxCloneSyncService::new(https.map_response(Socket::new))
        } else {
            BoxCloneSyncService::new(http.map_response(Socket::new).map_err(BoxError::from))
        };
        Ok(Self { next, proxy })
    }

    /// Returns the proxy, if it forwards requests to this plain `http://` server instead of opening a tunnel to it.
    pub(super) fn forwarding_proxy(&self, server: &Uri) -> Option<ForwardingProxy> {
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.forwards(server))?;
        Some(ForwardingProxy { proxy: proxy.clone(), server: target(server, 80) })
    }
}

impl Proxy {
    fn forwards(&self, server: &Uri) -> bool {
        self.protocol != ProxyProtocol::Socks5 && server.scheme() == Some(&Scheme::HTTP)
    }
}

/// A proxy that forwards requests to a plain `http://` server.
#[derive(Clone)]
pub(super) struct ForwardingProxy {
    proxy: Proxy,
    server: String,
}

impl ForwardingProxy {
    /// Adds the proxy's credentials to a request.
    pub(super) fn authorize<B>(&self, mut request: Request<B>) -> Request<B> {
        if let Some(value) = self.proxy.authorization() {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
        }
        request
    }

    /// Turns a refusal by the proxy itself into an error. The API server never answers 407, and refuses in JSON.
    pub(super) fn reject_proxy_error<B>(&self, response: Response<B>) -> Result<Response<B>, BoxError> {
        let json = response.headers().get(CONTENT_TYPE).is_some_and(|of| of.as_bytes().ends_with(b"json"));
        let own = match response.status() {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => true,
            StatusCode::FORBIDDEN | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => !json,
            _ => false,
        };
        if own { Err(self.proxy.refusal_message(&self.server, response.status()).into()) } else { Ok(response) }
    }
}

impl Service<Uri> for Dialer {
    type Response = Socket;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Socket, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.next.poll_ready(context)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.clone() else { return Box::pin(self.next.call(server)) };
        let next = self.next.clone();
        Box::pin(async move {
            let reached = tokio::time::timeout(TUNNEL_TIMEOUT, proxy.connect(next, server)).await;
            reached.unwrap_or_else(|_| {
                Err(format!("{proxy} does not answer within {} s: is it the right one?", TUNNEL_TIMEOUT.as_secs())
                    .into())
            })
        })
    }
}

impl Proxy {
    /// Connects to the server through this proxy.
    async fn connect(&self, next: BoxCloneSyncService<Uri, Socket, BoxError>, server: Uri) -> Result<Socket, BoxError> {
        if self.protocol == ProxyProtocol::Socks5 {
            return self.socks(next, server).await;
        }
        let mut socket = next.oneshot(self.url.clone()).await.map_err(|error| self.unreachable(&*error))?;
        if self.forwards(&server) {
            socket.forwarded = true;
            return Ok(socket);
        }
        let target = target(&server, 443);
        let no_http =
            |error: hyper::Error| format!("{self} gives no answer that is HTTP: is it an HTTP proxy?: {error}");
        let (mut sender, connection) = http1::handshake(socket).await.map_err(no_http)?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::connect(&target).header(HOST, &target);
        if let Some(value) = self.authorization() {
            request = request.header(PROXY_AUTHORIZATION, value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await.map_err(no_http)?;
        if !response.status().is_success() {
            return Err(self.refusal_message(&target, response.status()).into());
        }
        Ok(Socket::new(hyper::upgrade::on(response).await.map_err(no_http)?))
    }

    async fn socks(&self, next: BoxCloneSyncService<Uri, Socket, BoxError>, server: Uri) -> Result<Socket, BoxError> {
        let target = target(&server, if server.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 });
        let server = Uri::builder().scheme("https").authority(&*target).path_and_query("/").build()?;
        let mut socks = SocksV5::new(self.url.clone(), next);
        if let Some((user, password)) = self.intercept.raw_auth() {
            socks = socks.with_auth(user.to_owned(), password.to_owned());
        }
        let reached = BoxService::new(socks).oneshot(server).await;
        reached.map_err(|error| {
            let cause = error_chain(&error);
            format!("{self} does not connect to {target}: {cause}: is it a SOCKS5 proxy, and does it allow this?")
                .into()
        })
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> String {
        format!("{self} cannot be reached: {}", error_chain(error))
    }
}

/// Formats host and port of a server.
fn target(server: &Uri, default_port: u16) -> String {
    format!("{}:{}", server.host().unwrap_or_default(), server.port_u16().unwrap_or(default_port))
}

/// A stream of bytes in both directions.
trait Duplex: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Duplex for T {}

/// A plain connection to the API server or to a proxy.
pub struct Socket {
    stream: Box<dyn Duplex>,
    /// Whether the other end is a proxy that forwards requests.
    forwarded: bool,
}

impl Socket {
    fn new(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), forwarded: false }
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.forwarded)
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
