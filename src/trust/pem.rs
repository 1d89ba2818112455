//! PEM reader (RFC 7468) that never drops a certificate silently.
//!
//! Text between blocks is ignored. But a block that begins must be readable to its end: other readers skip what they
//! cannot read, and a truncated file silently loses a root. So every begin and end marker must be in its place, and
//! text that is plainly part of a certificate must be in a block; except in comments, that is, lines outside of blocks
//! whose first visible character is `#`.

use base64::Engine;

use super::base64_engine::BASE64;
use super::{Anchor, Fingerprint, InvalidCertificateError, X509ParseError, stray_text};

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const LABEL: &str = "CERTIFICATE";

/// SHA-256 of "EC-ACC", a root of 2003 with a negative serial number.
///
/// It was in Mozilla's list and so still is in bundles of many systems: it is skipped, and the bundle stays valid.
const EC_ACC: &str = "88497f01602f3154246ae28c4d5aef10f1d87ebb76626f4ae0b7f95ba7968799";

/// One `CERTIFICATE` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of the begin marker, from 1.
    pub line: usize,
    /// The certificate, or the error for which it is skipped.
    pub certificate: Result<Anchor, SkippedCertificateError>,
}

/// Error for a certificate that is left out of a bundle without making the bundle invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}, subject {subject:?}, SHA-256 {fingerprint}")]
pub struct SkippedCertificateError {
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// Subject in the form of [`Anchor::subject`].
    pub subject: String,
    /// Parse error.
    pub cause: X509ParseError,
}

/// Error for text with an invalid PEM block; never contains any of the block's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid PEM block in bundle{cause} (block {block}, line {line}){}", cause.remedy())]
pub struct PemError {
    /// Line at fault, from 1; that of the begin marker if the block as a whole is at fault.
    pub line: usize,
    /// Block at fault, or the one about to begin; from 1.
    pub block: usize,
    /// Fault of the block.
    pub cause: PemCause,
}

/// Fault of a PEM block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemCause {
    /// Label of other content than a certificate, perhaps a private key: it must not be distributed.
    #[error(": only CERTIFICATE blocks are permitted but found '{0}'")]
    Label(String),
    /// Headers (RFC 1421), which may contain anything.
    #[error("; blocks are not permitted to have PEM headers")]
    Headers,
    /// Bytes that are no usable certificate.
    #[error("; invalid PEM certificate: {0}")]
    Certificate(InvalidCertificateError),
    /// Begin or end marker that is incomplete or shares its line.
    #[error("; a BEGIN or END marker must be whole and alone on its line, with nothing before it")]
    Marker,
    /// Block without an end marker before the next block or the end of the text.
    #[error("; it has no END line")]
    Unterminated,
    /// End marker without a begin marker, or of another label.
    #[error("; an END line has no matching BEGIN line")]
    Unopened,
    /// Content that is not base64.
    #[error("; its content is not base64")]
    Base64,
    /// Line outside of blocks that is meant as a marker.
    #[error("; a BEGIN or END marker is written wrong")]
    Mangled,
    /// Whole certificate in base64 outside of a block.
    #[error("; a certificate lacks its BEGIN line and its END line")]
    Bare,
    /// Invisible character in a marker or in the content of a block.
    #[error("; it holds the invisible character U+{:04X}", u32::from(*.0))]
    Invisible(char),
}

impl PemCause {
    /// Returns the remedy, which is printed after the line number; empty if the cause implies it.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Mangled => {
                ": write it as -----BEGIN CERTIFICATE----- or -----END CERTIFICATE-----, with five hyphens"
            }
            Self::Bare => ": put -----BEGIN CERTIFICATE----- before it and -----END CERTIFICATE----- behind it",
            Self::Invisible(_) => ": take it out, or copy the certificate again as plain text",
            Self::Label(_)
            | Self::Headers
            | Self::Certificate(_)
            | Self::Marker
            | Self::Unterminated
            | Self::Unopened
            | Self::Base64 => "",
        }
    }
}

