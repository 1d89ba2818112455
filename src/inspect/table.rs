//! Certificates as columns of text.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::text;

use super::collection::{At, Collection, Found};

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// For a terminal.
    Colour,
    /// For everything else.
    Plain,
}

/// How urgent a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

/// The text of a cell, escaped, and how urgent it is.
pub(crate) struct Cell(String, Tone);

const HEADER: [&str; 7] = ["SUBJECT", "ISSUER", "EXPIRES", "KEY", "CA", "SHA-256", "FOUND AT"];

/// Expiry within this many days is a warning, as in the conditions of a Bundle.
const SOON: i64 = 30;

/// Longest subject, issuer or alias in a table, in characters; documents have all of it.
const WIDEST: usize = 64;

const SECONDS_PER_DAY: i64 = 86_400;

impl Collection {
    /// One line for each certificate, in the order of the place.
    #[must_use]
    pub fn table(&self, now: Timestamp, paint: Paint) -> String {
        let header = HEADER.map(|word| Cell(word.to_owned(), Tone::Plain));
        let rows = self.certificates.iter().map(|found| cells(found, now));
        lay_out(std::iter::once(header).chain(rows), paint)
    }
}

impl Cell {
    fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self(text::escape(&text.into()).into_owned(), tone)
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }

    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Good)
    }

    pub(crate) fn warning(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Warning)
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Bad)
    }
}

pub(super) fn cells(found: &Found, now: Timestamp) -> [Cell; HEADER.len()] {
    let fingerprint = Cell::plain(found.fingerprint().short());
    let place = place(found);
    match &found.certificate {
        Ok(anchor) => {
            let self_issued = anchor.issuer_der() == anchor.subject_der();
            let issuer = if self_issued { "(itself)".to_owned() } else { named(&anchor.issuer()) };
            [
                Cell::plain(named(anchor.subject())),
                Cell::plain(issuer),
                expiry(anchor.not_before(), anchor.not_after(), now),
                Cell::plain(anchor.key().to_string()),
                Cell::plain(if anchor.is_ca() { "yes" } else { "no" }),
                fingerprint,
                Cell::plain(place),
            ]
        }
        Err(malformed) => {
            let unknown = || Cell::plain("-");
            let subject = malformed.subject.as_deref().map_or("(unreadable)".to_owned(), named);
            let place = format!("{place}: refused by bundles: {}", malformed.flaw);
            [Cell::plain(subject), unknown(), unknown(), unknown(), unknown(), fingerprint, Cell::bad(place)]
        }
    }
}

/// In whole days; negative once it has expired.
pub(crate) fn days_left(not_after: i64, now: Timestamp) -> i64 {
    (not_after - now.as_second()) / SECONDS_PER_DAY
}

