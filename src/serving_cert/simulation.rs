//! Simulation of a rotation under disruptions.
//!
//! Replicas and API servers observe changes late, crash between any two steps, have wrong clocks and lose races, while
//! the Secret or the configuration is damaged.
//!
//! Whatever a replica serves at any moment verifies against whatever an API server trusts, and after the last
//! disruption all agree.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// Times are in seconds.
const LIFETIME: u64 = 900;
const DISRUPTED: u64 = 3 * LIFETIME;
const CALM: u64 = 300;
/// The longest time until a change is observed.
const LAG: u64 = 8;
/// The most renewals.
const RENEWALS: u64 = (DISRUPTED + CALM).div_ceil(LIFETIME * 2 / 3);
const SERVERS: usize = 2;
const REPLICAS: usize = 3;
const START: u64 = 1_800_000_000;

type Values = BTreeMap<&'static str, String>;

/// A configuration as it was written once.
#[derive(Clone)]
struct Configuration {
    at: u64,
    entries: Vec<WebhookEntry>,
    /// Whether it was damaged: calls may fail.
    damaged: bool,
}

/// All versions that were ever written; a version is an index.
struct Store {
    secrets: Vec<(u64, Option<Values>, StoredGenerations)>,
    configurations: Vec<Configuration>,
    writes: usize,
}

/// A disruption of the cluster.
#[derive(Clone, Debug)]
enum Disruption {
    /// A replica crashes, and starts again after some time.
    Kill(usize, u64),
    Delete,
    /// The Secret is deleted, and a replica starts that has never observed it.
    Lose(usize),
    /// A value of the Secret is overwritten or removed.
    Spoil(&'static str, Option<&'static str>),
    /// `caBundle` of an entry is emptied.
    Empty(usize),
    /// `caBundle` of an entry is reverted by a number of versions.
    Revert(usize, usize),
}

/// The delays of a replica or a server at one moment.
#[derive(Clone, Copy, Debug)]
struct Delays {
    /// The age of the newest version that is observed.
    lag: u64,
    /// The time until a write arrives.
    travel: u64,
    /// Whether the writer gets the response.
    answered: bool,
}

struct Replica {
    skew: i64,
    secret: usize,
    configuration: usize,
    since: u64,
    remembered: SecretData,
    /// The time of the next decision without a change.
    next_step_at: u64,
    back: u64,
    /// The time until which it waits for a response.
    busy: u64,
}

/// A write that has not arrived.
struct Travelling {
    arrives: u64,
    from: usize,
    secret: usize,
    configuration: usize,
    step: RotationStep,
    answered: bool,
}

struct Simulation {
    settings: CertSettings,
    store: Store,
    replicas: Vec<Replica>,
    servers: Vec<usize>,
    travelling: Vec<Travelling>,
}

impl Store {
    fn new(entries: usize) -> Self {
        let entry = |number: usize| WebhookEntry {
            name: format!("entry-{number}"),
            trusted: TrustedCas::default(),
            flaw: None,
        };
        let configuration = Configuration { at: 0, entries: (0..entries).map(entry).collect(), damaged: false };
        Self { secrets: vec![(0, None, StoredGenerations::default())], configurations: vec![configuration], writes: 0 }
    }

    fn write(&mut self, at: u64, values: Option<Values>) {
        let read = |key: &str| values.as_ref()?.get(key).map(String::as_bytes);
        let stored = StoredGenerations::read(read);
        self.secrets.push((at, values, stored));
    }

    fn secret(&self) -> usize {
        self.secrets.len() - 1
    }

    fn configuration(&self) -> usize {
        self.configurations.len() - 1
    }

