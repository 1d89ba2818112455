//! Decision on the next step of a rotation.

use std::time::Duration;

use jiff::Timestamp;

use super::{CertSettings, Generation, SecretData, StoredGenerations, TrustedCas};

/// The longest wait before the next decision: clocks may be set.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// The state that one replica observes, which may be old.
#[derive(Clone, Copy, Debug)]
pub struct RotationView<'a> {
    /// The content of the Secret.
    pub secret: &'a StoredGenerations,
    /// The entries of the webhook configuration that name the injector's Service.
    pub entries: &'a [WebhookEntry],
    /// The time for which the entries have been unchanged, at least.
    pub unchanged_for: Duration,
    /// The content of the Secret that this replica remembers; it serves the `current` one.
    pub remembered: &'a SecretData,
    /// The current time.
    pub now: Timestamp,
}

/// An entry of the webhook configuration.
#[derive(Clone, Debug)]
pub struct WebhookEntry {
    /// The name, unique in the configuration.
    pub name: String,
    /// The CAs in its `caBundle` that rootcast made.
    pub trusted: TrustedCas,
    /// The rest of `caBundle`, in words, if there is any.
    pub flaw: Option<String>,
}

/// The next step of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Write the Secret, unless it has changed since it was observed.
    WriteSecret {
        /// The new content.
        content: SecretData,
        /// The cause, for the log.
        cause: String,
        /// Whether the Secret was damaged.
        damaged: bool,
    },
    /// Write `caBundle` of some entries, unless the configuration has changed since it was observed.
    WriteCaBundles {
        /// The names of the entries.
        entries: Vec<String>,
        /// The CAs of the new `caBundle`.
        trusted: TrustedCas,
        /// The cause, for the log.
        cause: String,
    },
    /// Decide again after this time, or when the Secret or the configuration has changed.
    Wait(Duration),
}

/// Returns the next step of one replica.
///
/// Each step depends only on the view and is guarded by the versions of its objects: of replicas that decide on the
/// same step one carries it out.
///
/// # Errors
/// When no generation can be created; see [`Generation::new`].
pub fn step(view: &RotationView<'_>, settings: &CertSettings) -> Result<RotationStep, rcgen::Error> {
    let &RotationView { secret: StoredGenerations { content: stored, flaws }, entries, .. } = view;
    let (content, reason) = next_secret_data(view, settings)?;
    if content != *stored || !flaws.is_empty() {
        let cause = if reason.is_empty() && flaws.is_empty() { trust_changed(&content, stored) } else { reason };
        let damaged = !flaws.is_empty();
        let cause = flaws.iter().cloned().chain((!cause.is_empty()).then_some(cause)).collect::<Vec<_>>().join("; ");
        return Ok(RotationStep::WriteSecret { content, cause, damaged });
    }
    let differ = |entry: &&WebhookEntry| entry.flaw.is_some() || !entry.trusted.satisfies(&content.trusted, view.now);
    let differing: Vec<_> = entries.iter().filter(differ).collect();
    if let Some(first) = differing.first() {
        let cause = match &first.flaw {
            Some(flaw) => flaw.clone(),
            None if content.trusted.is_subset(&first.trusted) => "a CA has expired".to_owned(),
            None => "a CA is to be trusted".to_owned(),
        };
        let entries = differing.iter().map(|entry| entry.name.clone()).collect();
        return Ok(RotationStep::WriteCaBundles { entries, trusted: content.trusted, cause });
    }
    Ok(RotationStep::Wait(until_next(view, settings, &content)))
}

