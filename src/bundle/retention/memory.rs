//! What is remembered of a Bundle's own certificates between decisions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::trust::{Anchor, Anchors, Fingerprint, ParseFingerprintError};

/// The own certificates of a Bundle that a target may hold, and the content that was published last. Own are those of
/// its sources; default CAs are not remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The certificates.
    pub entries: BTreeMap<Fingerprint, MemoryEntry>,
    /// The digest of the content that was decided last; `None` before the first.
    pub content: Option<ContentDigest>,
    /// Fields of the ledger that a newer version has written.
    pub unknown: UnknownFields,
}

/// Fields of a stored document that this version does not know, and keeps.
pub type UnknownFields = serde_json::Map<String, serde_json::Value>;

/// What is remembered of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEntry {
    /// The certificate.
    pub anchor: Anchor,
    /// The sources and keys that it came from last.
    pub origins: Vec<String>,
    /// When it was first in a source; `None` if that was lost.
    pub first: Option<Timestamp>,
    /// Since when every target has held it, as far as that was observed.
    pub everywhere: Option<Timestamp>,
    /// Where it is on its way.
    pub phase: Phase,
    /// Fields of the ledger that a newer version has written.
    pub unknown: UnknownFields,
}

/// Where a certificate is on its way through a Bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In a source, and published.
    Present,
    /// In no source any more, still published.
    Leaving {
        /// When the last source lost it.
        since: Timestamp,
    },
    /// No longer published; a target may still hold it.
    Withdrawing {
        /// When it was decided.
        since: Timestamp,
        /// Why it is no longer published.
        reason: WithdrawalReason,
    },
}

/// Why a certificate is no longer published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithdrawalReason {
    /// Nothing needs it, as far as can be known.
    Safe,
    /// It has expired.
    Expired,
    /// It was taken back before it can have been used.
    Young,
    /// It is distrusted or excluded.
    Denied,
    /// Retention is off.
    RetentionOff,
}

/// SHA-256 of the PEM that a Bundle publishes; of the empty text if it publishes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentDigest(Fingerprint);

impl Memory {
    /// Returns the memory of a Bundle whose retention begins: of all certificates that this process has published last,
    /// or that are in the sources, none of which is known to be in use everywhere. `first` is when each was there at the
    /// latest, the creation of the Bundle.
    #[must_use]
    pub fn begin(own: impl IntoIterator<Item = Anchor>, first: Timestamp) -> Self {
        let entries = own.into_iter().map(|anchor| (anchor.fingerprint(), MemoryEntry::new(anchor, Some(first))));
        Self { entries: entries.collect(), ..Self::default() }
    }

    /// Returns the certificates that are published beside the default CAs, ascending by fingerprint.
    pub fn published(&self) -> impl Iterator<Item = &Anchor> {
        self.entries.values().filter(|entry| entry.phase.is_published()).map(|entry| &entry.anchor)
    }

    /// Returns whether no certificate is on its way out.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.entries.values().all(|entry| entry.phase == Phase::Present)
    }
}

impl MemoryEntry {
    /// Returns what is remembered of a certificate that a source holds.
    pub(super) fn new(anchor: Anchor, first: Option<Timestamp>) -> Self {
        Self {
            anchor,
            origins: Vec::new(),
            first,
            everywhere: None,
            phase: Phase::Present,
            unknown: UnknownFields::new(),
        }
    }
}

impl Phase {
    /// Returns whether a certificate is published in this phase.
    #[must_use]
    pub fn is_published(self) -> bool {
        match self {
            Self::Present | Self::Leaving { .. } => true,
            Self::Withdrawing { .. } => false,
        }
    }

    /// Returns since when the certificate has been leaving, if it is.
    #[must_use]
    pub fn leaving_since(self) -> Option<Timestamp> {
        match self {
            Self::Leaving { since } => Some(since),
            Self::Present | Self::Withdrawing { .. } => None,
        }
    }
}

impl WithdrawalReason {
    /// Returns the reason in words.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Safe => "nothing needs it any more, as far as can be known",
            Self::Expired => "it has expired",
            Self::Young => "it was taken back before any program can have come to need it",
            Self::Denied => "it is distrusted or excluded",
            Self::RetentionOff => "retention is off",
        }
    }
}

impl ContentDigest {
    /// Computes the digest of a content.
    #[must_use]
    pub fn of(anchors: Option<&Anchors>) -> Self {
        Self::of_pem(&anchors.map(Anchors::to_pem).unwrap_or_default())
    }

    /// Computes the digest of PEM as a target has it.
    #[must_use]
    pub fn of_pem(pem: &str) -> Self {
        Self(Fingerprint::of(pem.as_bytes()))
    }

    /// Returns the first 8 digits, by which somebody accepts the loss of this content.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl FromStr for ContentDigest {
    type Err = ParseFingerprintError;

    fn from_str(digits: &str) -> Result<Self, Self::Err> {
        digits.parse().map(Self)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