    /// Applies a write, if it was decided on the newest version.
    fn take(&mut self, now: u64, Travelling { secret, configuration, step, .. }: &Travelling) {
        self.writes += 1;
        match step {
            RotationStep::WriteSecret { content, .. } if *secret == self.secret() => {
                let mut values = self.secrets[*secret].1.clone().unwrap_or_default();
                for (key, value) in content.values() {
                    match value {
                        Some(value) => values.insert(key, value),
                        None => values.remove(key),
                    };
                }
                self.write(now, Some(values));
            }
            RotationStep::WriteCaBundles { entries, trusted, .. } if *configuration == self.configuration() => {
                let mut new = self.configurations[*configuration].clone();
                for entry in new.entries.iter_mut().filter(|entry| entries.contains(&entry.name)) {
                    (entry.trusted, entry.flaw) = TrustedCas::read(trusted.to_pem().as_bytes());
                }
                self.configurations.push(Configuration { at: now, damaged: false, ..new });
            }
            _ => {}
        }
    }

    fn damage(&mut self, now: u64, change: impl FnOnce(&[Configuration], &mut [WebhookEntry])) {
        let mut entries = self.configurations[self.configuration()].entries.clone();
        change(&self.configurations, &mut entries);
        self.configurations.push(Configuration { at: now, entries, damaged: true });
    }
}

/// Returns the newest version that is observed with this lag.
fn latest_visible(
    known: usize,
    times: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator,
    now: u64,
    lag: u64,
) -> usize {
    let newest = times.enumerate().rev().find(|(_, at)| at + lag <= now);
    newest.map_or(known, |(index, _)| index.max(known))
}

impl Simulation {
    fn new(entries: usize) -> Self {
        let names = ["injector.ns.svc".to_owned()];
        let settings = CertSettings { names: names.to_vec(), lifetime: Duration::from_secs(LIFETIME) };
        let mut simulation = Self {
            settings,
            store: Store::new(entries),
            replicas: Vec::new(),
            servers: vec![0; SERVERS],
            travelling: Vec::new(),
        };
        simulation.replicas = (0..REPLICAS).map(|index| simulation.replica(index, 0)).collect();
        simulation
    }

    fn replica(&self, index: usize, back: u64) -> Replica {
        let skew = [-5, 0, 5][index % 3];
        Replica {
            skew,
            secret: self.store.secret(),
            configuration: self.store.configuration(),
            since: back,
            remembered: SecretData::default(),
            next_step_at: 0,
            back,
            busy: 0,
        }
    }

    fn disrupt(&mut self, now: u64, disruption: &Disruption) {
        match *disruption {
            Disruption::Kill(index, pause) => self.replicas[index] = self.replica(index, now + pause),
            Disruption::Delete => self.store.write(now, None),
            Disruption::Lose(index) => {
                self.store.write(now, None);
                self.replicas[index] = self.replica(index, now);
            }
            Disruption::Spoil(key, text) => {
                let mut values = self.store.secrets[self.store.secret()].1.clone().unwrap_or_default();
                match text {
                    Some(text) => values.insert(key, text.to_owned()),
                    None => values.remove(key),
                };
                self.store.write(now, Some(values));
            }
            Disruption::Empty(index) => self.store.damage(now, |_, entries| {
                let index = index % entries.len();
                (entries[index].trusted, entries[index].flaw) = TrustedCas::read(b"");
            }),
            Disruption::Revert(index, age) => self.store.damage(now, |all, entries| {
                let index = index % entries.len();
                entries[index] = all[(all.len() - 1).saturating_sub(age)].entries[index].clone();
            }),
        }
    }

    fn arrive(&mut self, now: u64) {
        let due: Vec<_> = self.travelling.extract_if(.., |travelling| travelling.arrives <= now).collect();
        for travelling in due {
            self.store.take(now, &travelling);
            if travelling.answered {
                // After a conflict it reads the newest version.
                self.observe(now, travelling.from, self.store.secret(), self.store.configuration());
            }
        }
    }

    fn observe(&mut self, now: u64, index: usize, secret: usize, configuration: usize) {
        let replica = &mut self.replicas[index];
        if now < replica.back {
            return;
        }
        if configuration != replica.configuration {
            replica.since = now;
        }
        if (secret, configuration) != (replica.secret, replica.configuration) {
            replica.next_step_at = now;
        }
        (replica.secret, replica.configuration) = (secret, configuration);
        replica.remembered.remember(&self.store.secrets[secret].2);
    }

