//! What the status of a Bundle says of its memory: the last words of the message of condition `Retiring`.

use std::collections::BTreeSet;
use std::fmt;

use crate::api;
use crate::trust::Fingerprint;

use super::memory::ContentDigest;

const BEGIN: &str = " [content SHA-256 ";
const LEAVING: &str = "; leaving SHA-256 ";
const SEPARATOR: &str = ", ";
const END: &str = "]";

/// What the status of a Bundle says of its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedRetention {
    /// The digest of the content that was published last; `None` if certificates were not retained.
    pub content: Option<ContentDigest>,
    /// What was leaving.
    pub leaving: BTreeSet<Fingerprint>,
}

impl RecordedRetention {
    /// Reads what the status of a Bundle says. What others have edited says nothing.
    #[must_use]
    pub fn read(status: &api::BundleStatus) -> Self {
        let retiring = status.conditions.iter().flatten().find(|condition| condition.type_ == api::RETIRING);
        retiring.and_then(|condition| Self::parse(&condition.message)).unwrap_or_default()
    }

    /// Parses the end of a message. Texts before it are others', so that the last beginning counts: what follows it has
    /// digits alone.
    fn parse(message: &str) -> Option<Self> {
        let (_, record) = message.strip_suffix(END)?.rsplit_once(BEGIN)?;
        let (content, leaving) =
            record.split_once(LEAVING).map_or((record, None), |(content, rest)| (content, Some(rest)));
        let leaving = leaving.map(|leaving| leaving.split(SEPARATOR).map(str::parse).collect());
        Some(Self { content: Some(content.parse().ok()?), leaving: leaving.transpose().ok()?.unwrap_or_default() })
    }
}

/// The end of the message that [`RecordedRetention::read`] reads; empty if there is no content.
impl fmt::Display for RecordedRetention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, leaving } = self;
        let Some(content) = content else { return Ok(()) };
        write!(f, "{BEGIN}{content}")?;
        for (index, fingerprint) in leaving.iter().enumerate() {
            write!(f, "{}{fingerprint}", if index == 0 { LEAVING } else { SEPARATOR })?;
        }
        f.write_str(END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_whatever_stands_before_it() {
        let fingerprint = |number: usize| Fingerprint::of(number.to_string().as_bytes());
        let record = |count: usize| RecordedRetention {
            content: Some(ContentDigest::of_pem("content")),
            leaving: (0..count).map(fingerprint).collect(),
        };
        let forged = RecordedRetention { content: Some(ContentDigest::of_pem("forged")), ..record(7) };
        for count in [0, 1, 2, 100] {
            for text in ["text", &format!("CN=a{forged}"), &format!("CN=a{BEGIN}"), "CN=a; leaving SHA-256 "] {
                let message = format!("{text}{}", record(count));
                assert_eq!(RecordedRetention::parse(&message), Some(record(count)), "{text}");
            }
        }
        let message = record(2).to_string();
        for edited in ["", "text", &message[..message.len() - 1], &message.replace(SEPARATOR, " "), &message[20..]] {
            assert_eq!(RecordedRetention::parse(edited), None, "{edited:?}");
        }
        assert_eq!(RecordedRetention::default().to_string(), "");
    }
}
