//! Recovery: what is remembered when a process starts, from what is stored in several places.
//!
//! | Place | Says | Who else writes it |
//! |---|---|---|
//! | ledger | everything | whoever may write ConfigMaps of the trust namespace |
//! | status | digest of the content, fingerprints of what is leaving | nobody but admins |
//! | targets | certificates | tenants |
//!
//! None of them is believed alone: a certificate that is in no source counts only where two places agree on it. Any one
//! of them may be lost.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::trust::{Anchor, Anchors, Fingerprint};

use super::facts::OwnCertificates;
use super::ledger::Ledger;
use super::memory::{ContentDigest, Memory, MemoryEntry};

/// What the status of a Bundle says of its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedRetention {
    /// The digest of the content that was published last; `None` if certificates were not retained.
    pub content: Option<ContentDigest>,
    /// What was leaving.
    pub leaving: BTreeSet<Fingerprint>,
}

/// The PEM that a target holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetContent {
    /// The digest of its bytes.
    pub digest: ContentDigest,
    /// The certificates in it.
    pub anchors: Vec<Anchor>,
}

/// All that is known of a Bundle when a process starts.
#[derive(Clone, Copy)]
pub struct StoredState<'a> {
    /// Uid of the Bundle.
    pub uid: &'a str,
    /// When the Bundle was created.
    pub created: Timestamp,
    /// The ledger; `None` if there is none that can be read.
    pub ledger: Option<&'a Ledger>,
    /// What the status says.
    pub status: &'a RecordedRetention,
    /// The targets in other namespaces than the ledger's.
    pub targets: &'a [TargetContent],
    /// The certificates of the sources.
    pub own: &'a OwnCertificates,
    /// The default CAs that the Bundle publishes.
    pub default_cas: &'a BTreeMap<Fingerprint, Anchor>,
}

/// What is remembered, as far as it could be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The memory.
    pub memory: Memory,
    /// The digest of a content of which something is missing.
    pub lost: Option<ContentDigest>,
    /// What the ledger holds and nothing else knows of.
    pub rejected: Vec<Anchor>,
    /// Whether there is a ledger of another Bundle of the same name.
    pub foreign: bool,
}

/// Recovers the memory of a Bundle.
#[must_use]
pub fn recover(stored: &StoredState<'_>) -> Recovery {
    let StoredState { uid, ledger, status, targets, .. } = *stored;
    let is_target = |content: Option<ContentDigest>| targets.iter().any(|target| Some(target.digest) == content);
    let own_ledger = ledger.filter(|ledger| ledger.uid == uid || is_target(ledger.memory.content));
    let mut recovery = Recovery {
        memory: own_ledger.map(|ledger| ledger.memory.clone()).unwrap_or_default(),
        lost: None,
        rejected: Vec::new(),
        foreign: ledger.is_some() && own_ledger.is_none(),
    };
    let own = stored.own.values().map(|certificate| certificate.anchor.clone());
    match (own_ledger, status.content) {
        (Some(_), _) => {
            recovery.reject_unknown(stored);
            recovery.add_from_targets(stored, None);
        }
        (None, None) => recovery.memory = Memory::begin(own, stored.created),
        (None, Some(content)) => {
            for anchor in own {
                recovery.memory.entries.insert(anchor.fingerprint(), MemoryEntry::new(anchor, None));
            }
            let by_sources = recovery.digest(stored) == content;
            recovery.add_from_targets(stored, Some(content));
            let by_targets = is_target(Some(content)) || recovery.digest(stored) == content;
            recovery.lost = (!by_sources && !by_targets).then_some(content);
        }
    }
    recovery
}

impl Recovery {
    /// Forgets what the ledger alone knows of.
    fn reject_unknown(&mut self, stored: &StoredState<'_>) {
        let StoredState { status, targets, own, .. } = stored;
        if status.content.is_some() && status.content == Some(self.digest(stored)) {
            return;
        }
        let held: BTreeSet<_> =
            targets.iter().flat_map(|target| target.anchors.iter().map(Anchor::fingerprint)).collect();
        let known = |fingerprint: &Fingerprint, entry: &MemoryEntry| {
            own.contains_key(fingerprint)
                || status.leaving.contains(fingerprint)
                || held.contains(fingerprint)
                || !entry.phase.is_published()
        };
        let unknown = self.memory.entries.extract_if(.., |fingerprint, entry| !known(fingerprint, entry));
        self.rejected = unknown.map(|(_, entry)| entry.anchor).collect();
    }

    /// Adds the certificates of targets that the status names, and all of those with this content.
    fn add_from_targets(&mut self, stored: &StoredState<'_>, content: Option<ContentDigest>) {
        let StoredState { status, targets, default_cas, .. } = stored;
        for target in *targets {
            let whole = Some(target.digest) == content;
            for anchor in &target.anchors {
                let fingerprint = anchor.fingerprint();
                if (whole || status.leaving.contains(&fingerprint)) && !default_cas.contains_key(&fingerprint) {
                    self.memory.entries.entry(fingerprint).or_insert_with(|| MemoryEntry::new(anchor.clone(), None));
                }
            }
        }
    }

    /// The digest of what the memory publishes.
    fn digest(&self, stored: &StoredState<'_>) -> ContentDigest {
        let all = self.memory.published().chain(stored.default_cas.values());
        ContentDigest::of(Anchors::collect(all.cloned()).as_ref())
    }
}
