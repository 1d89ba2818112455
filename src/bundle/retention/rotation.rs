//! What one sees of a Bundle whose certificates are retained, and numbers of it for metrics.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::bundle::id::BundleId;
use crate::trust::Fingerprint;

use super::facts::{OwnCertificate, RetentionPolicy, later};
use super::memory::{Memory, MemoryEntry, Phase};
use super::record::RecordedRetention;
use super::step::{Retained, RetentionInput, Wait};

/// What one sees of a Bundle whose certificates are retained.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    pub(super) id: BundleId,
    pub(super) policy: RetentionPolicy,
    /// The number of certificates that the Bundle excludes.
    pub(super) excluded: usize,
    pub(super) memory: Memory,
    pub(super) waits: BTreeMap<Fingerprint, Vec<Wait>>,
    pub(super) held: Vec<Fingerprint>,
    /// The number of certificates of the sources that are not published, since they would not fit.
    pub(super) left_out: usize,
    /// The earlier clock.
    pub(super) now: Timestamp,
    pub(super) skewed: bool,
    pub(super) lost: Option<RecordedRetention>,
}

/// The phase of a certificate as people and metrics see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RotationPhase {
    /// In the sources, but not yet in every target.
    Announced,
    /// In every target, but nodes may not have written it to files yet.
    Everywhere,
    /// In every target for so long that every node can have written it to files.
    Settled,
    /// In no source any more, still published.
    Leaving,
    /// No longer published; a target may still hold it.
    Withdrawing,
}

impl RotationPhase {
    /// All phases, in their order.
    pub const ALL: [Self; 5] = [Self::Announced, Self::Everywhere, Self::Settled, Self::Leaving, Self::Withdrawing];

    /// Returns the phase that a certificate is in at a time.
    #[must_use]
    pub fn of(entry: &MemoryEntry, settle: SignedDuration, now: Timestamp) -> Self {
        match (entry.phase, entry.everywhere) {
            (Phase::Leaving { .. }, _) => Self::Leaving,
            (Phase::Withdrawing { .. }, _) => Self::Withdrawing,
            (Phase::Present, None) => Self::Announced,
            (Phase::Present, Some(since)) if later(since, settle) > now => Self::Everywhere,
            (Phase::Present, Some(_)) => Self::Settled,
        }
    }

    /// Returns the phase as metrics and tables have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Everywhere => "everywhere",
            Self::Settled => "settled",
            Self::Leaving => "leaving",
            Self::Withdrawing => "withdrawing",
        }
    }
}

impl Rotation {
    /// Returns what one sees after a step; `None` if retention is off and nothing is left of it.
    ///
    /// `excluded` is the number of certificates that the Bundle excludes, `lost` what recovery has missed.
    #[must_use]
    pub fn new(
        id: &BundleId,
        retained: &Retained,
        input: &RetentionInput<'_>,
        excluded: usize,
        lost: Option<&RecordedRetention>,
    ) -> Option<Self> {
        let Retained { memory, anchors: _, waits, held, requeue_at: _ } = retained;
        let RetentionInput { policy, own, admit: _, default_cas: _, denied, facts } = input;
        if policy.retain.is_none() && *memory == Memory::default() && lost.is_none() {
            return None;
        }
        let is_left_out = |(fingerprint, own): &(&Fingerprint, &OwnCertificate)| {
            !memory.entries.contains_key(fingerprint) && !denied(&own.anchor)
        };
        Some(Self {
            id: id.clone(),
            policy: *policy,
            excluded,
            memory: memory.clone(),
            waits: waits.clone(),
            held: held.clone(),
            left_out: own.map_or(0, |own| own.iter().filter(is_left_out).count()),
            now: facts.clock.local.min(facts.clock.server),
            skewed: facts.clock.is_skewed(),
            lost: lost.cloned(),
        })
    }

    /// Returns the number of certificates in each phase.
    #[must_use]
    pub fn count_by_phase(&self) -> BTreeMap<RotationPhase, usize> {
        let mut counts: BTreeMap<_, _> = RotationPhase::ALL.map(|phase| (phase, 0)).into();
        for entry in self.memory.entries.values() {
            *counts.entry(RotationPhase::of(entry, self.policy.settle, self.now)).or_default() += 1;
        }
        counts
    }

    /// Returns since when the first of the leaving certificates has been leaving.
    #[must_use]
    pub fn retiring_since(&self) -> Option<Timestamp> {
        self.memory.entries.values().filter_map(|entry| entry.phase.leaving_since()).min()
    }
}
