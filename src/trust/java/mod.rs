//! Checks whether Java can parse a certificate that Go parses.
//!
//! A Java keystore is loaded whole or not at all: one certificate that `java.security.cert.CertificateFactory` of the
//! JDK rejects costs a program its whole trust store. The checks are those of the JDK's parser (`sun.security.x509`)
//! that are stricter than Go's; Go's rules must have been checked before. Signatures are not verified.

mod extension;
mod general_name;
mod key;
mod uri;

use super::der::{Reader, is_oid, tag};

/// Reason for which Java rejects a certificate, and every keystore that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum JavaParseError {
    /// Extensions in a certificate of version 1 or 2 (RFC 5280, section 4.1.2.1).
    #[error("it has extensions, which version 1 and 2 do not have")]
    Version,
    /// Empty issuer (RFC 5280, section 4.1.2.4).
    #[error("its issuer is empty")]
    Issuer,
    /// Empty subject without a critical subject alternative name (RFC 5280, section 4.1.2.6).
    #[error("its subject is empty and it has no critical subject alternative name")]
    Subject,
    /// Part of a form that Java does not parse, by its name.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// RSA modulus under 505 bits, which Java rounds up to 512, or over 16,384.
    #[error("its RSA key has {0} bits: Java wants 512 to 16384")]
    RsaSize(u64),
    /// RSA exponent of 1 or 2, or not under the modulus.
    #[error("the exponent of its RSA key is under 3 or not under the modulus")]
    RsaExponent,
    /// Critical extension of a form that Java does not parse, by its name.
    #[error("malformed critical extension: {0}")]
    Extension(&'static str),
}

type Checked = Result<(), JavaParseError>;

/// Checks that Java can parse a certificate that Go parses.
pub(super) fn check(der: &[u8]) -> Checked {
    let malformed = JavaParseError::Malformed;
    let mut certificate = Reader::new(der).enter(tag::SEQUENCE).ok_or(malformed("certificate"))?;
    let mut tbs = certificate.enter(tag::SEQUENCE).ok_or(malformed("certificate"))?;
    let outer = certificate.enter(tag::SEQUENCE).ok_or(malformed("signature algorithm"))?;
    certificate.bits().filter(|_| certificate.is_empty()).ok_or(malformed("signature"))?;
    key::algorithm(outer).ok_or(malformed("signature algorithm"))?;

    let version = match tbs.enter_if(tag::explicit(0)).and_then(|mut version| version.integer()) {
        Some(number) => number[0],
        None => 0,
    };
    let _serial = tbs.integer();
    key::algorithm(tbs.enter(tag::SEQUENCE).ok_or(malformed("signature algorithm"))?)
        .ok_or(malformed("signature algorithm"))?;
    let issuer_is_empty = name(&mut tbs).ok_or(malformed("issuer"))?;
    if issuer_is_empty {
        return Err(JavaParseError::Issuer);
    }
    validity(&mut tbs).ok_or(malformed("validity"))?;
    let subject_is_empty = name(&mut tbs).ok_or(malformed("subject"))?;
    if version == 0 && subject_is_empty {
        return Err(JavaParseError::Subject);
    }
    key::check(tbs.enter(tag::SEQUENCE).ok_or(malformed("public key"))?)?;
    rest(tbs, version, subject_is_empty)
}

/// Checks what follows the public key.
fn rest(mut tbs: Reader<'_>, version: u8, subject_is_empty: bool) -> Checked {
    if tbs.is_empty() {
        return Ok(());
    }
    if version == 0 {
        return Err(JavaParseError::Version);
    }
    for number in [1, 2] {
        if tbs.next_is(tag::context(number)) || tbs.next_is(tag::explicit(number)) {
            let id = tbs.any().ok_or(JavaParseError::Malformed("unique identifier"))?.1;
            unaligned_bits(id).ok_or(JavaParseError::Malformed("unique identifier"))?;
            if tbs.is_empty() {
                return Ok(());
            }
        }
    }
    if version != 2 {
        return Err(JavaParseError::Version);
    }
    let extensions = if tbs.next_is(tag::explicit(3)) { tbs.enter(tag::explicit(3)) } else { None };
    let names_subject = match extensions {
        Some(extensions) => extension::check(extensions)?,
        None => tbs.any().map(|_| false).ok_or(JavaParseError::Malformed("extensions"))?,
    };
    if subject_is_empty && !names_subject { Err(JavaParseError::Subject) } else { Ok(()) }
}

/// Checks the content of a BIT STRING, whose unused bits may have any value.
fn unaligned_bits(content: &[u8]) -> Option<()> {
    let (unused, octets) = content.split_first()?;
    (*unused < 8 && (*unused == 0 || !octets.is_empty())).then_some(())
}

/// Reads the next element as a name; returns whether it is empty.
fn name(input: &mut Reader<'_>) -> Option<bool> {
    let mut sets = input.enter(tag::SEQUENCE)?;
    let mut is_empty = true;
    while !sets.is_empty() {
        is_empty &= !relative_name(sets.enter(tag::SET)?)?;
    }
    Some(is_empty)
}

/// Reads the content of a relative distinguished name; returns whether there is any.
fn relative_name(mut set: Reader<'_>) -> Option<bool> {
    let any = !set.is_empty();
    while !set.is_empty() {
        let mut pair = set.enter(tag::SEQUENCE)?;
        object_identifier(&mut pair)?;
        pair.any()?;
        pair.is_empty().then_some(())?;
    }
    Some(any)
}

/// Reads an object identifier, whose arcs may have any size.
fn object_identifier(input: &mut Reader<'_>) -> Option<()> {
    is_oid(input.content(tag::OID)?).then_some(())
}

/// Checks that a number has at most 32 bits.
fn int(octets: &[u8]) -> Option<()> {
    (octets.len() <= 4).then_some(())
}

fn validity(tbs: &mut Reader<'_>) -> Option<()> {
    let mut validity = tbs.enter(tag::SEQUENCE)?;
    time(&mut validity)?;
    time(&mut validity)?;
    validity.is_empty().then_some(())
}

/// Checks a time. Java accepts no offsets of a day or more, and none without seconds.
fn time(input: &mut Reader<'_>) -> Option<()> {
    let (_, text) = input.any()?;
    let zone = text.iter().position(|octet| !octet.is_ascii_digit())?;
    match text.get(zone..)? {
        [b'+' | b'-', hours @ ..] => (zone % 4 == 0 && *hours < b"24"[..]).then_some(()),
        _ => Some(()),
    }
}
