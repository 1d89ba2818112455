//! Detection of text outside of PEM blocks that belongs to a certificate: mangled markers and bare base64.

use base64::Engine;

use super::base64_engine::BASE64;
use super::{Anchor, InvalidCertificateError};
use crate::limits;

/// Finds a character that is invisible or looks like a blank, and that other readers reject.
pub(super) fn invisible(line: &[u8]) -> Option<char> {
    let is_invisible = |character: &char| {
        matches!(character,
            '\0'..='\u{8}' | '\u{b}'..='\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
            | '\u{1680}' | '\u{180e}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{3000}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    line.utf8_chunks().flat_map(|chunk| chunk.valid().chars()).find(is_invisible)
}

fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '_' | '\u{ad}' | '\u{58a}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{2212}'
                | '\u{23af}'
                | '\u{2500}'
                | '\u{2501}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{30fc}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
    )
}

/// Names of dashes in HTML, without `&`; all numbers of them are read as numbers.
const DASHES: [&str; 7] = ["ndash;", "mdash;", "minus;", "dash;", "hyphen;", "shy;", "horbar;"];

/// Returns whether a line is meant as a marker of a certificate.
///
/// That is `BEGIN` or `END` and `CERTIFICATE` with dashes at one side, or alone on the line; in any case, with any kind
/// and number of dashes, with or without blanks.
pub(super) fn is_mangled_marker(line: &[u8]) -> bool {
    if line.len() > limits::MARKER.max || !line.windows(4).any(|window| window.eq_ignore_ascii_case(b"CERT")) {
        return false;
    }
    let text = String::from_utf8_lossy(line);
    let plain = flattened(&text);
    plain.match_indices("CERTIFICATE").any(|(at, word)| {
        let (before, after) = (&plain[..at], &plain[at + word.len()..]);
        let before =
            ["TRUSTED", "X509"].iter().fold(before, |before, kind| before.strip_suffix(kind).unwrap_or(before));
        let begun = before.strip_suffix("BEGIN").or_else(|| before.strip_suffix("END"));
        begun.is_some_and(|begun| {
            let (dashed, closed) = (begun.ends_with('-'), after.starts_with('-'));
            let alone = begun.trim_matches('-').is_empty() && after.trim_matches('-').is_empty();
            closed || alone || dashed && (after.is_empty() || after.starts_with('\\'))
        })
    })
}

/// Converts a text to capitals and its dashes to `-`, without blanks, quotes and invisible characters.
fn flattened(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (replaced, after) = escape(rest).unwrap_or((character, &rest[character.len_utf8()..]));
        rest = after;
        if is_dash(replaced) {
            plain.push('-');
        } else if !replaced.is_whitespace()
            && !matches!(replaced, '"' | '\'' | ',' | '>' | '|')
            && invisible(replaced.encode_utf8(&mut [0; 4]).as_bytes()).is_none()
        {
            plain.push(replaced.to_ascii_uppercase());
        }
    }
    plain
}

/// Decodes a character reference of HTML, or an escape of JSON, at the beginning of a text.
fn escape(text: &str) -> Option<(char, &str)> {
    let numbered = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    if let Some(digits) = text.strip_prefix("\\u") {
        return Some((numbered(digits.get(..4)?, 16)?, &digits[4..]));
    }
    let name = text.strip_prefix('&')?;
    if let Some(dash) = DASHES.iter().find(|dash| name.starts_with(**dash)) {
        return Some(('-', &name[dash.len()..]));
    }
    let (number, rest) = name.strip_prefix('#')?.split_at_checked(name.find(';')?.checked_sub(1)?)?;
    let character = match number.strip_prefix(['x', 'X']) {
        Some(digits) => numbered(digits, 16)?,
        None => numbered(number, 10)?,
    };
    Some((character, rest.strip_prefix(';')?))
}

/// Run of base64 outside of blocks, across lines, blanks, quotes and escaped line ends.
#[derive(Default)]
pub(super) struct Base64Run {
    base64: Vec<u8>,
    /// Offsets in `base64` at which lines begin, and the numbers of the lines.
    lines: Vec<(u32, u32)>,
}

impl Base64Run {
    /// Adds a line; returns the line on which the first certificate that ends in it begins.
    pub(super) fn take(&mut self, line: &[u8], number: usize) -> Option<usize> {
        const AROUND: &[u8] = b" \t\r\"'`,;>|*-";
        let start = line.iter().position(|octet| !AROUND.contains(octet)).unwrap_or(line.len());
        self.mark(number);
        let mut rest = &line[start..];
        let mut found = None;
        while let [octet, after @ ..] = rest {
            rest = match (octet, after) {
                (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/', after) => {
                    self.base64.push(*octet);
                    after
                }
                (b'\\', _) => {
                    let after = &rest[rest.iter().position(|octet| *octet != b'\\').unwrap_or(rest.len())..];
                    if let [b'n' | b'r' | b't', after @ ..] = after { after } else { after }
                }
                (b'=' | b' ' | b'\t' | b'\r' | b'"' | b'\'' | b'`' | b',' | b';' | b'>', after) => after,
                (_, after) => {
                    if let Some(length) = invisible_front(rest) {
                        &rest[length..]
                    } else {
                        found = found.or(self.end());
                        self.mark(number);
                        after
                    }
                }
            };
        }
        found
    }

