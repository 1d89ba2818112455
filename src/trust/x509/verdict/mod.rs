//! Verdict on a certificate: whether Go's `crypto/x509` parses it.
//!
//! Consumers of a bundle are Go and Java programs, and one certificate that they cannot parse can cost them the whole
//! trust store. So what is published is what Go parses, no less and no more: a stricter parser would break bundles that
//! work. No crate gives this verdict. `x509-parser`, which reads what `inspect` shows, is made to read as much as it can:
//! of 13,088 certificates that `tests/trust_go.rs` makes and Go refuses it reads 7,008, with negative serial numbers,
//! extensions that occur twice, curves that Go does not have, points beside their curve, key identifiers that are
//! critical, or octets that no string has; and of 7,254 that Go parses it refuses 23.
//!
//! Nothing else is in this folder. Tests that hold the verdict:
//!
//! - `tests/trust_vectors.rs`: what a live trust-manager made of recorded certificates;
//! - `tests/trust_go.rs`: Go itself, on thousands of certificates that are nearly right;
//! - `tests/trust_x509_parser.rs`: `x509-parser` reads whatever is accepted, but for named exceptions;
//! - `tests/corpus.rs` and `fuzz/fuzz_targets/der.rs`: no input is a panic, and of whatever is accepted all can be shown.

mod constraint;
mod extension;
mod general_name;
pub(super) mod key;
pub(super) mod name;
mod time;
mod uri;

use crate::trust::der::{Reader, tag};
use name::DistinguishedName;

/// Fields of an accepted certificate that are kept in memory.
pub(super) struct AcceptedFields<'a> {
    /// Subject.
    pub(super) subject: DistinguishedName<'a>,
    /// Start of validity, in seconds since 1970-01-01T00:00:00Z.
    pub(super) not_before: i64,
    /// End of validity (inclusive), in seconds since 1970-01-01T00:00:00Z.
    pub(super) not_after: i64,
    /// Whether basic constraints mark a CA.
    pub(super) is_ca: bool,
}

/// Error that parsing a certificate returns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum X509ParseError {
    /// Part that is missing, not DER, or not as RFC 5280 requires, by its name.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Bytes after the certificate.
    #[error("trailing data")]
    TrailingData,
    /// Version that does not exist.
    #[error("invalid version")]
    Version,
    /// Negative serial number (RFC 5280, section 4.1.2.2, requires a positive one).
    #[error("negative serial number")]
    NegativeSerial,
    /// Signature algorithms inside and outside of the signed part that differ.
    #[error("inner and outer signature algorithm identifiers don't match")]
    SignatureAlgorithms,
    /// String type in a name that Go and others cannot read, for instance 28, `UniversalString`.
    #[error("unsupported string type {0} in a name")]
    StringType(u8),
    /// String with octets that its type does not permit, by the name of the type.
    #[error("invalid {0} in a name")]
    String(&'static str),
    /// Explicit curve parameters instead of the name of a curve.
    #[error("explicit or invalid elliptic curve parameters")]
    CurveParameters,
    /// Named curve other than P-224, P-256, P-384 and P-521.
    #[error("unsupported elliptic curve")]
    Curve,
    /// Invalid public key, by its kind.
    #[error("invalid {0} public key")]
    PublicKey(&'static str),
    /// Extension that occurs twice, by its object identifier.
    #[error("duplicate extension {0}")]
    DuplicateExtension(String),
    /// Critical extension that must not be critical, by its name.
    #[error("{0} incorrectly marked critical")]
    Critical(&'static str),
}

/// Parses exactly one certificate, as Go does.
pub(super) fn parse(der: &[u8]) -> Result<AcceptedFields<'_>, X509ParseError> {
    let mut input = Reader::new(der);
    let mut certificate = input.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("certificate"))?;
    let mut tbs = certificate.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("tbs certificate"))?;

    let version = version(&mut tbs)?;
    let serial = tbs.integer().ok_or(X509ParseError::Malformed("serial number"))?;
    if serial[0] & 0x80 != 0 {
        return Err(X509ParseError::NegativeSerial);
    }
    let algorithm = tbs.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("signature algorithm identifier"))?;
    let outer_algorithm = certificate.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("algorithm identifier"))?;
    if algorithm.rest() != outer_algorithm.rest() {
        return Err(X509ParseError::SignatureAlgorithms);
    }
    Algorithm::read(algorithm)?;
    name::parse(&mut tbs, "issuer")?;
    let (not_before, not_after) = validity(&mut tbs)?;
    let subject = name::parse(&mut tbs, "subject")?;
    public_key(&mut tbs)?;
    let is_ca = match version {
        Version::V1 => false,
        Version::V2 => {
            unique_identifiers(&mut tbs)?;
            false
        }
        Version::V3 => {
            unique_identifiers(&mut tbs)?;
            extension::check(&mut tbs)?
        }
    };
    certificate.bits().ok_or(X509ParseError::Malformed("signature"))?;
    if !input.is_empty() {
        return Err(X509ParseError::TrailingData);
    }
    Ok(AcceptedFields { subject, not_before, not_after, is_ca })
}