    fn deliver(&mut self, now: u64, all_delays: &mut impl Iterator<Item = Delays>) {
        let Store { secrets, configurations, .. } = &self.store;
        let secrets = secrets.iter().map(|(at, ..)| *at);
        let configurations: Vec<_> = configurations.iter().map(|configuration| configuration.at).collect();
        let configurations = configurations.iter().copied();
        let mut visible = Vec::new();
        for replica in &self.replicas {
            let delays = all_delays.next().expect("the iterator repeats for ever");
            if now == replica.back {
                visible.push((self.store.secret(), self.store.configuration()));
                continue;
            }
            let secret = latest_visible(replica.secret, secrets.clone(), now, delays.lag);
            visible
                .push((secret, latest_visible(replica.configuration, configurations.clone(), now, LAG - delays.lag)));
        }
        for server in &mut self.servers {
            let delays = all_delays.next().expect("the iterator repeats for ever");
            *server = latest_visible(*server, configurations.clone(), now, delays.lag);
        }
        for (index, (secret, configuration)) in visible.into_iter().enumerate() {
            self.observe(now, index, secret, configuration);
        }
    }

    fn act(&mut self, now: u64, index: usize, delays: Delays) {
        let replica = &mut self.replicas[index];
        if now < replica.back || now < replica.busy || now < replica.next_step_at {
            return;
        }
        let view = RotationView {
            secret: &self.store.secrets[replica.secret].2,
            entries: &self.store.configurations[replica.configuration].entries,
            unchanged_for: Duration::from_secs(now - replica.since),
            remembered: &replica.remembered,
            now: time(now, replica.skew),
        };
        match step(&view, &self.settings).expect("there are random numbers") {
            RotationStep::Wait(pause) => replica.next_step_at = now + pause.as_secs() + 1,
            step => {
                let arrives = now + delays.travel;
                replica.busy = arrives + 1;
                self.travelling.push(Travelling {
                    arrives,
                    from: index,
                    secret: replica.secret,
                    configuration: replica.configuration,
                    step,
                    answered: delays.answered,
                });
            }
        }
    }

    fn served(&self, now: u64) -> impl Iterator<Item = (usize, &Generation)> {
        let up = self.replicas.iter().enumerate().filter(move |(_, replica)| replica.back <= now);
        up.filter_map(|(index, replica)| Some((index, replica.remembered.current.as_ref()?)))
    }

    /// Returns the first version of the configuration that has a CA in each entry.
    fn first(&self) -> usize {
        let announced = |it: &Configuration| it.entries.iter().all(|entry| !entry.trusted.is_empty());
        self.store.configurations.iter().position(announced).unwrap_or(usize::MAX)
    }

    /// Returns whether all replicas serve the current generation, and each entry trusts the CAs of the Secret.
    fn agreed(&self, now: u64) -> bool {
        let StoredGenerations { content: SecretData { trusted, current, .. }, flaws } =
            &self.store.secrets[self.store.secret()].2;
        let entries = &self.store.configurations[self.store.configuration()].entries;
        let serve = |(_, served)| current.as_ref() == Some(served);
        flaws.is_empty()
            && self.served(now).count() == REPLICAS
            && self.served(now).all(serve)
            && entries.iter().all(|entry| entry.flaw.is_none() && entry.trusted.satisfies(trusted, time(now, 0)))
    }

    fn check(&self, now: u64, first: usize) -> Result<(), TestCaseError> {
        for (index, served) in self.served(now) {
            if first <= self.store.configuration() {
                prop_assert!(served.is_valid(time(now, 0)), "replica {index} serves {served:?} at {now}");
            }
            for (server, version) in self.servers.iter().enumerate() {
                let configuration = &self.store.configurations[*version];
                if *version < first || configuration.damaged {
                    continue;
                }
                for entry in &configuration.entries {
                    prop_assert!(
                        entry.trusted.contains(served.ca()),
                        "at {now}: replica {index} serves {served:?}, but server {server} trusts {:?} in {}, as written at {}",
                        entry.trusted,
                        entry.name,
                        configuration.at,
                    );
                }
            }
        }
        Ok(())
    }
}

