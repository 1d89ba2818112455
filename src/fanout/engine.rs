//! The pure step of the fan-out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Namespace, TargetRef, Settings};

use super::action::{Action, Order};
use super::blame::{Blame, Record, SLOW};
use super::damping::Budget;
use super::event::{Answer, Event, Phase, Scope, Sighting};
use super::fleet::{Surroundings, Why};
use super::fleets::Fleets;
use super::index::{Absence, Looks, Namespaces};
use super::listing::Found;
use super::pace::{Health, Lane, Limits, PAUSE_MAX, Pace};
use super::put::Put;
use super::version::Version;

/// Everything known about targets, and what is to be done about them.
pub struct Engine {
    ground: Ground,
    looks: Looks,
    pub(super) fleets: Fleets,
    /// The lists of all targets of each scope.
    lists: BTreeMap<Scope, Lists>,
    /// The number of the last list of one Bundle's targets.
    number: u64,
    pub(super) pace: Pace,
    budget: Budget,
    flights: BTreeMap<(Arc<str>, TargetRef), Flight>,
    /// Whose turn was last.
    last: Arc<str>,
    leads: bool,
}

/// The lists of all targets of one scope.
#[derive(Default)]
struct Lists {
    /// How many were begun.
    epoch: u32,
    /// Whether one is under way.
    runs: bool,
    /// Whether any has ever ended.
    has_ended: bool,
}

/// What all fleets stand on.
struct Ground {
    settings: Settings,
    namespaces: Namespaces,
    put: Put,
    record: Record,
}

/// An order that is out.
struct Flight {
    since: Duration,
    /// Whether it counts as slow.
    slow: bool,
    /// The bytes that count against the budget of rollouts.
    bytes: usize,
}

impl Ground {
    fn around(&self, now: Duration) -> Surroundings<'_> {
        let Self { settings, namespaces, put, record } = self;
        Surroundings { settings, namespaces, replace: put.is_open(), slow: record.slow(), now }
    }
}

impl Engine {
    /// An engine that knows nothing yet and may not write.
    #[must_use]
    pub fn new(settings: Settings, limits: Limits) -> Self {
        Self {
            ground: Ground {
                settings,
                namespaces: Namespaces::default(),
                put: Put::default(),
                record: Record::default(),
            },
            looks: Looks::default(),
            fleets: Fleets::default(),
            lists: BTreeMap::new(),
            number: 0,
            pace: Pace::new(limits),
            budget: Budget::new(limits.damping),
            flights: BTreeMap::new(),
            last: "".into(),
            leads: false,
        }
    }