/// Returns the desired content of the Secret, and the reason for a change of its generations; empty for none.
fn next_secret_data(view: &RotationView<'_>, settings: &CertSettings) -> Result<(SecretData, String), rcgen::Error> {
    let &RotationView { secret: StoredGenerations { content: stored, .. }, entries, unchanged_for, remembered, now } =
        view;
    let valid = |generation: &Option<Generation>| generation.clone().filter(|it| it.is_valid(now));
    let stored_current = valid(&stored.current);
    let lost = stored_current.is_none();
    let current = stored_current.or_else(|| valid(&remembered.current));
    let next = valid(&stored.next).or_else(|| valid(&remembered.next)).filter(|next| Some(next) != current.as_ref());
    let mut trusted = stored.trusted.clone();
    for others in entries.iter().map(|entry| &entry.trusted).chain([&remembered.trusted]) {
        trusted.merge(others, now);
    }
    trusted.prune(now);

    let announced = |next: &Generation| entries.iter().all(|entry| entry.trusted.contains(next.ca()));
    let new = || Generation::new(&settings.names, settings.lifetime, now);
    let (current, next, reason) = match (current, next) {
        (Some(_), Some(next)) if announced(&next) && unchanged_for >= settings.propagation_delay() => {
            (Some(next), None, TAKES_OVER)
        }
        (Some(current), Some(next)) => (Some(current), Some(next), if lost { PUT_BACK } else { "" }),
        (Some(current), None) => match renewal_reason(&current, lost, settings, now) {
            Some(why) => (Some(current), Some(new()?), why),
            None => (Some(current), None, ""),
        },
        (None, Some(next)) if trusted.none_needed_except(Some(next.ca()), now) => (Some(next), None, TAKES_OVER),
        (None, Some(next)) if announced(&next) && unchanged_for >= settings.takeover_delay() => {
            (Some(next), None, TAKES_OVER)
        }
        (None, Some(next)) => (None, Some(next), ""),
        (None, None) if trusted.none_needed_except(None, now) => (Some(new()?), None, "the first certificate"),
        (None, None) => (None, Some(new()?), "no valid certificate here, but other replicas may serve one"),
    };
    for generation in [&current, &next].into_iter().flatten() {
        trusted.add(generation.ca());
    }
    Ok((SecretData { trusted, current, next }, reason.to_owned()))
}

const TAKES_OVER: &str = "the next certificate takes over";
const PUT_BACK: &str = "what is served was taken out and is put back";

/// Returns the reason why a valid certificate needs a successor.
fn renewal_reason(current: &Generation, lost: bool, settings: &CertSettings, now: Timestamp) -> Option<&'static str> {
    let (life, from) = current.lifetime_and_renewal_time();
    let reasons = [
        (lost, "what is served was taken out: it is put back and gets a successor"),
        (life > settings.lifetime, "the certificate is valid for longer than it is to be: it gets a successor"),
        (!current.covers(&settings.names), "the certificate has not the names of the service: it gets a successor"),
        (now >= from, "two thirds of the certificate's life are over: it gets a successor"),
    ];
    reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
}

fn trust_changed(content: &SecretData, stored: &SecretData) -> String {
    let shrinks = content.trusted.is_subset(&stored.trusted);
    if shrinks { "a CA has expired" } else { "a CA that is trusted elsewhere is missing" }.to_owned()
}

