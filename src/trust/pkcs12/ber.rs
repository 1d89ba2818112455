//! Conversion of BER (ITU-T X.690) to DER as far as keystores need it.
//!
//! `BouncyCastle` and old Windows write indefinite lengths and octet strings in pieces.

use crate::trust::der::{Reader, element, tag};

/// Maximum nesting of elements. The content of octet strings is not parsed and does not count.
const MAX_DEPTH: usize = 32;

/// Bit of an identifier octet for content that consists of elements.
const CONSTRUCTED: u8 = 0x20;
const CONSTRUCTED_OCTET_STRING: u8 = tag::OCTET_STRING | CONSTRUCTED;

/// Converts the first element of `ber` to definite, minimal lengths and octet strings in one piece.
///
/// Returns `None` if it is malformed. The result is at most as long as `ber`, but for the few octets of longer lengths.
pub(super) fn to_der(ber: &[u8]) -> Option<Vec<u8>> {
    take(&mut { ber }, MAX_DEPTH)
}

/// Converts one element and removes it from the front.
fn take(input: &mut &[u8], depth: usize) -> Option<Vec<u8>> {
    let depth = depth.checked_sub(1)?;
    let (&[tag, first], rest) = input.split_first_chunk()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    *input = rest;
    let constructed = tag & CONSTRUCTED != 0;
    let mut parts = Vec::new();
    match length(first, input)? {
        Length::Indefinite if constructed => {
            while !input.starts_with(&[0, 0]) {
                parts.push(take(input, depth)?);
            }
            *input = &input[2..];
        }
        Length::Indefinite => return None,
        Length::Definite(length) => {
            let (mut content, rest) = input.split_at_checked(length)?;
            *input = rest;
            if !constructed {
                return Some(element(tag, &[content]));
            }
            while !content.is_empty() {
                parts.push(take(&mut content, depth)?);
            }
        }
    }
    if tag == CONSTRUCTED_OCTET_STRING {
        return joined(&parts);
    }
    Some(element(tag, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

/// Length of the content of an element.
enum Length {
    Definite(usize),
    /// Ended by two zero octets.
    Indefinite,
}

fn length(first: u8, input: &mut &[u8]) -> Option<Length> {
    let octets = match first {
        0x80 => return Some(Length::Indefinite),
        0..0x80 => return Some(Length::Definite(first.into())),
        _ => usize::from(first & 0x7f),
    };
    let (length, rest) = input.split_at_checked(octets).filter(|_| octets <= 4)?;
    *input = rest;
    Some(Length::Definite(length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet))))
}

/// Joins the contents of several octet strings, converted by [`take`], in one.
fn joined(pieces: &[Vec<u8>]) -> Option<Vec<u8>> {
    let contents: Option<Vec<&[u8]>> =
        pieces.iter().map(|piece| Reader::new(piece).content(tag::OCTET_STRING)).collect();
    Some(element(tag::OCTET_STRING, &contents?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indefinite_lengths_and_pieces_become_definite_and_whole() {
        let table: [(&[u8], &[u8]); 5] = [
            (&[0x30, 0x80, 2, 1, 5, 0, 0], &[0x30, 3, 2, 1, 5]),
            (&[0x24, 0x80, 4, 1, 7, 4, 2, 8, 9, 0, 0], &[4, 3, 7, 8, 9]),
            (&[0x24, 6, 0x24, 4, 4, 2, 1, 2], &[4, 2, 1, 2]),
            (&[0x30, 0x82, 0, 2, 5, 0, 0xff], &[0x30, 2, 5, 0]),
            (&[0xa0, 0x80, 0x30, 0x80, 0, 0, 0, 0], &[0xa0, 2, 0x30, 0]),
        ];
        for (ber, der) in table {
            assert_eq!(to_der(ber).as_deref(), Some(der), "{ber:x?}");
        }
    }

    #[test]
    fn what_is_malformed_or_too_deep_is_refused() {
        let deep = [&[0x30, 0x80].repeat(MAX_DEPTH)[..], &[0; 2 * MAX_DEPTH]].concat();
        assert!(to_der(&deep).is_some());
        let deeper = [&[0x30, 0x80].repeat(MAX_DEPTH + 1)[..], &[0; 2 * MAX_DEPTH + 2]].concat();
        for ber in [&deeper[..], &[], &[0x30], &[0x30, 0x80], &[4, 0x80, 0, 0], &[4, 2, 0], &[0x24, 2, 5, 0]] {
            assert_eq!(to_der(ber), None, "{ber:x?}");
        }
    }
}
