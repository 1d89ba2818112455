//! The engine in the world of the model: requests on their way, watches that are late, everything that others do. What
//! must hold at every moment is asserted here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rootcast::api::{API_VERSION, BUNDLE_LABEL, FIELD_MANAGER, HASH_ANNOTATION, KIND};
use rootcast::bundle::{Labels, Namespace, ObjectKind, Outcome, Payload, Place, Settings, Value, Wanted};
use rootcast::fanout::{
    Action, Answer, Engine, Event, Limits, Observed, Order, Own, Phase, Request, Scope, Sighting, Version,
};
use serde_json::json;

use crate::model::{Call, Change, Failure, Field, Fields, Key, Object, Part, Server, Told, Verb, told};

/// A request on its way.
pub(crate) struct Flight {
    pub(crate) order: Order,
    /// What the server made of it, if it has reached the server.
    pub(crate) answer: Option<Answer>,
}

/// A target of a Bundle.
pub(crate) type Target = (Arc<str>, Place);

/// A Bundle as it is in the cluster.
#[derive(Default)]
pub(crate) struct Bundle {
    /// How many of this name there were.
    incarnation: u32,
    exists: bool,
    /// What the engine was last told.
    pub(crate) wanted: Option<Arc<Wanted>>,
    /// The last that it was told that was something.
    ever: Option<Arc<Wanted>>,
    /// What it reported since it was last told.
    pub(crate) report: Option<Outcome>,
}

/// The world.
pub(crate) struct World {
    pub(crate) server: Server,
    engine: Engine,
    settings: Settings,
    max_in_flight: usize,
    pub(crate) now: Duration,
    pub(crate) bundles: BTreeMap<Arc<str>, Bundle>,
    watches: BTreeMap<Scope, VecDeque<Event>>,
    pub(crate) flights: Vec<Flight>,
    /// Given up by us, and perhaps still on their way.
    pub(crate) ghosts: Vec<Order>,
    closed_until: Duration,
    pub(crate) leads: bool,
    pub(crate) may_replace: bool,
    /// Namespaces that refuse every write of ours.
    pub(crate) refusing: BTreeSet<String>,
    /// The namespaces that the engine has heard of.
    heard: BTreeMap<String, Namespace>,
    /// Those among them that it has heard of since the last list began.
    listed: BTreeSet<String>,
    /// The newest version of each target that the engine has heard of, and whether it was there with its label.
    believed: BTreeMap<Target, (Version, bool)>,
    /// How many events called for a write, and how many writes had an effect.
    pub(crate) called_for: BTreeMap<Target, usize>,
    pub(crate) written: BTreeMap<Target, usize>,
    /// The orders that were given, in their order, for tests that look at them.
    pub(crate) given: Vec<(Target, Request)>,
    /// How often a fight was spoken of.
    pub(crate) contested: usize,
}