/// Returns the time until the next step that no change of an object causes.
fn until_next(view: &RotationView<'_>, settings: &CertSettings, content: &SecretData) -> Duration {
    let &RotationView { unchanged_for, now, .. } = view;
    let after = |end: i64| Timestamp::from_second(end + 1).unwrap_or(Timestamp::MAX);
    let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
    let pause = if content.current.is_some() { settings.propagation_delay() } else { settings.takeover_delay() };
    let settled = content.next.as_ref().map(|_| pause.saturating_sub(unchanged_for));
    let due = content
        .current
        .as_ref()
        .filter(|_| content.next.is_none())
        .map(|current| until(current.lifetime_and_renewal_time().1));
    let ends = [&content.current, &content.next].into_iter().flatten().map(|it| it.not_after().as_second());
    let trusted = view.entries.iter().map(|entry| &entry.trusted).chain([&content.trusted]);
    let ends = ends.chain(trusted.filter_map(TrustedCas::earliest_expiry)).map(|end| until(after(end)));
    ends.chain(settled).chain(due).min().unwrap_or(MAX_WAIT).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_mins(15);

    /// A single replica with its Secret and two entries.
    struct TestReplica {
        settings: CertSettings,
        secret: StoredGenerations,
        entries: Vec<WebhookEntry>,
        unchanged_for: Duration,
        remembered: SecretData,
        now: Timestamp,
    }

    impl TestReplica {
        fn empty() -> Self {
            let names = ["injector.ns.svc".to_owned(), "injector".to_owned()];
            Self {
                settings: CertSettings { names: names.to_vec(), lifetime: LIFETIME },
                secret: StoredGenerations::default(),
                entries: vec![entry("a", b""), entry("b", b"")],
                unchanged_for: Duration::ZERO,
                remembered: SecretData::default(),
                now: Timestamp::UNIX_EPOCH + Duration::from_hours(24),
            }
        }

        /// A replica whose first certificate is trusted by both entries.
        fn set() -> Self {
            let mut replica = Self::empty();
            assert_eq!(replica.run(), ["write: the first certificate", "a, b: a CA is to be trusted"]);
            replica
        }

        fn step(&self) -> RotationStep {
            let Self { settings, secret, entries, unchanged_for, remembered, now } = self;
            let view = RotationView { secret, entries, unchanged_for: *unchanged_for, remembered, now: *now };
            step(&view, settings).expect("there are random numbers")
        }

        /// Takes steps until there is nothing to do, and returns them.
        fn run(&mut self) -> Vec<String> {
            let mut steps = Vec::new();
            loop {
                self.remembered.remember(&self.secret);
                match self.step() {
                    RotationStep::Wait(_) => return steps,
                    RotationStep::WriteSecret { content, cause, damaged } => {
                        assert_eq!(damaged, !self.secret.flaws.is_empty());
                        steps.push(format!("write: {cause}"));
                        self.secret = StoredGenerations { content, flaws: Vec::new() };
                    }
                    RotationStep::WriteCaBundles { entries, trusted, cause } => {
                        steps.push(format!("{}: {cause}", entries.join(", ")));
                        for entry in self.entries.iter_mut().filter(|entry| entries.contains(&entry.name)) {
                            (entry.trusted, entry.flaw) = (trusted.clone(), None);
                        }
                        self.unchanged_for = Duration::ZERO;
                    }
                }
            }
        }

        fn advance(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.unchanged_for += Duration::from_secs(seconds);
        }

        fn wait_seconds(&self) -> u64 {
            match self.step() {
                RotationStep::Wait(pause) => pause.as_secs(),
                other => panic!("{other:?}"),
            }
        }

        fn current(&self) -> Generation {
            self.secret.content.current.clone().expect("there is a certificate")
        }

        fn next(&self) -> Generation {
            self.secret.content.next.clone().expect("there is a next certificate")
        }

        fn trust(&self, generation: &Generation) -> [bool; 3] {
            let sets = [&self.secret.content.trusted, &self.entries[0].trusted, &self.entries[1].trusted];
            sets.map(|set| set.contains(generation.ca()))
        }
    }

    fn entry(name: &str, bundle: &[u8]) -> WebhookEntry {
        let (trusted, flaw) = TrustedCas::read(bundle);
        WebhookEntry { name: name.to_owned(), trusted, flaw }
    }

    const SUCCESSOR: &str = "write: two thirds of the certificate's life are over: it gets a successor";
    const TRUSTED: &str = "a, b: a CA is to be trusted";
    const PROMOTED: &str = "write: the next certificate takes over";
    const LOST: &str = "write: what is served was taken out: it is put back and gets a successor";

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_its_ca_trusted_until_it_has_expired() {
        let mut replica = TestReplica::set();
        let first = replica.current();
        assert_eq!(replica.wait_seconds(), 600);
        replica.advance(599);
        assert_eq!(replica.wait_seconds(), 1);
        replica.advance(1);
        assert_eq!(replica.run(), [SUCCESSOR, TRUSTED]);
        let second = replica.next();
        assert_eq!(
            (replica.current(), replica.trust(&first), replica.trust(&second)),
            (first.clone(), [true; 3], [true; 3])
        );
        assert_eq!(replica.wait_seconds(), 100);
        replica.advance(100);
        assert_eq!(replica.run(), [PROMOTED]);
        assert_eq!((replica.current(), &replica.secret.content.next), (second.clone(), &None));
        assert_eq!((replica.trust(&first), replica.trust(&second)), ([true; 3], [true; 3]));

        // The first CA outlives its certificate by 300 s, to 1200 s after it was made.
        replica.advance(500);
        assert_eq!(replica.run(), [SUCCESSOR, TRUSTED]);
        assert_eq!(replica.trust(&first), [true; 3]);
        assert_eq!(replica.wait_seconds(), 1);
        replica.advance(1);
        assert_eq!(replica.run(), ["write: a CA has expired", "a, b: a CA has expired"]);
        assert_eq!(replica.trust(&first), [false; 3]);
    }

    #[test]
    fn the_next_waits_for_every_entry_and_again_after_each_change() {
        let mut replica = TestReplica::set();
        replica.advance(600);
        replica.run();
        replica.advance(99);
        replica.entries[1] = entry("b", replica.secret.content.trusted.to_pem().as_bytes());
        replica.unchanged_for = Duration::ZERO;
        replica.advance(99);
        assert_eq!(replica.wait_seconds(), 1);
        replica.entries[1] = entry("b", b"");
        replica.unchanged_for = Duration::from_secs(1000);
        assert_eq!(replica.run(), ["b: a CA is to be trusted"]);
        assert_eq!(replica.wait_seconds(), 100);
    }

    #[test]
    fn without_entries_the_next_takes_over_as_soon_as_that_is_known() {
        let mut replica = TestReplica::set();
        replica.entries.clear();
        replica.advance(600);
        assert_eq!(replica.run(), [SUCCESSOR, PROMOTED]);
    }

    #[test]
    fn a_secret_that_is_deleted_comes_back_with_what_is_served_and_a_successor() {
        let mut replica = TestReplica::set();
        let first = replica.current();
        replica.secret = StoredGenerations::default();
        assert_eq!(replica.run(), [LOST, TRUSTED]);
        assert_eq!(replica.current(), first);
        replica.advance(50);
        let second = replica.next();
        replica.secret = StoredGenerations::default();
        assert_eq!(replica.run(), ["write: what is served was taken out and is put back"]);
        assert_eq!(replica.next(), second, "deleting the Secret again and again does not delay the renewal");
        replica.advance(50);
        replica.secret = StoredGenerations::default();
        assert_eq!(replica.run(), [PROMOTED]);
        assert_eq!((replica.current(), replica.trust(&first)), (second, [true; 3]));
    }

    #[test]
    fn without_a_secret_and_a_memory_what_others_may_serve_stays_trusted_and_they_are_waited_for() {
        let mut replica = TestReplica::set();
        let first = replica.current();
        (replica.secret, replica.remembered) = (StoredGenerations::default(), SecretData::default());
        assert_eq!(replica.run(), ["write: no valid certificate here, but other replicas may serve one", TRUSTED]);
        assert_eq!((&replica.secret.content.current, replica.trust(&first)), (&None, [true; 3]));
        let second = replica.next();
        assert_eq!(replica.wait_seconds(), 30);

        // A replica that serves has observed it.
        let mut other =
            TestReplica { remembered: SecretData { current: Some(first.clone()), ..SecretData::default() }, ..replica };
        assert_eq!(other.run(), ["write: what is served was taken out and is put back"]);
        assert_eq!((other.current(), other.next()), (first, second.clone()));

        // No replica has.
        other.secret.content.current = None;
        other.remembered = SecretData::default();
        other.advance(30);
        assert_eq!(other.run(), [PROMOTED]);
        assert_eq!(other.current(), second);
    }

    #[test]
    fn where_nothing_is_valid_a_new_certificate_is_served_at_once() {
        let mut replica = TestReplica::set();
        replica.advance(10_000);
        assert_eq!(replica.run(), ["write: the first certificate", "a, b: a CA is to be trusted"]);
        assert!(replica.secret.content.next.is_none());
        assert_eq!(replica.entries[0].trusted, replica.secret.content.trusted);
    }

    #[test]
    fn what_is_wrong_with_the_secret_is_reported_and_repaired() {
        let mut replica = TestReplica::set();
        let first = replica.current();
        replica.secret.content.current = None;
        replica.secret.flaws = vec!["tls.crt: a flaw".to_owned(), "ca.crt: another".to_owned()];
        let lost = &LOST["write: ".len()..];
        assert_eq!(replica.run(), [format!("write: tls.crt: a flaw; ca.crt: another; {lost}"), TRUSTED.to_owned()]);
        assert_eq!(replica.current(), first);
        replica.secret.flaws = vec!["next.crt: a flaw".to_owned()];
        assert_eq!(replica.run(), ["write: next.crt: a flaw"]);
        replica.secret.content.trusted = TrustedCas::default();
        let second = replica.next();
        assert_eq!(replica.run(), ["write: a CA that is trusted elsewhere is missing"]);
        assert_eq!((replica.trust(&first), replica.trust(&second)), ([true; 3], [true; 3]));
    }

    #[test]
    fn other_settings_give_a_successor_where_the_certificate_does_not_do() {
        let with = |change: fn(&mut CertSettings)| {
            let mut replica = TestReplica::set();
            change(&mut replica.settings);
            replica.run()
        };
        let longer = "write: the certificate is valid for longer than it is to be: it gets a successor";
        let names = "write: the certificate has not the names of the service: it gets a successor";
        assert_eq!(with(|settings| settings.lifetime /= 2), [longer, TRUSTED]);
        assert_eq!(with(|settings| settings.names[1] = "other".to_owned()), [names, TRUSTED]);
        assert!(with(|settings| settings.lifetime *= 2).is_empty());
        assert!(with(|settings| settings.names.truncate(1)).is_empty());
    }

    #[test]
    fn only_entries_that_differ_are_written() {
        let mut replica = TestReplica::set();
        let pem = replica.secret.content.trusted.to_pem();
        let key = rcgen::KeyPair::generate().expect("a key");
        let foreign = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let table = [
            (String::new(), "b: a CA is to be trusted"),
            (pem.clone() + &foreign, "b: foreign CA \"CN=rcgen self signed cert\""),
            ("?".to_owned(), "b: a CA is to be trusted"),
            (
                "-----BEGIN CERTIFICATE-----\n".to_owned(),
                "b: invalid PEM block in bundle; it has no END line (block 1, line 1)",
            ),
        ];
        for (bundle, expected) in table {
            replica.entries[1] = entry("b", bundle.as_bytes());
            assert_eq!(replica.run(), [expected]);
        }
        replica.entries[1] = entry("b", (pem + "# comment\n").as_bytes());
        assert!(replica.run().is_empty());
    }

    #[test]
    fn a_ca_whose_certificate_has_expired_is_left_where_it_is_whatever_the_clocks() {
        let mut replica = TestReplica::set();
        let first = replica.current();
        replica.advance(600);
        replica.run();
        replica.advance(100);
        replica.run();
        // 1060 s after it was made, in the last 150 s of its CA.
        replica.advance(360);
        replica.secret.content.trusted = TrustedCas::default();
        replica.secret.content.trusted.add(replica.current().ca());
        replica.entries[1].trusted = replica.secret.content.trusted.clone();
        replica.remembered = replica.secret.content.clone();
        assert!(replica.run().is_empty());
        assert_eq!(replica.trust(&first), [false, true, false]);
        replica.advance(1201 - 1060);
        replica.run();
        assert_eq!(replica.trust(&first), [false; 3]);
    }
}
