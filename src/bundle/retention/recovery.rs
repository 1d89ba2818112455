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

use crate::trust::{self, Anchor, Anchors, Fingerprint};

use super::facts::OwnCertificates;
use super::ledger::Ledger;
use super::memory::{ContentDigest, Memory, MemoryEntry, Phase};
use super::record::RecordedRetention;

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
    /// The digits of the loss that somebody accepts.
    pub accepted_loss: Option<&'a str>,
    /// The targets in other namespaces than the ledger's.
    pub targets: &'a [TargetContent],
    /// What this process has published last, if retention begins while it runs.
    pub published: &'a [Anchor],
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
    /// What the status says of a content of which something is missing.
    pub lost: Option<RecordedRetention>,
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
    // What this process has published itself is not lost.
    match (own_ledger, status.content.filter(|_| stored.published.is_empty())) {
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
            let is_accepted = stored.accepted_loss == Some(content.short().as_str());
            recovery.lost = (!by_sources && !by_targets && !is_accepted).then(|| status.clone());
        }
    }
    recovery.add_published(stored);
    let content = recovery.digest(stored);
    recovery.memory.content.get_or_insert(content);
    recovery
}

impl TargetContent {
    /// Reads the PEM of a target. What is no certificate that is published tells nothing.
    #[must_use]
    pub fn read(pem: &str) -> Self {
        let blocks = trust::pem::read(pem.as_bytes()).unwrap_or_default();
        let anchors = blocks.into_iter().filter_map(|block| block.certificate.ok()).collect();
        Self { digest: ContentDigest::of_pem(pem), anchors }
    }
}

impl Recovery {
    /// Returns whether no further target can tell more, given what the status says.
    #[must_use]
    pub fn is_complete(&self, status: &RecordedRetention) -> bool {
        let is_known = |fingerprint: &Fingerprint| self.memory.entries.contains_key(fingerprint);
        self.lost.is_none() && self.rejected.is_empty() && !self.foreign && status.leaving.iter().all(is_known)
    }

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

    /// Adds what this process has published while certificates were not retained.
    fn add_published(&mut self, stored: &StoredState<'_>) {
        for anchor in stored.published {
            let fingerprint = anchor.fingerprint();
            if stored.default_cas.contains_key(&fingerprint) {
                continue;
            }
            let new = || MemoryEntry::new(anchor.clone(), Some(stored.created));
            let entry = self.memory.entries.entry(fingerprint).or_insert_with(new);
            if !entry.phase.is_published() {
                (entry.phase, entry.everywhere) = (Phase::Present, None);
            }
        }
    }