/// The day of a time in seconds since 1970, in UTC.
pub(crate) fn day(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// When a certificate ends, and how soon that is.
pub(crate) fn expiry(not_before: i64, not_after: i64, now: Timestamp) -> Cell {
    let day_of_end = day(not_after);
    if not_before > now.as_second() {
        return Cell(format!("{day_of_end}, begins {}", day(not_before)), Tone::Warning);
    }
    match days_left(not_after, now) {
        _ if not_after < now.as_second() => Cell(format!("{day_of_end}, expired"), Tone::Bad),
        left if left < SOON => Cell(format!("{day_of_end}, {left} days"), Tone::Warning),
        left => Cell(format!("{day_of_end}, {left} days"), Tone::Plain),
    }
}

/// Where a certificate was found, such as `ca.crt line 12`.
pub(super) fn place(found: &Found) -> String {
    let at = match &found.at {
        At::Line(line) => format!("line {line}"),
        At::Alias(alias) => cut(alias),
        At::Number(number) => format!("no. {number}"),
    };
    found.key.as_ref().map_or(at.clone(), |key| format!("{key} {at}"))
}

fn named(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { cut(name) }
}

/// At most [`WIDEST`] characters, none of which commands a terminal.
pub(crate) fn cut(text: &str) -> String {
    text::shorten(text, WIDEST)
}

/// Columns as wide as their widest cell, two blanks between them, and none at the ends of lines.
pub(crate) fn lay_out<const N: usize>(rows: impl Iterator<Item = [Cell; N]>, paint: Paint) -> String {
    let rows: Vec<_> = rows.collect();
    let width = |text: &str| text.chars().count();
    let mut widths = [0; N];
    for row in &rows {
        for (widest, Cell(text, _)) in widths.iter_mut().zip(row) {
            *widest = width(text).max(*widest);
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (at, (Cell(text, tone), widest)) in row.iter().zip(widths).enumerate() {
            out.push_str(&painted(text, *tone, paint));
            if at + 1 < N {
                let _ = write!(out, "{:1$}", "", widest - width(text) + 2);
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

fn painted(text: &str, tone: Tone, paint: Paint) -> String {
    let code = match (paint, tone) {
        (Paint::Plain, _) | (_, Tone::Plain) => return text.to_owned(),
        (_, Tone::Good) => 32,
        (_, Tone::Warning) => 33,
        (_, Tone::Bad) => 31,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

impl Paint {
    /// Words of joy or of alarm.
    pub(super) fn emphasise(self, text: &str, good: bool) -> String {
        painted(text, if good { Tone::Good } else { Tone::Bad }, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Difference, Passwords};

    const RSA: &str = include_str!("../../tests/cases/certs/rsa.pem");
    const EXPIRED: &str = include_str!("../../tests/cases/certs/expired.pem");
    const FUTURE: &str = include_str!("../../tests/cases/certs/future.pem");
    const BRAINPOOL: &str = include_str!("../../tests/cases/certs/brainpool.pem");

    fn collection(texts: &[&str]) -> Collection {
        let mut collection = Collection::new("test");
        collection.read(Some("ca.crt"), texts.concat().as_bytes(), &Passwords::WellKnown).unwrap();
        collection
    }

    fn now() -> Timestamp {
        "2048-12-20T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_table_names_what_expires_what_is_refused_and_where_it_is() {
        let table = collection(&[RSA, EXPIRED, BRAINPOOL]).table(now(), Paint::Plain);
        assert_eq!(
            table,
            "\
SUBJECT                                 ISSUER    EXPIRES              KEY       CA   SHA-256   FOUND AT
CN=Alpha Root CA A,O=Example Corp,C=US  (itself)  2049-01-01, 11 days  RSA 2048  yes  e533eb20  ca.crt line 1
CN=Expired Root A                       (itself)  2015-01-01, expired  EC P-256  yes  efa998f5  ca.crt line 21
CN=Brainpool Root A                     -         -                    -         -    c181a142  ca.crt line 31: refused by bundles: unsupported elliptic curve
"
        );
    }

    #[test]
    fn colour_is_there_only_when_asked_for_and_marks_what_is_urgent() {
        let collection = collection(&[RSA, EXPIRED]);
        let coloured = collection.table(now(), Paint::Colour);
        assert!(coloured.contains("\u{1b}[33m2049-01-01, 11 days\u{1b}[0m"), "{coloured}");
        assert!(coloured.contains("\u{1b}[31m2015-01-01, expired\u{1b}[0m"), "{coloured}");
        let plain = coloured
            .split('\u{1b}')
            .map(|part| part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, text)| text));
        assert_eq!(plain.collect::<String>(), collection.table(now(), Paint::Plain));
    }

    #[test]
    fn a_difference_is_by_fingerprint_whatever_the_order_and_how_often() {
        let (old, new) = (collection(&[RSA, EXPIRED, RSA]), collection(&[FUTURE, RSA]));
        let difference = Difference::between(&old, &new);
        assert_eq!(
            difference.table(now(), Paint::Plain),
            "\
-  CN=Expired Root A  (itself)  2015-01-01, expired  EC P-256  yes  efa998f5  ca.crt line 21
+  CN=Future Root A   (itself)  2048-01-01, expired  EC P-256  yes  2f080692  ca.crt line 1
1 added, 1 removed, 1 the same
"
        );
        assert!(!difference.is_empty());
        assert!(Difference::between(&old, &collection(&[EXPIRED, RSA])).is_empty());
    }

    #[test]
    fn what_would_command_a_terminal_is_spelled_out_and_what_is_too_long_is_cut() {
        assert_eq!(cut("a\u{1b}[31m\n\u{202e}b"), "a\\u{1b}[31m\\n\\u{202e}b");
        assert_eq!(cut(&"é".repeat(65)).chars().count(), 64);
        assert_eq!(cut(&"é".repeat(64)), "é".repeat(64));
    }
}
