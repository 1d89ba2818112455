//! A server's certificates: shown in a handshake, and judged.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::place::Server;
use crate::inspect::{Collection, Trouble};
use crate::trust::Anchor;

/// How long a server may take to be there, and again to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);

type Chain = Vec<CertificateDer<'static>>;

/// What a server has shown.
pub(super) struct Shown {
    /// Its own certificate and what it sends after that.
    pub(super) chain: Chain,
    /// Why the handshake did not come to its end: many servers want a certificate of the client.
    cut_off: Option<String>,
}

impl Shown {
    /// For people.
    pub(super) fn collection(&self, server: &Server) -> Collection {
        let mut collection = Collection::new(format!("server {server}"));
        collection.chain(self.chain.iter().map(AsRef::as_ref));
        if let Some(cause) = &self.cut_off {
            collection.remark(None, format!("after showing its certificates it ended the handshake: {cause}"));
        }
        collection
    }
}

/// Connects and shakes hands, whatever the server shows.
pub(super) async fn shown(server: &Server) -> anyhow::Result<Shown> {
    let address = (server.host(), server.port());
    let stream = timeout(PATIENCE, TcpStream::connect(address))
        .await
        .map_err(|_| anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()))
        .and_then(|connected| Ok(connected?))
        .with_context(|| {
            format!("connect to {server}: is it the right address, and does a firewall let you through?")
        })?;
    let provider = Arc::new(ring::default_provider());
    let witness = Arc::new(Witness { provider: provider.clone(), chain: OnceLock::new() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    let handshake = TlsConnector::from(Arc::new(config)).connect(server_name(server)?, stream);
    let cut_off = match timeout(PATIENCE, handshake).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    match (witness.chain.get(), cut_off) {
        (Some(chain), cut_off) => Ok(Shown { chain: chain.clone(), cut_off }),
        (None, cause) => {
            bail!(
                "{server} shows no certificate: {}: does it speak TLS (1.2 or 1.3) at this port?",
                cause.unwrap_or_default()
            )
        }
    }
}

fn server_name(server: &Server) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(server.host().to_owned()).with_context(|| format!("{} is no host name", server.host()))
}

/// Which of the trusted certificates, each alone, vouch for the server, and what there is against it.
pub(super) fn judge(server: &Server, chain: &Chain, trusted: &Collection) -> (Vec<Anchor>, Vec<Trouble>) {
    let Some((own, intermediates)) = chain.split_first() else {
        return (Vec::new(), vec![Trouble::Other("the server shows no certificate".to_owned())]);
    };
    let own = match ParsedCertificate::try_from(own) {
        Ok(own) => own,
        Err(error) => return (Vec::new(), vec![trouble(&error)]),
    };
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let check = |anchors: &mut dyn Iterator<Item = &Anchor>| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.map(|anchor| CertificateDer::from_slice(anchor.der())));
        verify_server_cert_signed_by_trust_anchor(&own, &roots, intermediates, UnixTime::now(), algorithms.all)
    };
    let alone = |anchor: &&Anchor| check(&mut std::iter::once(*anchor)).is_ok();
    let vouching: Vec<Anchor> = trusted.anchors().filter(alone).cloned().collect();
    let mut errors = Vec::new();
    if vouching.is_empty() {
        errors.extend(check(&mut trusted.anchors()).err());
    }
    errors.extend(server_name(server).ok().and_then(|name| verify_server_name(&own, &name).err()));
    (vouching, errors.iter().map(trouble).collect())
}

/// What TLS says, in our words.
fn trouble(error: &Error) -> Trouble {
    let Error::InvalidCertificate(error) = error else {
        return Trouble::Other(error.to_string());
    };
    match error {
        CertificateError::UnknownIssuer => Trouble::UnknownIssuer,
        CertificateError::BadSignature => Trouble::Signature,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Trouble::Time,
        CertificateError::NotValidForName => Trouble::Name(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            Trouble::Name(presented.iter().map(|name| plain_name(name)).collect())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Trouble::Purpose,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            Trouble::NotChecked("a signature algorithm of its chain".to_owned())
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Trouble::NotChecked("signatures with a key of this kind".to_owned())
        }
        // webpki's own words have no public names.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => Trouble::CaAsServer,
        other => Trouble::Other(other.to_string()),
    }
}

/// `DnsName("example.com")` without what is around the name.
fn plain_name(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').to_owned()
}

/// Accepts whatever is shown, and keeps it. That the server has the key is checked.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    chain: OnceLock<Chain>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(own).chain(others).map(|der| der.clone().into_owned());
        self.chain.get_or_init(|| chain.collect());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