    /// The digest of what the memory publishes.
    fn digest(&self, stored: &StoredState<'_>) -> ContentDigest {
        let all = self.memory.published().chain(stored.default_cas.values());
        ContentDigest::of(Anchors::collect(all.cloned()).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::bundle::retention::OwnCertificate;

    fn anchor(name: &str) -> Anchor {
        let blocks = trust::pem::read(pem(name).as_bytes()).expect("PEM");
        blocks[0].certificate.clone().expect("a certificate")
    }

    fn content(names: &[&str]) -> TargetContent {
        let anchors: Vec<_> = names.iter().map(|name| anchor(name)).collect();
        TargetContent { digest: digest(names), anchors }
    }

    fn digest(names: &[&str]) -> ContentDigest {
        ContentDigest::of(Anchors::collect(names.iter().map(|name| anchor(name))).as_ref())
    }

    fn status(names: &[&str], leaving: &[&str]) -> RecordedRetention {
        let leaving = leaving.iter().map(|name| anchor(name).fingerprint()).collect();
        RecordedRetention { content: Some(digest(names)), leaving }
    }

    /// A ledger in which the first certificate is leaving.
    fn ledger(uid: &str, names: &[&str]) -> Ledger {
        let mut memory = Memory::begin(names.iter().map(|name| anchor(name)), now());
        memory.content = Some(digest(names));
        if let Some(first) = names.first().and_then(|name| memory.entries.get_mut(&anchor(name).fingerprint())) {
            first.phase = Phase::Leaving { since: now() };
        }
        Ledger { uid: uid.to_owned(), memory }
    }

    /// Recovers a Bundle whose only source holds `ec`.
    fn recovered(ledger: Option<&Ledger>, status: &RecordedRetention, targets: &[TargetContent]) -> Recovery {
        recovered_with(None, ledger, status, targets)
    }

    fn recovered_with(
        accepted_loss: Option<&str>,
        ledger: Option<&Ledger>,
        status: &RecordedRetention,
        targets: &[TargetContent],
    ) -> Recovery {
        let own = OwnCertificate { anchor: anchor("ec"), origins: Vec::new() };
        recover(&StoredState {
            uid: "uid",
            created: now(),
            ledger,
            status,
            accepted_loss,
            targets,
            published: &[],
            own: &[(anchor("ec").fingerprint(), own)].into(),
            default_cas: &BTreeMap::new(),
        })
    }

    fn names(recovery: &Recovery) -> Vec<&'static str> {
        let known = |name: &&str| recovery.memory.entries.contains_key(&anchor(name).fingerprint());
        ["ec", "expired", "rsa"].into_iter().filter(known).collect()
    }

    #[test]
    fn a_ledger_is_believed_where_status_or_a_target_agrees() {
        let (ledger, none) = (ledger("uid", &["rsa", "ec"]), RecordedRetention::default());
        for (case, status, targets) in [
            ("digest", status(&["rsa", "ec"], &[]), vec![]),
            ("fingerprint", status(&["ec"], &["rsa"]), vec![]),
            ("target", none.clone(), vec![content(&["rsa"])]),
        ] {
            let recovery = recovered(Some(&ledger), &status, &targets);
            assert_eq!(recovery.memory, ledger.memory, "{case}");
            assert!(recovery.rejected.is_empty() && recovery.lost.is_none(), "{case}");
        }
        let smuggled = recovered(Some(&ledger), &status(&["ec"], &[]), &[content(&["ec"])]);
        assert_eq!((names(&smuggled), &smuggled.rejected), (vec!["ec"], &vec![anchor("rsa")]));
    }

    #[test]
    fn the_ledger_of_a_namesake_counts_only_where_a_target_still_has_its_content() {
        let (ledger, none) = (ledger("another", &["rsa", "expired"]), RecordedRetention::default());
        let discarded = recovered(Some(&ledger), &none, &[content(&["rsa"])]);
        assert_eq!((names(&discarded), discarded.foreign), (vec!["ec"], true));
        let continued = recovered(Some(&ledger), &none, &[content(&["rsa", "expired"])]);
        assert_eq!((names(&continued), continued.foreign), (vec!["expired", "rsa"], false));
    }

    #[test]
    fn without_a_ledger_targets_count_as_far_as_the_status_names_them() {
        for (case, status, targets, expected) in [
            ("a fingerprint", status(&["rsa", "ec"], &["rsa"]), vec![content(&["rsa", "expired"])], vec!["ec", "rsa"]),
            (
                "a digest",
                status(&["rsa", "expired"], &[]),
                vec![content(&["rsa", "expired"])],
                vec!["ec", "expired", "rsa"],
            ),
            ("sources", status(&["ec"], &[]), vec![content(&["rsa", "ec"])], vec!["ec"]),
        ] {
            let recovery = recovered(None, &status, &targets);
            assert_eq!((names(&recovery), recovery.lost), (expected, None), "{case}");
            assert!(recovery.memory.entries.values().all(|entry| entry.first.is_none()), "{case}: nothing is young");
        }
    }

    #[test]
    fn what_is_nowhere_any_more_is_lost_and_known_to_be_until_somebody_accepts_it() {
        let status = status(&["rsa", "ec"], &["rsa"]);
        let targets = [content(&["ec"]), content(&["expired"])];
        let recovery = recovered(None, &status, &targets);
        assert_eq!((names(&recovery), recovery.lost), (vec!["ec"], Some(status.clone())));
        let digits = digest(&["rsa", "ec"]).short();
        for (accepted, expected) in [(&*digits, None), ("1234abcd", Some(status.clone()))] {
            let recovery = recovered_with(Some(accepted), None, &status, &targets);
            assert_eq!((names(&recovery), recovery.lost), (vec!["ec"], expected), "{accepted}");
        }
    }

    #[test]
    fn what_a_ledger_lacks_and_the_status_names_is_looked_for_in_targets() {
        let (ledger, status) = (ledger("uid", &["ec"]), status(&["rsa", "ec"], &["rsa"]));
        let alone = recovered(Some(&ledger), &status, &[]);
        assert_eq!((names(&alone), alone.is_complete(&status)), (vec!["ec"], false));
        let found = recovered(Some(&ledger), &status, &[content(&["rsa", "expired"])]);
        assert_eq!((names(&found), found.is_complete(&status)), (vec!["ec", "rsa"], true));
    }

    #[test]
    fn retention_begins_with_what_the_sources_hold() {
        let recovery = recovered(None, &RecordedRetention::default(), &[content(&["expired"])]);
        let content = Some(digest(&["ec"]));
        assert_eq!(recovery.memory, Memory { content, ..Memory::begin([anchor("ec")], now()) });
    }
}
