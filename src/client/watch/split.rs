//! Cuts the JSON of a list into its items, and that of a watch into its events, while it arrives: what is in memory is one
//! object, however many there are and however large the answer is.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits;

/// How much of an object that is too large is shown, in bytes.
const EXCERPT_LEN: usize = 200;

/// What was cut out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole object.
    Object(Vec<u8>),
    /// The beginning of an object that is larger than [`limits::OBJECT`].
    TooLarge(String),
}

/// One object that is arriving.
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

    /// What has arrived, if anything has.
    fn take(&mut self) -> Option<Piece> {
        let Self { bytes, too_large } = std::mem::take(self);
        if too_large {
            return Some(Piece::TooLarge(String::from_utf8_lossy(&bytes).into_owned()));
        }
        (!bytes.trim_ascii().is_empty()).then_some(Piece::Object(bytes))
    }
}

/// Cuts an answer that arrives in chunks.
pub(crate) trait Splitter {
    /// Takes from the front of a chunk up to the end of the next piece; returns that piece. Without one the whole chunk was
    /// taken.
    fn next_piece(&mut self, chunk: &mut &[u8]) -> Option<Piece>;
}

/// The lines of a watch: each is one event.
#[derive(Default)]
pub(crate) struct WatchLines(PartialObject);

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

/// The items of a list, and its metadata.
#[derive(Default)]
pub(crate) struct ListItems {
    partial: PartialObject,
    depth: usize,
    /// Whether the items have begun and not ended.
    inside: bool,
    string_state: StringState,
    /// What the list says of itself.
    pub(crate) metadata: ListMetadata,
    /// Whether the list was closed.
    pub(crate) is_whole: bool,
}

/// Where in a JSON string the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StringState {
    /// In none.
    #[default]
    Outside,
    /// In one.
    Inside,
    /// In one, behind a backslash.
    Escaped,
}

/// What a list says of itself.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMetadata {
    /// Its version.
    #[serde(default)]
    pub(crate) resource_version: String,
    /// Names the next page, if there is one.
    #[serde(default, rename = "continue")]
    pub(crate) next: String,
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
    /// Whether a byte is more than content where it stands.
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
        // At this depth commas part what is cut: members of the list, or its items.
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

    /// Takes in a member of the list other than its items.
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

/// An event of a watch
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>).
#[derive(Deserialize)]
pub(crate) struct RawWatchEvent<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    #[serde(borrow)]
    pub(crate) object: &'a RawValue,
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
