//! The engine in the world of the model: requests on their way, watches that are late, everything that others do. What
//! must hold at every moment is asserted here.

mod content;
mod others;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rootcast::api::BUNDLE_LABEL;
use rootcast::bundle::{BundleId, DecisionSettings, Desired, Namespace, RolloutOutcome, TargetRef, Unstable};
use rootcast::fanout::{
    Action, Engine, EngineEvent, EngineStats, ListPhase, ListScope, Order, ResourceVersion, RolloutStats, TargetEvent,
    TargetListResult, TargetRequest, WriteLimits, WriteResult,
};

use crate::model::{Change, Server, told};

pub(crate) use content::{BUNDLES, Content, FOREIGN, NAMESPACES, fields, holdings, key, observed, scopes};

use content::target_event;

/// A request on its way.
pub(crate) struct Flight {
    pub(crate) order: Order,
    /// What the server made of it, if it has reached the server.
    pub(crate) answer: Option<WriteResult>,
    /// Whether a list has ended since it was sent: its answer may be older.
    overtaken: bool,
}

/// A list of one Bundle's targets on its way.
pub(crate) struct PendingList {
    bundle: BundleId,
    scope: ListScope,
    number: u64,
    /// What the server made of it, if it has reached the server.
    pub(crate) found: Option<TargetListResult>,
}

/// A target of a Bundle.
pub(crate) type Target = (Arc<str>, TargetRef);

/// A Bundle as it is in the cluster.
#[derive(Default)]
pub(crate) struct Bundle {
    /// How many of this name there were.
    incarnation: u32,
    exists: bool,
    /// What the engine was last told.
    pub(crate) wanted: Option<Arc<Desired>>,
    /// The last that it was told that was something.
    ever: Option<Arc<Desired>>,
    /// What it reported since it was last told.
    pub(crate) report: Option<RolloutOutcome>,
}

/// The world.
pub(crate) struct World {
    pub(crate) server: Server,
    engine: Engine,
    settings: DecisionSettings,
    max_in_flight: usize,
    pub(crate) now: Duration,
    pub(crate) bundles: BTreeMap<Arc<str>, Bundle>,
    watches: BTreeMap<ListScope, VecDeque<EngineEvent>>,
    /// Lists that have begun and have not reached the server.
    unread: BTreeSet<ListScope>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) pending_lists: Vec<PendingList>,
    /// Given up by us, and perhaps still on their way.
    pub(crate) abandoned: Vec<Order>,
    closed_until: Duration,
    /// Namespaces about which a request was answered that the server is busy, or not at all.
    complained: BTreeSet<Arc<str>>,
    pub(crate) leads: bool,
    pub(crate) may_replace: bool,
    /// Namespaces that refuse every write of ours.
    pub(crate) refusing: BTreeSet<String>,
    /// The namespaces that the engine has heard of.
    heard: BTreeMap<String, Namespace>,
    /// Those among them that it has heard of since the last list began.
    listed: BTreeSet<String>,
    /// The newest version of each target that the engine has heard of, and whether it was there with its label.
    believed: BTreeMap<Target, (ResourceVersion, bool)>,
    /// How many events called for a write, and how many writes had an effect.
    pub(crate) called_for: BTreeMap<Target, usize>,
    pub(crate) written: BTreeMap<Target, usize>,
    /// The orders that were given, in their order, for tests that look at them.
    pub(crate) given: Vec<(Target, TargetRequest)>,
    /// Rollouts that were said to be held back.
    pub(crate) held: Vec<(Arc<str>, Unstable)>,
    /// The number of reports of contention.
    pub(crate) contested: usize,
    /// Objects of others that were told to be completed.
    pub(crate) completed: Vec<Target>,
}

/// How a Bundle that is carried out stands.
fn stats(engine: &Engine, now: Duration, bundle: &str) -> RolloutStats {
    engine.stats(now).bundles[&BundleId::from(bundle)]
}