    /// Notes that what follows is on this line.
    fn mark(&mut self, number: usize) {
        let mark = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let mark = (mark(self.base64.len()), mark(number));
        match self.lines.last_mut() {
            Some(last) if last.0 == mark.0 => *last = mark,
            _ => self.lines.push(mark),
        }
    }

    /// Ends the run; returns the line on which the first certificate in it begins.
    pub(super) fn end(&mut self) -> Option<usize> {
        let Base64Run { base64, lines } = std::mem::take(self);
        let at = find(&base64)?;
        let before = |(start, _): &&(u32, u32)| usize::try_from(*start).is_ok_and(|start| start <= at);
        lines.iter().rev().find(before).and_then(|(_, number)| usize::try_from(*number).ok())
    }
}

/// Returns the length of an invisible character at the front. NUL is none here: between letters it means UTF-16.
fn invisible_front(text: &[u8]) -> Option<usize> {
    let front =
        text.get(..text.len().min(4))?.utf8_chunks().next()?.valid().chars().next().filter(|front| *front != '\0')?;
    invisible(front.encode_utf8(&mut [0; 4]).as_bytes()).map(|_| front.len_utf8())
}

/// Finds the offset in base64 at which a whole certificate begins.
///
/// Each octet is decoded once at most, except for headers: what has the outer form of a certificate is parsed, and
/// skipped if it is none.
fn find(base64: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(candidate) = base64.get(at..).filter(|rest| rest.len() >= MIN_BASE64_LEN) {
        // The header of a SEQUENCE of 128 octets or more.
        if !matches!(candidate, [b'M', b'I', b'G'..=b'M', ..]) {
            at += 1;
            continue;
        }
        let Some(length) = outer_length(candidate) else {
            at += 1;
            continue;
        };
        let digits = (length * 4).div_ceil(3);
        let mut padded = candidate[..digits].to_vec();
        padded.resize(digits.next_multiple_of(4), b'=');
        if BASE64.decode(&padded).is_ok_and(|der| is_certificate(&der[..length.min(der.len())])) {
            return Some(at);
        }
        at += digits;
    }
    None
}

/// Minimum of base64 digits: no certificate has fewer than 96 octets.
const MIN_BASE64_LEN: usize = 128;

fn is_certificate(der: &[u8]) -> bool {
    match Anchor::from_der(der) {
        Ok(_) | Err(InvalidCertificateError { subject: Some(_), .. }) => true,
        Err(_) => false,
    }
}

/// Returns the length of what has the outer form of a certificate: a SEQUENCE of two SEQUENCEs and a BIT STRING.
fn outer_length(base64: &[u8]) -> Option<usize> {
    let total = base64.len() / 4 * 3 + [0, 0, 1, 2][base64.len() % 4];
    let header = |at: usize, tag: u8| -> Option<(usize, usize)> {
        let octets = octets(base64, at)?;
        let (octet, length) = (octets[0], octets[1]);
        let (size, length) = match length {
            0..=0x7f => (2, usize::from(length)),
            0x81..=0x83 => {
                let size = usize::from(length & 0x7f);
                (2 + size, octets[2..2 + size].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)))
            }
            _ => return None,
        };
        (octet == tag).then_some((at + size, at + size + length))
    };
    let (inner, end) = header(0, 0x30)?;
    let (_, tbs_end) = header(inner, 0x30).filter(|_| end <= total)?;
    let (_, algorithm_end) = header(tbs_end, 0x30).filter(|(start, _)| *start < end)?;
    let (_, signature_end) = header(algorithm_end, 0x03).filter(|(start, _)| *start <= end)?;
    (signature_end == end).then_some(end)
}

/// Decodes five octets from an offset; those behind the end are zero.
fn octets(base64: &[u8], offset: usize) -> Option<[u8; 5]> {
    let first = offset / 3 * 4;
    let digits = base64.get(first..base64.len().min(first + 12))?;
    let mut padded = [b'A'; 12];
    padded.get_mut(..digits.len())?.copy_from_slice(digits);
    let decoded = BASE64.decode(padded).ok()?;
    decoded.get(offset % 3..)?.first_chunk().copied()
}
