//! Random runs of retention in a simulated cluster: edits, crashes, failing targets, denials, unwritable ledgers, clocks
//! that jump, and retention that is switched off and on. The invariants are checked at each write of a target, by what
//! the targets have held, not by what is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;
use rootcast::bundle::{
    CertificateUse, Clock, ContentDigest, Evidence, Facts, LEAVING_MAX, Ledger, Memory, OwnCertificate,
    OwnCertificates, Phase, RecordedRetention, RetentionInput, RetentionPolicy, StoredState, TargetContent,
    WithdrawalReason, recover, retain,
};
use rootcast::trust::{Anchor, Anchors, Fingerprint};

const RETAIN: SignedDuration = SignedDuration::from_secs(600);
const SETTLE: SignedDuration = SignedDuration::from_secs(180);

/// The number of certificates that random runs use.
const CERTIFICATES: usize = 6;

/// What somebody puts into ledgers.
const SMUGGLED: Range<usize> = LEAVING_MAX + 48..LEAVING_MAX + 50;

/// The number of targets.
const TARGETS: usize = 3;

/// The number of certificates that fit into a target while space is short: all that a source and the default CAs have.
const CAPACITY: usize = 4;

static ANCHORS: LazyLock<Vec<Anchor>> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key");
    let anchor = |number: usize| {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("CA {number}"));
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Anchor::from_der(certificate.der().to_vec()).expect("an anchor")
    };
    (0..SMUGGLED.end).map(anchor).collect()
});

/// A calm cluster.
static START: LazyLock<World> = LazyLock::new(World::new);

#[derive(Clone, Debug)]
enum Action {
    /// The sources hold these certificates.
    Edit(BTreeSet<usize>),
    /// The sources are refused, or no longer.
    Refuse(bool),
    Deny(usize),
    Allow(usize),
    /// The default CAs hold this certificate, or none.
    DefaultCa(Option<usize>),
    /// This certificate alone vouches for somebody, or no one.
    Use(Option<usize>),
    Reconcile,
    /// The status is published.
    Report,
    /// A target is written.
    Write(usize),
    /// Writes of a target fail, or no longer.
    Fail(usize, bool),
    /// The ledger can be written, or not.
    LedgerWritable(bool),
    /// Only [`CAPACITY`] certificates fit into a target, or all do.
    Space(bool),
    /// Somebody deletes the ledger.
    LoseLedger,
    /// Somebody accepts that what was remembered is lost, if it is.
    AcceptLoss,
    /// The process ends, something is lost, and another process starts.
    Restart(Loss),
    Retention(bool),
    /// Time passes, in seconds.
    Pass(u32),
    /// Seconds by which the local clock is ahead.
    Skew(i32),
}

/// What is lost while no process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Nothing,
    Ledger,
    Status,
    /// This target.
    Target(usize),
    /// Somebody puts a certificate into the ledger.
    Smuggled(usize),
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        2 => Just(Loss::Nothing),
        2 => Just(Loss::Ledger),
        1 => Just(Loss::Status),
        1 => (0..TARGETS).prop_map(Loss::Target),
        1 => SMUGGLED.prop_map(Loss::Smuggled),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let certificate = 0..CERTIFICATES;
    let target = 0..TARGETS;
    prop_oneof![
        4 => prop::collection::btree_set(certificate.clone(), 1..4).prop_map(Action::Edit),
        1 => any::<bool>().prop_map(Action::Refuse),
        1 => certificate.clone().prop_map(Action::Deny),
        1 => certificate.clone().prop_map(Action::Allow),
        1 => prop::option::of(certificate.clone()).prop_map(Action::DefaultCa),
        1 => prop::option::of(certificate).prop_map(Action::Use),
        12 => Just(Action::Reconcile),
        4 => Just(Action::Report),
        12 => target.clone().prop_map(Action::Write),
        1 => (target, any::<bool>()).prop_map(|(target, fails)| Action::Fail(target, fails)),
        1 => any::<bool>().prop_map(Action::LedgerWritable),
        1 => any::<bool>().prop_map(Action::Space),
        1 => Just(Action::LoseLedger),
        1 => Just(Action::AcceptLoss),
        3 => loss().prop_map(Action::Restart),
        1 => any::<bool>().prop_map(Action::Retention),
        6 => prop_oneof![1..60_u32, 60..2000_u32].prop_map(Action::Pass),
        1 => prop_oneof![Just(0), -7200..7200_i32].prop_map(Action::Skew),
    ]
}