impl World {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        let settings = Settings { secret_targets: true, ..Settings::default() };
        let limits = Limits { max_concurrent_writes: max_in_flight, ..Limits::default() };
        let mut world = Self {
            server: Server::default(),
            engine: Engine::new(settings.clone(), limits),
            settings,
            max_in_flight,
            now: Duration::from_secs(1),
            bundles: BTreeMap::new(),
            watches: BTreeMap::new(),
            flights: Vec::new(),
            ghosts: Vec::new(),
            closed_until: Duration::ZERO,
            leads: false,
            may_replace: true,
            refusing: BTreeSet::new(),
            heard: BTreeMap::new(),
            listed: BTreeSet::new(),
            believed: BTreeMap::new(),
            called_for: BTreeMap::new(),
            written: BTreeMap::new(),
            given: Vec::new(),
            contested: 0,
        };
        world.lead(true);
        for scope in scopes() {
            world.relist(&scope);
        }
        world
    }

    // What the engine hears.

    fn step(&mut self, event: Event) {
        for action in self.engine.step(self.now, event) {
            match action {
                Action::Send(order) => self.send(order),
                Action::Report { bundle, outcome, cause } => {
                    assert!(!cause.is_empty());
                    let busy = self.flights.iter().any(|flight| flight.order.bundle == bundle);
                    assert!(!busy, "{bundle} reports while requests are on their way");
                    let known = self.bundles.get_mut(&bundle).expect("it was decided");
                    let wanted = known.wanted.as_ref().expect("only what is wanted is reported on");
                    let reached =
                        self.heard.iter().filter(|(name, heard)| wanted.reaches(&self.settings, name, heard)).count();
                    assert_eq!(outcome.namespaces, reached, "reached by {bundle}");
                    known.report = Some(outcome);
                }
                Action::Contested { .. } => self.contested += 1,
                Action::FallBack => assert!(!self.may_replace),
                Action::Progress { progress, .. } => assert!(progress.done <= progress.namespaces),
            }
        }
    }

    /// An order is given: it must be one that may be.
    fn send(&mut self, order: Order) {
        let Order { bundle, place, wanted, request } = &order;
        let target = (bundle.clone(), place.clone());
        assert!(self.leads, "{order:?} while not leading");
        assert!(self.now >= self.closed_until, "{order:?} while the server is closed");
        assert!(self.flights.len() < self.max_in_flight, "{order:?} above the limit");
        let twice = self.flights.iter().any(|flight| flight.order.bundle == *bundle && flight.order.place == *place);
        assert!(!twice, "two requests for {target:?}");
        let latest = self.bundles[bundle].wanted.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, wanted));
        assert!(latest, "{order:?} is not the latest");
        let namespace = &self.heard[&*place.namespace];
        assert!(!namespace.terminating, "{order:?} in a namespace on its way out");
        let holds =
            wanted.reaches(&self.settings, &place.namespace, namespace) && wanted.payloads.contains_key(&place.kind);
        match request {
            Request::Delete(_) | Request::HandOver(..) => assert!(!holds, "{order:?} of what is wanted"),
            Request::Look | Request::Compare => {}
            Request::Create | Request::Replace(_) | Request::Merge { .. } | Request::Apply(_) => {
                assert!(holds, "{order:?} where nothing is wanted");
            }
        }
        if *request == Request::Create {
            let there = self.believed.get(&target).is_some_and(|(_, there)| *there);
            assert!(!there, "{order:?} of what is there");
        }
        self.given.push((target, request.clone()));
        self.flights.push(Flight { order, answer: None });
    }

    pub(crate) fn lead(&mut self, leads: bool) {
        self.leads = leads;
        self.step(Event::Lead(leads));
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.step(Event::Time);
    }

    /// A watch starts anew: what it has not delivered is lost, and it lists what is there.
    pub(crate) fn relist(&mut self, scope: &Scope) {
        self.publish();
        let mut events = VecDeque::from([Event::List(scope.clone(), Phase::Began)]);
        match scope {
            Scope::Namespaces => {
                let names = self.server.namespaces.keys().cloned().collect::<Vec<_>>();
                events.extend(names.into_iter().map(|name| self.namespace_event(name)));
            }
            Scope::Targets(kind, _) => {
                let objects = self.server.objects.iter().filter(|(key, _)| key.kind == *kind);
                let labelled = objects.filter_map(|(key, object)| {
                    told(BUNDLE_LABEL, None, Some(object), object.version).map(|told| target_event(key, told))
                });
                events.extend(labelled);
            }
        }
        events.push_back(Event::List(scope.clone(), Phase::Ended));
        self.watches.insert(scope.clone(), events);
    }

    fn namespace_event(&self, name: String) -> Event {
        let now = self
            .server
            .namespaces
            .get(&name)
            .map(|space| Namespace { labels: space.labels.clone(), terminating: space.terminating });
        Event::Namespace(name, now)
    }

    /// Puts what has happened on the server into the watches.
    fn publish(&mut self) {
        for change in std::mem::take(&mut self.server.log) {
            let (scope, event) = match change {
                Change::Namespace(name, space) => {
                    let now = space.map(|space| Namespace { labels: space.labels, terminating: space.terminating });
                    (Scope::Namespaces, Some(Event::Namespace(name, now)))
                }
                Change::Object { key, before, after, version } => {
                    let told = told(BUNDLE_LABEL, before.as_ref(), after.as_ref(), version);
                    (Scope::Targets(key.kind, None), told.map(|told| target_event(&key, told)))
                }
            };
            self.watches.entry(scope).or_default().extend(event);
        }
    }

    /// A watch delivers what comes next; `false` if there is nothing.
    pub(crate) fn deliver(&mut self, scope: &Scope) -> bool {
        self.publish();
        let Some(event) = self.watches.get_mut(scope).and_then(VecDeque::pop_front) else { return false };
        match &event {
            Event::Namespace(name, Some(namespace)) => {
                self.heard.insert(name.clone(), namespace.clone());
                self.listed.insert(name.clone());
            }
            Event::Namespace(name, None) => drop(self.heard.remove(name)),
            Event::Target { bundle, place: (kind, namespace), now } => {
                let place = Place { kind: *kind, namespace: namespace.as_str().into() };
                let target = (bundle.as_str().into(), place);
                match now {
                    Sighting::There(observed) => self.believe(target, observed.version, true),
                    Sighting::Gone(version) => self.believe(target, *version, false),
                }
            }
            // What a list lacks is gone; which targets those are does not matter here.
            Event::List(Scope::Namespaces, Phase::Began) => self.listed.clear(),
            Event::List(Scope::Namespaces, Phase::Ended) => self.heard.retain(|name, _| self.listed.contains(name)),
            Event::List(Scope::Targets(kind, _), Phase::Ended) => {
                let listed = self.believed.iter_mut().filter(|((_, place), _)| place.kind == *kind);
                listed.for_each(|(_, (_, there))| *there = false);
            }
            _ => {}
        }
        self.step(event);
        true
    }

    fn believe(&mut self, target: Target, version: Version, there: bool) {
        let newest = self.believed.entry(target).or_default();
        if newest.0 <= version {
            *newest = (version, there);
        }
    }

    // What the server hears of us.

    /// A request reaches the server.
    pub(crate) fn arrive(&mut self, index: usize) {
        let order = self.flights[index].order.clone();
        let before = self.server.version();
        self.flights[index].answer = Some(self.carry_out(&order));
        if self.server.version() != before {
            *self.written.entry((order.bundle, order.place)).or_default() += 1;
        }
    }

    /// A request that we have given up reaches the server.
    pub(crate) fn haunt(&mut self, index: usize) {
        let order = self.ghosts.remove(index);
        let before = self.server.version();
        self.carry_out(&order);
        if self.server.version() != before {
            *self.called_for.entry((order.bundle, order.place)).or_default() += 1;
        }
    }

    /// An answer reaches us: that of the server, or what became of it on the way.
    pub(crate) fn answer(&mut self, index: usize, instead: Option<Answer>) {
        let Flight { order, answer } = self.flights.remove(index);
        let target = (order.bundle.clone(), order.place.clone());
        let asked = order.request.version();
        let answer = match (instead, answer) {
            (Some(Answer::Busy(time)), _) => {
                self.closed_until = self.closed_until.max(self.now + time.unwrap_or_default());
                Answer::Busy(time)
            }
            (Some(lost), answer) => {
                if answer.is_none() {
                    self.ghosts.push(order);
                }
                lost
            }
            (None, answer) => answer.expect("it has reached the server"),
        };
        match &answer {
            Answer::Is(observed) => {
                let there = observed.look.labels.contains_key(BUNDLE_LABEL);
                self.believe(target.clone(), observed.version, there);
            }
            Answer::Gone => {
                let newest = self.believed.entry(target.clone()).or_default().0;
                self.believe(target.clone(), asked.unwrap_or(newest), false);
            }
            _ => {}
        }
        self.step(Event::Answer { bundle: target.0, place: target.1, answer });
    }

    fn carry_out(&mut self, order: &Order) -> Answer {
        let Order { bundle, place, wanted, request } = order;
        let key = key(bundle, place);
        if request.is_write() && self.refusing.contains(&*place.namespace) {
            return Answer::Refused { cause: "refused".to_owned(), fixed: false };
        }
        let content = || fields(wanted, &wanted.payloads[&place.kind]);
        let verb = match request {
            Request::Create => Verb::Create(content()),
            Request::Replace(_) if !self.may_replace => return Answer::VerbForbidden,
            Request::Replace(_) => Verb::Replace(content()),
            Request::Merge { stale, former_owner, .. } => {
                let mut patch: BTreeMap<_, _> =
                    content().into_iter().map(|(field, value)| (field, Some(value))).collect();
                let owner = former_owner.iter().map(|uid| Field::new(Part::Owners, uid));
                patch.extend(own_fields(stale).chain(owner).map(|field| (field, None)));
                Verb::Merge(patch)
            }
            Request::Apply(_) => Verb::Apply(content()),
            Request::HandOver(_, own) => {
                let all = own_fields(own).chain([Field::new(Part::Owners, &wanted.uid)]);
                Verb::Merge(all.map(|field| (field, None)).collect())
            }
            Request::Delete(_) => Verb::Delete,
            Request::Look | Request::Compare => {
                let Some(object) = self.server.objects.get(&key) else { return Answer::Gone };
                if *request == Request::Look {
                    return Answer::Is(Observed::read(&object.metadata()));
                }
                let is_data = |field: &Field| matches!(field.part, Part::Data | Part::BinaryData);
                let same = content()
                    .iter()
                    .filter(|(field, _)| is_data(field))
                    .all(|(field, value)| object.fields.get(field) == Some(value));
                return Answer::Compared(version(object.version), same);
            }
        };
        let deletes = matches!(verb, Verb::Delete);
        let guard = request.version().map(|version| version.to_string().parse().expect("a number"));
        match self.server.call(&key, Call { manager: FIELD_MANAGER, version: guard, verb }) {
            Ok(object) if deletes => {
                assert!(!object.fields.contains_key(&Field::new(Part::Data, FOREIGN)), "{key:?} held a key of others");
                Answer::Gone
            }
            Ok(object) => Answer::Is(Observed::read(&object.metadata())),
            Err(Failure::NotFound) => Answer::Gone,
            Err(Failure::Exists) => Answer::Exists,
            Err(Failure::Conflict) => Answer::Conflict,
            Err(Failure::NamespaceNotFound | Failure::NamespaceTerminating) => Answer::NamespaceGone,
            Err(Failure::Immutable) => Answer::Refused { cause: "immutable".to_owned(), fixed: true },
            Err(Failure::TwoControllers) => Answer::Refused { cause: "two controllers".to_owned(), fixed: false },
        }
    }

    // What others do.

    /// A Bundle is decided; if it is not there, it is created anew. `None`: it is refused.
    pub(crate) fn decide(&mut self, name: &str, content: Option<&Content>) {
        let bundle = self.bundles.entry(name.into()).or_default();
        if !bundle.exists {
            bundle.exists = true;
            bundle.incarnation += 1;
        }
        let uid = format!("{name}-{}", bundle.incarnation);
        let wanted = content.map(|content| Arc::new(content.wanted(name, &uid)));
        if let Some(wanted) = &wanted {
            let same = bundle.ever.as_ref().is_some_and(|before| {
                before.uid == wanted.uid
                    && before.namespaces == wanted.namespaces
                    && format!("{:?}", before.payloads) == format!("{:?}", wanted.payloads)
            });
            bundle.ever = Some(wanted.clone());
            if !same {
                self.calls_for(|(bundle, _)| **bundle == *name);
            }
        }
        self.tell(name, wanted);
    }

    /// A Bundle is deleted; its targets wait for the garbage collector.
    pub(crate) fn delete_bundle(&mut self, name: &str) {
        self.bundles.entry(name.into()).or_default().exists = false;
        self.tell(name, None);
    }

    fn tell(&mut self, name: &str, wanted: Option<Arc<Wanted>>) {
        let bundle = self.bundles.get_mut(name).expect("decided before");
        bundle.wanted.clone_from(&wanted);
        bundle.report = None;
        self.step(Event::Wanted { bundle: name.into(), wanted, cause: "it was decided".to_owned() });
    }

    /// The garbage collector deletes what only Bundles that are gone own; `false` if there is nothing.
    pub(crate) fn collect(&mut self) -> bool {
        let is_dead = |uid: &str| {
            uid.rsplit_once('-').is_some_and(|(name, incarnation)| {
                let bundle = self.bundles.get(name);
                bundle.is_some_and(|bundle| !bundle.exists || bundle.incarnation.to_string() != incarnation)
            })
        };
        let is_orphan = |object: &Object| {
            let mut owners = object.metadata().owner_references.into_iter().flatten().peekable();
            owners.peek().is_some() && owners.all(|owner| is_dead(&owner.uid))
        };
        let orphans: Vec<_> =
            self.server.objects.iter().filter(|(_, object)| is_orphan(object)).map(|(key, _)| key.clone()).collect();
        for key in &orphans {
            self.edit(key, "garbage-collector", Verb::Delete);
        }
        !orphans.is_empty()
    }

    /// Somebody else changes an object.
    pub(crate) fn edit(&mut self, key: &Key, manager: &'static str, verb: Verb) {
        let before = self.server.version();
        // What does not work has no effect.
        let _ = self.server.call(key, Call { manager, version: None, verb });
        if self.server.version() != before {
            let place = Place { kind: key.kind, namespace: key.namespace.as_str().into() };
            *self.called_for.entry((key.name.as_str().into(), place)).or_default() += 1;
        }
    }

    /// Something happens to a namespace.
    pub(crate) fn namespace(&mut self, name: &str, happens: impl FnOnce(&mut Server)) {
        let before = self.server.version();
        happens(&mut self.server);
        if self.server.version() != before {
            self.calls_for(|(_, place)| *place.namespace == *name);
        }
    }

    fn calls_for(&mut self, matches: impl Fn(&Target) -> bool) {
        for target in targets() {
            if matches(&target) {
                *self.called_for.entry(target).or_default() += 1;
            }
        }
    }

    // The end.

    /// The disturbance is over: everything on its way arrives, and time passes until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        self.refusing.clear();
        self.lead(true);
        for _ in 0..1000 {
            self.flush();
            if self.collect() {
                continue;
            }
            let Some(at) = self.engine.wakes(self.now) else { return };
            self.now = self.now.max(at);
            self.step(Event::Time);
        }
        panic!("it never comes to rest: {:?}", &self.given[self.given.len().saturating_sub(10)..]);
    }

    /// Everything on its way arrives.
    pub(crate) fn flush(&mut self) {
        loop {
            let mut news = false;
            while !self.ghosts.is_empty() {
                self.haunt(0);
            }
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
    pub(crate) fn reaches(&self, wanted: &Wanted, namespace: &str) -> bool {
        self.server.namespaces.get(namespace).is_some_and(|space| {
            let namespace = &Namespace { labels: space.labels.clone(), terminating: space.terminating };
            wanted.reaches(&self.settings, "", namespace)
        })
    }
}

/// What a Bundle may come to.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Whether namespaces need the label `in`.
    pub(crate) selective: bool,
    pub(crate) kinds: BTreeSet<ObjectKind>,
    pub(crate) keys: &'static [&'static str],
    pub(crate) value: &'static str,
    /// Whether the template has the label `team`.
    pub(crate) label: bool,
}

