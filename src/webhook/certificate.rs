//! Hot-reloadable serving certificate: each TLS handshake uses the one that is current at its start.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};

use crate::trust::{Anchor, Fingerprint, InvalidCertificateError};

/// A serving certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by the intermediate certificates up to its CA.
    pub certificate_pem: Vec<u8>,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key_pem: Vec<u8>,
}

/// A serving certificate that can be replaced while it is served; clones share it.
///
/// Handshakes fail until the first certificate is loaded.
#[derive(Clone)]
pub struct ReloadableCertificate(watch::Sender<Option<Current>>);

struct Current {
    key: Arc<CertifiedKey>,
    leaf: Anchor,
}

/// The reason why an [`Identity`] cannot be served; never quotes its content.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is no PEM.
    #[error("the certificate is no PEM: {0}")]
    CertificatePem(pem::Error),
    /// The PEM holds no certificate.
    #[error("there is no certificate in the PEM of the certificate")]
    NoCertificate,
    /// The serving certificate cannot be parsed.
    #[error("the certificate is malformed: {0}")]
    Certificate(InvalidCertificateError),
    /// The PEM holds no private key.
    #[error("there is no private key in the PEM of the key: {0}")]
    KeyPem(pem::Error),
    /// The key is not the certificate's.
    #[error("certificate and key do not belong together")]
    KeyMismatch,
    /// The key is of a kind that rustls cannot use.
    #[error("the private key cannot be used: {0}")]
    Key(Error),
}

impl ReloadableCertificate {
    /// Returns a certificate that is not loaded yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Serves another certificate from now on; open connections stay as they are.
    ///
    /// # Errors
    /// When certificate and key cannot be served; the certificate stays as it was.
    pub fn replace(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.0.send_replace(Some(identity.read()?));
        Ok(())
    }

    /// Returns whether there is a certificate.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until there is a certificate.
    pub async fn wait_loaded(&self) {
        // It fails only when the sender is dropped, and `self` is the sender.
        drop(self.0.subscribe().wait_for(Option::is_some).await);
    }

    /// Returns `notBefore` and `notAfter` of the certificate, in seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn validity(&self) -> Option<(i64, i64)> {
        self.0.borrow().as_ref().map(|current| (current.leaf.not_before(), current.leaf.not_after()))
    }

    /// Returns the fingerprint of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.0.borrow().as_ref().map(|current| current.leaf.fingerprint())
    }
}

impl Default for ReloadableCertificate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ReloadableCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint()).finish()
    }
}

impl ResolvesServerCert for ReloadableCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().as_ref().map(|current| current.key.clone())
    }
}

impl Identity {
    fn read(&self) -> Result<Current, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate_pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(IdentityError::CertificatePem)?;
        let first = chain.first().ok_or(IdentityError::NoCertificate)?;
        let leaf = Anchor::from_der(&**first).map_err(IdentityError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key_pem).map_err(IdentityError::KeyPem)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => IdentityError::KeyMismatch,
            error => IdentityError::Key(error),
        })?;
        Ok(Current { key: Arc::new(key), leaf })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
