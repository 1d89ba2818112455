//! Splitters of the JSON of a list into its items, and of a watch into its events, while it arrives: only one object is
//! in memory, however many there are and however large the response is.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits;

/// The length of the excerpt of an object that is too large, in bytes.
const EXCERPT_LEN: usize = 200;

/// A piece of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A complete object.
    Object(Vec<u8>),
    /// The beginning of an object that is larger than [`limits::OBJECT`].
    TooLarge(String),
}

/// An object that is arriving.
#[derive(Default)]
struct PartialObject {
    bytes: Vec<u8>,
    too_large: bool,
}

impl PartialObject {
    fn push(&mut self, more: &[u8]) {
        if self.bytes.len() + more.len() <= limits::OBJECT.max && !self.too_large {
            self.bytes.extend_from_slice(more);
        } else if !self.too_large {
            self.too_large = true;
            self.bytes.truncate(EXCERPT_LEN);
            self.bytes.shrink_to_fit();
        }
    }

    /// Takes the object, unless it is empty.
    fn take(&mut self) -> Option<Piece> {
        let Self { bytes, too_large } = std::mem::take(self);
        if too_large {
            return Some(Piece::TooLarge(String::from_utf8_lossy(&bytes).into_owned()));
        }
        (!bytes.trim_ascii().is_empty()).then_some(Piece::Object(bytes))
    }
}

/// A splitter of a response that arrives in chunks.
pub(super) trait Splitter {
    /// Consumes a chunk up to the end of the next piece and returns that piece. Consumes the whole chunk if no piece
    /// ends in it.
    fn next_piece(&mut self, chunk: &mut &[u8]) -> Option<Piece>;
}

/// A splitter of a watch into lines, each of which is one event.
#[derive(Default)]
pub(super) struct WatchLines(PartialObject);

impl Splitter for WatchLines {
    fn next_piece(&mut self, chunk: &mut &[u8]) -> Option<Piece> {
        while !chunk.is_empty() {
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let (line, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.0.push(line);
            *chunk = rest.get(1..).unwrap_or_default();
            if end.is_some()
                && let Some(piece) = self.0.take()
            {
                return Some(piece);
            }
        }
        None
    }
}

/// A splitter of a list into its items, with the list's metadata.
#[derive(Default)]
pub(super) struct ListItems {
    partial: PartialObject,
    depth: usize,
    /// Whether the current position is within the items.
    inside: bool,
    string_state: StringState,
    /// Metadata of the list.
    pub(super) metadata: ListMetadata,
    /// Whether the end of the list has arrived.
    pub(super) is_whole: bool,
}

/// The position of the next byte relative to a JSON string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StringState {
    /// In no string.
    #[default]
    Outside,
    /// In a string.
    Inside,
    /// In a string, after a backslash.
    Escaped,
}

/// The metadata of a list.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    /// Resource version of the list.
    #[serde(default)]
    pub(super) resource_version: String,
    /// Token of the next page; empty on the last one.
    #[serde(default, rename = "continue")]
    pub(super) next: String,
}

impl Splitter for ListItems {
    fn next_piece(&mut self, chunk: &mut &[u8]) -> Option<Piece> {
        while !chunk.is_empty() {
            let plain = chunk.iter().position(|byte| self.is_significant(*byte)).unwrap_or(chunk.len());
            self.partial.push(&chunk[..plain]);
            *chunk = &chunk[plain..];
            let Some((byte, rest)) = chunk.split_first() else { break };
            *chunk = rest;
            if let Some(piece) = self.step(*byte) {
                return Some(piece);
            }
        }
        None
    }
}

