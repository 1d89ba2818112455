//! X.509 certificates (RFC 5280): the verdict on them, and the texts of their names and keys.
//!
//! Signatures are not verified: a trust anchor is trusted as it is.

mod name_text;
mod public_key_type;
mod verdict;

use super::der::{Reader, tag};
use verdict::{Algorithm, name};

pub use public_key_type::PublicKeyType;
pub use verdict::X509ParseError;

/// Fields of a certificate that are kept in memory.
pub(super) struct StoredFields {
    /// Subject as Go's `pkix.Name.String()` prints it.
    pub(super) subject: String,
    /// Start of validity, in seconds since 1970-01-01T00:00:00Z.
    pub(super) not_before: i64,
    /// End of validity (inclusive), in seconds since 1970-01-01T00:00:00Z.
    pub(super) not_after: i64,
    /// Whether basic constraints mark a CA.
    pub(super) is_ca: bool,
}

/// Parses exactly one certificate.
pub(super) fn parse(der: &[u8]) -> Result<StoredFields, X509ParseError> {
    let verdict::AcceptedFields { subject, not_before, not_after, is_ca } = verdict::parse(der)?;
    Ok(StoredFields { subject: subject.to_string(), not_before, not_after, is_ca })
}

/// Parses the subject of a possibly invalid certificate, if everything before it is well-formed.
pub(super) fn subject_of(der: &[u8]) -> Option<String> {
    LazyFields::of(der).and_then(|fields| name_to_string(fields.subject))
}

/// Formats a name in DER as [`Anchor::subject`](super::Anchor::subject) is; `None` if Go cannot parse it.
#[must_use]
pub fn name_to_string(name: &[u8]) -> Option<String> {
    name::parse(&mut Reader::new(name), "name").ok().map(|name| name.to_string())
}

/// Parses the common name of a name in DER, the last if there are several.
pub(super) fn common_name_of(name: &[u8]) -> Option<String> {
    name::parse(&mut Reader::new(name), "name").ok()?.common_name().map(str::to_owned)
}

/// Fields of a certificate that are seldom used and therefore not kept in memory.
pub(super) struct LazyFields<'a> {
    /// The issuer as one element.
    pub(super) issuer: &'a [u8],
    /// The subject as one element.
    pub(super) subject: &'a [u8],
    /// The public key with its algorithm, `SubjectPublicKeyInfo`, as one element.
    pub(super) public_key: &'a [u8],
    key: Reader<'a>,
}

impl<'a> LazyFields<'a> {
    /// Locates the fields of a possibly invalid certificate, if everything before them is well-formed.
    pub(super) fn of(der: &'a [u8]) -> Option<LazyFields<'a>> {
        let mut tbs = Reader::new(der).enter(tag::SEQUENCE)?.enter(tag::SEQUENCE)?;
        tbs.enter_if(tag::explicit(0))?;
        let [_serial, _algorithm] = [tbs.any()?, tbs.any()?];
        let issuer = tbs.any_whole()?;
        let _validity = tbs.any()?;
        let subject = tbs.any_whole()?;
        let mut from_key = tbs;
        Some(LazyFields { issuer, subject, public_key: from_key.any_whole()?, key: tbs.enter(tag::SEQUENCE)? })
    }

    /// Locates the identifier of the public key's algorithm, without its header, and the key itself.
    pub(super) fn key_parts(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut info = self.key;
        Some((info.content(tag::SEQUENCE)?, info.bits()?.1))
    }

    /// Parses the kind and size of the public key.
    pub(super) fn key(&self) -> Option<PublicKeyType> {
        let mut info = self.key;
        let algorithm = Algorithm::read(info.enter(tag::SEQUENCE)?).ok()?;
        PublicKeyType::of(&algorithm, info.bits()?)
    }
}