impl Content {
    fn wanted(&self, name: &str, uid: &str) -> Wanted {
        let Self { selective, kinds, keys, value, label } = self;
        let labels = selective.then(|| json!({ "matchLabels": { "in": "" } })).unwrap_or_default();
        let selector = serde_json::from_value(labels).unwrap_or_default();
        let values = keys.iter().map(|key| {
            let value = if key.ends_with("jks") {
                Value::Binary(value.as_bytes().into())
            } else {
                Value::Text((*value).into())
            };
            ((*key).to_owned(), value)
        });
        let values: BTreeMap<_, _> = values.collect();
        let payload = |kind: &ObjectKind| Payload {
            kind: *kind,
            values: values.clone(),
            labels: label.then(|| ("team".to_owned(), "x".to_owned())).into_iter().collect(),
            annotations: Labels::new(),
            // As in truth, keys are not part of it.
            hash: format!("{value}{label}"),
        };
        Wanted {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespaces: rootcast::bundle::Selector::parse(&selector, "", &mut Vec::new()),
            payloads: kinds.iter().map(|kind| (*kind, payload(kind))).collect(),
            secrets_off: false,
        }
    }
}

/// The key of others beside ours.
pub(crate) const FOREIGN: &str = "theirs";

/// The names that there are.
pub(crate) const BUNDLES: [&str; 2] = ["a", "b"];
pub(crate) const NAMESPACES: [&str; 3] = ["one", "two", "three"];