enum Version {
    V1,
    V2,
    V3,
}

fn version(tbs: &mut Reader<'_>) -> Result<Version, X509ParseError> {
    let malformed = X509ParseError::Malformed("version");
    if !tbs.next_is(tag::explicit(0)) {
        return Ok(Version::V1);
    }
    let mut explicit = tbs.enter(tag::explicit(0)).ok_or(malformed.clone())?;
    let number = explicit.integer().ok_or(malformed.clone())?;
    match number {
        _ if !explicit.is_empty() => Err(malformed),
        [0] => Ok(Version::V1),
        [1] => Ok(Version::V2),
        [2] => Ok(Version::V3),
        _ => Err(X509ParseError::Version),
    }
}

fn validity(tbs: &mut Reader<'_>) -> Result<(i64, i64), X509ParseError> {
    let mut validity = tbs.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("validity"))?;
    Ok((time::parse(&mut validity)?, time::parse(&mut validity)?))
}

fn public_key(tbs: &mut Reader<'_>) -> Result<(), X509ParseError> {
    let mut info = tbs.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("spki"))?;
    let algorithm = info.enter(tag::SEQUENCE).ok_or(X509ParseError::Malformed("public key algorithm identifier"))?;
    let algorithm = Algorithm::read(algorithm)?;
    let bits = info.bits().ok_or(X509ParseError::Malformed("subjectPublicKey"))?;
    key::check(&algorithm, bits)
}

fn unique_identifiers(tbs: &mut Reader<'_>) -> Result<(), X509ParseError> {
    tbs.enter_if(tag::context(1)).ok_or(X509ParseError::Malformed("issuerUniqueID"))?;
    tbs.enter_if(tag::context(2)).ok_or(X509ParseError::Malformed("subjectUniqueID"))?;
    Ok(())
}

/// `AlgorithmIdentifier` (RFC 5280, section 4.1.1.2).
pub(super) struct Algorithm<'a> {
    /// Content of the object identifier.
    pub(super) oid: &'a [u8],
    /// The parameters as one element, empty when absent.
    pub(super) parameters: &'a [u8],
}

impl<'a> Algorithm<'a> {
    /// Reads the content of an `AlgorithmIdentifier`.
    pub(super) fn read(mut content: Reader<'a>) -> Result<Algorithm<'a>, X509ParseError> {
        let oid = content.oid().ok_or(X509ParseError::Malformed("OID"))?;
        let parameters = if content.is_empty() {
            &[][..]
        } else {
            content.any_whole().ok_or(X509ParseError::Malformed("parameters"))?
        };
        Ok(Algorithm { oid, parameters })
    }
}
