//! `UTCTime` and `GeneralizedTime` (RFC 5280, section 4.1.2.5), with the forms that Go accepts beyond them.
//!
//! Those are minutes without seconds in `UTCTime`, and offsets from UTC other than zero.

use std::str::FromStr;

use jiff::civil::DateTime;

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
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let end = text.iter().position(|octet| !octet.is_ascii_digit())?;
    let (digits, zone) = text.split_at(end);
    let (year, rest) = digits.split_at_checked(year_digits)?;
    let year = match (number(year)?, year_digits) {
        (year, 2) if year < 50 => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    let (month, day, hour, minute, second) = match *rest.as_chunks::<2>().0 {
        [month, day, hour, minute, second] if rest.len() == 10 => (month, day, hour, minute, second),
        [month, day, hour, minute] if rest.len() == 8 && year_digits == 2 => (month, day, hour, minute, *b"00"),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|digits| number(&digits));
    let time = DateTime::new(year, month?, day?, hour?, minute?, second?, 0).ok()?;
    Some(time.duration_since(EPOCH).as_secs() - offset(zone)?)
}

/// Parses an offset in seconds east of UTC. Zero has one form, `Z`.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let ([hours, minutes], []) = digits.as_chunks::<2>() else {
        return None;
    };
    let (hours, minutes): (i64, i64) = (number(hours)?, number(minutes)?);
    let valid = digits.iter().all(u8::is_ascii_digit) && hours <= 24 && minutes < 60 && (hours, minutes) != (0, 0);
    valid.then_some(sign * (hours * 3600 + minutes * 60))
}

fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
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