fn targets() -> impl Iterator<Item = Target> {
    let places = || {
        ObjectKind::ALL
            .into_iter()
            .flat_map(|kind| NAMESPACES.map(|namespace| Place { kind, namespace: namespace.into() }))
    };
    BUNDLES.into_iter().flat_map(move |bundle| places().map(move |place| (bundle.into(), place)))
}

pub(crate) fn scopes() -> [Scope; 3] {
    let [config_maps, secrets] = ObjectKind::ALL.map(|kind| Scope::Targets(kind, None));
    [Scope::Namespaces, config_maps, secrets]
}

pub(crate) fn key(bundle: &str, place: &Place) -> Key {
    Key { kind: place.kind, namespace: place.namespace.to_string(), name: bundle.to_owned() }
}

fn version(number: u64) -> Version {
    Version::parse(&number.to_string())
}

fn target_event(key: &Key, told: Told) -> Event {
    let now = match told {
        Told::Added(object) | Told::Modified(object) => Sighting::There(Observed::read(&object.metadata())),
        Told::Deleted(object) => Sighting::Gone(version(object.version)),
    };
    Event::Target { bundle: key.name.clone(), place: (key.kind, key.namespace.clone()), now }
}

fn own_fields(own: &Own) -> impl Iterator<Item = Field> {
    let keys = own.keys.iter().flat_map(|key| [Field::new(Part::Data, key), Field::new(Part::BinaryData, key)]);
    let labels = own.labels.iter().map(|name| Field::new(Part::Labels, name));
    let annotations = own.annotations.iter().map(|name| Field::new(Part::Annotations, name));
    keys.chain(labels).chain(annotations)
}

/// What a write of ours carries.
pub(crate) fn fields(wanted: &Wanted, payload: &Payload) -> Fields {
    let Payload { kind, values, labels, annotations, hash } = payload;
    let owner = json!({
        "apiVersion": API_VERSION, "kind": KIND, "name": wanted.name, "uid": wanted.uid, "controller": true,
    });
    let value = |(key, value): (&String, &Value)| {
        let part = match (kind, value) {
            (ObjectKind::ConfigMap, Value::Binary(_)) => Part::BinaryData,
            _ => Part::Data,
        };
        (Field::new(part, key), String::from_utf8(value.bytes().to_vec()).expect("text"))
    };
    let pair = |part| move |(key, value): (&String, &String)| (Field::new(part, key), value.clone());
    let own = [
        (Field::new(Part::Labels, BUNDLE_LABEL), wanted.name.clone()),
        (Field::new(Part::Annotations, HASH_ANNOTATION), hash.clone()),
        (Field::new(Part::Owners, &wanted.uid), owner.to_string()),
    ];
    values
        .iter()
        .map(value)
        .chain(labels.iter().map(pair(Part::Labels)))
        .chain(annotations.iter().map(pair(Part::Annotations)))
        .chain(own)
        .collect()
}
