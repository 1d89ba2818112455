//! General names (RFC 5280, section 4.2.1.6), checked as Java does.

use super::{object_identifier, uri};
use crate::trust::der::{Reader, is_oid};

/// Checks a non-empty list of names.
pub(super) fn names(mut list: Reader<'_>) -> Option<()> {
    (!list.is_empty()).then_some(())?;
    while !list.is_empty() {
        name(&mut list, false)?;
    }
    Some(())
}

/// Checks the next element as a name, or as a constraint on names.
pub(super) fn name(list: &mut Reader<'_>, constraint: bool) -> Option<()> {
    let (kind, content) = list.any()?;
    let valid = match kind {
        0xa0 => {
            let mut other = Reader::new(content);
            object_identifier(&mut other)?;
            other.any().is_some()
        }
        0x81 => is_mailbox(content),
        0x82 | 0xa3 | 0xa5 => true,
        0xa4 => super::name(&mut Reader::new(content)).is_some(),
        0x86 => {
            let text = str::from_utf8(content).ok()?;
            if constraint { uri::is_domain(text.strip_prefix('.').unwrap_or(text)) } else { uri::is_valid(text) }
        }
        0x87 => matches!(content.len(), 4 | 8 | 16 | 32),
        0x88 => is_oid(content),
        _ => false,
    };
    valid.then_some(())
}

fn is_mailbox(text: &[u8]) -> bool {
    let at = text.iter().position(|octet| *octet == b'@').map_or(0, |at| at + 1);
    !text.is_empty() && !matches!(&text[at..], b"" | b".")
}
