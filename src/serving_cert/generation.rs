//! Generation of the serving certificate: a CA, one certificate of it, and the certificate's key.

use std::string::FromUtf8Error;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{self, CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, RootCertStore};

use crate::trust::{Anchor, PemError, SkippedCertificateError, pem};
use crate::webhook::Identity;

/// The seconds by which `notBefore` of a certificate is before its creation: clocks differ.
const BACKDATE_SECONDS: i64 = 3600;

/// The most time by which a CA outlives its certificate: a replica with a fast clock must not remove the CA while
/// another one still serves the certificate.
const MAX_CA_OVERLAP: Duration = Duration::from_hours(1);

/// The longest lifetime, a century; longer ones are cut to it.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 36_525);

/// The organization in the subject of each CA that rootcast makes, by which it is recognised.
const ORGANIZATION: &str = "rootcast injector";

/// A throw-away CA, whose key is not kept, and the certificate that it signed; equal when the certificates are.
#[derive(Clone)]
pub struct Generation {
    ca: Anchor,
    leaf: Anchor,
    certificate_pem: String,
    key_pem: String,
}

/// The reason why PEM is no [`Generation`]; never quotes the key.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The PEM of the certificates is broken.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] SkippedCertificateError),
    /// The certificates are not two; holds their subjects.
    #[error("not a certificate and its CA, made by rootcast, but [{0}]")]
    NotAPair(String),
    /// The CA was not made by rootcast; holds its subject.
    #[error("not made by rootcast, but signed by {0:?}")]
    ForeignCa(String),
    /// The key is no PEM of a private key.
    #[error("its key cannot be read: {0}")]
    KeyPem(pki_types::pem::Error),
    /// The key is not the certificate's, or of a kind that rustls cannot use.
    #[error("its key: {0}")]
    Key(Error),
    /// The CA did not sign the certificate, or ends before it.
    #[error(transparent)]
    Signature(Error),
    /// There is text around the PEM that is no UTF-8.
    #[error(transparent)]
    Utf8(#[from] FromUtf8Error),
}

impl Generation {
    /// Creates a generation that is valid for `names` from `now` on (P-256, RFC 5480).
    ///
    /// # Errors
    /// When a name is not ASCII, or the system has no random numbers.
    pub fn new(names: &[String], lifetime: Duration, now: Timestamp) -> Result<Self, rcgen::Error> {
        let lifetime = lifetime.min(MAX_LIFETIME);
        let (begin, end) = (now.as_second() - BACKDATE_SECONDS, now.as_second() + seconds(lifetime));
        let authority_key = KeyPair::generate()?;
        let outlives = seconds(MAX_CA_OVERLAP.min(lifetime / 3));
        let mut authority = params(&format!("CA of {}", now.strftime("%FT%TZ")), begin, end + outlives);
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_certificate = authority.self_signed(&authority_key)?;

        let key = KeyPair::generate()?;
        let mut leaf = params("serving certificate", begin, end);
        leaf.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?;

        Ok(Self {
            ca: to_anchor(&authority_certificate),
            leaf: to_anchor(&leaf),
            certificate_pem: leaf.pem() + &authority_certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Parses a generation from the PEM of the certificate with its CA, and that of the key.
    ///
    /// # Errors
    /// When rootcast did not make it, or its parts do not belong together.
    pub fn read(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, GenerationError> {
        let blocks = pem::read(certificate_pem)?;
        let certificates = blocks.into_iter().map(|block| block.certificate).collect::<Result<Vec<_>, _>>()?;
        let subjects = certificates.iter().map(Anchor::subject).collect::<Vec<_>>().join(", ");
        let [leaf, authority] = &certificates[..] else {
            return Err(GenerationError::NotAPair(subjects));
        };
        if !is_rootcast_ca(authority) {
            return Err(GenerationError::ForeignCa(authority.subject().to_owned()));
        }
        verify_pair(authority, leaf, key_pem)?;
        Ok(Self {
            ca: authority.clone(),
            leaf: leaf.clone(),
            certificate_pem: String::from_utf8(certificate_pem.to_vec())?,
            key_pem: String::from_utf8(key_pem.to_vec())?,
        })
    }

    /// Returns the CA.
    #[must_use]
    pub fn ca(&self) -> &Anchor {
        &self.ca
    }

    /// Returns the serving certificate and its CA, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the private key, in PEM (PKCS#8).
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Returns certificate and key as the server takes them.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            certificate_pem: self.certificate_pem().as_bytes().to_vec(),
            key_pem: self.key_pem().as_bytes().to_vec(),
        }
    }

    /// Returns the last moment at which the serving certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        Timestamp::from_second(self.leaf.not_after()).unwrap_or(Timestamp::MAX)
    }

    /// Returns whether the serving certificate is valid for all of `names`.
    #[must_use]
    pub fn covers(&self, names: &[String]) -> bool {
        let der = CertificateDer::from(self.leaf.der());
        let Ok(leaf) = ParsedCertificate::try_from(&der) else { return false };
        let covers = |name: &String| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&leaf, &name).is_ok())
        };
        names.iter().all(covers)
    }

    /// Returns whether the serving certificate has not expired.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        is_valid(&self.leaf, now)
    }

    /// Returns the lifetime from the creation on, and the time when two thirds of it are over.
    pub(super) fn lifetime_and_renewal_time(&self) -> (Duration, Timestamp) {
        let made = self.leaf.not_before() + BACKDATE_SECONDS;
        let life = u64::try_from(self.leaf.not_after() - made).unwrap_or_default();
        let due = made + seconds(Duration::from_secs(life * 2 / 3));
        (Duration::from_secs(life), Timestamp::from_second(due).unwrap_or(Timestamp::MAX))
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Self) -> bool {
        self.leaf == other.leaf
    }
}

