//! Set of the anchors of a bundle, in the one order in which all outputs are written.

use pem::{EncodeConfig, LineEnding, Pem};

use super::Anchor;

/// Non-empty set of trust anchors, ascending by [`Fingerprint`](super::Fingerprint).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors(Vec<Anchor>);

impl Anchors {
    /// Sorts and deduplicates anchors; `None` if there are none.
    pub fn collect(anchors: impl IntoIterator<Item = Anchor>) -> Option<Anchors> {
        let mut anchors: Vec<Anchor> = anchors.into_iter().collect();
        anchors.sort_unstable_by_key(Anchor::fingerprint);
        anchors.dedup();
        (!anchors.is_empty()).then_some(Anchors(anchors))
    }

    /// Iterates over the anchors, ascending by fingerprint.
    pub fn iter(&self) -> std::slice::Iter<'_, Anchor> {
        self.0.iter()
    }

    /// Returns the number of anchors, at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Encodes the anchors as PEM (RFC 7468).
    ///
    /// Lines have 64 columns, blocks are adjacent, and there are no comments and no newline after the last line.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let block = |anchor: &Anchor| pem::encode_config(&Pem::new("CERTIFICATE", anchor.der()), config);
        let mut pem: String = self.iter().map(block).collect();
        pem.truncate(pem.trim_end().len());
        pem
    }

    /// Iterates over the anchors, each with its unique alias for keystores.
    ///
    /// An alias is the first 8 digits of the fingerprint, `|` and the subject. Two roots of one subject differ in the
    /// digits; if even those are equal, both have all 64.
    pub(super) fn aliased(&self) -> impl Iterator<Item = (String, &Anchor)> {
        let short = |anchor: &Anchor| anchor.fingerprint().short();
        self.iter().enumerate().map(move |(at, anchor)| {
            let digits = short(anchor);
            let twin_before = at > 0 && short(&self.0[at - 1]) == digits;
            let twin_after = self.0.get(at + 1).is_some_and(|next| short(next) == digits);
            let digits = if twin_before || twin_after { anchor.fingerprint().to_string() } else { digits };
            (format!("{digits}|{}", anchor.subject()), anchor)
        })
    }
}

impl<'a> IntoIterator for &'a Anchors {
    type Item = &'a Anchor;
    type IntoIter = std::slice::Iter<'a, Anchor>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
