//! One trust anchor: a certificate that every consumer of the bundle can be expected to read.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::java::{self, JavaParseError};
use super::x509::{self, LazyFields, PublicKeyType, X509ParseError};

/// SHA-256 of a certificate's DER. Ordered as its bytes are; printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `der`, whatever it holds.
    #[must_use]
    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(der).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hexadecimal digits: enough for a person to tell certificates apart.
    #[must_use]
    pub fn short(&self) -> String {
        let mut digits = self.to_string();
        digits.truncate(8);
        digits
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// One parsed certificate; cheap to clone. Equal when the DER is equal.
#[derive(Clone)]
pub struct Anchor(Arc<Parsed>);

struct Parsed {
    der: Box<[u8]>,
    fingerprint: Fingerprint,
    fields: x509::StoredFields,
}

impl Anchor {
    /// Parses exactly one certificate.
    ///
    /// What is accepted is what Go's `crypto/x509` accepts: a stricter reader would break bundles that work, a more
    /// generous one would hand out certificates on which Go programs choke.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the flaw, the fingerprint and, where it can be read, the subject.
    pub fn from_der(der: impl Into<Box<[u8]>>) -> Result<Anchor, InvalidCertificateError> {
        let der = der.into();
        let fingerprint = Fingerprint::of(&der);
        match x509::parse(&der) {
            Ok(fields) => Ok(Anchor(Arc::new(Parsed { der, fingerprint, fields }))),
            Err(cause) => Err(InvalidCertificateError { cause, fingerprint, subject: x509::subject_of(&der) }),
        }
    }

    /// The certificate as it was read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of [`der`](Anchor::der).
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The subject as Go's `pkix.Name.String()` prints it: near RFC 2253, with the known attributes of one type
    /// gathered and in a fixed order. Empty for an empty subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.fields.subject
    }

    /// The subject's common name, the last if it has several. Read anew each time.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        x509::common_name_of(self.subject_der())
    }

    /// The issuer, in the form of [`subject`](Anchor::subject). Read anew each time.
    #[must_use]
    pub fn issuer(&self) -> String {
        expect_parsed(x509::text_of(self.issuer_der()))
    }

    /// The issuer's name in DER: what chains are built by.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.lazy_fields().issuer
    }

    /// The subject's name in DER: what chains are built by.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.lazy_fields().subject
    }

    /// The kind and size of the key. Read anew each time.
    #[must_use]
    pub fn key(&self) -> PublicKeyType {
        expect_parsed(self.lazy_fields().key())
    }

    /// Whether Java reads it; if not, it reads no keystore that holds it. Checked anew each time.
    ///
    /// # Errors
    ///
    /// [`JavaFlaw`] says what Java has against it.
    pub fn check_for_java(&self) -> Result<(), JavaParseError> {
        java::check(self.der())
    }

    fn lazy_fields(&self) -> LazyFields<'_> {
        expect_parsed(LazyFields::of(self.der()))
    }

    /// Start of validity, in seconds since 1970-01-01T00:00:00Z; negative before.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.0.fields.not_before
    }

    /// End of validity (itself still valid), in seconds since 1970-01-01T00:00:00Z; negative before.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.0.fields.not_after
    }

    /// Whether a basicConstraints extension (RFC 5280, section 4.2.1.9) says so. False for version 1 certificates,
    /// which cannot say it.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.fields.is_ca
    }
}

/// What parsing the certificate has read already.
fn expect_parsed<T>(part: Option<T>) -> T {
    part.expect("read when the certificate was parsed")
}

impl PartialEq for Anchor {
    fn eq(&self, other: &Anchor) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for Anchor {}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchor({} {:?})", self.fingerprint().short(), self.subject())
    }
}

/// Bytes that are no certificate, or one that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}, SHA-256 {fingerprint}", subject.as_ref().map(|name| format!(", subject {name:?}")).unwrap_or_default())]
pub struct InvalidCertificateError {
    /// What is wrong.
    pub cause: X509ParseError,
    /// SHA-256 of the bytes.
    pub fingerprint: Fingerprint,
    /// The subject in the form of [`Anchor::subject`], when it can be read in spite of the flaw.
    pub subject: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_prints_as_lower_case_hexadecimal_digits() {
        let empty = Fingerprint::of(b"");
        assert_eq!(empty.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(empty.short(), "e3b0c442");
    }
}
