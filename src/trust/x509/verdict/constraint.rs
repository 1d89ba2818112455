//! Name constraints (RFC 5280, section 4.2.1.10).

use std::net::IpAddr;

use super::{general_name, uri};
use crate::trust::der::{Reader, tag};

/// Checks that the extension's value is well-formed.
pub(super) fn check(mut value: Reader<'_>) -> Option<()> {
    let mut fields = value.enter(tag::SEQUENCE)?;
    let permitted = fields.enter_if(tag::explicit(0))?;
    let excluded = fields.enter_if(tag::explicit(1))?;
    let complete = value.is_empty() && fields.is_empty() && !(permitted.is_empty() && excluded.is_empty());
    complete.then_some(())?;
    [permitted, excluded].into_iter().try_for_each(subtree_list)
}

fn subtree_list(mut list: Reader<'_>) -> Option<()> {
    while !list.is_empty() {
        let (kind, base) = list.enter(tag::SEQUENCE)?.any()?;
        let text = || str::from_utf8(base).ok().filter(|text| text.is_ascii());
        let valid = match kind {
            general_name::DNS => uri::is_domain(text()?, true),
            general_name::IP => is_network(base),
            general_name::EMAIL => {
                let text = text()?;
                if text.contains('@') { is_mailbox(text) } else { uri::is_domain(text, true) }
            }
            general_name::URI => {
                let text = text()?;
                text.parse::<IpAddr>().is_err() && uri::is_domain(text, true)
            }
            _ => true,
        };
        valid.then_some(())?;
    }
    Some(())
}

/// Returns whether these are an address and a mask of the same length whose ones come first.
fn is_network(base: &[u8]) -> bool {
    let mask = match base.len() {
        8 => base[4..].iter().fold(0, |mask, octet| mask << 8 | u128::from(*octet)) << 96,
        32 => base[16..].iter().fold(0, |mask, octet| mask << 8 | u128::from(*octet)),
        _ => return false,
    };
    mask.leading_ones() == mask.count_ones()
}

/// Returns whether a text is a mailbox (RFC 2821, section 4.1.2): dotted atoms or a quoted string, `@`, a domain.
fn is_mailbox(text: &str) -> bool {
    let domain = match text.strip_prefix('"') {
        Some(quoted) => after_quoted(quoted.as_bytes()),
        None => after_atoms(text.as_bytes()),
    };
    let domain = domain.and_then(|rest| rest.strip_prefix(b"@")).and_then(|rest| str::from_utf8(rest).ok());
    domain.is_some_and(|domain| {
        let graphic = |label: &str| !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_graphic());
        domain.is_empty() || domain.split('.').all(graphic)
    })
}

/// Returns what follows a quoted string, of which the opening quote is already read.
fn after_quoted(mut rest: &[u8]) -> Option<&[u8]> {
    let control = |octet: u8| !matches!(octet, 0 | 9 | 10 | 13);
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', octet, after @ ..] if *octet == 9 || control(*octet) => after,
            [b'\\', ..] | [] => return None,
            [octet, after @ ..] if control(*octet) => after,
            _ => return None,
        };
    }
}

/// Returns what follows dot-separated atoms, in which a backslash may escape an octet.
fn after_atoms(text: &[u8]) -> Option<&[u8]> {
    let mut local = Vec::new();
    let mut rest = text;
    loop {
        rest = match rest {
            [b'\\', octet, after @ ..] | [octet, after @ ..]
                if is_atom(rest[0]) || rest[0] == b'\\' && rest.len() > 1 =>
            {
                local.push(*octet);
                after
            }
            [b'\\'] => return None,
            _ => break,
        };
    }
    let dotted = local.split(|octet| *octet == b'.').all(|atom| !atom.is_empty());
    dotted.then_some(rest)
}

fn is_atom(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_masks_without_gaps() {
        for base in [&[10, 0, 0, 0, 255, 0, 0, 0][..], &[0; 8], &[255; 32]] {
            assert!(is_network(base), "{base:?}");
        }
        for base in [&[10, 0, 0, 0, 255, 0, 255, 0][..], &[0; 4], &[0; 16]] {
            assert!(!is_network(base), "{base:?}");
        }
    }

    #[test]
    fn mailboxes_are_atoms_or_a_quoted_string_at_a_domain() {
        for text in ["a@b", "a.b@c.d", r#""a b"@c"#, r#""a\"b"@c"#, r"a\@b@c", "a@"] {
            assert!(is_mailbox(text), "{text}");
        }
        for text in ["@b", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b..c", "a@b c", r#""a@b"#, "a@.b", "a@b."] {
            assert!(!is_mailbox(text), "{text}");
        }
    }
}
