//! Extensions (RFC 5280, section 4.2): known ones must be well-formed, none may occur twice, unknown ones are accepted.

use std::collections::HashSet;

use super::{X509ParseError, constraint, general_name, uri};
use crate::trust::der::{Reader, dotted, is_oid, tag};

const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];

/// Checks the extensions at the end of a version 3 certificate; returns whether it is a CA.
pub(super) fn check(tbs: &mut Reader<'_>) -> Result<bool, X509ParseError> {
    if !tbs.next_is(tag::explicit(3)) {
        return Ok(false);
    }
    let list = tbs.enter(tag::explicit(3)).and_then(|mut explicit| explicit.enter(tag::SEQUENCE));
    let mut list = list.ok_or(X509ParseError::Malformed("extensions"))?;
    let mut seen = HashSet::new();
    let mut is_ca = false;
    while !list.is_empty() {
        let extension = Extension::read(&mut list).ok_or(X509ParseError::Malformed("extension"))?;
        if !seen.insert(extension.oid) {
            return Err(X509ParseError::DuplicateExtension(dotted(extension.oid)));
        }
        match extension.kind() {
            Kind::BasicConstraints => {
                is_ca = basic_constraints(extension.value).ok_or(X509ParseError::Malformed("basic constraints"))?;
            }
            Kind::Unknown => {}
            Kind::NeverCritical(name, _) if extension.critical => return Err(X509ParseError::Critical(name)),
            Kind::NeverCritical(name, check) | Kind::Checked(name, check) => {
                check(extension.value).ok_or(X509ParseError::Malformed(name))?;
            }
        }
    }
    Ok(is_ca)
}

struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: Reader<'a>,
}

type Check = fn(Reader<'_>) -> Option<()>;

enum Kind {
    BasicConstraints,
    Checked(&'static str, Check),
    NeverCritical(&'static str, Check),
    Unknown,
}

impl<'a> Extension<'a> {
    fn read(list: &mut Reader<'a>) -> Option<Extension<'a>> {
        let mut fields = list.enter(tag::SEQUENCE)?;
        let oid = fields.oid()?;
        let critical = fields.next_is(tag::BOOLEAN) && fields.boolean()?;
        let value = fields.enter(tag::OCTET_STRING)?;
        Some(Extension { oid, critical, value })
    }

    fn kind(&self) -> Kind {
        match self.oid {
            [0x55, 0x1d, arc] => match arc {
                14 => Kind::NeverCritical("subject key identifier", |mut value| {
                    value.content(tag::OCTET_STRING).map(drop)
                }),
                15 => Kind::Checked("key usage", |mut value| value.bits().map(drop)),
                17 => Kind::Checked("subject alternative name", alternative_names),
                19 => Kind::BasicConstraints,
                30 => Kind::Checked("name constraints", constraint::check),
                31 => Kind::Checked("CRL distribution points", distribution_points),
                32 => Kind::Checked("certificate policies", policies),
                33 => Kind::Checked("policy mappings", policy_mappings),
                35 => Kind::NeverCritical("authority key identifier", authority_key),
                36 => Kind::Checked("policy constraints", policy_constraints),
                37 => Kind::Checked("extended key usage", extended_key_usage),
                54 => Kind::Checked("inhibit any policy", |mut value| int64(value.integer()?)),
                _ => Kind::Unknown,
            },
            AUTHORITY_INFO_ACCESS => Kind::NeverCritical("authority info access", authority_info),
            _ => Kind::Unknown,
        }
    }
}

/// Checks that a number has at most 64 bits.
fn int64(octets: &[u8]) -> Option<()> {
    (octets.len() <= 8).then_some(())
}

fn basic_constraints(mut value: Reader<'_>) -> Option<bool> {
    let mut fields = value.enter(tag::SEQUENCE)?;
    let is_ca = fields.next_is(tag::BOOLEAN) && fields.boolean()?;
    if fields.next_is(tag::INTEGER) {
        let length = fields.integer()?;
        int64(length)?;
        (length[0] & 0x80 == 0).then_some(())?;
    }
    Some(is_ca)
}

fn alternative_names(mut value: Reader<'_>) -> Option<()> {
    let mut names = value.enter(tag::SEQUENCE)?;
    while !names.is_empty() {
        let (kind, name) = names.any()?;
        let valid = match kind {
            general_name::EMAIL | general_name::DNS => name.is_ascii(),
            general_name::URI => name.is_ascii() && uri::is_valid(str::from_utf8(name).ok()?),
            general_name::IP => name.len() == 4 || name.len() == 16,
            _ => true,
        };
        valid.then_some(())?;
    }
    Some(())
}

fn distribution_points(mut value: Reader<'_>) -> Option<()> {
    let mut points = value.enter(tag::SEQUENCE)?;
    while !points.is_empty() {
        let mut point = points.enter(tag::SEQUENCE)?;
        if !point.next_is(tag::explicit(0)) {
            continue;
        }
        let mut full_name = point.enter(tag::explicit(0))?.enter(tag::explicit(0))?;
        while full_name.next_is(general_name::URI) {
            full_name.any()?;
        }
    }
    Some(())
}

fn authority_key(mut value: Reader<'_>) -> Option<()> {
    value.enter(tag::SEQUENCE)?.enter_if(tag::context(0)).map(drop)
}

fn policies(mut value: Reader<'_>) -> Option<()> {
    let mut list = value.enter(tag::SEQUENCE)?;
    let mut seen = HashSet::new();
    while !list.is_empty() {
        let oid = list.enter(tag::SEQUENCE)?.content(tag::OID)?;
        (is_oid(oid) && seen.insert(oid)).then_some(())?;
    }
    Some(())
}

fn policy_mappings(mut value: Reader<'_>) -> Option<()> {
    let mut list = value.enter(tag::SEQUENCE)?;
    while !list.is_empty() {
        let mut pair = list.enter(tag::SEQUENCE)?;
        pair.content(tag::OID)?;
        pair.content(tag::OID)?;
    }
    Some(())
}

fn policy_constraints(mut value: Reader<'_>) -> Option<()> {
    let mut fields = value.enter(tag::SEQUENCE)?;
    for field in [tag::context(0), tag::context(1)] {
        if fields.next_is(field) {
            int64(fields.integer_as(field)?)?;
        }
    }
    Some(())
}

fn extended_key_usage(mut value: Reader<'_>) -> Option<()> {
    let mut list = value.enter(tag::SEQUENCE)?;
    while !list.is_empty() {
        list.oid()?;
    }
    Some(())
}

fn authority_info(mut value: Reader<'_>) -> Option<()> {
    let mut list = value.enter(tag::SEQUENCE)?;
    while !list.is_empty() {
        let mut access = list.enter(tag::SEQUENCE)?;
        access.oid()?;
        access.enter_if(general_name::URI)?;
    }
    Some(())
}