fn time(now: u64, skew: i64) -> Timestamp {
    Timestamp::from_second(i64::try_from(START + now).expect("small") + skew).expect("in range")
}

fn delays() -> impl Strategy<Value = Delays> {
    (0..=LAG, 0..3u64, prop::bool::weighted(0.8)).prop_map(|(lag, travel, answered)| Delays { lag, travel, answered })
}

/// Returns a list of disruptions. Those that restart the propagation delay are far enough apart for it; and only one of
/// the two objects is damaged, as each is restored from the other.
fn disruptions() -> impl Strategy<Value = Vec<(u64, Disruption)>> {
    let kill = (150..600u64, (0..REPLICAS, 1..60u64).prop_map(|(index, pause)| Disruption::Kill(index, pause)));
    let key = prop::sample::select(vec!["ca.crt", "tls.crt", "tls.key", "next.crt", "next.key"]);
    let text = prop::sample::select(vec![None, Some(""), Some("?"), Some("-----BEGIN CERTIFICATE-----\n")]);
    let spoil = (key, text).prop_map(|(key, text)| Disruption::Spoil(key, text));
    let secret = (1..400u64, prop_oneof![1 => Just(Disruption::Delete), 2 => spoil]);
    let entry = (0..3usize, 0..4usize).prop_map(|(index, age)| match age {
        0 => Disruption::Empty(index),
        age => Disruption::Revert(index, age),
    });
    let entry = (150..600u64, entry);
    let lose = (150..600u64, (0..REPLICAS).prop_map(Disruption::Lose));
    let secret = prop_oneof![3 => secret, 1 => lose];
    let list = |other: BoxedStrategy<(u64, Disruption)>| {
        prop::collection::vec(prop_oneof![1 => kill.clone(), 2 => other], 0..16)
    };
    prop_oneof![list(secret.boxed()), list(entry.boxed())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_verifies_wherever_it_is_asked_for_and_in_calm_times_all_agree(
        entries in 1..4usize,
        all_delays in prop::collection::vec(delays(), 1..60),
        disruptions in disruptions(),
    ) {
        let mut all_delays = all_delays.into_iter().cycle();
        let mut calm = std::iter::repeat(Delays { lag: 1, travel: 1, answered: true });
        let mut simulation = Simulation::new(entries);
        // Before the first CA is announced only the Secret has it.
        let mut at = 3 * LAG;
        let mut disruptions =
            disruptions.into_iter().map(|(gap, disruption)| { at += gap; (at, disruption) }).collect::<Vec<_>>();
        disruptions.retain(|(at, _)| *at < DISRUPTED);
        let causes = disruptions.len() as u64 + RENEWALS;
        let mut agreed = false;
        for now in 0..DISRUPTED + CALM {
            for (_, disruption) in disruptions.extract_if(.., |(at, _)| *at == now) {
                simulation.disrupt(now, &disruption);
            }
            simulation.arrive(now);
            if now < DISRUPTED { simulation.deliver(now, &mut all_delays) } else { simulation.deliver(now, &mut calm) }
            for index in 0..REPLICAS {
                let delays = if now < DISRUPTED { all_delays.next() } else { calm.next() };
                simulation.act(now, index, delays.expect("the iterator repeats for ever"));
            }
            simulation.check(now, simulation.first())?;
            agreed |= DISRUPTED + CALM / 2 <= now && simulation.agreed(now);
        }
        let store = &simulation.store;
        let last = (&store.secrets[store.secret()].2, &store.configurations[store.configuration()].entries);
        let served: Vec<_> = simulation.served(DISRUPTED + CALM).collect();
        prop_assert!(agreed, "{:?}, and served {:?}", last, served);
        // Replicas do not undo each other's writes: each cause leads to a few versions, disruptions among them; and a
        // replica without a response repeats its write only until it observes the new version.
        let versions = (store.secret() + store.configuration()) as u64;
        prop_assert!(versions <= 6 * causes, "{versions} versions of {causes} causes");
        let tries = store.writes as u64;
        prop_assert!(tries <= (versions + 1) * REPLICAS as u64 * (LAG + 1), "{tries} tries for {versions} versions");
    }
}
