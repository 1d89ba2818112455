//! Tables of certificates: columns of text.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use crate::text;

use super::certificate_set::{CertificateSet, LocatedCertificate, Location};
use super::detail_level::DetailLevel;
use super::facts::{self, Fact};

/// Style of what is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();

/// Style of what will need attention.
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Style of what is wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default();

/// Cell of a table: its text, escaped, and its style.
pub(crate) struct Cell(String, Style);

const HEADER: [&str; 7] = ["SUBJECT", "ISSUER", "EXPIRES", "KEY", "CA", "SHA-256", "FOUND AT"];

/// Days before expiry from which a cell is a warning, as in the conditions of a Bundle.
const EXPIRY_WARNING_DAYS: i64 = 30;

/// Maximum length of a subject, issuer or alias in a table, in characters; documents have all of it.
const MAX_CELL_CHARS: usize = 64;

const SECONDS_PER_DAY: i64 = 86_400;

impl CertificateSet {
    /// Formats one line for each certificate, in the order of the source; urgent cells in colour.
    #[must_use]
    pub fn table(&self, now: Timestamp, detail: DetailLevel) -> String {
        let mut header = Vec::from(HEADER.map(Cell::plain));
        if detail == DetailLevel::Full {
            insert_facts(&mut header, facts::KINDS.iter().map(|kind| Cell::plain(kind.heading)));
        }
        let rows = self.certificates.iter().map(|found| cells(found, now, detail));
        render_columns(std::iter::once(header).chain(rows))
    }
}

impl Cell {
    fn new(text: impl Into<String>, style: Style) -> Self {
        Self(text::escape(&text.into()).into_owned(), style)
    }

    /// Creates a cell without colour.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::new())
    }

    /// Creates a green cell.
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self::new(text, GOOD)
    }

    /// Creates a yellow cell.
    pub(crate) fn warning(text: impl Into<String>) -> Self {
        Self::new(text, WARNING)
    }

    /// Creates a red cell.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(text, BAD)
    }
}

/// Returns the cells of a certificate, in the order of [`HEADER`], and its facts before the last one.
pub(super) fn cells(found: &LocatedCertificate, now: Timestamp, detail: DetailLevel) -> Vec<Cell> {
    let fingerprint = Cell::plain(found.fingerprint().short());
    let location = location_text(found);
    let unknown = || Cell::plain("-");
    let mut cells = match &found.certificate {
        Ok(anchor) => {
            let self_issued = anchor.issuer_der() == anchor.subject_der();
            let issuer = if self_issued { "(itself)".to_owned() } else { named(&anchor.issuer()) };
            let key = match detail {
                DetailLevel::Brief => anchor.key().to_string(),
                DetailLevel::Full => facts::key_text(anchor),
            };
            vec![
                Cell::plain(named(anchor.subject())),
                Cell::plain(issuer),
                expiry(anchor.not_before(), anchor.not_after(), now),
                Cell::plain(key),
                Cell::plain(if anchor.is_ca() { "yes" } else { "no" }),
                fingerprint,
                Cell::plain(location),
            ]
        }
        Err(malformed) => {
            let subject = malformed.subject.as_deref().map_or("(unreadable)".to_owned(), named);
            let location = format!("{location}: refused by bundles: {}", malformed.cause);
            vec![Cell::plain(subject), unknown(), unknown(), unknown(), unknown(), fingerprint, Cell::bad(location)]
        }
    };
    match (detail, &found.certificate) {
        (DetailLevel::Brief, _) => {}
        (DetailLevel::Full, Ok(anchor)) => insert_facts(&mut cells, facts::read(anchor).iter().map(fact_cell)),
        (DetailLevel::Full, Err(_)) => insert_facts(&mut cells, facts::KINDS.iter().map(|_| unknown())),
    }
    cells
}

/// Inserts the cells of facts before the last cell, the location, which may be long.
fn insert_facts(cells: &mut Vec<Cell>, facts: impl Iterator<Item = Cell>) {
    let before_location = HEADER.len() - 1;
    cells.splice(before_location..before_location, facts);
}

fn fact_cell(fact: &Fact) -> Cell {
    match fact {
        Fact::Absent => Cell::plain("-"),
        Fact::Unreadable => Cell::warning("(unreadable)"),
        Fact::Text(text) => Cell::plain(cut(text)),
        Fact::List(texts) if texts.is_empty() => Cell::plain("-"),
        Fact::List(texts) => Cell::plain(cut(&join(texts))),
    }
}

/// Returns the whole days until `not_after`, negative once it has passed.
pub(super) fn days_left(not_after: i64, now: Timestamp) -> i64 {
    (not_after - now.as_second()) / SECONDS_PER_DAY
}

