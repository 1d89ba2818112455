//! Extensions, checked as Java does. Those that are unknown or not critical may contain anything.

use super::general_name::{name, names};
use super::{JavaParseError, int, object_identifier, relative_name, unaligned_bits};
use crate::trust::der::{Reader, tag};

type Check = fn(Reader<'_>) -> Option<()>;

const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];

/// Extensions that Java parses and that may be critical for Go.
const KNOWN: [(&[u8], &str, Check); 20] = [
    (&[0x55, 0x1d, 15], "key usage", bit_string),
    (&[0x55, 0x1d, 16], "private key usage period", private_key_usage),
    (SUBJECT_ALTERNATIVE_NAME, "subject alternative name", alternative_names),
    (&[0x55, 0x1d, 18], "issuer alternative name", alternative_names),
    (&[0x55, 0x1d, 19], "basic constraints", basic_constraints),
    (&[0x55, 0x1d, 20], "CRL number", integer),
    (&[0x55, 0x1d, 21], "CRL reason", reason),
    (&[0x55, 0x1d, 27], "delta CRL indicator", integer),
    (&[0x55, 0x1d, 28], "issuing distribution point", issuing_distribution_point),
    (&[0x55, 0x1d, 29], "certificate issuer", alternative_names),
    (&[0x55, 0x1d, 30], "name constraints", name_constraints),
    (&[0x55, 0x1d, 31], "CRL distribution points", distribution_points),
    (&[0x55, 0x1d, 32], "certificate policies", policies),
    (&[0x55, 0x1d, 33], "policy mappings", policy_mappings),
    (&[0x55, 0x1d, 36], "policy constraints", policy_constraints),
    (&[0x55, 0x1d, 37], "extended key usage", extended_key_usage),
    (&[0x55, 0x1d, 46], "freshest CRL", distribution_points),
    (&[0x55, 0x1d, 54], "inhibit any policy", inhibit_any_policy),
    (&[0x2b, 6, 1, 5, 5, 7, 1, 11], "subject info access", subject_info),
    (&[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 1, 1], "Netscape certificate type", bit_string),
];

/// Checks the content of `[3]`; returns whether it has a critical subject alternative name.
pub(super) fn check(mut explicit: Reader<'_>) -> Result<bool, JavaParseError> {
    let malformed = JavaParseError::Malformed("extension");
    let mut list = explicit.enter(tag::SEQUENCE).ok_or(malformed)?;
    let mut names_subject = false;
    while !list.is_empty() {
        let mut fields = list.enter(tag::SEQUENCE).ok_or(malformed)?;
        let oid = fields.oid().ok_or(malformed)?;
        let critical = fields.next_is(tag::BOOLEAN) && fields.boolean().ok_or(malformed)?;
        let value = fields.enter(tag::OCTET_STRING).ok_or(malformed)?;
        let known = KNOWN.iter().find(|(known, ..)| *known == oid).filter(|_| critical);
        if let Some((_, name, check)) = known {
            check(value).ok_or(JavaParseError::Extension(name))?;
        }
        names_subject |= critical && oid == SUBJECT_ALTERNATIVE_NAME;
    }
    Ok(names_subject)
}

/// Reads the content of the only element of a value.
fn only(mut value: Reader<'_>, tag: u8) -> Option<Reader<'_>> {
    value.enter(tag).filter(|_| value.is_empty())
}

fn each(mut list: Reader<'_>, mut check: impl FnMut(&mut Reader<'_>) -> Option<()>) -> Option<()> {
    while !list.is_empty() {
        check(&mut list)?;
    }
    Some(())
}

fn bit_string(value: Reader<'_>) -> Option<()> {
    unaligned_bits(only(value, tag::BIT_STRING)?.rest())
}

fn integer(mut value: Reader<'_>) -> Option<()> {
    value.integer().filter(|_| value.is_empty()).map(drop)
}

fn reason(mut value: Reader<'_>) -> Option<()> {
    int(value.integer_as(10)?).filter(|()| value.is_empty())
}

fn basic_constraints(value: Reader<'_>) -> Option<()> {
    let mut fields = only(value, tag::SEQUENCE)?;
    if fields.is_empty() {
        return Some(());
    }
    let (first, _) = fields.any()?;
    if first != tag::BOOLEAN || fields.is_empty() { Some(()) } else { int(fields.integer()?) }
}

fn alternative_names(value: Reader<'_>) -> Option<()> {
    names(only(value, tag::SEQUENCE)?)
}

fn name_constraints(value: Reader<'_>) -> Option<()> {
    let mut seen = [false; 2];
    each(only(value, tag::SEQUENCE)?, |fields| {
        let (kind, content) = fields.any()?;
        let which = seen.get_mut(usize::from(kind.checked_sub(tag::explicit(0))?))?;
        (!std::mem::replace(which, true)).then_some(())?;
        each(Reader::new(content), |list| {
            let mut subtree = list.enter(tag::SEQUENCE)?;
            name(&mut subtree, true)?;
            each(subtree, |bounds| {
                let kind = if bounds.next_is(tag::context(0)) { tag::context(0) } else { tag::context(1) };
                int(bounds.integer_as(kind)?)
            })
        })
    })
}