    /// Takes in what happened, at a time since the start of the process that never goes back; returns what to do, in this
    /// order.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.hear(now, event, &mut actions);
        self.notice_slow(now);
        self.wake(now);
        self.fleets.index();
        while let Some(order) = self.next(now) {
            actions.push(Action::Send(order));
        }
        for name in self.fleets.take_changed() {
            let Some(fleet) = self.fleets.get_mut(&name) else { continue };
            while let Some(action) = fleet.tell(self.ground.around(now)) {
                actions.push(action);
            }
            let lists = fleet.listing.ask(now, &mut self.number).into_iter();
            actions.extend(lists.map(|(scope, number)| Action::List { bundle: name.clone(), scope, number }));
            self.fleets.index_one(&name);
        }
        self.fleets.take_changed();
        actions
    }

    /// When [`Event::Time`] is due, if nothing else happens before.
    #[must_use]
    pub fn wakes(&self, now: Duration) -> Option<Duration> {
        let work = self.leads && self.fleets.has_work();
        let slow = self.flights.values().filter(|flight| !flight.slow).map(|flight| flight.since + SLOW).min();
        let pace = [self.pace.opens(), slow].into_iter().flatten().filter(|at| work && *at > now);
        self.fleets.wakes().into_iter().chain(pace).min()
    }

    /// How many namespaces and targets are known.
    #[must_use]
    pub fn known(&self) -> (usize, usize) {
        let targets = self.fleets.values().map(|fleet| fleet.targets.places().count()).sum();
        (self.ground.namespaces.iter().count(), targets)
    }

    /// The labels of a namespace that is there.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.ground.namespaces.living(name)
    }

    pub(super) fn around(&self, now: Duration) -> Surroundings<'_> {
        self.ground.around(now)
    }

    fn hear(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Bundle(name, there) => self.bundle_changed(now, &name, there),
            Event::Deleted { bundle, uid } => {
                // Who leads hands over; a standby cannot know what the leader has done.
                let uid = uid.filter(|_| self.leads);
                if let Some(fleet) = self.fleets.get_mut(&bundle).filter(|fleet| !fleet.there) {
                    fleet.part(self.ground.around(now), uid.as_deref());
                }
            }
            Event::Wanted { bundle, wanted, cause } => {
                let Some(fleet) = self.fleets.get_mut(&bundle).filter(|fleet| fleet.there) else { return };
                fleet.listing.held = None;
                if let Some(wanted) = wanted {
                    fleet.listing.held = Some((wanted, cause));
                    self.release(now, &bundle);
                } else {
                    fleet.because(|| cause);
                    fleet.decide(self.ground.around(now), None);
                }
            }
            Event::Listed { bundle, scope, number, found } => self.listed(now, &bundle, &scope, number, found),
            Event::Namespace(name, after) => self.namespace_changed(now, &name, after),
            Event::Target { bundle, place: (kind, namespace), now: sighting } => {
                let place = TargetRef { kind, namespace: self.ground.namespaces.name(&namespace) };
                self.target_changed(now, &bundle, &place, sighting);
            }
            Event::List(Scope::Namespaces, Phase::Began) => self.ground.namespaces.begin(),
            Event::List(Scope::Namespaces, Phase::Ended) => {
                for name in self.ground.namespaces.missing() {
                    self.namespace_changed(now, &name, None);
                }
            }
            Event::List(scope, Phase::Began) => {
                for name in self.fleets.names(|_| true) {
                    self.fleets.get_mut(&name).expect("just named").listing.list_began(&scope);
                }
                let list = self.lists.entry(scope).or_default();
                (list.epoch, list.runs) = (list.epoch.wrapping_add(1), true);
            }
            Event::List(scope, Phase::Ended) => self.list_ended(now, &scope),
            Event::Answer { bundle, place, answer } => self.answered(now, &bundle, &place, answer, actions),
            Event::Busy(retry_after) => self.pace.heed(now, Health::Closed(retry_after)),
            Event::Lead(leads) => self.leads = leads,
            Event::Time => {}
        }
    }

    fn namespace_changed(&mut self, now: Duration, name: &str, after: Option<Namespace>) {
        let (name, before, verb) = match after {
            Some(after) => {
                let terminating = after.terminating;
                let (name, before) = self.ground.namespaces.put(name, after.clone());
                if before.as_ref() == Some(&after) {
                    return;
                }
                let verb = if before.is_none() {
                    "created"
                } else if terminating {
                    "terminating"
                } else {
                    "relabelled"
                };
                (name, before, verb)
            }
            None => match self.ground.namespaces.remove(name) {
                Some((name, before)) => {
                    self.ground.record.forget(&name);
                    (name, Some(before), "deleted")
                }
                None => return,
            },
        };
        for fleet in self.fleets.names(|fleet| fleet.wanted.is_some()) {
            let fleet = self.fleets.get_mut(&fleet).expect("just named");
            fleet.namespace_changed(self.ground.around(now), &name, before.as_ref(), verb);
        }
    }

    /// A Bundle is there, or no longer: then its targets are nobody's, but what it completed is remembered until it is known
    /// how it was deleted.
    fn bundle_changed(&mut self, now: Duration, name: &str, there: bool) {
        if there {
            let begun = self.lists.iter().map(|(scope, list)| (scope.clone(), list.runs));
            let fleet = self.fleets.enter(name);
            if !fleet.there {
                fleet.arrive(self.ground.around(now));
                fleet.listing.begin(begun, now);
            }
        } else if let Some(fleet) = self.fleets.get_mut(name) {
            fleet.leave(self.ground.around(now));
        }
    }

    /// Decides a Bundle, unless nothing was decided yet and some of its targets are still to be listed.
    fn release(&mut self, now: Duration, bundle: &str) {
        let Some(fleet) = self.fleets.get_mut(bundle) else { return };
        let has_ended = |scope: &Scope| self.lists.get(scope).is_some_and(|list| list.has_ended);
        if fleet.wanted.is_none() && fleet.listing.is_open(has_ended) {
            return;
        }
        if let Some((wanted, cause)) = fleet.listing.held.take() {
            fleet.roll_out(self.ground.around(now), wanted, cause, &mut self.budget);
        }
    }

    /// A list of one Bundle's targets was answered.
    fn listed(&mut self, now: Duration, bundle: &str, scope: &Scope, number: u64, found: Found) {
        let Some(fleet) = self.fleets.get_mut(bundle) else { return };
        if !fleet.listing.answered(scope, number, &found, now) {
            return;
        }
        if let (Found::Targets(targets), Scope::Targets(kind, _)) = (found, scope) {
            for (namespace, observed) in targets {
                let place = TargetRef { kind: *kind, namespace: self.ground.namespaces.name(&namespace) };
                let lost =
                    self.fleets.get(bundle).is_some_and(|fleet| fleet.listing.was_lost(&place, observed.version));
                if !lost {
                    self.target_changed(now, bundle, &place, Sighting::There(observed));
                }
            }
        }
        if let Some(fleet) = self.fleets.get_mut(bundle) {
            fleet.listing.tidy();
        }
        self.release(now, bundle);
    }

    /// Takes in how a target is; of what has no Bundle's name nothing is kept.
    fn target_changed(&mut self, now: Duration, bundle: &str, place: &TargetRef, sighting: Sighting) {
        let epoch = self.epoch(place);
        let Some(fleet) = self.fleets.get_mut(bundle).filter(|fleet| fleet.there) else { return };
        let (news, verb) = match sighting {
            Sighting::There(observed) => (fleet.sees(&mut self.looks, place, observed, epoch), "changed"),
            Sighting::Gone(version) => {
                let lost = fleet.targets.lose(place, version);
                fleet.listing.lost(place, version);
                fleet.was_gone(place, version);
                (lost, "deleted")
            }
        };
        if news && fleet.consider(self.ground.around(now), place, Why::Changed) {
            let name = fleet.name.clone();
            fleet.because(|| format!("target {} {}/{name} {verb}", place.kind.as_str(), place.namespace));
        }
    }

    /// The list that a target is in at present.
    fn epoch(&self, TargetRef { kind, namespace }: &TargetRef) -> u32 {
        let list = |namespace| self.lists.get(&Scope::Targets(*kind, namespace));
        let covering = list(None).or_else(|| list(Some(namespace.to_string())));
        covering.map(|list| list.epoch).unwrap_or_default()
    }

    fn list_ended(&mut self, now: Duration, scope: &Scope) {
        let list = self.lists.entry(scope.clone()).or_default();
        (list.runs, list.has_ended) = (false, true);
        let epoch = list.epoch;
        for name in self.fleets.names(|_| true) {
            let fleet = self.fleets.get_mut(&name).expect("just named");
            let missing = fleet.targets.missing(scope, epoch);
            let asked = fleet.tasks.in_flight().filter(|place| scope.covers(place));
            let mut doubtful: BTreeSet<_> =
                asked.filter(|place| !fleet.targets.is_told(place, epoch)).cloned().collect();
            for (place, absence) in missing {
                if absence == Absence::Doubtful {
                    doubtful.insert(place);
                } else if !doubtful.contains(&place) {
                    self.target_changed(now, &name, &place, Sighting::Gone(Version::NEWEST));
                }
            }
            let fleet = self.fleets.get_mut(&name).expect("just named");
            for place in doubtful {
                fleet.doubt(self.ground.around(now), &place);
            }
            fleet.listing.list_ended(scope, now);
            self.release(now, &name);
        }
    }

    /// Orders that are out for long make room for others.
    fn notice_slow(&mut self, now: Duration) {
        let late = |flight: &Flight| !flight.slow && flight.since + SLOW <= now;
        for ((_, place), flight) in self.flights.iter_mut().filter(|(_, flight)| late(flight)) {
            flight.slow = true;
            self.pace.slow(true);
            self.ground.record.takes_long(&place.namespace);
        }
    }

    /// Takes up what has waited for its time.
    fn wake(&mut self, now: Duration) {
        for name in self.fleets.awake(now) {
            let Some(fleet) = self.fleets.get_mut(&name) else { continue };
            fleet.take_time(self.ground.around(now), &mut self.budget);
            while let Some(place) = fleet.tasks.due(now) {
                fleet.consider(self.ground.around(now), &place, Why::Turn);
            }
        }
    }

    /// The next order: single events before rollouts, Bundles in turn.
    fn next(&mut self, now: Duration) -> Option<Order> {
        for lane in Lane::ALL {
            while self.leads && self.pace.is_open(now, lane) {
                let Some(name) = self.fleets.next(lane, &self.last) else { break };
                self.last = name.clone();
                let fleet = self.fleets.get_mut(&name).expect("it has work");
                let order = fleet.next(self.ground.around(now), lane);
                let bulk = order.as_ref().is_some_and(|order| fleet.is_bulk(order));
                self.fleets.index_one(&name);
                if let Some(order) = order {
                    let payload = order.wanted.payloads.get(&order.place.kind);
                    let bytes =
                        payload.filter(|_| order.request.carries_content()).map_or(0, crate::bundle::Payload::size);
                    self.pace.sent(now, bytes);
                    let slow = lane == Lane::Slow;
                    if slow {
                        self.pace.slow(true);
                    }
                    let bytes = if bulk { bytes } else { 0 };
                    self.flights.insert((name, order.place.clone()), Flight { since: now, slow, bytes });
                    return Some(order);
                }
            }
        }
        None
    }

    fn answered(&mut self, now: Duration, bundle: &str, place: &TargetRef, answer: Answer, actions: &mut Vec<Action>) {
        let epoch = self.epoch(place);
        let flight = self.land(bundle, place);
        let since = flight.as_ref().map_or(now, |flight| flight.since);
        if let (Some(flight), Answer::Is(_)) = (flight, &answer) {
            self.budget.wrote(bundle, flight.bytes);
        }
        let Some(fleet) = self.fleets.get_mut(bundle) else { return self.pace.ended() };
        let write = fleet.is_being_written(place);
        let blame = health(&answer).map(|health| (health, fleet.blame(&mut self.ground.record, place)));
        match blame {
            // What others have not told of, too, stops them for a moment only.
            Some((Health::Closed(wait), Blame::Server { confirmed: false })) => {
                self.pace.answered(now, Health::Closed(wait.map(|wait| wait.min(PAUSE_MAX))));
            }
            Some((health, Blame::Server { .. })) => self.pace.answered(now, health),
            Some((_, Blame::Target { .. })) => self.pace.ended(),
            None => {
                self.pace.answered(now, Health::Fine);
                if write {
                    self.ground.record.good(&place.namespace, now.saturating_sub(since));
                }
            }
        }
        if fleet.request_in_flight(place).is_some_and(|request| self.ground.put.hear(request, &answer)) {
            actions.push(Action::FallBack);
        }
        fleet.answered(self.ground.around(now), &mut self.looks, place, answer, blame.map(|(_, blame)| blame), epoch);
        if !fleet.there && !fleet.parted {
            fleet.leave(self.ground.around(now));
        }
    }

    /// An order is out no more.
    fn land(&mut self, bundle: &str, place: &TargetRef) -> Option<Flight> {
        let flight = self.flights.remove(&(Arc::from(bundle), place.clone()))?;
        if flight.slow {
            self.pace.slow(false);
        }
        Some(flight)
    }
}

/// What trouble an answer tells of.
fn health(answer: &Answer) -> Option<Health> {
    match answer {
        Answer::Busy(retry_after, _) => Some(Health::Closed(*retry_after)),
        Answer::Lost(_) => Some(Health::Closed(None)),
        Answer::TimedOut(_) | Answer::Failed(_) => Some(Health::Slow),
        _ => None,
    }
}
