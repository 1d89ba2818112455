//! Escaping and truncation of text from others that goes into messages, conditions, events, logs and terminals.
//!
//! Every such text is escaped and has a bounded length when the message is made. What comes out has no control,
//! bidirectional or invisible character, so that it can neither command a terminal nor begin a line of a log. Escaping
//! twice changes nothing.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;

use crate::limits;

/// Maximum length of a warning, in characters.
pub const WARNING_MAX: usize = limits::WARNING.max;

/// Maximum length of an object's name in Kubernetes.
const OBJECT_NAME_MAX: usize = 253;

/// Escapes unprintable characters as Rust and Go do: `\n`, `\u{1b}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unprintable) { Cow::Owned(Escaped(text).to_string()) } else { Cow::Borrowed(text) }
}

/// Text that is formatted as [`escape`] does.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, character)) = rest.char_indices().find(|(_, character)| is_unprintable(*character)) {
            write!(f, "{}{}", &rest[..at], character.escape_default())?;
            rest = &rest[at + character.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Formats a value and escapes its unprintable characters.
#[must_use]
pub fn escape_display(value: &impl fmt::Display) -> String {
    let text = value.to_string();
    match escape(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

/// Returns whether a character controls a terminal or log, changes the direction of writing, or is invisible.
///
/// Those are controls (C0, DEL, C1), separators of lines and paragraphs, `Default_Ignorable_Code_Point`, tags, and the
/// Braille blank.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Escapes a text and cuts it to `max` characters; a cut text ends with `…`.
#[must_use]
pub fn truncate_chars(text: &str, max: usize) -> String {
    truncate(text, |text| cut_chars(text, max))
}

/// Escapes a text and cuts it to `max` bytes; a cut text ends with `...`.
#[must_use]
pub fn truncate_bytes(text: &str, max: usize) -> String {
    truncate(text, |text| {
        if text.len() <= max {
            text.into()
        } else {
            format!("{}...", &text[..text.floor_char_boundary(max.saturating_sub(3))]).into()
        }
    })
}

/// Escapes a text and cuts it; no more is escaped than fits.
fn truncate<'a>(text: &'a str, cut: impl for<'t> Fn(&'t str) -> Cow<'t, str>) -> String {
    let short = cut(text);
    match escape(&short) {
        Cow::Borrowed(_) => short.into_owned(),
        Cow::Owned(escaped) => cut(&escaped).into_owned(),
    }
}

/// Cuts a text to `max` characters, the last of which is then `…`.
fn cut_chars(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        None => text.into(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Formats a value as [`truncate_bytes`] does a text, without ever holding much more than `max` bytes.
#[must_use]
pub fn truncate_display(value: &impl fmt::Display, max: usize) -> String {
    struct Bounded(String, usize);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let remaining = self.1.saturating_sub(self.0.len());
            self.0.push_str(&text[..text.floor_char_boundary(remaining)]);
            if text.len() <= remaining { Ok(()) } else { Err(fmt::Error) }
        }
    }
    // One character more than fits, so that the text is seen to be too long.
    let mut text = Bounded(String::new(), max + 4);
    let _ = write!(text, "{value}");
    truncate_bytes(&text.0, max)
}

/// Formats a cause from another program in at most [`limits::CAUSE`] bytes.
#[must_use]
pub fn cause(value: &impl fmt::Display) -> String {
    truncate_display(value, limits::CAUSE.max)
}

/// Joins an error and its sources by colons: a [`cause`].
#[must_use]
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    cause(&sources.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Quotes at most `max` characters of a text; quotes in it are escaped, too.
#[must_use]
pub fn quote(text: &str, max: usize) -> String {
    escape(&format!("{:?}", cut_chars(text, max))).into_owned()
}

/// Cuts a name that others chose to [`limits::NAME`] characters.
#[must_use]
pub fn name(name: &str) -> String {
    truncate_chars(name, limits::NAME.max)
}

/// Quotes a [`name`].
#[must_use]
pub fn quote_name(name: &str) -> String {
    quote(name, limits::NAME.max)
}

/// Cuts the name of an object, or of its kind, of which nobody else has checked the length.
#[must_use]
pub fn object_name(name: &str) -> String {
    truncate_chars(name, OBJECT_NAME_MAX)
}

/// Quotes an [`object_name`], or a key of an object.
#[must_use]
pub fn quote_object_name(name: &str) -> String {
    quote(name, OBJECT_NAME_MAX)
}

/// Quotes the first two of some names and counts the rest.
#[must_use]
pub fn summarize_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<_> = names.by_ref().take(2).map(quote_name).collect();
    match names.count() {
        0 => first.join(", "),
        rest => format!("{} and {rest} more", first.join(", ")),
    }
}

/// Cuts the message of a condition to [`limits::CONDITION_MESSAGE`] bytes.
#[must_use]
pub fn condition_message(text: &str) -> String {
    truncate_bytes(text, limits::CONDITION_MESSAGE.max)
}

/// Cuts the note of an event to [`limits::EVENT_NOTE`] bytes.
#[must_use]
pub fn event_note(text: &str) -> String {
    truncate_bytes(text, limits::EVENT_NOTE.max)
}

/// Cuts a warning of an admission review to [`WARNING_MAX`] characters.
#[must_use]
pub fn warning(text: &str) -> String {
    truncate_chars(text, WARNING_MAX)
}

/// Writer of each buffer as one line: line breaks in it are escaped, and a line that is too long is cut.
#[derive(Debug)]
pub struct LogLineWriter<W>(pub W);

impl<W: io::Write> io::Write for LogLineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        match text.strip_suffix('\n') {
            Some(text) => self.0.write_all((truncate_bytes(text, limits::LOG_LINE.max) + "\n").as_bytes())?,
            None => self.0.write_all(escape(&text).as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writer of each buffer as one line of JSON, in whose strings unprintable characters are escaped by [`escape`].
#[derive(Debug)]
pub struct JsonLineWriter<W>(pub W);

impl<W: io::Write> io::Write for JsonLineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (json, end) = text.strip_suffix('\n').map_or((&*text, ""), |json| (json, "\n"));
        self.0.write_all((escape_json(json) + end).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Replaces each string of a JSON text by one whose value is what [`escape`] returns.
fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(character) = rest.chars().next() {
        let (meant, length) = match rest.as_bytes() {
            [b'\\', b'n', ..] => ('\n', 2),
            [b'\\', b'r', ..] => ('\r', 2),
            [b'\\', b't', ..] => ('\t', 2),
            [b'\\', b'b', ..] => ('\u{8}', 2),
            [b'\\', b'f', ..] => ('\u{c}', 2),
            [b'\\', b'u', ..] => {
                let number = rest.get(2..6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                (number.and_then(char::from_u32).unwrap_or(' '), 6.min(rest.len()))
            }
            [b'\\', _, ..] => (' ', 2),
            _ => (character, character.len_utf8()),
        };
        let (this, after) = rest.split_at(length);
        if is_unprintable(meant) {
            let _ = write!(out, "\\{}", meant.escape_default());
        } else {
            out.push_str(this);
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_json_means_what_a_line_of_text_shows() {
        let text = "a\n\t\u{8}\u{c}\r\u{1b}\u{7f}\u{9b}31m\u{202e}\u{200b}\u{e0041} \"quoted\" C:\\new é";
        let mut written = Vec::new();
        let line = serde_json::json!({ "message": text }).to_string() + "\n";
        io::Write::write_all(&mut JsonLineWriter(&mut written), line.as_bytes()).expect("a Vec accepts any write");
        let written = String::from_utf8(written).expect("text");
        let line = written.strip_suffix('\n').expect("a line");
        assert_eq!(escape(line), line);
        let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(read["message"], *escape(text));
    }

    #[test]
    fn a_long_text_ends_with_an_ellipsis_and_a_short_one_stays() {
        assert_eq!(truncate_chars("größer", 6), "größer");
        assert_eq!(truncate_chars("größer", 5), "größ…");
        assert_eq!(truncate_chars("", 0), "");
        assert_eq!(warning(&"ä".repeat(300)).chars().count(), WARNING_MAX);
        assert_eq!(truncate_bytes("größer", 8), "größer");
        assert_eq!(truncate_bytes("größere", 8), "grö...");
        assert_eq!(truncate_display(&"größer", 8), "größer");
        assert_eq!(truncate_display(&"größere", 8), "grö...");
        assert_eq!(cause(&"x".repeat(700)), format!("{}...", "x".repeat(600)));
    }

    #[test]
    fn what_is_printable_stays_and_all_else_is_escaped() {
        let same = "größer \\ \"a\" 'b' 漢字 नमस्ते e\u{301} \u{a0} 🙂";
        assert!(matches!(escape(same), Cow::Borrowed(text) if text == same));
        let table = [
            ("x\n2026 ERROR lost", "x\\n2026 ERROR lost"),
            ("a\r\tb\0", "a\\r\\tb\\u{0}"),
            ("\u{1b}[31m\u{9b}2J\u{7f}", "\\u{1b}[31m\\u{9b}2J\\u{7f}"),
            ("\u{202e}gpj\u{2066}", "\\u{202e}gpj\\u{2066}"),
            ("a\u{200b}b\u{feff}\u{3164}\u{ad}\u{e0041}", "a\\u{200b}b\\u{feff}\\u{3164}\\u{ad}\\u{e0041}"),
            ("a\u{2028}b\u{2029}\u{85}", "a\\u{2028}b\\u{2029}\\u{85}"),
        ];
        for (raw, shown) in table {
            assert_eq!(escape(raw), shown);
            assert_eq!(Escaped(raw).to_string(), shown);
            assert_eq!(escape_display(&raw), shown);
        }
        assert_eq!(quote("a\"\n\u{3164}b", 9), r#""a\"\n\u{3164}b""#);
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(summarize_names([]), "");
        assert_eq!(summarize_names(["a"]), r#""a""#);
        assert_eq!(summarize_names(["a", "b"]), r#""a", "b""#);
        assert_eq!(summarize_names(["a", "b", "c", "d"]), r#""a", "b" and 2 more"#);
    }

    #[test]
    fn one_write_is_one_line() {
        let mut out = Vec::new();
        io::Write::write_all(&mut LogLineWriter(&mut out), b"INFO a\nERROR b\x1b\xff\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "INFO a\\nERROR b\\u{1b}\u{fffd}\n");
    }

    proptest! {
        #[test]
        fn output_is_printable_and_lengths_hold(text in "\\PC{0,9}(.|\\n|\\pC|\\pZ){0,60}", max in 3_usize..40) {
            let texts = [
                escape(&text).into_owned(),
                truncate_chars(&text, max),
                truncate_bytes(&text, max),
                truncate_display(&text, max),
                quote(&text, max),
                cause(&text),
            ];
            for made in &texts {
                prop_assert!(!made.chars().any(is_unprintable), "{made:?}");
                prop_assert_eq!(&*escape(made), made.as_str());
            }
            prop_assert!(texts[1].chars().count() <= max);
            prop_assert!(texts[2].len() <= max && texts[3].len() <= max);
        }
    }
}
