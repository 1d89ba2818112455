//! Somebody's TLS server, and the CA that signed its certificate: both can be exchanged while clients connect.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::PrivateKeyDer,
        server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use crate::background::Background;

/// What every request is answered.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// How long a client may take; the first handshake of a JVM computes for seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A CA that exists only as long as this.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A running HTTPS server that answers every request, and makes a full handshake of every connection. Dropping it
/// closes every connection.
pub struct TlsServer {
    address: IpAddr,
    server: Background,
    shown: Arc<Shown>,
}

/// The certificate that is shown now.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Authority {
    /// A root CA of this common name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_key(name, KeyPair::generate()?)
    }

    /// Another root CA of this common name, with the same key.
    ///
    /// # Errors
    /// When its key cannot be read back.
    pub fn reissue(&self, name: &str) -> Result<Self> {
        Self::with_key(name, KeyPair::from_pem(&self.0.key().serialize_pem())?)
    }

    fn with_key(name: &str, key: KeyPair) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The same, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.0.der()
    }

    /// Its public key, as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.0.key().subject_public_key_info()
    }

    /// A certificate for a server of this machine, in PEM.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue(&self) -> Result<String> {
        Ok(self.sign(Ipv4Addr::LOCALHOST.into(), &KeyPair::generate()?)?.pem())
    }

    /// A certificate for a server that is asked for by this address.
    fn certify(&self, address: IpAddr) -> Result<Arc<CertifiedKey>> {
        let key = KeyPair::generate()?;
        let certificate = self.sign(address, &key)?.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok(Arc::new(CertifiedKey::from_der(vec![certificate], key, &ring::default_provider())?))
    }

    fn sign(&self, address: IpAddr, key: &KeyPair) -> Result<Certificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "server");
        params.subject_alt_names.push(SanType::IpAddress(address));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(key, &self.0)?)
    }
}

impl TlsServer {
    /// Serves on a free port of this address, by a certificate that the CA signed.
    ///
    /// # Errors
    /// When the address is not of this machine.
    pub fn start(address: IpAddr, authority: &Authority) -> Result<Self> {
        let shown = Arc::new(Shown(RwLock::new(authority.certify(address)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = Background::start_on(address, "TLS server", |listener| serve(listener, acceptor))?;
        Ok(Self { address, server, shown })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/", SocketAddr::new(self.address, self.server.port()))
    }

    /// From now on it shows a certificate that this CA signed.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn show(&self, authority: &Authority) -> Result<()> {
        let certificate = authority.certify(self.address).context("signing the server's next certificate")?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        // Clients that do not trust it hang up: that is their part of the scenario.
        tokio::spawn(async move { timeout(PATIENCE, answer(stream, acceptor)).await });
    }
}

/// Answers one request, of which only the end of its head matters.
async fn answer(stream: TcpStream, acceptor: TlsAcceptor) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    // The client's end of the connection comes first: nothing is lost by ours.
    stream.read_buf(&mut request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsClient;

    #[tokio::test]
    async fn a_server_is_trusted_by_its_ca_and_by_the_next_one_from_then_on() -> Result<()> {
        let (old, new) = (Authority::new("old")?, Authority::new("new")?);
        let [trusts_old, trusts_new] =
            [TlsClient::new(&old.pem(), "127.0.0.1")?, TlsClient::new(&new.pem(), "127.0.0.1")?];
        let server = TlsServer::start(Ipv4Addr::LOCALHOST.into(), &old)?;
        assert_eq!(server.url(), format!("https://127.0.0.1:{}/", server.server.port()));
        let port = server.server.port();
        trusts_old.connect(port).await?;
        assert!(trusts_new.connect(port).await.is_err());
        server.show(&new)?;
        assert!(trusts_old.connect(port).await.is_err());
        let mut stream = trusts_new.connect(port).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answered = Vec::new();
        stream.read_to_end(&mut answered).await?;
        assert_eq!(answered, ANSWER);
        Ok(())
    }
}
