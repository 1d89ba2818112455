//! What to do next.

use std::time::Duration;

use jiff::Timestamp;

use super::{Authorities, Content, Generation, Kept, Settings};

/// How long to wait at most before looking again: clocks are set.
const LOOK: Duration = Duration::from_hours(1);

/// What one replica sees, however old.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Secret.
    pub secret: &'a Kept,
    /// The entries of the webhook configuration that name our service.
    pub entries: &'a [Entry],
    /// For how long, at least, the entries are known to be as they are.
    pub quiet: Duration,
    /// What this replica has seen in the Secret while it was whole; its `current` is what it serves.
    pub remembered: &'a Content,
    /// The time of day.
    pub now: Timestamp,
}

/// An entry of the webhook configuration.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, which no other entry has.
    pub name: String,
    /// The CAs of ours in its `caBundle`.
    pub trusted: Authorities,
    /// What else is in there.
    pub flaw: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the Secret, unless it has changed since it was seen.
    Write {
        /// Its new content.
        content: Content,
        /// Why.
        cause: String,
        /// Whether somebody has damaged it.
        damaged: bool,
    },
    /// Write `caBundle` of these entries, unless the configuration has changed since it was seen.
    Announce {
        /// The names of the entries.
        entries: Vec<String>,
        /// The CAs.
        trusted: Authorities,
        /// Why.
        cause: String,
    },
    /// Look again after this time, or when something has changed.
    Wait(Duration),
}

/// What one replica does next. Each step rests only on what is in the view, and is guarded by its versions: of replicas
/// that take one step, one does.
///
/// # Errors
/// When no generation can be made; see [`Generation::new`].
pub fn step(view: &View<'_>, settings: &Settings) -> Result<Step, rcgen::Error> {
    let &View { secret: Kept { content: seen, flaws }, entries, .. } = view;
    let (content, turn) = turn(view, settings)?;
    if content != *seen || !flaws.is_empty() {
        let cause = if turn.is_empty() && flaws.is_empty() { trust_changed(&content, seen) } else { turn };
        let damaged = !flaws.is_empty();
        let cause = flaws.iter().cloned().chain((!cause.is_empty()).then_some(cause)).collect::<Vec<_>>().join("; ");
        return Ok(Step::Write { content, cause, damaged });
    }
    let differ = |entry: &&Entry| entry.flaw.is_some() || !entry.trusted.do_for(&content.trusted, view.now);
    let differing: Vec<_> = entries.iter().filter(differ).collect();
    if let Some(first) = differing.first() {
        let cause = match &first.flaw {
            Some(flaw) => flaw.clone(),
            None if content.trusted.are_within(&first.trusted) => "a CA has expired".to_owned(),
            None => "a CA is to be trusted".to_owned(),
        };
        let entries = differing.iter().map(|entry| entry.name.clone()).collect();
        return Ok(Step::Announce { entries, trusted: content.trusted, cause });
    }
    Ok(Step::Wait(until_next(view, settings, &content)))
}

/// What is to be in the Secret, and whose turn it is, in words, if that changes.
fn turn(view: &View<'_>, settings: &Settings) -> Result<(Content, String), rcgen::Error> {
    let &View { secret: Kept { content: seen, .. }, entries, quiet, remembered, now } = view;
    let valid = |generation: &Option<Generation>| generation.clone().filter(|it| it.is_valid(now));
    let kept = valid(&seen.current);
    let lost = kept.is_none();
    let current = kept.or_else(|| valid(&remembered.current));
    let next = valid(&seen.next).or_else(|| valid(&remembered.next)).filter(|next| Some(next) != current.as_ref());
    let mut trusted = seen.trusted.clone();
    for others in entries.iter().map(|entry| &entry.trusted).chain([&remembered.trusted]) {
        trusted.merge(others, now);
    }
    trusted.prune(now);

    let announced = |next: &Generation| entries.iter().all(|entry| entry.trusted.hold(next.authority()));
    let new = || Generation::new(&settings.names, settings.lifetime, now);
    let (current, next, turn) = match (current, next) {
        (Some(_), Some(next)) if announced(&next) && quiet >= settings.settle() => (Some(next), None, TAKES_OVER),
        (Some(current), Some(next)) => (Some(current), Some(next), if lost { PUT_BACK } else { "" }),
        (Some(current), None) => match due(&current, lost, settings, now) {
            Some(why) => (Some(current), Some(new()?), why),
            None => (Some(current), None, ""),
        },
        (None, Some(next)) if trusted.serve_only(Some(next.authority()), now) => (Some(next), None, TAKES_OVER),
        (None, Some(next)) if announced(&next) && quiet >= settings.grace() => (Some(next), None, TAKES_OVER),
        (None, Some(next)) => (None, Some(next), ""),
        (None, None) if trusted.serve_only(None, now) => (Some(new()?), None, "the first certificate"),
        (None, None) => (None, Some(new()?), "no valid certificate here, but other replicas may serve one"),
    };
    for generation in [&current, &next].into_iter().flatten() {
        trusted.add(generation.authority());
    }
    Ok((Content { trusted, current, next }, turn.to_owned()))
}