impl World {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        Self::with(WriteLimits { max_concurrent_writes: max_in_flight, ..WriteLimits::default() })
    }

    pub(crate) fn with(limits: WriteLimits) -> Self {
        let settings = DecisionSettings { secret_targets: true, ..DecisionSettings::default() };
        let mut world = Self {
            server: Server::default(),
            engine: Engine::new(settings.clone(), limits),
            settings,
            max_in_flight: limits.max_concurrent_writes,
            now: Duration::from_secs(1),
            bundles: BTreeMap::new(),
            watches: BTreeMap::new(),
            unread: BTreeSet::new(),
            flights: Vec::new(),
            pending_lists: Vec::new(),
            abandoned: Vec::new(),
            closed_until: Duration::ZERO,
            complained: BTreeSet::new(),
            leads: false,
            may_replace: true,
            refusing: BTreeSet::new(),
            heard: BTreeMap::new(),
            listed: BTreeSet::new(),
            believed: BTreeMap::new(),
            called_for: BTreeMap::new(),
            written: BTreeMap::new(),
            given: Vec::new(),
            held: Vec::new(),
            contested: 0,
            completed: Vec::new(),
        };
        world.lead(true);
        for scope in scopes() {
            world.relist(&scope);
        }
        world
    }

    pub(crate) fn stats(&self) -> EngineStats {
        self.engine.stats(self.now)
    }

    /// How many namespaces and targets the engine knows.
    pub(crate) fn known(&self) -> (usize, usize) {
        self.engine.known_counts()
    }

    fn step(&mut self, event: EngineEvent) {
        for action in self.engine.step(self.now, event) {
            match action {
                Action::Send(order) => self.send(order),
                Action::Report { bundle, outcome, cause } => {
                    assert!(!cause.is_empty());
                    let busy = self.flights.iter().any(|flight| flight.order.bundle == bundle);
                    assert!(!busy, "{bundle} reports while requests are on their way");
                    let known = self.bundles.get_mut(bundle.name()).expect("it was decided");
                    let wanted = known.wanted.as_ref().expect("only what is wanted is reported on");
                    let reached =
                        self.heard.iter().filter(|(name, heard)| wanted.reaches(&self.settings, name, heard)).count();
                    assert_eq!(outcome.namespaces, reached, "reached by {bundle}");
                    let stats = stats(&self.engine, self.now, bundle.name());
                    assert_eq!(stats.desired, reached * wanted.payloads.len(), "objects of {bundle}");
                    assert_eq!(stats.failing, outcome.failures.len(), "failing objects of {bundle}");
                    assert!(stats.held.is_none() || stats.failing > 0, "{bundle} is not written");
                    known.report = Some(outcome);
                }
                Action::List { bundle, scope, number } => {
                    self.pending_lists.push(PendingList { bundle, scope, number, found: None });
                }
                Action::Held { bundle, unstable } => self.held.push((bundle.name().clone(), unstable)),
                Action::Contested { .. } => self.contested += 1,
                Action::Completed { bundle, target: place } => self.completed.push((bundle.name().clone(), place)),
                Action::PutForbidden => assert!(!self.may_replace),
                Action::Progress { progress, .. } => assert!(progress.done <= progress.namespaces),
            }
        }
    }

    /// An order is given: it must be one that may be.
    fn send(&mut self, order: Order) {
        let Order { bundle, target: place, desired: wanted, request } = &order;
        let target = (bundle.name().clone(), place.clone());
        assert!(self.leads, "{order:?} while not leading");
        assert!(self.now >= self.closed_until, "{order:?} while the server is closed");
        assert!(self.flights.len() < self.max_in_flight, "{order:?} above the limit");
        let twice = self.flights.iter().any(|flight| flight.order.bundle == *bundle && flight.order.target == *place);
        assert!(!twice, "two requests for {target:?}");
        let known = &self.bundles[bundle.name()];
        let latest = known.wanted.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, wanted));
        let parts = !known.exists
            && wanted.deleted
            && matches!(request, TargetRequest::HandOver(..) | TargetRequest::GetMetadata);
        assert!(latest || parts, "{order:?} is not the latest");
        let namespace = &self.heard[&*place.namespace];
        assert!(!namespace.terminating, "{order:?} in a namespace on its way out");
        let holds =
            wanted.reaches(&self.settings, &place.namespace, namespace) && wanted.payloads.contains_key(&place.kind);
        match request {
            TargetRequest::HandOver(..) => assert!(!holds, "{order:?} of what is wanted"),
            // Otherwise it is created anew, which the server looks at.
            TargetRequest::Delete(_) | TargetRequest::GetMetadata | TargetRequest::GetContent => {}
            TargetRequest::Create
            | TargetRequest::Replace(_)
            | TargetRequest::Merge { .. }
            | TargetRequest::Apply { .. } => {
                assert!(holds, "{order:?} where nothing is wanted");
            }
        }
        if *request == TargetRequest::Create {
            let there = self.believed.get(&target).is_some_and(|(_, there)| *there);
            assert!(!there, "{order:?} of what is there");
        }
        self.given.push((target, request.clone()));
        self.flights.push(Flight { order, answer: None, overtaken: false });
    }

    pub(crate) fn lead(&mut self, leads: bool) {
        self.leads = leads;
        self.step(EngineEvent::Leading(leads));
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.step(EngineEvent::Tick);
    }

    /// A watch starts anew: what it has not delivered is lost, and it begins a list, which is read later.
    pub(crate) fn relist(&mut self, scope: &ListScope) {
        self.publish();
        self.watches.insert(scope.clone(), VecDeque::new());
        self.unread.insert(scope.clone());
        if *scope == ListScope::Namespaces {
            self.listed.clear();
        }
        self.step(EngineEvent::List(scope.clone(), ListPhase::Began));
    }

    /// A list reaches the server, which tells what is there.
    pub(crate) fn read_list(&mut self, scope: &ListScope) {
        self.publish();
        if !self.unread.remove(scope) {
            return;
        }
        let mut events: VecDeque<_> = match scope {
            ListScope::Namespaces => {
                let names = self.server.namespaces.keys().cloned();
                names.map(|name| self.namespace_event(name)).collect()
            }
            ListScope::Targets(kind, _) => {
                let objects = self.server.objects.iter().filter(|(key, _)| key.kind == *kind);
                let labelled = objects.filter_map(|(key, object)| {
                    told(BUNDLE_LABEL, None, Some(object), object.version).map(|told| target_event(key, told))
                });
                labelled.collect()
            }
        };
        events.push_back(EngineEvent::List(scope.clone(), ListPhase::Ended));
        self.watches.insert(scope.clone(), events);
    }

    fn namespace_event(&self, name: String) -> EngineEvent {
        let now = self.server.namespaces.get(&name).map(|space| content::namespace(&name, space));
        EngineEvent::Namespace(name, now)
    }

    /// Puts what has happened on the server into the watches.
    fn publish(&mut self) {
        for change in std::mem::take(&mut self.server.log) {
            let (scope, event) = match change {
                Change::Namespace(name, space) => {
                    let now = space.map(|space| content::namespace(&name, &space));
                    (ListScope::Namespaces, Some(EngineEvent::Namespace(name, now)))
                }
                Change::Object { key, before, after, version } => {
                    let told = told(BUNDLE_LABEL, before.as_ref(), after.as_ref(), version);
                    (ListScope::Targets(key.kind, None), told.map(|told| target_event(&key, told)))
                }
            };
            self.watches.entry(scope).or_default().extend(event);
        }
    }

    /// A watch delivers what comes next; `false` if there is nothing.
    pub(crate) fn deliver(&mut self, scope: &ListScope) -> bool {
        self.read_list(scope);
        let Some(event) = self.watches.get_mut(scope).and_then(VecDeque::pop_front) else { return false };
        match &event {
            EngineEvent::Namespace(name, Some(namespace)) => {
                self.heard.insert(name.clone(), namespace.clone());
                self.listed.insert(name.clone());
            }
            EngineEvent::Namespace(name, None) => drop(self.heard.remove(name)),
            // Of what is no Bundle's nothing is kept.
            EngineEvent::Target { bundle, .. }
                if !self.bundles.get(bundle.name()).is_some_and(|bundle| bundle.exists) => {}
            EngineEvent::Target { bundle, target, event: now } => {
                let target = (bundle.name().clone(), target.clone());
                match now {
                    TargetEvent::Applied(observed) => self.believe(target, observed.version, true),
                    TargetEvent::Deleted(version) => self.believe(target, *version, false),
                }
            }
            // What a list lacks is gone; which targets those are does not matter here.
            EngineEvent::List(ListScope::Namespaces, ListPhase::Ended) => {
                self.heard.retain(|name, _| self.listed.contains(name));
            }
            EngineEvent::List(ListScope::Targets(kind, _), ListPhase::Ended) => {
                let listed = self.believed.iter_mut().filter(|((_, place), _)| place.kind == *kind);
                listed.for_each(|(_, (_, there))| *there = false);
                let flights = self.flights.iter_mut().filter(|flight| flight.order.target.kind == *kind);
                flights.for_each(|flight| flight.overtaken = true);
            }
            _ => {}
        }
        self.step(event);
        true
    }

    fn believe(&mut self, target: Target, version: ResourceVersion, there: bool) {
        let newest = self.believed.entry(target).or_default();
        if newest.0 <= version {
            *newest = (version, there);
        }
    }

    /// The disturbance is over: everything on its way arrives, and time passes until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        self.refusing.clear();
        self.lead(true);
        for _ in 0..1000 {
            self.flush();
            if self.collect() {
                continue;
            }
            let Some(at) = self.engine.next_wakeup(self.now) else {
                for (bundle, stats) in self.stats().bundles {
                    assert_eq!((stats.in_sync, stats.failing), (stats.desired, 0), "{bundle} at rest");
                }
                return;
            };
            self.now = self.now.max(at);
            self.step(EngineEvent::Tick);
        }
        panic!("it never comes to rest: {:?}", &self.given[self.given.len().saturating_sub(10)..]);
    }

    /// Everything on its way arrives.
    pub(crate) fn flush(&mut self) {
        loop {
            let mut news = false;
            while !self.abandoned.is_empty() {
                self.arrive_late(0);
            }
            news |= !self.pending_lists.is_empty();
            self.answer_lists();
            while !self.flights.is_empty() {
                news = true;
                if self.flights[0].answer.is_none() {
                    self.arrive(0);
                }
                self.answer(0, None);
            }
            for scope in scopes() {
                while self.deliver(&scope) {
                    news = true;
                }
            }
            if !news {
                return;
            }
        }
    }

    /// Whether a Bundle reaches a namespace, going by the server.
    pub(crate) fn reaches(&self, wanted: &Desired, namespace: &str) -> bool {
        self.server.namespaces.get(namespace).is_some_and(|space| {
            let namespace = &content::namespace(namespace, space);
            wanted.reaches(&self.settings, "", namespace)
        })
    }
}