/// Formats the day of a time in seconds since 1970, in UTC.
pub(super) fn day(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Returns the cell for the end of a certificate, with the days that are left.
pub(crate) fn expiry(not_before: i64, not_after: i64, now: Timestamp) -> Cell {
    let day_of_end = day(not_after);
    if not_before > now.as_second() {
        return Cell(format!("{day_of_end}, begins {}", day(not_before)), WARNING);
    }
    match days_left(not_after, now) {
        _ if not_after < now.as_second() => Cell(format!("{day_of_end}, expired"), BAD),
        left if left < EXPIRY_WARNING_DAYS => Cell(format!("{day_of_end}, {left} days"), WARNING),
        left => Cell(format!("{day_of_end}, {left} days"), Style::new()),
    }
}

/// Formats the location of a certificate, such as `ca.crt line 12` or `Secret team-a/corporate ca.crt line 12`.
fn location_text(found: &LocatedCertificate) -> String {
    let location = match &found.location {
        Location::Line(line) => format!("line {line}"),
        Location::Alias(alias) => cut(alias),
        Location::Number(number) => format!("no. {number}"),
    };
    let object = found.place.object.as_ref().map(|object| cut(object) + " ").unwrap_or_default();
    let key = found.place.key.as_ref().map(|key| text::object_name(key) + " ").unwrap_or_default();
    object + &key + &location
}

fn named(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { cut(name) }
}

/// Joins names with commas. One that has a comma itself is quoted, so that it does not pose as two.
fn join(names: &[String]) -> String {
    let quoted = |name: &String| if name.contains(',') { format!("{name:?}") } else { name.clone() };
    names.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Cuts a text to [`MAX_CELL_CHARS`] characters and escapes terminal controls.
fn cut(text: &str) -> String {
    text::truncate_chars(text, MAX_CELL_CHARS)
}

/// Formats columns as wide as their widest cell, two blanks between them, and none at the ends of lines.
///
/// Widths are those of a terminal: Chinese characters take two columns, combining ones none. All rows have as many cells.
pub(crate) fn render_columns(rows: impl Iterator<Item = impl AsRef<[Cell]>>) -> String {
    let rows: Vec<_> = rows.collect();
    let mut widths = vec![0; rows.first().map_or(0, |row| row.as_ref().len())];
    for row in &rows {
        for (widest, Cell(text, _)) in widths.iter_mut().zip(row.as_ref()) {
            *widest = text.width().max(*widest);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut blanks = 0;
        for (Cell(text, style), widest) in row.as_ref().iter().zip(&widths) {
            let text = text.trim_end_matches(' ');
            if !text.is_empty() {
                let _ = write!(out, "{:blanks$}{style}{text}{style:#}", "");
                blanks = 0;
            }
            blanks += widest - text.width() + 2;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{CertificateDiff, Passwords, ValuePlace};

    const RSA: &str = include_str!("../../tests/cases/certs/rsa.pem");
    const EXPIRED: &str = include_str!("../../tests/cases/certs/expired.pem");
    const FUTURE: &str = include_str!("../../tests/cases/certs/future.pem");
    const BRAINPOOL: &str = include_str!("../../tests/cases/certs/brainpool.pem");

    fn certificates(texts: &[&str]) -> CertificateSet {
        let mut set = CertificateSet::new("test");
        set.read(&ValuePlace::of_key("ca.crt"), texts.concat().as_bytes(), &Passwords::WellKnown).unwrap();
        set
    }

    fn plain(table: &str) -> String {
        anstream::adapter::strip_str(table).to_string()
    }

    fn now() -> Timestamp {
        "2048-12-20T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_name_with_a_comma_does_not_pose_as_two() {
        let list = |names: &[&str]| Fact::List(names.iter().map(|name| (*name).to_owned()).collect());
        let cell = |fact| fact_cell(&fact).0;
        assert_eq!(cell(list(&["DNS:a.example", "DNS:b.example"])), "DNS:a.example, DNS:b.example");
        assert_eq!(cell(list(&["DNS:a.example, DNS:b.example"])), "\"DNS:a.example, DNS:b.example\"");
        assert_eq!(cell(list(&[])), "-");
    }

    #[test]
    fn a_table_names_what_expires_what_is_refused_and_where_it_is() {
        let table = plain(&certificates(&[RSA, EXPIRED, BRAINPOOL]).table(now(), DetailLevel::Brief));
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
    fn color_marks_what_is_urgent() {
        let table = certificates(&[RSA, EXPIRED]).table(now(), DetailLevel::Brief);
        assert!(table.contains("\u{1b}[33m2049-01-01, 11 days\u{1b}[0m"), "{table}");
        assert!(table.contains("\u{1b}[31m2015-01-01, expired\u{1b}[0m"), "{table}");
        assert_eq!(table.matches('\u{1b}').count(), 4, "{table}");
    }

    #[test]
    fn columns_begin_below_each_other_at_a_terminal_and_lines_end_without_blanks() {
        let row = |cells: [&str; 3]| cells.map(Cell::plain);
        let rows = [["CN=根證書", "1", "a "], ["CN=e\u{301}", "2", ""], ["CN=1234567890", "", ""]];
        assert_eq!(
            render_columns(rows.into_iter().map(row)),
            "CN=根證書      1  a\nCN=e\u{301}           2\nCN=1234567890\n"
        );
        let empty = [Cell::plain("a"), Cell::bad("")];
        assert_eq!(render_columns(std::iter::once(empty)), "a\n");
    }

    #[test]
    fn a_difference_is_by_fingerprint_whatever_the_order_and_how_often() {
        let (old, new) = (certificates(&[RSA, EXPIRED, RSA]), certificates(&[FUTURE, RSA]));
        let difference = CertificateDiff::between(&old, &new);
        assert_eq!(
            plain(&difference.table(now(), DetailLevel::Brief)),
            "\
-  CN=Expired Root A  (itself)  2015-01-01, expired  EC P-256  yes  efa998f5  ca.crt line 21
+  CN=Future Root A   (itself)  2048-01-01, expired  EC P-256  yes  2f080692  ca.crt line 1
1 added, 1 removed, 1 the same
"
        );
        assert!(!difference.is_empty());
        assert!(CertificateDiff::between(&old, &certificates(&[EXPIRED, RSA])).is_empty());
    }

    #[test]
    fn terminal_controls_are_escaped_and_what_is_too_long_is_cut() {
        assert_eq!(cut("a\u{1b}[31m\n\u{202e}b"), "a\\u{1b}[31m\\n\\u{202e}b");
        assert_eq!(cut(&"é".repeat(65)).chars().count(), 64);
        assert_eq!(cut(&"é".repeat(64)), "é".repeat(64));
    }
}