/// Reads all blocks of a text, in order.
///
/// # Errors
///
/// [`PemError`] for the first block that is not a valid certificate; see [`PemCause`].
pub fn read(text: &[u8]) -> Result<Vec<Block>, PemError> {
    blocks(text).collect()
}

/// Iterates over the blocks of a text, past those that are not valid certificates, for `inspect`.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Result<Block, PemError>> {
    let mut lines = text.split(|octet| *octet == b'\n').zip(1..);
    let mut state = State::Outside;
    let mut run = stray_text::Base64Run::default();
    let mut count = 0;
    std::iter::from_fn(move || {
        let found = loop {
            let Some((line, number)) = lines.next() else {
                break std::mem::replace(&mut state, State::Outside).end().or_else(|| bare(run.end()));
            };
            let line = trim_end(line);
            let outside = matches!(state, State::Outside);
            let (next, found) = std::mem::replace(&mut state, State::Outside).take(line, number);
            state = next;
            let at = match &state {
                State::Outside if outside && found.is_none() && is_comment(line) => None,
                State::Outside if outside && found.is_none() => run.take(line, number),
                _ => run.end(),
            };
            let found = found.or_else(|| bare(at));
            if found.is_some() {
                break found;
            }
        };
        count += 1;
        found.map(|result| result.map_err(|(line, cause)| PemError { line, block: count, cause }))
    })
}

/// Position of a line relative to the blocks.
enum State {
    /// Between blocks.
    Outside,
    /// In a block.
    Inside(Open),
    /// In a block at fault, which has been reported.
    Skipping,
}

/// A block, or the line at fault and the fault.
type Found = Option<Result<Block, (usize, PemCause)>>;

/// Reports a certificate that begins on this line, outside of a block.
fn bare(line: Option<usize>) -> Found {
    line.map(|line| Err((line, PemCause::Bare)))
}

impl State {
    /// Processes one line.
    fn take(self, line: &[u8], number: usize) -> (State, Found) {
        let open = || State::Inside(Open { line: number, base64: Vec::new() });
        let inside = matches!(self, State::Inside(_));
        match (self, Line::read(line, inside)) {
            (State::Outside, Line::Text)
            | (State::Skipping, Line::End | Line::Bad(PemCause::Unopened | PemCause::Mangled)) => {
                (State::Outside, None)
            }
            (State::Outside, Line::Bad(_)) if is_comment(line) => (State::Outside, None),
            (State::Outside, Line::End) => (State::Outside, Some(Err((number, PemCause::Unopened)))),
            (State::Skipping, Line::Text) => (State::Skipping, None),
            (State::Outside | State::Skipping, Line::Begin) => (open(), None),
            (State::Inside(begun), Line::Begin) => (open(), Some(Err(begun.unterminated()))),
            (_, Line::Bad(cause)) => (State::Skipping, Some(Err((number, cause)))),
            (State::Inside(mut begun), Line::Text) => match begun.push(line, number) {
                Ok(()) => (State::Inside(begun), None),
                Err(cause) => (State::Skipping, Some(Err((number, cause)))),
            },
            (State::Inside(begun), Line::End) => {
                let block = begun.close().map(|certificate| Block { line: begun.line, certificate });
                (State::Outside, Some(block.map_err(|cause| (begun.line, cause))))
            }
        }
    }

    /// Processes the end of the text.
    fn end(self) -> Found {
        if let State::Inside(begun) = self { Some(Err(begun.unterminated())) } else { None }
    }
}

/// Block whose end marker has not been read yet.
struct Open {
    line: usize,
    base64: Vec<u8>,
}

impl Open {
    fn unterminated(&self) -> (usize, PemCause) {
        (self.line, PemCause::Unterminated)
    }

    fn push(&mut self, line: &[u8], number: usize) -> Result<(), PemCause> {
        if number == self.line + 1 && line.contains(&b':') {
            return Err(PemCause::Headers);
        }
        let visible = line.iter().filter(|octet| !matches!(octet, b' ' | b'\t' | b'\r'));
        let before = self.base64.len();
        self.base64.extend(visible);
        let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
        if self.base64[before..].iter().all(is_base64) {
            return Ok(());
        }
        let plain = if stray_text::is_mangled_marker(line) { PemCause::Mangled } else { PemCause::Base64 };
        Err(stray_text::invisible(line).map_or(plain, PemCause::Invisible))
    }