impl ListItems {
    /// Returns whether a byte at the current position is part of the structure.
    fn is_significant(&self, byte: u8) -> bool {
        match self.string_state {
            StringState::Escaped => true,
            StringState::Inside => matches!(byte, b'"' | b'\\'),
            StringState::Outside => matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b','),
        }
    }

    fn step(&mut self, byte: u8) -> Option<Piece> {
        if self.string_state != StringState::Outside {
            self.string_state = match (self.string_state, byte) {
                (StringState::Inside, b'"') => StringState::Outside,
                (StringState::Inside, b'\\') => StringState::Escaped,
                _ => StringState::Inside,
            };
            self.partial.push(&[byte]);
            return None;
        }
        // The depth at which commas separate the pieces: members of the list, or its items.
        let here = self.depth == 1 + usize::from(self.inside);
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        match byte {
            b'{' if self.depth == 1 => None,
            b'[' if here && !self.inside && self.is_at_items() => {
                self.inside = true;
                self.partial = PartialObject::default();
                None
            }
            b',' | b'}' | b']' if here => {
                let piece = self.partial.take();
                let is_item = self.inside;
                self.inside &= byte == b',';
                self.is_whole |= byte == b'}';
                if is_item {
                    return piece;
                }
                self.member(piece);
                None
            }
            _ => {
                if byte == b'"' {
                    self.string_state = StringState::Inside;
                }
                self.partial.push(&[byte]);
                None
            }
        }
    }

    fn is_at_items(&self) -> bool {
        let member = self.partial.bytes.trim_ascii();
        member.strip_suffix(b":").is_some_and(|name| name.trim_ascii() == br#""items""#)
    }

    /// Processes a member of the list other than its items.
    fn member(&mut self, piece: Option<Piece>) {
        let Some(Piece::Object(member)) = piece else { return };
        if member.trim_ascii_start().starts_with(br#""metadata""#)
            && let Some(at) = member.iter().position(|byte| *byte == b':')
            && let Ok(metadata) = serde_json::from_slice(&member[at + 1..])
        {
            self.metadata = metadata;
        }
    }
}

/// An unparsed event of a watch
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>).
#[derive(Deserialize)]
pub(super) struct RawWatchEvent<'a> {
    /// Type of the event: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    /// The object, or the `Status` of an error.
    #[serde(borrow)]
    pub(super) object: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(splitter: &mut impl Splitter, text: &[u8], size: usize) -> Vec<String> {
        let mut found = Vec::new();
        for mut chunk in text.chunks(size) {
            while let Some(piece) = splitter.next_piece(&mut chunk) {
                found.push(match piece {
                    Piece::Object(bytes) => String::from_utf8(bytes).expect("text"),
                    Piece::TooLarge(text) => format!("too large: {text}"),
                });
            }
        }
        found
    }

    #[test]
    fn a_list_is_split_into_its_items_however_it_is_chunked() {
        let items = [r#"{"a":"],}\"[{\\","b":[1,[2]],"items":[{"x":1}]}"#, r#"{"metadata":{"continue":"no"}}"#, "3"];
        let metadata = r#""metadata":{"resourceVersion":"7","continue":"c","remainingItemCount":1}"#;
        let joined = items.join(" ,\n");
        for text in [
            format!(r#"{{"kind":"List",{metadata},"items":[{joined}]}}"#),
            format!("{{ \"items\" : [ {joined} ] , \"other\": [1, {{}}], {metadata} }}\n"),
        ] {
            for size in 1..text.len() {
                let mut list = ListItems::default();
                let found = pieces(&mut list, text.as_bytes(), size);
                let found: Vec<_> = found.iter().map(|item| item.trim()).collect();
                assert_eq!(found, items, "{size}: {text}");
                assert!(list.is_whole);
                assert_eq!(list.metadata, ListMetadata { resource_version: "7".to_owned(), next: "c".to_owned() });
            }
        }
        for (text, whole) in [("{\"items\":[]}", true), ("{\"items\":null}", true), ("{\"items\":[{}", false)] {
            let mut list = ListItems::default();
            assert_eq!(pieces(&mut list, text.as_bytes(), 3), Vec::<String>::new());
            assert_eq!(list.is_whole, whole, "{text}");
        }
    }

    #[test]
    fn a_watch_is_split_into_its_lines_however_it_is_chunked() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\n{\"c\"";
        for size in 1..text.len() {
            assert_eq!(pieces(&mut WatchLines::default(), text, size), ["{\"a\":1}", "{\"b\":2}"]);
        }
    }

    #[test]
    fn of_an_object_that_is_too_large_only_the_beginning_is_kept() {
        let large = "x".repeat(limits::OBJECT.max);
        let text = format!(r#"{{"items":[{{"name":"first","v":"{large}"}},{{"name":"second"}}]}}"#);
        let found = pieces(&mut ListItems::default(), text.as_bytes(), 1 << 16);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("too large: {\"name\":\"first\"") && found[0].len() < 2 * EXCERPT_LEN);
        assert_eq!(found[1], r#"{"name":"second"}"#);
    }
}