#[derive(Clone, Debug, Default)]
struct Target {
    /// The certificates that it holds, each with the true time since when.
    held: BTreeMap<Fingerprint, Timestamp>,
    /// What it held before somebody emptied it: its programs have read that.
    before: BTreeMap<Fingerprint, Timestamp>,
    fails: bool,
}

/// A content to be written, with what it was decided from.
#[derive(Clone)]
struct Desired {
    content: BTreeSet<Fingerprint>,
    digest: ContentDigest,
    memory: Memory,
    retains: bool,
    /// Whether its memory is stored, or needs not be.
    in_force: bool,
    denied: BTreeSet<Fingerprint>,
    /// Whether a source holds a certificate that is not denied, and its decision is in force.
    given: bool,
}

impl Desired {
    /// What the status is to say of it.
    fn record(&self) -> RecordedRetention {
        let entries = self.memory.entries.iter();
        let leaving = entries.filter(|(_, entry)| entry.phase.leaving_since().is_some()).map(|(one, _)| *one);
        let content = (self.memory != Memory::default()).then_some(self.digest);
        RecordedRetention { content, leaving: leaving.collect() }
    }
}

#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that comes and goes by itself")]
struct World {
    own: OwnCertificates,
    /// The certificates of the sources as a decision in force has seen them last.
    seen: BTreeSet<Fingerprint>,
    /// The true time at which such a decision has seen a certificate come.
    gained: BTreeMap<Fingerprint, Timestamp>,
    /// The true time at which such a decision has missed it.
    lost: BTreeMap<Fingerprint, Timestamp>,
    /// What was published last, of this process or the one before.
    published: BTreeSet<Fingerprint>,
    refused: bool,
    denied: BTreeSet<Fingerprint>,
    default_cas: BTreeMap<Fingerprint, Anchor>,
    uses: Vec<CertificateUse>,
    targets: Vec<Target>,
    /// Since when all targets hold the desired content, by the later clock.
    placed: Option<Timestamp>,
    desired: Option<Desired>,
    /// What contents without retention have left out, and default CAs that are denied or none any more.
    unprotected: BTreeSet<Fingerprint>,
    memory: Memory,
    /// What the status says.
    status: RecordedRetention,
    /// Whether the status says it of what is published now.
    is_reported: bool,
    ledger: Option<Memory>,
    ledger_writable: bool,
    /// Whether all certificates fit into a target.
    fits: bool,
    /// What is lost: no target is written until somebody accepts that.
    missing: Option<RecordedRetention>,
    /// Whether what is published was decided with retention.
    retains: bool,
    policy: RetentionPolicy,
    /// The clock of the API server, which is right.
    server: Timestamp,
    /// By how much the local clock is ahead.
    skew: SignedDuration,
}

