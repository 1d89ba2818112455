//! One step of retention: what is remembered, sources and facts in; what is to be remembered and published out.
//!
//! | | Certificate | Guard | Becomes |
//! |---|---|---|---|
//! | admit | in the sources, not remembered | not denied | present |
//! | return | leaving, in the sources again | | present |
//! | restore | withdrawing, in the sources again | not denied | present, not everywhere |
//! | forget | in no source, but a default CA | | not remembered |
//! | leave | in no source | at most [`LEAVING_MAX`] are leaving | leaving |
//! | take back | in no source | first in one less than the settle time ago | withdrawing, young |
//! | withdraw | leaving | [`Wait`] names none | withdrawing, safe or expired |
//! | deny | any | denied | withdrawing, denied |
//! | place | published | every target holds the content | present or leaving, everywhere |
//! | finish | withdrawing | every target holds a content without it | not remembered |
//!
//! While sources are refused, certificates are denied and nothing else.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::trust::{Anchor, Anchors, Fingerprint};

use super::facts::{CertificateUse, Clock, Evidence, Facts, OwnCertificate, OwnCertificates, RetentionPolicy};
use super::memory::{ContentDigest, Memory, MemoryEntry, Phase, WithdrawalReason};

/// The maximum number of certificates that are leaving a Bundle at a time.
pub const LEAVING_MAX: usize = 100;

/// How long an expired certificate stays, for clocks that are behind.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// The time after which clocks that differ are compared again.
const SKEW_RETRY: SignedDuration = SignedDuration::from_mins(1);

/// What a step depends on beside memory.
#[derive(Clone, Copy)]
pub struct RetentionInput<'a> {
    /// The policy of the Bundle.
    pub policy: RetentionPolicy,
    /// The certificates of the sources; `None` if they are refused.
    pub own: Option<&'a OwnCertificates>,
    /// Whether certificates that are not remembered may be published: false while they would not fit.
    pub admit: bool,
    /// The default CAs that the Bundle publishes.
    pub default_cas: &'a BTreeMap<Fingerprint, Anchor>,
    /// Returns whether a certificate is distrusted or excluded.
    pub denied: &'a dyn Fn(&Anchor) -> bool,
    /// What was observed.
    pub facts: &'a Facts,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// What is to be remembered, before it is published.
    pub memory: Memory,
    /// What is to be published; `None` if everything is denied or has expired.
    pub anchors: Option<Anchors>,
    /// What each leaving certificate waits for.
    pub waits: BTreeMap<Fingerprint, Vec<Wait>>,
    /// Certificates that are in no source and stay present, since too many are leaving.
    pub held: Vec<Fingerprint>,
    /// When the result changes by time alone, by the earlier clock.
    pub requeue_at: Option<Timestamp>,
}

/// What a leaving certificate waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// This time.
    Until(Timestamp),
    /// These certificates of the sources, which not every program can have read yet.
    Unsettled(Vec<Fingerprint>),
    /// Another certificate: it is the only one.
    Successor,
    /// These objects, whose certificates verify under no other.
    Uses(Vec<String>),
    /// Evidence that cannot be read, for this cause.
    Evidence(String),
    /// Clocks that agree.
    Clock,
}

/// Carries out one step, to the end: a second one with the same input changes nothing.
#[must_use]
pub fn retain(memory: &Memory, input: &RetentionInput<'_>) -> Retained {
    let Clock { local, server } = input.facts.clock;
    let (now, stamp) = (local.min(server), local.max(server));
    let mut step = Step { memory: memory.clone(), held: Vec::new(), input, now, stamp };
    loop {
        let before = step.memory.clone();
        step.advance();
        if step.memory == before {
            return step.finish();
        }
    }
}

struct Step<'a> {
    memory: Memory,
    held: Vec<Fingerprint>,
    input: &'a RetentionInput<'a>,
    /// The earlier clock: nothing is withdrawn because the other one is ahead.
    now: Timestamp,
    /// The later clock, by which it is recorded what has to last: nothing is withdrawn early because the other one was
    /// behind.
    stamp: Timestamp,
}

