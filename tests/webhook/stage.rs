//! A server, its CA, and clients that do exactly as they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rootcast::webhook::{Identity, ReloadableCertificate, ServerLimits, TlsSettings, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long anything here may take, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Signs certificates for `localhost`.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("keys")).expect("a CA"))
    }

    /// A new certificate with a new key.
    pub(crate) fn identity(&self) -> Identity {
        let key = KeyPair::generate().expect("keys");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity { certificate_pem: certificate.pem().into_bytes(), key_pem: key.serialize_pem().into_bytes() }
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: ReloadableCertificate,
    pub(crate) authority: Authority,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router, limits: ServerLimits) -> Self {
        let authority = Authority::new();
        let certificate = ReloadableCertificate::new();
        certificate.replace(&authority.identity()).expect("a good certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let shown = certificate.clone();
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listener, shown, &TlsSettings::default(), router, limits, stopped).await;
        });
        Self { address, certificate, authority, stop: Some(stop), task }
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("the server runs");
    }

    /// A client that has agreed on TLS.
    pub(crate) async fn client(&self) -> Client {
        self.try_client().await.expect("a handshake")
    }

    pub(crate) async fn try_client(&self) -> std::io::Result<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).expect("a CA");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Client { stream, read: Vec::new() })
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Sends the head of a POST.
    pub(crate) async fn announce(&mut self, path: &str, length: usize) -> std::io::Result<()> {
        self.send(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")).await
    }

    /// A whole request and its answer.
    pub(crate) async fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> std::io::Result<Response> {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.as_ref().len());
        self.send([head.as_bytes(), body.as_ref()].concat()).await?;
        self.response().await
    }

    /// The next answer.
    pub(crate) async fn response(&mut self) -> std::io::Result<Response> {
        timeout(SOON, self.read_response()).await.expect("an answer in time")
    }

    async fn read_response(&mut self) -> std::io::Result<Response> {
        let end = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("text").to_lowercase();
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().expect("a number"));
        while self.read.len() < length {
            self.more().await?;
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).expect("text");
        Ok(Response { code, head, body })
    }

    async fn more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        timeout(Duration::from_millis(1), self.more()).await.is_ok_and(|read| read.is_err())
    }

    /// Waits until the server closes the connection.
    pub(crate) async fn closed(&mut self) {
        let closed = async { while self.more().await.is_ok() {} };
        timeout(SOON, closed).await.expect("the server closes the connection");
    }
}

/// `/size` answers with the size of the body, `/slow` a second later.
pub(crate) fn sizes() -> Router {
    let size = |body: Bytes| async move { body.len().to_string() };
    let slow = |body: Bytes| async move {
        sleep(Duration::from_secs(1)).await;
        body.len().to_string()
    };
    Router::new().route("/size", post(size)).route("/slow", post(slow)).layer(DefaultBodyLimit::disable())
}

/// Limits that a test can wait for.
pub(crate) fn short() -> ServerLimits {
    let short = Duration::from_millis(500);
    ServerLimits {
        handshake_timeout: short,
        head_timeout: short,
        idle_timeout: Duration::from_secs(2),
        request_timeout: short,
        ..ServerLimits::default()
    }
}