impl World {
    fn new() -> Self {
        let server = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut world = Self {
            own: own(&[0].into()),
            seen: BTreeSet::new(),
            gained: BTreeMap::new(),
            lost: BTreeMap::new(),
            published: BTreeSet::new(),
            refused: false,
            denied: BTreeSet::new(),
            default_cas: BTreeMap::new(),
            uses: Vec::new(),
            targets: vec![Target::default(); TARGETS],
            placed: None,
            desired: None,
            unprotected: BTreeSet::new(),
            memory: Memory::default(),
            status: RecordedRetention::default(),
            is_reported: false,
            ledger: None,
            ledger_writable: true,
            fits: true,
            missing: None,
            retains: false,
            policy: RetentionPolicy { retain: Some(RETAIN), settle: SETTLE },
            server,
            skew: SignedDuration::ZERO,
        };
        world.run_calmly();
        world
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Edit(certificates) => self.own = own(certificates),
            Action::Refuse(refused) => self.refused = *refused,
            Action::Deny(one) => drop(self.denied.insert(ANCHORS[*one].fingerprint())),
            Action::Allow(one) => drop(self.denied.remove(&ANCHORS[*one].fingerprint())),
            Action::DefaultCa(one) => {
                self.unprotected.extend(self.default_cas.keys().copied());
                let anchor = one.map(|one| ANCHORS[one].clone());
                self.default_cas = anchor.into_iter().map(|anchor| (anchor.fingerprint(), anchor)).collect();
            }
            Action::Use(one) => {
                let object = "Certificate shop/web".to_owned();
                let one = one.map(|one| CertificateUse { object, vouchers: [ANCHORS[one].fingerprint()].into() });
                self.uses = one.into_iter().collect();
            }
            Action::Reconcile => self.reconcile(),
            Action::Report => self.report(),
            Action::Write(target) => self.write(*target),
            Action::Fail(target, fails) => self.targets[*target].fails = *fails,
            Action::LedgerWritable(writable) => self.ledger_writable = *writable,
            Action::Space(fits) => self.fits = *fits,
            // A status that was not published yet would be another loss.
            Action::LoseLedger if !self.is_reported => {}
            Action::LoseLedger => self.ledger = None,
            Action::AcceptLoss => self.accept_loss(),
            Action::Restart(loss) => self.restart(*loss),
            Action::Retention(on) => self.policy.retain = on.then_some(RETAIN),
            Action::Pass(seconds) => self.server += SignedDuration::from_secs(i64::from(*seconds)),
            Action::Skew(seconds) => self.skew = SignedDuration::from_secs(i64::from(*seconds)),
        }
    }

    fn clock(&self) -> Clock {
        Clock { local: self.server + self.skew, server: self.server }
    }

    /// What the engine would report: nothing while a target fails.
    fn placed(&self) -> Option<(ContentDigest, Timestamp)> {
        let desired = self.desired.as_ref()?;
        let fails = self.targets.iter().any(|target| target.fails);
        self.placed.filter(|_| !fails).map(|since| (desired.digest, since))
    }

    fn reconcile(&mut self) {
        if self.missing.is_some() {
            return;
        }
        if self.policy.retain.is_some() && self.memory == Memory::default() {
            let published = self.desired.iter().flat_map(|desired| &desired.content);
            let published: Vec<_> = published.map(|one| anchor(*one)).collect();
            self.recover(None, &published);
            if self.missing.is_some() {
                return;
            }
        }
        let facts =
            Facts { placed: self.placed(), evidence: Evidence::Complete(self.uses.clone()), clock: self.clock() };
        let denied = self.denied.clone();
        let is_denied = |anchor: &Anchor| denied.contains(&anchor.fingerprint());
        let mut input = RetentionInput {
            policy: self.policy,
            own: (!self.refused).then_some(&self.own),
            admit: true,
            default_cas: &self.default_cas,
            denied: &is_denied,
            facts: &facts,
        };
        let mut retained = retain(&self.memory, &input);
        if !self.fits && retained.anchors.as_ref().is_some_and(|anchors| anchors.iter().count() > CAPACITY) {
            input.admit = false;
            retained = retain(&self.memory, &input);
        }
        let leaving = retained.memory.entries.values().filter(|entry| entry.phase.leaving_since().is_some());
        assert!(leaving.count() <= LEAVING_MAX, "not too many are leaving");
        assert_eq!(retain(&retained.memory, &input), retained, "a second step changes nothing");
        let is_stored = self.ledger_writable || self.ledger.as_ref() == Some(&retained.memory);
        let in_force = is_stored || retained.memory == Memory::default();
        if in_force && !self.refused {
            let entries = &retained.memory.entries;
            let is_seen = |one: &&Fingerprint| {
                entries.get(one).map_or(self.policy.retain.is_none(), |entry| entry.phase == Phase::Present)
            };
            let own: BTreeSet<_> = self.own.keys().filter(is_seen).copied().collect();
            self.lost.extend(self.seen.difference(&own).map(|fingerprint| (*fingerprint, self.server)));
            self.gained.extend(own.difference(&self.seen).map(|fingerprint| (*fingerprint, self.server)));
            self.seen = own;
        }
        if self.ledger_writable {
            self.ledger = (retained.memory != Memory::default()).then(|| retained.memory.clone());
        } else if !in_force {
            // Denials wait for nothing; all else stays as it was.
            retained = retain(&self.memory, &RetentionInput { own: None, ..input });
            if self.desired.is_none() && retained.memory == self.memory {
                return;
            }
        }
        self.memory = retained.memory.clone();
        let content: BTreeSet<_> = retained.anchors.iter().flatten().map(Anchor::fingerprint).collect();
        let before = std::mem::replace(&mut self.published, content.clone());
        for fingerprint in before.difference(&content) {
            if self.policy.retain.is_none() || self.default_cas.contains_key(fingerprint) {
                self.unprotected.insert(*fingerprint);
            } else if !self.unprotected.contains(fingerprint)
                && self.targets.iter().any(|target| target.held.contains_key(fingerprint))
            {
                self.check_withdrawal(*fingerprint, &retained.memory);
            }
        }
        self.unprotected.retain(|one| !content.contains(one) || self.default_cas.contains_key(one));
        self.desired = Some(Desired {
            digest: ContentDigest::of(retained.anchors.as_ref()),
            memory: retained.memory,
            retains: if in_force {
                self.policy.retain.is_some()
            } else {
                self.desired.as_ref().is_some_and(|desired| desired.retains)
            },
            in_force,
            given: in_force && !self.refused && self.own.keys().any(|fingerprint| !denied.contains(fingerprint)),
            denied,
            content,
        });
        self.retains = self.desired.as_ref().is_some_and(|desired| desired.retains);
        self.is_reported = self.desired.as_ref().is_some_and(|desired| desired.record() == self.status);
        self.place();
    }

    fn write(&mut self, target: usize) {
        let Some(desired) = self.desired.clone() else { return };
        if self.targets[target].fails {
            return;
        }
        self.check_write(target, &desired);
        let Target { held, before, .. } = &mut self.targets[target];
        held.append(before);
        held.retain(|fingerprint, _| desired.content.contains(fingerprint));
        for fingerprint in &desired.content {
            held.entry(*fingerprint).or_insert(self.server);
        }
        self.place();
    }

    fn place(&mut self) {
        let Some(desired) = &self.desired else { return };
        if self.targets.iter().all(|target| target.held.keys().eq(&desired.content)) {
            let Clock { local, server } = self.clock();
            self.placed.get_or_insert(local.max(server));
        } else {
            self.placed = None;
        }
    }

    /// The invariants that hold whenever a target is written.
    fn check_write(&self, target: usize, desired: &Desired) {
        assert!(desired.content.is_disjoint(&desired.denied), "what is denied is not written");
        let mut smuggled = SMUGGLED.map(|one| ANCHORS[one].fingerprint());
        assert!(!smuggled.any(|one| desired.content.contains(&one)), "what was smuggled in is not written");
        if !desired.retains {
            return;
        }
        let entries = &desired.memory.entries;
        if let Some(ledger) = &self.ledger {
            let own = desired.content.iter().filter(|one| entries.contains_key(one));
            let stored = |one: &&Fingerprint| ledger.entries.contains_key(one);
            assert!(own.clone().all(|one| stored(&one)), "what is written is in the ledger");
        }
        assert!(!desired.content.is_empty() || !desired.given, "only denial leaves nothing");
        for fingerprint in self.targets[target].held.keys() {
            if desired.content.contains(fingerprint) || self.unprotected.contains(fingerprint) {
                continue;
            }
            let phase = entries.get(fingerprint).map(|entry| entry.phase);
            assert!(matches!(phase, Some(Phase::Withdrawing { .. })), "a target loses {fingerprint}: {phase:?}");
        }
    }

    /// The invariants that hold whenever a certificate is published no longer.
    fn check_withdrawal(&self, fingerprint: Fingerprint, memory: &Memory) {
        let reason = match memory.entries.get(&fingerprint).map(|entry| entry.phase) {
            Some(Phase::Withdrawing { reason, .. }) => reason,
            other => panic!("{fingerprint} is published no longer: {other:?}"),
        };
        let held = |target: &Target, one| target.held.get(one).map(|since| self.server.duration_since(*since));
        match reason {
            WithdrawalReason::Safe => {
                // A former default CA that a start has taken for an own certificate was in no source.
                let stayed = |lost: &Timestamp| self.server.duration_since(*lost) >= RETAIN;
                assert!(self.lost.get(&fingerprint).is_none_or(stayed), "it has stayed");
                let sources = self.own.keys().filter(|source| !self.denied.contains(source));
                let filled = || self.targets.iter().filter(|target| !target.held.is_empty());
                for (source, target) in sources.flat_map(|source| filled().map(move |target| (source, target))) {
                    assert!(
                        held(target, source).is_some_and(|time| time >= SETTLE),
                        "programs have {source}: {} {:?} {:?}",
                        self.server,
                        self.targets,
                        self.own.keys()
                    );
                }
                let needed = self.uses.iter().any(|one| one.vouchers.contains(&fingerprint));
                assert!(!needed, "nothing needs it");
            }
            WithdrawalReason::Young => {
                assert!(self.server.duration_since(self.gained[&fingerprint]) < SETTLE, "it was not there for long");
            }
            WithdrawalReason::Denied => assert!(self.denied.contains(&fingerprint)),
            WithdrawalReason::RetentionOff | WithdrawalReason::Expired => panic!("{reason:?} is not so"),
        }
    }

    /// Publishes what the status says of the content that is in force.
    fn report(&mut self) {
        if let Some(desired) = self.desired.as_ref().filter(|desired| desired.in_force) {
            (self.status, self.is_reported) = (desired.record(), true);
        }
    }

    fn restart(&mut self, loss: Loss) {
        // One thing is lost at a time.
        match if self.ledger.is_some() { loss } else { Loss::Nothing } {
            Loss::Nothing => {}
            Loss::Ledger if !self.is_reported => {}
            Loss::Ledger => self.ledger = None,
            Loss::Status => self.status = RecordedRetention::default(),
            Loss::Target(target) => self.targets[target].before = std::mem::take(&mut self.targets[target].held),
            Loss::Smuggled(certificate) => {
                let anchor = ANCHORS[certificate].clone();
                let mut smuggled = Memory::begin([anchor], self.server);
                for entry in smuggled.entries.values_mut() {
                    entry.phase = Phase::Leaving { since: self.server };
                }
                if let Some(ledger) = &mut self.ledger {
                    ledger.entries.append(&mut smuggled.entries);
                }
            }
        }
        if self.policy.retain.is_none() && self.ledger.is_none() {
            self.unprotected.extend(&self.published);
            (self.memory, self.missing) = (Memory::default(), None);
        } else {
            self.recover(None, &[]);
        }
        (self.placed, self.desired) = (None, None);
    }

    /// Accepts a loss by the digits that the condition shows.
    fn accept_loss(&mut self) {
        if let Some(content) = self.missing.as_ref().and_then(|missing| missing.content) {
            self.unprotected.extend(&self.published);
            self.recover(Some(&content.short()), &[]);
            assert!(self.missing.is_none(), "what is accepted is lost no longer");
        }
    }

    fn recover(&mut self, accepted_loss: Option<&str>, published: &[Anchor]) {
        let targets: Vec<_> = self.targets.iter().map(target_content).collect();
        let stored = self.ledger.clone().map(|memory| Ledger { uid: "uid".to_owned(), memory }.encode());
        let ledger = stored.map(|data| Ledger::decode(&data).expect("a ledger"));
        assert_eq!(ledger.as_ref().map(|ledger| &ledger.memory), self.ledger.as_ref());
        let recovery = recover(&StoredState {
            uid: "uid",
            created: self.server - SETTLE * 10,
            ledger: ledger.as_ref(),
            status: &self.status,
            accepted_loss,
            targets: &targets,
            published,
            own: &self.own,
            default_cas: &self.default_cas,
        });
        let is_recorded = self.retains && (ledger.is_some() || self.status.content.is_some());
        if published.is_empty() && !is_recorded {
            // What was in the sources before is not known any more.
            self.unprotected.extend(&self.published);
        }
        let held = self.targets.iter().flat_map(|target| target.held.keys());
        for fingerprint in held.chain(&self.published) {
            let is_default = self.default_cas.contains_key(fingerprint) && !self.denied.contains(fingerprint);
            let known = recovery.memory.entries.contains_key(fingerprint) || is_default;
            if !known && !self.unprotected.contains(fingerprint) && recovery.lost.is_none() {
                let everywhere = self.targets.iter().all(|target| target.held.contains_key(fingerprint));
                let is_missed =
                    everywhere && self.published.contains(fingerprint) && !self.denied.contains(fingerprint);
                assert!(!is_missed, "a start knows what every target holds");
                self.unprotected.insert(*fingerprint);
            }
        }
        self.seen.retain(|fingerprint| recovery.memory.entries.contains_key(fingerprint));
        if ledger.is_none() {
            let own = self.own.keys().filter(|fingerprint| self.seen.insert(**fingerprint));
            self.gained.extend(own.map(|fingerprint| (*fingerprint, self.server)));
        }
        (self.memory, self.missing) = (recovery.memory, recovery.lost);
    }

    /// Ends all faults.
    fn mend(&mut self) {
        (self.refused, self.ledger_writable, self.fits, self.skew) = (false, true, true, SignedDuration::ZERO);
        self.denied.clear();
        self.uses.clear();
        self.targets.iter_mut().for_each(|target| target.fails = false);
    }

    /// Runs without any fault until nothing is left to be done, but not for ever.
    fn run_calmly(&mut self) {
        for _ in 0..12 {
            self.reconcile();
            self.accept_loss();
            self.report();
            if self.placed.is_some() && self.memory.is_calm() && self.content_of_sources() == self.published {
                return;
            }
            (0..TARGETS).for_each(|target| self.write(target));
            self.server += SETTLE;
        }
    }

    fn content_of_sources(&self) -> BTreeSet<Fingerprint> {
        self.own.keys().chain(self.default_cas.keys()).copied().collect()
    }
}