const TAKES_OVER: &str = "the next certificate takes over";
const PUT_BACK: &str = "what is served was taken out and is put back";

/// Why a valid certificate needs a successor.
fn due(current: &Generation, lost: bool, settings: &Settings, now: Timestamp) -> Option<&'static str> {
    let (life, from) = current.life();
    let reasons = [
        (lost, "what is served was taken out: it is put back and gets a successor"),
        (life > settings.lifetime, "the certificate is valid for longer than it is to be: it gets a successor"),
        (!current.covers(&settings.names), "the certificate has not the names of the service: it gets a successor"),
        (now >= from, "two thirds of the certificate's life are over: it gets a successor"),
    ];
    reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
}

fn trust_changed(content: &Content, seen: &Content) -> String {
    let shrinks = content.trusted.are_within(&seen.trusted);
    if shrinks { "a CA has expired" } else { "a CA that is trusted elsewhere is missing" }.to_owned()
}

/// When time alone gives something to do.
fn until_next(view: &View<'_>, settings: &Settings, content: &Content) -> Duration {
    let &View { quiet, now, .. } = view;
    let after = |end: i64| Timestamp::from_second(end + 1).unwrap_or(Timestamp::MAX);
    let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
    let pause = if content.current.is_some() { settings.settle() } else { settings.grace() };
    let settled = content.next.as_ref().map(|_| pause.saturating_sub(quiet));
    let due = content.current.as_ref().filter(|_| content.next.is_none()).map(|current| until(current.life().1));
    let ends = [&content.current, &content.next].into_iter().flatten().map(|it| it.not_after().as_second());
    let trusted = view.entries.iter().map(|entry| &entry.trusted).chain([&content.trusted]);
    let ends = ends.chain(trusted.filter_map(Authorities::first_end)).map(|end| until(after(end)));
    ends.chain(settled).chain(due).min().unwrap_or(LOOK).min(LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_mins(15);

    /// A replica with a Secret and two entries all to itself.
    struct Stage {
        settings: Settings,
        secret: Kept,
        entries: Vec<Entry>,
        quiet: Duration,
        remembered: Content,
        now: Timestamp,
    }

    impl Stage {
        fn empty() -> Self {
            let names = ["injector.ns.svc".to_owned(), "injector".to_owned()];
            Self {
                settings: Settings { names: names.to_vec(), lifetime: LIFETIME },
                secret: Kept::default(),
                entries: vec![entry("a", b""), entry("b", b"")],
                quiet: Duration::ZERO,
                remembered: Content::default(),
                now: Timestamp::UNIX_EPOCH + Duration::from_hours(24),
            }
        }

        /// With a first certificate that everybody trusts.
        fn set() -> Self {
            let mut stage = Self::empty();
            assert_eq!(stage.take(), ["write: the first certificate", "a, b: a CA is to be trusted"]);
            stage
        }

        fn step(&self) -> Step {
            let Self { settings, secret, entries, quiet, remembered, now } = self;
            let view = View { secret, entries, quiet: *quiet, remembered, now: *now };
            step(&view, settings).expect("there are random numbers")
        }

        /// Takes steps until there is nothing to do, and tells them.
        fn take(&mut self) -> Vec<String> {
            let mut told = Vec::new();
            loop {
                self.remembered.remember(&self.secret);
                match self.step() {
                    Step::Wait(_) => return told,
                    Step::Write { content, cause, damaged } => {
                        assert_eq!(damaged, !self.secret.flaws.is_empty());
                        told.push(format!("write: {cause}"));
                        self.secret = Kept { content, flaws: Vec::new() };
                    }
                    Step::Announce { entries, trusted, cause } => {
                        told.push(format!("{}: {cause}", entries.join(", ")));
                        for entry in self.entries.iter_mut().filter(|entry| entries.contains(&entry.name)) {
                            (entry.trusted, entry.flaw) = (trusted.clone(), None);
                        }
                        self.quiet = Duration::ZERO;
                    }
                }
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.quiet += Duration::from_secs(seconds);
        }

        fn pause(&self) -> u64 {
            match self.step() {
                Step::Wait(pause) => pause.as_secs(),
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
            let places = [&self.secret.content.trusted, &self.entries[0].trusted, &self.entries[1].trusted];
            places.map(|place| place.hold(generation.authority()))
        }
    }

    fn entry(name: &str, bundle: &[u8]) -> Entry {
        let (trusted, flaw) = Authorities::read(bundle);
        Entry { name: name.to_owned(), trusted, flaw }
    }

    const SUCCESSOR: &str = "write: two thirds of the certificate's life are over: it gets a successor";
    const TRUSTED: &str = "a, b: a CA is to be trusted";
    const PROMOTED: &str = "write: the next certificate takes over";
    const LOST: &str = "write: what is served was taken out: it is put back and gets a successor";

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_its_ca_trusted_until_it_has_expired() {
        let mut stage = Stage::set();
        let first = stage.current();
        assert_eq!(stage.pause(), 600);
        stage.pass(599);
        assert_eq!(stage.pause(), 1);
        stage.pass(1);
        assert_eq!(stage.take(), [SUCCESSOR, TRUSTED]);
        let second = stage.next();
        assert_eq!((stage.current(), stage.trust(&first), stage.trust(&second)), (first.clone(), [true; 3], [true; 3]));
        assert_eq!(stage.pause(), 100);
        stage.pass(100);
        assert_eq!(stage.take(), [PROMOTED]);
        assert_eq!((stage.current(), &stage.secret.content.next), (second.clone(), &None));
        assert_eq!((stage.trust(&first), stage.trust(&second)), ([true; 3], [true; 3]));

        // The first CA outlives its certificate by 300 s, to 1200 s after it was made.
        stage.pass(500);
        assert_eq!(stage.take(), [SUCCESSOR, TRUSTED]);
        assert_eq!(stage.trust(&first), [true; 3]);
        assert_eq!(stage.pause(), 1);
        stage.pass(1);
        assert_eq!(stage.take(), ["write: a CA has expired", "a, b: a CA has expired"]);
        assert_eq!(stage.trust(&first), [false; 3]);
    }

    #[test]
    fn the_next_waits_for_every_entry_and_again_after_each_change() {
        let mut stage = Stage::set();
        stage.pass(600);
        stage.take();
        stage.pass(99);
        stage.entries[1] = entry("b", stage.secret.content.trusted.to_pem().as_bytes());
        stage.quiet = Duration::ZERO;
        stage.pass(99);
        assert_eq!(stage.pause(), 1);
        stage.entries[1] = entry("b", b"");
        stage.quiet = Duration::from_secs(1000);
        assert_eq!(stage.take(), ["b: a CA is to be trusted"]);
        assert_eq!(stage.pause(), 100);
    }

    #[test]
    fn without_entries_the_next_takes_over_as_soon_as_that_is_known() {
        let mut stage = Stage::set();
        stage.entries.clear();
        stage.pass(600);
        assert_eq!(stage.take(), [SUCCESSOR, PROMOTED]);
    }

    #[test]
    fn a_secret_that_is_deleted_comes_back_with_what_is_served_and_a_successor() {
        let mut stage = Stage::set();
        let first = stage.current();
        stage.secret = Kept::default();
        assert_eq!(stage.take(), [LOST, TRUSTED]);
        assert_eq!(stage.current(), first);
        stage.pass(50);
        let second = stage.next();
        stage.secret = Kept::default();
        assert_eq!(stage.take(), ["write: what is served was taken out and is put back"]);
        assert_eq!(stage.next(), second, "who deletes it again and again does not hold up the renewal");
        stage.pass(50);
        stage.secret = Kept::default();
        assert_eq!(stage.take(), [PROMOTED]);
        assert_eq!((stage.current(), stage.trust(&first)), (second, [true; 3]));
    }

    #[test]
    fn without_a_secret_and_a_memory_what_others_may_serve_stays_trusted_and_they_are_waited_for() {
        let mut stage = Stage::set();
        let first = stage.current();
        (stage.secret, stage.remembered) = (Kept::default(), Content::default());
        assert_eq!(stage.take(), ["write: no valid certificate here, but other replicas may serve one", TRUSTED]);
        assert_eq!((&stage.secret.content.current, stage.trust(&first)), (&None, [true; 3]));
        let second = stage.next();
        assert_eq!(stage.pause(), 30);

        // Somebody who serves has heard of it.
        let mut other = Stage { remembered: Content { current: Some(first.clone()), ..Content::default() }, ..stage };
        assert_eq!(other.take(), ["write: what is served was taken out and is put back"]);
        assert_eq!((other.current(), other.next()), (first, second.clone()));

        // Nobody has.
        other.secret.content.current = None;
        other.remembered = Content::default();
        other.pass(30);
        assert_eq!(other.take(), [PROMOTED]);
        assert_eq!(other.current(), second);
    }

    #[test]
    fn where_nothing_is_valid_a_new_certificate_is_served_at_once() {
        let mut stage = Stage::set();
        stage.pass(10_000);
        assert_eq!(stage.take(), ["write: the first certificate", "a, b: a CA is to be trusted"]);
        assert!(stage.secret.content.next.is_none());
        assert_eq!(stage.entries[0].trusted, stage.secret.content.trusted);
    }

    #[test]
    fn what_is_wrong_with_the_secret_is_told_and_healed() {
        let mut stage = Stage::set();
        let first = stage.current();
        stage.secret.content.current = None;
        stage.secret.flaws = vec!["tls.crt: a flaw".to_owned(), "ca.crt: another".to_owned()];
        let lost = &LOST["write: ".len()..];
        assert_eq!(stage.take(), [format!("write: tls.crt: a flaw; ca.crt: another; {lost}"), TRUSTED.to_owned()]);
        assert_eq!(stage.current(), first);
        stage.secret.flaws = vec!["next.crt: a flaw".to_owned()];
        assert_eq!(stage.take(), ["write: next.crt: a flaw"]);
        stage.secret.content.trusted = Authorities::default();
        let second = stage.next();
        assert_eq!(stage.take(), ["write: a CA that is trusted elsewhere is missing"]);
        assert_eq!((stage.trust(&first), stage.trust(&second)), ([true; 3], [true; 3]));
    }

    #[test]
    fn other_settings_give_a_successor_where_the_certificate_does_not_do() {
        let with = |change: fn(&mut Settings)| {
            let mut stage = Stage::set();
            change(&mut stage.settings);
            stage.take()
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
        let mut stage = Stage::set();
        let pem = stage.secret.content.trusted.to_pem();
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
        for (bundle, told) in table {
            stage.entries[1] = entry("b", bundle.as_bytes());
            assert_eq!(stage.take(), [told]);
        }
        stage.entries[1] = entry("b", (pem + "# comment\n").as_bytes());
        assert!(stage.take().is_empty());
    }

    #[test]
    fn a_ca_whose_certificate_has_expired_is_left_where_it_is_whatever_the_clocks() {
        let mut stage = Stage::set();
        let first = stage.current();
        stage.pass(600);
        stage.take();
        stage.pass(100);
        stage.take();
        // 1060 s after it was made, in the last 150 s of its CA.
        stage.pass(360);
        stage.secret.content.trusted = Authorities::default();
        stage.secret.content.trusted.add(stage.current().authority());
        stage.entries[1].trusted = stage.secret.content.trusted.clone();
        stage.remembered = stage.secret.content.clone();
        assert!(stage.take().is_empty());
        assert_eq!(stage.trust(&first), [false, true, false]);
        stage.pass(1201 - 1060);
        stage.take();
        assert_eq!(stage.trust(&first), [false; 3]);
    }
}
