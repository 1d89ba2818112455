//! `UTCTime` and `GeneralizedTime` (RFC 5280, section 4.1.2.5), with the forms that Go accepts beyond them.
//!
//! Those are minutes without seconds in `UTCTime`, and offsets from UTC other than zero.

use super::X509ParseError;
use crate::trust::der::{Reader, tag};

/// Parses the next element as a time, in seconds since 1970-01-01T00:00:00Z.
pub(super) fn parse(input: &mut Reader<'_>) -> Result<i64, X509ParseError> {
    let (name, years) = if input.next_is(tag::UTC_TIME) { ("UTCTime", 2) } else { ("GeneralizedTime", 4) };
    let malformed = X509ParseError::Malformed(name);
    let (found, content) = input.any().ok_or(malformed.clone())?;
    match found {
        tag::UTC_TIME | tag::GENERALIZED_TIME => seconds(content, years).ok_or(malformed),
        _ => Err(X509ParseError::Malformed("validity: unsupported time format")),
    }
}

fn seconds(text: &[u8], year_digits: usize) -> Option<i64> {
    let end = text.iter().position(|octet| !octet.is_ascii_digit())?;
    let (digits, zone) = text.split_at(end);
    let (year, rest) = digits.split_at_checked(year_digits)?;
    let year = match (number(year), year_digits) {
        (year, 2) if year < 50 => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    let (month, day, hour, minute, second) = match *rest.as_chunks::<2>().0 {
        [month, day, hour, minute, second] if rest.len() == 10 => (month, day, hour, minute, number(&second)),
        [month, day, hour, minute] if rest.len() == 8 && year_digits == 2 => (month, day, hour, minute, 0),
        _ => return None,
    };
    let (month, day, hour, minute) = (number(&month), number(&day), number(&hour), number(&minute));
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let at = (days_since_1970(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    valid.then_some(at - offset(zone)?)
}

/// Parses an offset in seconds east of UTC. Zero has one form, `Z`.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let [hours, minutes] = *digits.as_chunks::<2>().0 else {
        return None;
    };
    let all_digits = digits.len() == 4 && digits.iter().all(u8::is_ascii_digit);
    let (hours, minutes) = (number(&hours), number(&minutes));
    let valid = all_digits && hours <= 24 && minutes < 60 && (hours, minutes) != (0, 0);
    valid.then_some(sign * (hours * 3600 + minutes * 60))
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts days of the proleptic Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    year * 365 + leap_days + months + day - 1 - (1970 * 365 + 477)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        let table: [(&str, usize, Option<i64>); 22] = [
            ("700101000000Z", 2, Some(0)),
            ("691231235959Z", 2, Some(-1)),
            ("500101000000Z", 2, Some(-631_152_000)),
            ("491231235959Z", 2, Some(2_524_607_999)),
            ("000229000000Z", 2, Some(951_782_400)),
            ("7001010000Z", 2, Some(0)),
            ("700101010000+0100", 2, Some(0)),
            ("691231230000-0100", 2, Some(0)),
            ("99991231235959Z", 4, Some(253_402_300_799)),
            ("00000101000000Z", 4, Some(-62_167_219_200)),
            ("20240229120000Z", 4, Some(1_709_208_000)),
            ("700101000000+0000", 2, None),
            ("700101000000-0000", 2, None),
            ("700101000000", 2, None),
            ("700101000060Z", 2, None),
            ("700101240000Z", 2, None),
            ("701301000000Z", 2, None),
            ("700100000000Z", 2, None),
            ("700101000000.5Z", 2, None),
            ("20230229120000Z", 4, None),
            ("202302281200Z", 4, None),
            ("", 4, None),
        ];
        for (text, years, expected) in table {
            assert_eq!(seconds(text.as_bytes(), years), expected, "{text}");
        }
    }
}