impl Eq for Generation {}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generation({} of {:?})", self.leaf.fingerprint().short(), self.ca)
    }
}

/// Returns whether a certificate is a CA that rootcast made.
pub(super) fn is_rootcast_ca(ca: &Anchor) -> bool {
    ca.is_ca() && ca.subject().split(',').any(|part| part.strip_prefix("O=") == Some(ORGANIZATION))
}

/// Returns whether a certificate has not expired; `notAfter` itself is still valid (RFC 5280, 4.1.2.5).
pub(super) fn is_valid(anchor: &Anchor, now: Timestamp) -> bool {
    now.as_second() <= anchor.not_after()
}

/// Returns the seconds before its end in which a CA is not added again.
///
/// The certificate of the CA has expired: replicas with fast clocks remove the CA in that time, and those with slow
/// clocks must not bring it back.
pub(super) fn ca_grace_seconds(ca: &Anchor) -> i64 {
    let life = ca.not_after() - ca.not_before() - BACKDATE_SECONDS;
    (life / 8).min(seconds(MAX_CA_OVERLAP / 2))
}

fn params(name: &str, not_before: i64, not_after: i64) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let mut params = CertificateParams::default();
    params.not_before = epoch + since(not_before);
    params.not_after = epoch + since(not_after);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn to_anchor(certificate: &rcgen::Certificate) -> Anchor {
    Anchor::from_der(&**certificate.der()).expect("a certificate of rcgen is valid DER")
}

/// Checks that the CA signed the certificate and is valid for as long as it is, and that the key is the certificate's.
fn verify_pair(ca: &Anchor, leaf: &Anchor, key_pem: &[u8]) -> Result<(), GenerationError> {
    let provider = ring::default_provider();
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(GenerationError::KeyPem)?;
    let der = CertificateDer::from(leaf.der().to_vec());
    CertifiedKey::from_der(vec![der.clone()], key, &provider).map_err(GenerationError::Key)?;
    let end = Duration::from_secs(u64::try_from(leaf.not_after()).unwrap_or_default());
    signed_by(ca, &der, UnixTime::since_unix_epoch(end), &provider).map_err(GenerationError::Signature)
}

