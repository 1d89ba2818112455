//! TLS connections to servers on this machine that are asked for by another host name, as the API server makes them to
//! webhooks.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

/// Who connects: to whom by name, and whom it trusts.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl TlsClient {
    /// Trusts the CAs in this PEM, and asks for this host name.
    ///
    /// # Errors
    /// When either is none.
    pub fn new(authority_pem: &str, host: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
            roots.add(authority.context("reading a CA")?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), host: ServerName::try_from(host.to_owned())? })
    }

    /// Connects to a port of the loopback address.
    ///
    /// # Errors
    /// When nobody listens or the certificate does not convince.
    pub async fn connect(&self, port: u16) -> Result<TlsStream<TcpStream>> {
        self.connect_to((Ipv4Addr::LOCALHOST, port).into()).await
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// As [`TlsClient::connect`].
    pub async fn connect_to(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.host.clone(), stream).await.context("shaking hands")
    }

    /// The serving certificate that is shown at a port, in base64 without line ends.
    ///
    /// # Errors
    /// As [`TlsClient::connect`].
    pub async fn shown(&self, port: u16) -> Result<String> {
        let stream = self.connect(port).await?;
        let certificates = stream.get_ref().1.peer_certificates().context("a server shows a certificate")?;
        Ok(BASE64_STANDARD.encode(certificates.first().context("a server shows a certificate")?))
    }
}