impl Step<'_> {
    fn advance(&mut self) {
        if let Some(own) = self.input.own {
            self.correct_times();
            self.place();
            self.deny();
            self.admit(own);
            self.let_go(own);
            self.withdraw(own);
        } else if !self.deny() {
            return;
        }
        self.memory.content = Some(ContentDigest::of(self.anchors().as_ref()));
    }

    /// Moves times that a clock has recorded that was ahead to the present, once the clocks agree.
    fn correct_times(&mut self) {
        if self.input.facts.clock.is_skewed() {
            return;
        }
        for entry in self.memory.entries.values_mut() {
            entry.everywhere = entry.everywhere.map(|time| time.min(self.stamp));
            if let Phase::Leaving { since } = &mut entry.phase {
                *since = self.stamp.min(*since);
            }
        }
    }

    /// Records that every target holds the content of this memory.
    fn place(&mut self) {
        let Some((_, since)) = self.input.facts.placed.filter(|(digest, _)| Some(*digest) == self.memory.content)
        else {
            return;
        };
        self.memory.entries.retain(|_, entry| entry.phase.is_published());
        for entry in self.memory.entries.values_mut() {
            entry.everywhere.get_or_insert(since);
        }
    }

    /// Withdraws what is denied. Returns whether there was any.
    fn deny(&mut self) -> bool {
        let Self { memory, input, stamp, .. } = self;
        let denied = |entry: &&mut MemoryEntry| entry.phase.is_published() && (input.denied)(&entry.anchor);
        let withdrawn = memory.entries.values_mut().filter(denied).map(|entry| {
            entry.phase = Phase::Withdrawing { since: *stamp, reason: WithdrawalReason::Denied };
        });
        withdrawn.count() > 0
    }

    fn admit(&mut self, own: &OwnCertificates) {
        for (fingerprint, OwnCertificate { anchor, origins }) in own {
            if (self.input.denied)(anchor) {
                continue;
            }
            if let Some(entry) = self.memory.entries.get_mut(fingerprint) {
                entry.restore(self.now);
                entry.origins.clone_from(origins);
            } else if self.input.admit {
                let entry =
                    MemoryEntry { origins: origins.clone(), ..MemoryEntry::new(anchor.clone(), Some(self.now)) };
                self.memory.entries.insert(*fingerprint, entry);
            }
        }
    }

    /// Moves certificates on that no source holds any more.
    fn let_go(&mut self, own: &OwnCertificates) {
        let default_cas = self.input.default_cas;
        self.memory.entries.retain(|fingerprint, entry| {
            own.contains_key(fingerprint)
                || !default_cas.contains_key(fingerprint)
                || (self.input.denied)(&entry.anchor)
        });
        let removed = |(fingerprint, entry): &(&Fingerprint, &MemoryEntry)| {
            entry.phase == Phase::Present && !own.contains_key(fingerprint)
        };
        let mut removed: Vec<_> = self
            .memory
            .entries
            .iter()
            .filter(removed)
            .map(|(fingerprint, entry)| (entry.first, *fingerprint))
            .collect();
        removed.sort();
        let (young, others): (Vec<_>, Vec<_>) = removed.into_iter().partition(|(first, _)| self.is_young(*first));
        for (_, fingerprint) in young {
            self.set_phase(fingerprint, Phase::Withdrawing { since: self.stamp, reason: WithdrawalReason::Young });
        }
        let room = LEAVING_MAX.saturating_sub(self.leaving().len());
        for (_, fingerprint) in others.iter().take(room) {
            self.set_phase(*fingerprint, Phase::Leaving { since: self.stamp });
        }
        self.held = others.into_iter().skip(room).map(|(_, fingerprint)| fingerprint).collect();
    }

    /// Withdraws what has expired, then what waits for nothing any more, what left first before the rest.
    fn withdraw(&mut self, own: &OwnCertificates) {
        if self.input.facts.clock.is_skewed() {
            return;
        }
        for (_, fingerprint) in self.leaving() {
            if self.expired_at(fingerprint).is_some_and(|at| at <= self.look()) {
                self.set_phase(
                    fingerprint,
                    Phase::Withdrawing { since: self.stamp, reason: WithdrawalReason::Expired },
                );
            }
        }
        let reason = match self.input.policy.retain {
            Some(_) => WithdrawalReason::Safe,
            None => WithdrawalReason::RetentionOff,
        };
        for (since, fingerprint) in self.leaving() {
            if self.waits(own, fingerprint, since).is_empty() {
                self.set_phase(fingerprint, Phase::Withdrawing { since: self.stamp, reason });
            }
        }
    }

    /// Returns what a leaving certificate waits for.
    fn waits(&self, own: &OwnCertificates, fingerprint: Fingerprint, since: Timestamp) -> Vec<Wait> {
        let Self { input: RetentionInput { policy, facts, .. }, .. } = self;
        let mut waits = Vec::new();
        let until = policy.look_at_or_after(later(since, policy.duration()));
        if until > self.look() {
            waits.push(Wait::Until(until));
        }
        let unsettled: Vec<_> = own
            .iter()
            .filter(|(fingerprint, own)| !(self.input.denied)(&own.anchor) && !self.is_settled(fingerprint))
            .map(|(fingerprint, _)| *fingerprint)
            .collect();
        if !unsettled.is_empty() {
            waits.push(Wait::Unsettled(unsettled));
        }
        if self.published().count() == 1 {
            waits.push(Wait::Successor);
        }
        match &facts.evidence {
            Evidence::Incomplete(cause) => waits.push(Wait::Evidence(cause.clone())),
            Evidence::Complete(uses) => {
                let needs = |certificate_use: &&CertificateUse| self.is_needed_by(fingerprint, certificate_use);
                let objects: Vec<_> = uses.iter().filter(needs).map(|one| one.object.clone()).collect();
                if !objects.is_empty() {
                    waits.push(Wait::Uses(objects));
                }
            }
        }
        if facts.clock.is_skewed() {
            waits.push(Wait::Clock);
        }
        waits
    }

    /// Returns whether a certificate verifies under this one, and under nothing else that is published.
    fn is_needed_by(&self, fingerprint: Fingerprint, certificate_use: &CertificateUse) -> bool {
        let vouchers = &certificate_use.vouchers;
        vouchers.contains(&fingerprint)
            && !self.published().any(|(other, _)| other != fingerprint && vouchers.contains(&other))
    }

    /// Returns whether every program can have read a certificate since every target holds it.
    fn is_settled(&self, fingerprint: &Fingerprint) -> bool {
        let everywhere = self.memory.entries.get(fingerprint).and_then(|entry| entry.everywhere);
        everywhere.is_some_and(|at| later(at, self.input.policy.settle) <= self.look())
    }

    /// Returns whether a certificate was taken back before any program can have come to need it.
    fn is_young(&self, first: Option<Timestamp>) -> bool {
        let age = |first| self.stamp.duration_since(first);
        !self.input.facts.clock.is_skewed()
            && first.is_some_and(|first| !age(first).is_negative() && age(first) < self.input.policy.settle)
    }

    /// The certificates that are leaving, each with the time since when; what left first before the rest.
    fn leaving(&self) -> Vec<(Timestamp, Fingerprint)> {
        let entries = self.memory.entries.iter();
        let mut leaving: Vec<_> =
            entries.filter_map(|(fingerprint, entry)| Some((entry.phase.leaving_since()?, *fingerprint))).collect();
        leaving.sort();
        leaving
    }

    /// The certificates to publish, ascending by fingerprint.
    fn published(&self) -> impl Iterator<Item = (Fingerprint, &Anchor)> {
        let default_cas = self.input.default_cas.values().filter(|anchor| !(self.input.denied)(anchor));
        let own = self.memory.published();
        let all: BTreeMap<_, _> = default_cas.chain(own).map(|anchor| (anchor.fingerprint(), anchor)).collect();
        all.into_iter()
    }

    fn set_phase(&mut self, fingerprint: Fingerprint, phase: Phase) {
        if let Some(entry) = self.memory.entries.get_mut(&fingerprint) {
            entry.phase = phase;
        }
    }

    /// The latest time at which it is looked what may be withdrawn.
    fn look(&self) -> Timestamp {
        self.input.policy.look_at_or_before(self.now)
    }

    /// The time at which an expired certificate is withdrawn; `None` where no calendar has it.
    fn expired_at(&self, fingerprint: Fingerprint) -> Option<Timestamp> {
        let end = Timestamp::from_second(self.memory.entries.get(&fingerprint)?.anchor.not_after()).ok()?;
        end.checked_add(EXPIRY_MARGIN).ok()
    }

    /// The content to publish.
    fn anchors(&self) -> Option<Anchors> {
        Anchors::collect(self.published().map(|(_, anchor)| anchor.clone()))
    }

    fn finish(self) -> Retained {
        let leaving = self.leaving();
        let waits = match self.input.own {
            Some(own) => leaving.iter().map(|(since, one)| (*one, self.waits(own, *one, *since))).collect(),
            None => BTreeMap::new(),
        };
        let over = self.input.policy.retain.is_none() && self.input.own.is_some() && self.memory.is_calm();
        let requeue_at = self.input.own.filter(|_| !over).and_then(|_| self.requeue_at(&leaving));
        let anchors = self.anchors();
        let memory = if over { Memory::default() } else { self.memory };
        Retained { memory, anchors, waits, held: self.held, requeue_at }
    }

    /// Returns the next time at which a certificate is settled, may be withdrawn or has expired.
    fn requeue_at(&self, leaving: &[(Timestamp, Fingerprint)]) -> Option<Timestamp> {
        let Self { input: RetentionInput { policy, facts, .. }, memory, now, .. } = self;
        let settled = memory.entries.values().filter_map(|entry| Some(later(entry.everywhere?, policy.settle)));
        let looks = settled.clone().filter(|_| !leaving.is_empty());
        let retained = leaving.iter().map(|(since, _)| later(*since, policy.duration()));
        let expired = leaving.iter().filter_map(|(_, fingerprint)| self.expired_at(*fingerprint));
        let looks = looks.chain(retained).chain(expired).map(|time| policy.look_at_or_after(time));
        let skewed = (facts.clock.is_skewed() && !leaving.is_empty()).then(|| later(*now, SKEW_RETRY));
        settled.chain(looks).chain(skewed).filter(|time| time > now).min()
    }
}

impl MemoryEntry {
    /// Records that a source holds the certificate again.
    fn restore(&mut self, now: Timestamp) {
        if let Phase::Withdrawing { reason, .. } = self.phase {
            self.everywhere = None;
            if reason == WithdrawalReason::Young {
                self.first = Some(now);
            }
        }
        self.phase = Phase::Present;
    }
}

fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