fn signed_by(ca: &Anchor, der: &CertificateDer<'_>, at: UnixTime, with: &CryptoProvider) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.der()).into_owned())?;
    let leaf = ParsedCertificate::try_from(der)?;
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], at, with.signature_verification_algorithms.all)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn names() -> Vec<String> {
        vec!["rootcast-injector.cert-manager.svc".to_owned(), "rootcast-injector".to_owned()]
    }

    fn generation(lifetime: Duration) -> Generation {
        Generation::new(&names(), lifetime, Timestamp::UNIX_EPOCH + DAY).expect("a generation")
    }

    #[test]
    fn what_was_made_is_read_again() {
        let made = generation(90 * DAY);
        let read = Generation::read(made.certificate_pem().as_bytes(), made.key_pem().as_bytes()).expect("readable");
        assert_eq!(read, made);
        assert_eq!(read.ca(), made.ca());
        assert_eq!(read.not_after(), Timestamp::UNIX_EPOCH + 91 * DAY);
        assert_eq!(read.lifetime_and_renewal_time(), (90 * DAY, Timestamp::UNIX_EPOCH + 61 * DAY));
        assert!(read.covers(&names()));
        assert!(!read.covers(&["rootcast-injector.elsewhere.svc".to_owned()]));
    }

    #[test]
    fn a_certificate_begins_an_hour_before_it_is_made_and_ends_before_its_ca() {
        for (lifetime, more) in [(90 * DAY, 3600), (Duration::from_secs(6), 2)] {
            let made = generation(lifetime);
            let (made_at, end) = (86_400, 86_400 + seconds(lifetime));
            assert_eq!((made.leaf.not_before(), made.leaf.not_after()), (made_at - 3600, end));
            assert_eq!((made.ca.not_before(), made.ca.not_after()), (made_at - 3600, end + more));
            assert!(ca_grace_seconds(&made.ca) < more);
        }
    }

    #[test]
    fn an_absurd_lifetime_is_a_century() {
        assert_eq!(generation(Duration::MAX).lifetime_and_renewal_time().0, MAX_LIFETIME);
    }

    #[test]
    fn the_last_second_is_still_valid() {
        let made = generation(DAY);
        assert!(made.is_valid(made.not_after() + Duration::from_millis(999)));
        assert!(!made.is_valid(made.not_after() + Duration::from_secs(1)));
    }

    #[test]
    fn what_does_not_belong_together_is_named() {
        let (one, two) = (generation(DAY), generation(DAY));
        let [leaf, authority] = split(one.certificate_pem());
        let [_, other] = split(two.certificate_pem());
        let key = KeyPair::generate().expect("a key");
        let foreign = CertificateParams::new(names()).expect("names").self_signed(&key).expect("a certificate").pem();
        let table = [
            (String::new(), one.key_pem(), "not a certificate and its CA, made by rootcast, but []"),
            (leaf.clone(), one.key_pem(), "but [CN=serving certificate,O=rootcast injector]"),
            ("-----BEGIN CERTIFICATE-----".to_owned(), one.key_pem(), "it has no END line"),
            (foreign.clone(), one.key_pem(), "but [CN=rcgen self signed cert]"),
            (leaf.clone() + &foreign, one.key_pem(), "signed by \"CN=rcgen self signed cert\""),
            (leaf.clone() + &other, one.key_pem(), "invalid peer certificate"),
            (leaf.clone() + &authority, two.key_pem(), "its key: keys may not be consistent"),
            (leaf.clone() + &authority, "secret", "its key cannot be read: no items found"),
            (leaf + &authority, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "its key: "),
        ];
        for (certificate, key, expected) in table {
            let error = Generation::read(certificate.as_bytes(), key.as_bytes()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
            assert!(!error.contains("secret"), "{error:?}");
        }
    }

    fn split(pem: &str) -> [String; 2] {
        let (leaf, authority) = pem.split_at(pem.rfind("-----BEGIN").expect("two blocks"));
        [leaf.to_owned(), authority.to_owned()]
    }
}