fn distribution_points(value: Reader<'_>) -> Option<()> {
    each(only(value, tag::SEQUENCE)?, |list| {
        let mut seen = [false; 3];
        each(list.enter(tag::SEQUENCE)?, |point| {
            let (kind, content) = point.any()?;
            let which = match kind {
                0xa0 => point_name(content).map(|()| 0)?,
                0x81 => unaligned_bits(content).map(|()| 1)?,
                0xa2 => names(Reader::new(content)).map(|()| 2)?,
                _ => return None,
            };
            (!std::mem::replace(&mut seen[which], true)).then_some(())
        })?;
        (seen[0] || seen[2]).then_some(())
    })
}

/// Checks the name of a distribution point: in full, or relative to the issuer.
fn point_name(content: &[u8]) -> Option<()> {
    match Reader::new(content).any()? {
        (0xa0, full) => names(Reader::new(full)),
        (0xa1, relative) => relative_name(Reader::new(relative)).map(drop),
        _ => None,
    }
}

fn issuing_distribution_point(value: Reader<'_>) -> Option<()> {
    each(only(value, tag::SEQUENCE)?, |fields| match fields.any()? {
        (0xa0, name) => point_name(name),
        (0x81 | 0x82 | 0x84 | 0x85, truth) => (truth.len() == 1).then_some(()),
        (0x83, reasons) => unaligned_bits(reasons),
        _ => None,
    })
}

fn subject_info(value: Reader<'_>) -> Option<()> {
    each(only(value, tag::SEQUENCE)?, |list| {
        let mut access = list.enter(tag::SEQUENCE)?;
        object_identifier(&mut access)?;
        name(&mut access, false)
    })
}

fn policies(value: Reader<'_>) -> Option<()> {
    each(only(value, tag::SEQUENCE)?, |list| {
        let mut policy = list.enter(tag::SEQUENCE)?;
        object_identifier(&mut policy)?;
        if policy.is_empty() {
            return Some(());
        }
        let qualifiers = policy.enter(tag::SEQUENCE).filter(|qualifiers| !qualifiers.is_empty())?;
        each(qualifiers, |list| {
            let mut qualifier = list.enter(tag::SEQUENCE)?;
            object_identifier(&mut qualifier)
        })
    })
}

fn policy_mappings(value: Reader<'_>) -> Option<()> {
    each(only(value, tag::SEQUENCE)?, |list| {
        let mut pair = list.enter(tag::SEQUENCE)?;
        object_identifier(&mut pair)?;
        object_identifier(&mut pair)
    })
}

fn policy_constraints(value: Reader<'_>) -> Option<()> {
    let mut seen = [false; 2];
    each(only(value, tag::SEQUENCE)?, |fields| {
        let which = usize::from(!fields.next_is(tag::context(0)));
        let number = fields.integer_as(if which == 0 { tag::context(0) } else { tag::context(1) })?;
        int(number)?;
        // Java marks a field not read yet by -1, so that number may occur twice.
        (!std::mem::replace(&mut seen[which], number != [0xff])).then_some(())
    })
}

fn extended_key_usage(value: Reader<'_>) -> Option<()> {
    each(only(value, tag::SEQUENCE)?, object_identifier)
}

fn inhibit_any_policy(mut value: Reader<'_>) -> Option<()> {
    let number = value.integer().filter(|_| value.is_empty())?;
    int(number)?;
    (number[0] & 0x80 == 0 || number == [0xff]).then_some(())
}

fn private_key_usage(mut value: Reader<'_>) -> Option<()> {
    let mut seen = [false; 2];
    each(value.enter(tag::SEQUENCE)?, |fields| {
        let which = usize::from(!fields.next_is(tag::context(0)));
        generalized_time(fields.content(if which == 0 { tag::context(0) } else { tag::context(1) })?)?;
        (!std::mem::replace(&mut seen[which], true)).then_some(())
    })
}

/// Checks the content of a `GeneralizedTime`, with optional seconds and up to three digits of their fraction.
fn generalized_time(text: &[u8]) -> Option<()> {
    let (digits, rest) = text.split_at(text.iter().position(|octet| !octet.is_ascii_digit())?);
    let (_year, parts) = digits.split_at_checked(4)?;
    let (parts, []) = parts.as_chunks::<2>() else { return None };
    let ranges = [*b"01"..=*b"12", *b"01"..=*b"31", *b"00"..=*b"23", *b"00"..=*b"59", *b"00"..=*b"59"];
    let whole = parts.len() == 5 || parts.len() == 4;
    (whole && parts.iter().zip(&ranges).all(|(part, range)| range.contains(part))).then_some(())?;
    let zone = match rest {
        [b'.' | b',', fraction @ ..] if parts.len() == 5 => {
            let end = fraction.iter().position(|octet| !octet.is_ascii_digit())?;
            (1..=3).contains(&end).then(|| &fraction[end..])?
        }
        rest => rest,
    };
    match zone {
        b"Z" => Some(()),
        [b'+' | b'-', hours @ ..] if parts.len() == 5 => {
            let ([hours, minutes], []) = hours.as_chunks::<2>() else { return None };
            (ranges[2].contains(hours) && ranges[3].contains(minutes)).then_some(())
        }
        _ => None,
    }
}
