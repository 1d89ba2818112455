//! Parsers of flag values, as Go and Kubernetes write them.

use std::time::Duration;

use jiff::SignedDuration;

/// The error of a text that is no duration, or one that is not above zero.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("give a number and a unit, such as 15s, 1m30s or 500ms")]
pub(super) struct InvalidDurationError;

/// The error of a text that is no number of bytes, or one of 2⁶⁴ and more.
#[derive(Debug, thiserror::Error)]
#[error("give a number of bytes, such as 536870912 or 512Mi")]
pub(super) struct InvalidByteCountError;

/// Parses a duration above zero as Go writes it, such as `1m30s` or `500ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, InvalidDurationError> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or(InvalidDurationError)
}

/// Parses a duration as [`parse_duration`] does; `0` and `0s` are zero.
pub(super) fn parse_duration_or_zero(text: &str) -> Result<Duration, InvalidDurationError> {
    if ["0", "0s"].contains(&text) { Ok(Duration::ZERO) } else { parse_duration(text) }
}

/// Parses a number of bytes as Kubernetes writes it, such as `512Mi`
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).
pub(super) fn parse_bytes(text: &str) -> Result<u64, InvalidByteCountError> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = ["", "Ki", "Mi", "Gi"].iter().position(|known| *known == unit);
    let scaled =
        number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << (10 * shift)));
    scaled.ok_or(InvalidByteCountError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_may_be_zero_and_bytes_have_suffixes() {
        assert_eq!(parse_duration_or_zero("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration_or_zero("1m"), Ok(Duration::from_mins(1)));
        let rows = [("0", Some(0)), ("1000", Some(1000)), ("1Ki", Some(1024)), ("512Mi", Some(512 << 20))];
        let bad = ["", "Mi", "1M", "-1", "1.5Gi", "99999999999Gi"].map(|text| (text, None));
        for (text, expected) in rows.into_iter().chain(bad) {
            assert_eq!(parse_bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, millis) in [
            ("15s", Some(15_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5s", Some(1_500)),
            ("1h2m3s", Some(3_723_000)),
            ("15", None),
            ("0s", None),
            ("-15s", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
    }
}
