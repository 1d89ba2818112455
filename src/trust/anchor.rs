//! Trust anchor: a certificate that every consumer of a bundle is expected to parse.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::java::{self, JavaParseError};
use super::x509::{self, LazyFields, PublicKeyType, X509ParseError};

/// SHA-256 of a certificate's DER.
///
/// Ordered by its bytes; printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of `der`, which need not be a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(der).into())
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first 8 hexadecimal digits: enough for a person to distinguish certificates.
    #[must_use]
    pub fn short(&self) -> String {
        let mut digits = self.to_string();
        digits.truncate(8);
        digits
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    /// Parses 64 hexadecimal digits, in capitals or not, with or without colons between bytes, as openssl prints them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        let count = digits.chars().count();
        if count != 64 || (text.len() != 64 && !has_colons_between_bytes(text)) {
            return Err(ParseFingerprintError::Length(count));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(ParseFingerprintError::Digit);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).expect("two digits are a byte");
        }
        Ok(Self(bytes))
    }
}

fn has_colons_between_bytes(text: &str) -> bool {
    text.len() == 95 && text.bytes().skip(2).step_by(3).all(|byte| byte == b':')
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

/// Error for a text that is no SHA-256 fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseFingerprintError {
    /// Another number of digits.
    #[error("a SHA-256 fingerprint has 64 hexadecimal digits, not {0}")]
    Length(usize),
    /// Something else than digits.
    #[error("a SHA-256 fingerprint has hexadecimal digits only")]
    Digit,
}

/// SHA-256 of a public key with its algorithm, `SubjectPublicKeyInfo` (RFC 5280, section 4.1), in DER.
///
/// All certificates of one key have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKeyDigest(Fingerprint);

impl FromStr for PublicKeyDigest {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PublicKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parsed certificate; cheap to clone, equal when the DER is equal.
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
    /// Accepts what Go's `crypto/x509` accepts: a stricter parser would break bundles that work, a more lenient one
    /// would distribute certificates that Go programs fail to parse.
    ///
    /// # Errors
    ///
    /// [`InvalidCertificateError`] with the cause, the fingerprint and, if it can be read, the subject.
    pub fn from_der(der: impl Into<Box<[u8]>>) -> Result<Anchor, InvalidCertificateError> {
        let der = der.into();
        let fingerprint = Fingerprint::of(&der);
        match x509::parse(&der) {
            Ok(fields) => Ok(Anchor(Arc::new(Parsed { der, fingerprint, fields }))),
            Err(cause) => Err(InvalidCertificateError { cause, fingerprint, subject: x509::subject_of(&der) }),
        }
    }

    /// Returns the DER, as it was read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Returns the SHA-256 of [`der`](Anchor::der).
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Returns the subject as Go's `pkix.Name.String()` prints it.
    ///
    /// The form is near RFC 2253, with the known attributes of one type joined and in a fixed order. Empty for an empty
    /// subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.fields.subject
    }

    /// Parses the subject's common name, the last if it has several.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        x509::common_name_of(self.subject_der())
    }

    /// Parses the issuer into the form of [`subject`](Anchor::subject).
    #[must_use]
    pub fn issuer(&self) -> String {
        expect_parsed(x509::name_to_string(self.issuer_der()))
    }

    /// Returns the issuer's name in DER, by which chains are built.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.lazy_fields().issuer
    }

    /// Returns the subject's name in DER, by which chains are built.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.lazy_fields().subject
    }

    /// Parses the kind and size of the public key.
    #[must_use]
    pub fn key(&self) -> PublicKeyType {
        expect_parsed(self.lazy_fields().key())
    }

    /// Computes the digest of the public key.
    #[must_use]
    pub fn public_key_digest(&self) -> PublicKeyDigest {
        PublicKeyDigest(Fingerprint::of(self.lazy_fields().public_key))
    }

    /// Checks that Java can parse the certificate; if not, Java loads no keystore that contains it.
    ///
    /// # Errors
    ///
    /// [`JavaParseError`] with the reason for which Java rejects it.
    pub fn check_for_java(&self) -> Result<(), JavaParseError> {
        java::check(self.der())
    }

    fn lazy_fields(&self) -> LazyFields<'_> {
        expect_parsed(LazyFields::of(self.der()))
    }

    /// Returns the start of validity, in seconds since 1970-01-01T00:00:00Z; negative before.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.0.fields.not_before
    }

    /// Returns the end of validity (inclusive), in seconds since 1970-01-01T00:00:00Z; negative before.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.0.fields.not_after
    }

    /// Returns whether the basicConstraints extension (RFC 5280, section 4.2.1.9) marks a CA.
    ///
    /// False for version 1 certificates, which have no extensions.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.fields.is_ca
    }
}

/// Unwraps a part that was already read when the certificate was parsed.
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

/// Error for bytes that are no certificate, or no usable one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{cause}{}, SHA-256 {fingerprint}",
    subject.as_ref().map(|name| format!(", subject {name:?}")).unwrap_or_default()
)]
pub struct InvalidCertificateError {
    /// Parse error.
    pub cause: X509ParseError,
    /// SHA-256 of the bytes.
    pub fingerprint: Fingerprint,
    /// Subject in the form of [`Anchor::subject`], if it can be read in spite of the error.
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

    #[test]
    fn certificates_of_one_key_have_one_public_key_digest() {
        let key = rcgen::KeyPair::generate().unwrap();
        let of = |key: &rcgen::KeyPair, name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            Anchor::from_der(params.self_signed(key).unwrap().der().to_vec()).unwrap()
        };
        let (one, two) = (of(&key, "one"), of(&key, "two"));
        assert_ne!(one, two);
        assert_eq!(one.public_key_digest(), two.public_key_digest());
        assert_ne!(one.public_key_digest(), of(&rcgen::KeyPair::generate().unwrap(), "one").public_key_digest());
        let digest = Fingerprint::of(&rcgen::PublicKeyData::subject_public_key_info(&key)).to_string();
        assert_eq!(one.public_key_digest().to_string(), digest);
    }
}
