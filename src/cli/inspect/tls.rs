//! Certificates of a server: fetched by a TLS handshake, and verified.

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

use super::server::Server;
use crate::inspect::{CertificateSet, ValuePlace, VerificationError};
use crate::trust::Anchor;

/// Timeout of the connection, and again of the handshake.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

type Chain = Vec<CertificateDer<'static>>;

/// The certificates that a server presented.
pub(super) struct PresentedChain {
    /// The server's own certificate, and what it sent after that.
    pub(super) chain: Chain,
    /// The error of the handshake, if it failed: many servers require a certificate of the client.
    handshake_error: Option<String>,
}

impl PresentedChain {
    /// Returns the chain as a set of certificates with a remark on a failed handshake.
    pub(super) fn collection(&self, server: &Server) -> CertificateSet {
        let mut collection = CertificateSet::new(format!("server {server}"));
        collection.add_chain(self.chain.iter().map(AsRef::as_ref));
        if let Some(cause) = &self.handshake_error {
            collection.add_remark(
                &ValuePlace::default(),
                format!("after showing its certificates it ended the handshake: {cause}"),
            );
        }
        collection
    }
}

/// Connects to a server and fetches its chain, which is not verified.
pub(super) async fn fetch_chain(server: &Server) -> anyhow::Result<PresentedChain> {
    let address = (server.host(), server.port());
    let stream = timeout(SERVER_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| anyhow::anyhow!("no answer within {} s", SERVER_TIMEOUT.as_secs()))
        .and_then(|connected| Ok(connected?))
        .with_context(|| {
            format!("connect to {server}: is it the right address, and does a firewall let you through?")
        })?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(RecordingVerifier { provider: provider.clone(), chain: OnceLock::new() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    let handshake = TlsConnector::from(Arc::new(config)).connect(server_name(server)?, stream);
    let handshake_error = match timeout(SERVER_TIMEOUT, handshake).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", SERVER_TIMEOUT.as_secs())),
    };
    match (verifier.chain.get(), handshake_error) {
        (Some(chain), handshake_error) => Ok(PresentedChain { chain: chain.clone(), handshake_error }),
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

/// Returns the trusted certificates that, each alone, verify the server, and the errors of the verification.
pub(super) fn verify_chain(
    server: &Server,
    chain: &Chain,
    trusted: &CertificateSet,
) -> (Vec<Anchor>, Vec<VerificationError>) {
    let Some((own, intermediates)) = chain.split_first() else {
        return (Vec::new(), vec![VerificationError::Other("the server shows no certificate".to_owned())]);
    };
    let own = match ParsedCertificate::try_from(own) {
        Ok(own) => own,
        Err(error) => return (Vec::new(), vec![verification_error(&error)]),
    };
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let check = |anchors: &mut dyn Iterator<Item = &Anchor>| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.map(|anchor| CertificateDer::from_slice(anchor.der())));
        verify_server_cert_signed_by_trust_anchor(&own, &roots, intermediates, UnixTime::now(), algorithms.all)
    };
    let alone = |anchor: &&Anchor| check(&mut std::iter::once(*anchor)).is_ok();
    let verifying: Vec<Anchor> = trusted.anchors().filter(alone).cloned().collect();
    let mut errors = Vec::new();
    if verifying.is_empty() {
        errors.extend(check(&mut trusted.anchors()).err());
    }
    errors.extend(server_name(server).ok().and_then(|name| verify_server_name(&own, &name).err()));
    (verifying, errors.iter().map(verification_error).collect())
}

/// Maps an error of rustls.
fn verification_error(error: &Error) -> VerificationError {
    let Error::InvalidCertificate(error) = error else {
        return VerificationError::Other(error.to_string());
    };
    match error {
        CertificateError::UnknownIssuer => VerificationError::UnknownIssuer,
        CertificateError::BadSignature => VerificationError::BadSignature,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => VerificationError::NotValidNow,
        CertificateError::NotValidForName => VerificationError::NotValidForName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            VerificationError::NotValidForName(presented.iter().map(|name| plain_name(name)).collect())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            VerificationError::InvalidPurpose
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            VerificationError::NotChecked("a signature algorithm of its chain".to_owned())
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            VerificationError::NotChecked("signatures with a key of this kind".to_owned())
        }
        // The errors of webpki are private.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => VerificationError::CaUsedAsEndEntity,
        other => VerificationError::Other(other.to_string()),
    }
}

/// Returns the name in a text such as `DnsName("example.com")`.
fn plain_name(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').to_owned()
}

/// Verifier that records the chain and accepts any. The proof of the server's key is still verified.
#[derive(Debug)]
struct RecordingVerifier {
    provider: Arc<CryptoProvider>,
    chain: OnceLock<Chain>,
}

impl ServerCertVerifier for RecordingVerifier {
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