    fn close(&self) -> Result<Result<Anchor, SkippedCertificateError>, PemCause> {
        let der = BASE64.decode(&self.base64).map_err(|_| PemCause::Base64)?;
        match Anchor::from_der(der) {
            Ok(anchor) => Ok(Ok(anchor)),
            Err(InvalidCertificateError {
                cause: cause @ X509ParseError::NegativeSerial,
                fingerprint,
                subject: Some(subject),
            }) if fingerprint.to_string() == EC_ACC => Ok(Err(SkippedCertificateError { fingerprint, subject, cause })),
            Err(malformed) => Err(PemCause::Certificate(malformed)),
        }
    }
}

/// Kind of a line, by the marker on it.
enum Line {
    Begin,
    End,
    Bad(PemCause),
    Text,
}

impl Line {
    /// Classifies a line; in a block, any line without a marker is content, which is checked later.
    fn read(line: &[u8], inside: bool) -> Line {
        if inside && !line.contains(&b'-') {
            return Line::Text;
        }
        let has = |marker: &[u8]| line.windows(marker.len()).any(|window| window == marker);
        if let Some(label) = label(line, BEGIN) {
            if label == LABEL { Line::Begin } else { Line::Bad(PemCause::Label(label.to_owned())) }
        } else if let Some(label) = label(line, END) {
            if label == LABEL { Line::End } else { Line::Bad(PemCause::Unopened) }
        } else if has(BEGIN) || has(END) {
            Line::Bad(stray_text::invisible(line).map_or(PemCause::Marker, PemCause::Invisible))
        } else if !inside && stray_text::is_mangled_marker(line) {
            Line::Bad(stray_text::invisible(line).map_or(PemCause::Mangled, PemCause::Invisible))
        } else {
            Line::Text
        }
    }
}

/// Parses the label of a marker that is alone on its line.
fn label<'a>(line: &'a [u8], marker: &[u8]) -> Option<&'a str> {
    const MAX_LABEL_LEN: usize = 64;
    let label = line.strip_prefix(marker)?.strip_prefix(b" ")?.strip_suffix(b"-----")?;
    let plain = |octet: &u8| octet.is_ascii_graphic() || *octet == b' ';
    let label = str::from_utf8(label).ok().filter(|label| label.bytes().all(|octet| plain(&octet)))?;
    (label.len() <= MAX_LABEL_LEN && !label.contains("-----")).then_some(label)
}

fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"#")
}

/// Strips the carriage return of the line's end, and the blanks before it.
fn trim_end(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_behind_a_fault_and_each_fault_is_reported_once() {
        let good = include_str!("../../tests/cases/certs/ec.pem").trim_end();
        let cut = &good[..200];
        let other = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!\n!\n-----END CERTIFICATE-----";
        let lines = |text: &str| text.lines().count();
        let text = [good, cut, good, other, no_base64, "-----END CERTIFICATE-----", good, cut].join("\n");
        let mut line = 1;
        let mut line_of = |text: &str| {
            line += lines(text);
            line - lines(text)
        };
        let starts = [good, cut, good, other, no_base64, "end", good, cut].map(&mut line_of);
        let found: Vec<_> = blocks(text.as_bytes())
            .map(|block| block.map(|block| block.line).map_err(|error| (error.line, error.block, error.cause)))
            .collect();
        assert_eq!(
            found,
            [
                Ok(starts[0]),
                Err((starts[1], 2, PemCause::Unterminated)),
                Ok(starts[2]),
                Err((starts[3], 4, PemCause::Label("PRIVATE KEY".to_owned()))),
                Err((starts[4] + 1, 5, PemCause::Base64)),
                Err((starts[5], 6, PemCause::Unopened)),
                Ok(starts[6]),
                Err((starts[7], 8, PemCause::Unterminated)),
            ]
        );
    }
}