fn target_content(target: &Target) -> TargetContent {
    let anchors: Vec<_> = target.held.keys().map(|fingerprint| anchor(*fingerprint)).collect();
    TargetContent { digest: ContentDigest::of(Anchors::collect(anchors.clone()).as_ref()), anchors }
}

fn own(certificates: &BTreeSet<usize>) -> OwnCertificates {
    let own = |&number: &usize| {
        let anchor = ANCHORS[number].clone();
        (anchor.fingerprint(), OwnCertificate { anchor, origins: vec![format!("inline source line {number}")] })
    };
    certificates.iter().map(own).collect()
}

fn anchor(fingerprint: Fingerprint) -> Anchor {
    ANCHORS.iter().find(|anchor| anchor.fingerprint() == fingerprint).expect("an anchor of the tests").clone()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("ROOTCAST_RETENTION_CASES").map_or(10_000, |cases| cases.parse().expect("a number")),
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_of_steps_takes_away_a_certificate_that_is_needed(actions in prop::collection::vec(action(), 1..60)) {
        let mut world = START.clone();
        for action in &actions {
            world.perform(action);
        }
        world.mend();
        world.run_calmly();
        prop_assert!(world.memory.is_calm(), "in the end nothing is leaving: {:?}", world.memory);
        let expected = world.content_of_sources();
        prop_assert!(world.targets.iter().all(|target| target.held.keys().eq(&expected)));
    }
}

#[test]
fn too_many_leaving_certificates_go_one_hundred_after_the_other() {
    let mut world = START.clone();
    world.own = own(&(0..LEAVING_MAX + 44).collect());
    world.run_calmly();
    world.own = own(&[0].into());
    world.reconcile();
    assert_eq!(world.published.len(), LEAVING_MAX + 44, "all stay");
    let leaving = world.memory.entries.values().filter(|entry| entry.phase.leaving_since().is_some());
    assert_eq!(leaving.count(), LEAVING_MAX);
    world.run_calmly();
    assert!(world.memory.is_calm(), "{:?}", world.memory);
    assert_eq!(world.published, world.own.keys().copied().collect());
}
