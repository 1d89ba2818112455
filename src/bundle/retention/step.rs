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

use super::facts::{CertificateUse, Clock, Evidence, Facts, OwnCertificate, OwnCertificates, RetentionPolicy, later};
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
    /// Whether certificates that are not remembered may be published: false while they would not fit. Then, without
    /// retention, nothing is remembered.
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
    /// These certificates of the sources, which not every node can have written to files yet.
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
    // What is only drained does not keep out what the sources hold.
    let is_over = input.policy.retain.is_none() && !input.admit && input.own.is_some();
    let memory = if is_over { Memory::default() } else { memory.clone() };
    let mut step = Step { memory, held: Vec::new(), input, now, stamp };
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
            } else if self.input.admit || self.input.policy.retain.is_none() {
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
        let free = LEAVING_MAX.saturating_sub(self.leaving().len());
        for (_, fingerprint) in others.iter().take(free) {
            self.set_phase(*fingerprint, Phase::Leaving { since: self.stamp });
        }
        self.held = others.into_iter().skip(free).map(|(_, fingerprint)| fingerprint).collect();
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
        let until = policy.leaves_at(since);
        let unsettled = self.unsettled(own, self.now);
        // What has settled since the last look lets it go at the next one.
        let awaits_look = unsettled.is_empty() && !self.unsettled(own, self.look()).is_empty();
        if until > self.look() || awaits_look {
            waits.push(Wait::Until(until.max(policy.look_at_or_after(self.now))));
        }
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

    /// Returns the certificates of the sources that not every node can have written to files at that time.
    fn unsettled(&self, own: &OwnCertificates, at: Timestamp) -> Vec<Fingerprint> {
        let is_settled = |fingerprint: &Fingerprint| {
            let everywhere = self.memory.entries.get(fingerprint).and_then(|entry| entry.everywhere);
            everywhere.is_some_and(|since| later(since, self.input.policy.settle) <= at)
        };
        let published = own.iter().filter(|(_, own)| !(self.input.denied)(&own.anchor));
        published.map(|(fingerprint, _)| *fingerprint).filter(|fingerprint| !is_settled(fingerprint)).collect()
    }

    /// Returns whether a certificate was taken back before any program can have come to need it.
    fn is_young(&self, first: Option<Timestamp>) -> bool {
        let age = |first| self.stamp.duration_since(first);
        self.input.admit
            && !self.input.facts.clock.is_skewed()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::trust;

    const RETAIN: SignedDuration = SignedDuration::from_hours(1);
    const SETTLE: SignedDuration = SignedDuration::from_mins(3);

    fn anchor(name: &str) -> Anchor {
        let blocks = trust::pem::read(pem(name).as_bytes()).expect("PEM");
        blocks[0].certificate.clone().expect("a certificate")
    }

    fn fingerprint(name: &str) -> Fingerprint {
        anchor(name).fingerprint()
    }

    /// A Bundle with retention, of which every target holds what was published last.
    struct Case {
        memory: Memory,
        own: OwnCertificates,
        default_cas: BTreeMap<Fingerprint, Anchor>,
        denied: BTreeSet<Fingerprint>,
        refused: bool,
        admit: bool,
        retain: Option<SignedDuration>,
        facts: Facts,
    }

    impl Case {
        /// All targets have held `rsa` since long ago.
        fn new() -> Self {
            let long_ago = now() - SignedDuration::from_hours(48);
            let mut memory = Memory::begin([anchor("rsa")], long_ago);
            memory.content = Some(ContentDigest::of(Anchors::collect([anchor("rsa")]).as_ref()));
            let facts = Facts {
                placed: memory.content.map(|content| (content, long_ago)),
                evidence: Evidence::Complete(Vec::new()),
                clock: Clock { local: now(), server: now() },
            };
            let case = Self {
                memory,
                own: BTreeMap::new(),
                default_cas: BTreeMap::new(),
                denied: BTreeSet::new(),
                refused: false,
                admit: true,
                retain: Some(RETAIN),
                facts,
            };
            case.with_sources(&["rsa"])
        }

        fn with_sources(mut self, names: &[&str]) -> Self {
            let own = |name: &&str| OwnCertificate { anchor: anchor(name), origins: vec![(*name).to_owned()] };
            self.own = names.iter().map(|name| (fingerprint(name), own(name))).collect();
            self
        }

        fn pass(&mut self, time: SignedDuration) {
            self.facts.clock.local += time;
            self.facts.clock.server += time;
        }

        /// Every target is written with what the last step published.
        fn place(&mut self) {
            self.facts.placed = self.memory.content.map(|content| (content, self.facts.clock.server));
        }

        fn step(&mut self) -> Retained {
            let Self { memory, own, default_cas, denied, refused, admit, retain: policy, facts } = self;
            let retained = retain(
                memory,
                &RetentionInput {
                    policy: RetentionPolicy { retain: *policy, settle: SETTLE },
                    own: (!*refused).then_some(own),
                    admit: *admit,
                    default_cas,
                    denied: &|anchor| denied.contains(&anchor.fingerprint()),
                    facts,
                },
            );
            *memory = retained.memory.clone();
            retained
        }

        fn phase(&self, name: &str) -> Option<&'static str> {
            Some(match self.memory.entries.get(&fingerprint(name))?.phase {
                Phase::Present => "present",
                Phase::Leaving { .. } => "leaving",
                Phase::Withdrawing { reason: WithdrawalReason::Safe, .. } => "safe",
                Phase::Withdrawing { reason: WithdrawalReason::Expired, .. } => "expired",
                Phase::Withdrawing { reason: WithdrawalReason::Young, .. } => "young",
                Phase::Withdrawing { reason: WithdrawalReason::Denied, .. } => "denied",
                Phase::Withdrawing { reason: WithdrawalReason::RetentionOff, .. } => "off",
            })
        }
    }

    fn published(retained: &Retained) -> Vec<&'static str> {
        let name = |anchor: &Anchor| {
            ["rsa", "ec", "expired"].into_iter().find(|name| fingerprint(name) == anchor.fingerprint())
        };
        let mut names: Vec<_> = retained.anchors.iter().flatten().filter_map(name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_certificate_leaves_once_its_successor_is_everywhere_and_its_time_is_over() {
        let mut case = Case::new().with_sources(&["ec"]);
        let first = case.step();
        assert_eq!(published(&first), ["ec", "rsa"]);
        assert_eq!((case.phase("rsa"), case.phase("ec")), (Some("leaving"), Some("present")));
        let waits = &first.waits[&fingerprint("rsa")];
        assert_eq!(waits[..], [Wait::Until(now() + RETAIN), Wait::Unsettled(vec![fingerprint("ec")])]);

        case.pass(RETAIN);
        let late = case.step();
        assert_eq!(late.waits[&fingerprint("rsa")], [Wait::Unsettled(vec![fingerprint("ec")])], "no target has it yet");
        case.place();
        let placed = case.step();
        // What may be withdrawn is looked at every tenth of the retention.
        assert_eq!(placed.requeue_at, Some(now() + RETAIN + SETTLE));
        case.pass(SETTLE);
        let settled = case.step();
        let next_look = settled.requeue_at.expect("there is a next look");
        assert_eq!(settled.waits[&fingerprint("rsa")], [Wait::Until(next_look)], "its successor is settled");
        case.pass(SignedDuration::from_mins(3));
        assert_eq!(published(&case.step()), ["ec"]);
        assert_eq!(case.phase("rsa"), Some("safe"));

        assert_eq!(case.step().memory, case.memory, "a target may still hold it");
        case.place();
        case.step();
        assert_eq!(case.phase("rsa"), None);
        assert!(case.memory.is_calm());
    }

    #[test]
    fn a_certificate_that_returns_is_as_it_was() {
        let mut case = Case::new().with_sources(&["ec"]);
        case.step();
        let everywhere = case.memory.entries[&fingerprint("rsa")].everywhere;
        let mut case = case.with_sources(&["rsa", "ec"]);
        case.step();
        assert_eq!(case.phase("rsa"), Some("present"));
        assert_eq!(case.memory.entries[&fingerprint("rsa")].everywhere, everywhere);
        assert!(everywhere.is_some());
    }

    #[test]
    fn what_is_taken_back_within_the_settle_time_goes_at_once() {
        let mut case = Case::new().with_sources(&["rsa", "ec"]);
        case.step();
        case.place();
        case.pass(SETTLE - SignedDuration::from_secs(1));
        let mut case = case.with_sources(&["rsa"]);
        assert_eq!(published(&case.step()), ["rsa"]);
        assert_eq!(case.phase("ec"), Some("young"));
        // The next time it counts as new.
        let mut case = case.with_sources(&["rsa", "ec"]);
        case.step();
        assert_eq!(case.memory.entries[&fingerprint("ec")].first, Some(case.facts.clock.server));
    }

    #[test]
    fn what_is_young_stays_while_nothing_may_take_its_place() {
        let mut case = Case::new().with_sources(&["rsa", "ec"]);
        case.step();
        let mut case = case.with_sources(&["expired"]);
        case.admit = false;
        assert_eq!(published(&case.step()), ["ec", "rsa"]);
    }

    #[test]
    fn a_denied_certificate_goes_whatever_else_is_true() {
        for refused in [false, true] {
            let mut case = Case::new();
            (case.refused, case.facts.evidence) = (refused, Evidence::Incomplete("no permission".to_owned()));
            case.denied.insert(fingerprint("rsa"));
            let retained = case.step();
            assert_eq!((published(&retained), case.phase("rsa")), (Vec::new(), Some("denied")), "refused: {refused}");
            case.denied.clear();
            case.step();
            assert_eq!(case.phase("rsa"), Some(if refused { "denied" } else { "present" }), "refused: {refused}");
        }
    }

    #[test]
    fn while_sources_are_refused_nothing_else_changes() {
        let mut case = Case::new().with_sources(&["ec"]);
        case.step();
        case.place();
        case.pass(RETAIN * 10);
        case.refused = true;
        let before = case.memory.clone();
        let retained = case.step();
        assert_eq!((&retained.memory, published(&retained)), (&before, vec!["ec", "rsa"]));
    }

    #[test]
    fn a_default_ca_is_not_retained() {
        let mut case = Case::new().with_sources(&["ec"]);
        case.default_cas.insert(fingerprint("rsa"), anchor("rsa"));
        assert_eq!(published(&case.step()), ["ec", "rsa"]);
        assert_eq!(case.phase("rsa"), None);
    }

    #[test]
    fn an_expired_certificate_goes_a_day_after_its_end() {
        let mut case = Case::new().with_sources(&["rsa", "expired"]);
        case.step();
        assert_eq!(case.phase("expired"), Some("present"), "what is in a source stays");
        case.place();
        case.pass(SETTLE);
        let mut case = case.with_sources(&["rsa"]);
        case.step();
        assert_eq!(case.phase("expired"), Some("expired"));
    }

    #[test]
    fn a_certificate_that_is_needed_stays_and_the_last_one_does() {
        let mut case = Case::new().with_sources(&["ec"]);
        let needed =
            CertificateUse { object: "Certificate shop/web".to_owned(), vouchers: [fingerprint("rsa")].into() };
        case.facts.evidence = Evidence::Complete(vec![needed.clone()]);
        case.step();
        case.place();
        case.pass(RETAIN * 2);
        assert_eq!(case.step().waits[&fingerprint("rsa")], [Wait::Uses(vec![needed.object.clone()])]);
        // Another certificate vouches for it, too.
        let both = CertificateUse { vouchers: [fingerprint("rsa"), fingerprint("ec")].into(), ..needed };
        case.facts.evidence = Evidence::Complete(vec![both]);
        case.step();
        assert_eq!(case.phase("rsa"), Some("safe"));

        let mut alone = Case::new().with_sources(&["ec"]);
        alone.denied.insert(fingerprint("ec"));
        alone.step();
        alone.place();
        alone.pass(RETAIN * 2);
        assert_eq!(alone.step().waits[&fingerprint("rsa")], [Wait::Successor]);
    }

    #[test]
    fn nothing_is_withdrawn_by_a_clock_that_is_wrong() {
        let day = SignedDuration::from_hours(24);
        let swapped = || {
            let mut case = Case::new().with_sources(&["ec"]);
            case.step();
            case.place();
            case
        };
        let mut ahead = swapped();
        ahead.facts.clock.local += day * 40;
        assert_eq!(ahead.step().waits[&fingerprint("rsa")].last(), Some(&Wait::Clock));
        assert_eq!(ahead.phase("rsa"), Some("leaving"));

        // What left while the clock was an hour behind has not left an hour earlier.
        let mut behind = Case::new().with_sources(&["ec"]);
        behind.facts.clock.local -= RETAIN;
        behind.step();
        behind.place();
        behind.facts.clock.local = behind.facts.clock.server;
        behind.pass(SETTLE * 2);
        behind.step();
        assert_eq!(behind.phase("rsa"), Some("leaving"));

        // Nor does a time that was recorded while it was ahead hold a certificate for longer than retention.
        let mut recovered = Case::new().with_sources(&["ec"]);
        recovered.facts.clock.local += day * 40;
        recovered.step();
        recovered.place();
        recovered.facts.clock.local = recovered.facts.clock.server;
        recovered.step();
        recovered.pass(RETAIN * 2);
        recovered.step();
        assert_eq!(recovered.phase("rsa"), Some("safe"));
    }

    #[test]
    fn without_retention_nothing_is_remembered_and_what_was_leaving_goes_once_its_successor_is_there() {
        let mut case = Case::new();
        (case.memory, case.retain) = (Memory::default(), None);
        let mut case = case.with_sources(&["ec"]);
        let retained = case.step();
        assert_eq!((published(&retained), retained.memory, retained.requeue_at), (vec!["ec"], Memory::default(), None));

        let mut case = Case::new().with_sources(&["ec"]);
        case.step();
        case.retain = None;
        assert_eq!(published(&case.step()), ["ec", "rsa"]);
        case.place();
        case.step();
        case.pass(SETTLE);
        case.step();
        assert_eq!(case.phase("rsa"), Some("off"));
        case.place();
        assert_eq!(case.step().memory, Memory::default());
    }
}
