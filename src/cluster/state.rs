//! What the controller knows of Bundles and sources: one owner, fed by watches and by reads. Namespaces and targets are
//! the fan-out's: what is heard of them is passed on.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher;

use crate::api;
use crate::bundle::{
    Change, Content, Intent, Labels, Namespace, ObjectKind, OutputKeys, Refusal, Seen, SourceObject, World, touch,
};
use crate::fanout::{self, Observed, Phase, Scope, Sighting, Version};

use super::contents::{Contents, Read, SourceKey, Wanted};
use super::watch::{Object, Unreadable, Watch};

/// The known cluster.
pub(super) struct State {
    /// What decisions see.
    pub(super) world: World,
    trust_namespace: String,
    bundles: BTreeMap<String, Known>,
    sources: Contents,
    watches: BTreeMap<Watch, Listing>,
    /// How many lists were begun: what a list shows is right, whatever was seen before it began.
    epoch: u64,
}

/// A Bundle beside its [`Intent`], which the world holds.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its uid.
    pub(super) uid: String,
    version: Version,
    /// When that was seen: how many lists had begun.
    epoch: u64,
    /// What it said of itself when last seen, or what we last published.
    pub(super) seen: Seen,
    /// Why it has no [`Intent`].
    pub(super) invalid: Option<Refusal>,
}

enum Listing {
    Never,
    Under(BTreeSet<Key>, bool),
    Done,
}

/// What identifies an object over time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bundle(String),
    Source(SourceKey),
}

/// Bundles to look at again, each with the cause in words.
pub(super) type Touched = BTreeMap<String, String>;

/// What follows from news.
#[derive(Default)]
pub(super) struct Heard {
    /// Bundles to decide anew.
    pub(super) touched: Touched,
    /// What the fan-out has to know.
    pub(super) events: Vec<fanout::Event>,
    /// Whether a list has ended.
    pub(super) list_ended: bool,
}

impl State {
    /// An empty world that waits for these watches.
    pub(super) fn new(world: World, trust_namespace: &str, watches: &[Watch]) -> Self {
        Self {
            world,
            trust_namespace: trust_namespace.to_owned(),
            bundles: BTreeMap::new(),
            sources: Contents::default(),
            watches: watches.iter().map(|watch| (watch.clone(), Listing::Never)).collect(),
            epoch: 0,
        }
    }

    /// Whether all Bundles have been listed: of targets only what has a Bundle's name is kept.
    pub(super) fn knows_bundles(&self) -> bool {
        matches!(self.watches.get(&Watch::Bundles), Some(Listing::Done))
    }

    /// Whether every watch has delivered its first list: before that, "not there" means nothing. A listed namespace that
    /// is not there (`exists`) has nothing to deliver, nor perhaps a role that lets us ask.
    pub(super) fn is_ready(&self, exists: impl Fn(&str) -> bool) -> bool {
        let listed = |listing: &Listing| matches!(listing, Listing::Done | Listing::Under(_, true));
        self.watches.get(&Watch::Namespaces).is_some_and(listed)
            && self.watches.iter().all(|(watch, listing)| match watch {
                Watch::Targets(_, Some(name)) if !exists(name) => true,
                _ => listed(listing),
            })
    }

    /// What is known of a Bundle.
    pub(super) fn bundle(&self, name: &str) -> Option<&Known> {
        self.bundles.get(name)
    }

    /// All Bundles, sorted by name.
    pub(super) fn bundles(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.bundles.iter()
    }

    /// Takes in what a watch tells.
    pub(super) fn hear(&mut self, watch: &Watch, event: watcher::Event<Object>) -> Heard {
        let list_ended = matches!(event, watcher::Event::InitDone);
        let heard = match watch {
            Watch::Bundles | Watch::Sources(_) => self.hear_of_ours(watch, event),
            Watch::Namespaces => self.hear_of_namespaces(event),
            Watch::Targets(kind, namespace) => {
                let scope = Scope::Targets(*kind, namespace.clone());
                let event = match event {
                    watcher::Event::Init => Some(self.begin_list(watch, scope)),
                    watcher::Event::InitDone => Some(self.end_list(watch, scope)),
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        self.target(*kind, object.metadata(), |named| Sighting::There(self.observed(*kind, named)))
                    }
                    watcher::Event::Delete(object) => {
                        self.target(*kind, object.metadata(), |metadata| Sighting::Gone(Version::of(metadata)))
                    }
                };
                Heard { events: event.into_iter().collect(), ..Heard::default() }
            }
        };
        Heard { list_ended, ..heard }
    }

    /// How a target looks to its Bundle.
    pub(super) fn observed(&self, kind: ObjectKind, metadata: &ObjectMeta) -> Observed {
        let intent = metadata.name.as_ref().and_then(|name| self.world.intents.get(name));
        Observed::read(metadata, |part, name| intent.is_some_and(|intent| intent.names(kind, part, name)))
    }

    /// What a watch tells of a target; nothing of an object whose name is no Bundle's.
    fn target(
        &self,
        kind: ObjectKind,
        metadata: &ObjectMeta,
        now: impl Fn(&ObjectMeta) -> Sighting,
    ) -> Option<fanout::Event> {
        let bundle = metadata.name.clone().filter(|name| self.bundles.contains_key(name))?;
        let place = (kind, metadata.namespace.clone().unwrap_or_default());
        Some(fanout::Event::Target { bundle, place, now: now(metadata) })
    }

    fn hear_of_namespaces(&mut self, event: watcher::Event<Object>) -> Heard {
        let (name, now) = match event {
            watcher::Event::Init => {
                let event = self.begin_list(&Watch::Namespaces, Scope::Namespaces);
                return Heard { events: vec![event], ..Heard::default() };
            }
            watcher::Event::InitDone => {
                let event = self.end_list(&Watch::Namespaces, Scope::Namespaces);
                return Heard { events: vec![event], ..Heard::default() };
            }
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                let metadata = object.metadata();
                (metadata.name.clone().unwrap_or_default(), Some(Namespace::from(metadata)))
            }
            watcher::Event::Delete(object) => (object.metadata().name.clone().unwrap_or_default(), None),
        };
        let mut touched = Touched::new();
        if name == self.trust_namespace {
            let labels = now.as_ref().map(|namespace| namespace.labels.clone());
            if labels != self.world.trust_namespace {
                self.world.trust_namespace = labels;
                touched = because(touch(&self.world, &Change::TrustNamespace), "the trust namespace changed");
            }
        }
        Heard { touched, events: vec![fanout::Event::Namespace(name, now)], ..Heard::default() }
    }

    /// Takes in news of Bundles and sources.
    fn hear_of_ours(&mut self, watch: &Watch, event: watcher::Event<Object>) -> Heard {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Apply(object) => self.upsert(key(watch, object.metadata()), object),
            Delete(object) => {
                let key = key(watch, object.metadata());
                if self.version(&key) > Version::of(object.metadata()) {
                    return Heard::default();
                }
                self.remove(&key)
            }
            Init => {
                self.begin(watch);
                Heard::default()
            }
            InitApply(object) => {
                let key = key(watch, object.metadata());
                if let Some(Listing::Under(seen, _)) = self.watches.get_mut(watch) {
                    seen.insert(key.clone());
                }
                self.upsert(key, object)
            }
            InitDone => self.end_of_list(watch),
        }
    }

    fn begin(&mut self, watch: &Watch) {
        let again = !matches!(self.watches.get(watch), Some(Listing::Never | Listing::Under(_, false)));
        self.watches.insert(watch.clone(), Listing::Under(BTreeSet::new(), again));
        self.epoch += 1;
    }

    fn begin_list(&mut self, watch: &Watch, scope: Scope) -> fanout::Event {
        self.begin(watch);
        fanout::Event::List(scope, Phase::Began)
    }

    fn end_list(&mut self, watch: &Watch, scope: Scope) -> fanout::Event {
        self.watches.insert(watch.clone(), Listing::Done);
        fanout::Event::List(scope, Phase::Ended)
    }

    /// Remembers a status that was published, so that its echo is no news.
    pub(super) fn published(&mut self, name: &str, status: api::BundleStatus) {
        if let Some(known) = self.bundles.get_mut(name) {
            known.seen.status = status;
        }
    }

    /// Takes in the version that a published status made: what the watch still has to tell of older ones is no news.
    ///
    /// Unless the answer already has a spec that the watch has not told of.
    pub(super) fn answered(&mut self, name: &str, version: Version, generation: Option<i64>) {
        if let Some(known) = self.bundles.get_mut(name)
            && known.seen.generation == generation
        {
            let since = std::mem::replace(&mut known.epoch, self.epoch) == self.epoch;
            known.version = if since { known.version.max(version) } else { version };
        }
    }

    /// The source objects that a Bundle reads and that are not in memory as they are now.
    pub(super) fn unread(&self, intent: &Intent) -> Vec<(SourceKey, Wanted)> {
        self.sources.unread(intent, &self.world)
    }

    /// Takes in what a read brought; returns the Bundles that it matters to.
    pub(super) fn read(&mut self, key: &SourceKey, read: Read) -> Touched {
        match read {
            Read::Gone => return self.remove(&Key::Source(key.clone())).touched,
            Read::Content { version, wanted, content } => {
                if let Some(object) = self.world.sources.get_mut(key)
                    && self.sources.keep(key, version, wanted, &content)
                {
                    object.content = content;
                    self.sources.prune_one(key, &mut self.world);
                }
            }
        }
        Touched::new()
    }

    /// Forgets reads that failed, so that they are tried again.
    pub(super) fn forget_unreadable(&mut self) {
        self.sources.forget_unreadable(&self.world);
    }

    fn end_of_list(&mut self, watch: &Watch) -> Heard {
        let mut heard = Heard::default();
        let Some(Listing::Under(seen, _)) = self.watches.insert(watch.clone(), Listing::Done) else {
            return heard;
        };
        for key in self.keys(watch).iter().filter(|key| !seen.contains(key)) {
            let Heard { touched, events, .. } = self.remove(key);
            heard.touched.extend(touched);
            heard.events.extend(events);
        }
        heard
    }

    fn keys(&self, watch: &Watch) -> Vec<Key> {
        match watch {
            Watch::Bundles => self.bundles.keys().cloned().map(Key::Bundle).collect(),
            Watch::Sources(kind) => self.sources.of_kind(*kind).cloned().map(Key::Source).collect(),
            Watch::Namespaces | Watch::Targets(..) => unreachable!("these are the fan-out's"),
        }
    }

    fn version(&self, key: &Key) -> Version {
        match key {
            Key::Bundle(name) => self.bundles.get(name).map(|known| known.version).unwrap_or_default(),
            Key::Source(source) => self.sources.version(source).unwrap_or_default(),
        }
    }

    fn upsert(&mut self, key: Key, object: Object) -> Heard {
        match (key, object) {
            // A Bundle on its way out counts as gone: whoever takes its targets, or takes them off it, is to have them.
            (key @ Key::Bundle(_), object) if object.metadata().deletion_timestamp.is_some() => self.remove(&key),
            (Key::Bundle(name), Object::Bundle(bundle)) => self.upsert_bundle(name, *bundle),
            (Key::Source(key), object) => {
                Heard { touched: self.upsert_source(&key, object.metadata()), ..Heard::default() }
            }
            (Key::Bundle(_), Object::Metadata(_)) => unreachable!("Bundles are watched whole"),
        }
    }

    fn remove(&mut self, key: &Key) -> Heard {
        match key {
            Key::Bundle(name) => {
                if self.bundles.remove(name).is_none() {
                    return Heard::default();
                }
                let touched = touch(&self.world, &Change::Bundle(name.clone()));
                if let Some(intent) = self.world.intents.remove(name) {
                    self.sources.prune(&intent, &mut self.world);
                }
                Heard {
                    touched: because(touched, &format!("Bundle {name} deleted")),
                    events: vec![fanout::Event::Bundle(name.clone(), false)],
                    ..Heard::default()
                }
            }
            Key::Source(key) => {
                self.sources.lost(key);
                let before = self.world.sources.remove(key).map(|object| object.labels);
                Heard { touched: self.source_changed(key, before, None, "deleted"), ..Heard::default() }
            }
        }
    }

    fn upsert_bundle(&mut self, name: String, bundle: Result<api::Bundle, Unreadable>) -> Heard {
        let (uid, version, seen, intent) = match bundle {
            Ok(bundle) => {
                let version = Version::of(&bundle.metadata);
                let status = ours(bundle.status.clone().unwrap_or_default());
                let seen = Seen { generation: bundle.metadata.generation, status };
                let intent =
                    Intent::parse(&bundle, &self.trust_namespace).map_err(|problems| Refusal::invalid_spec(&problems));
                (bundle.metadata.uid.unwrap_or_default(), version, seen, intent)
            }
            Err(Unreadable { metadata, cause }) => {
                let status = self.bundles.get(&name).map(|known| known.seen.status.clone()).unwrap_or_default();
                let seen = Seen { generation: metadata.generation, status };
                let version = Version::of(&metadata);
                (metadata.uid.unwrap_or_default(), version, seen, Err(Refusal::unreadable(&cause)))
            }
        };
        let epoch = self.epoch;
        if let Some(old) = self.bundles.get_mut(&name) {
            let since = std::mem::replace(&mut old.epoch, epoch) == epoch;
            let same_spec = old.uid == uid && old.seen.generation == seen.generation;
            // While a status is being published, what is known of it is ahead of its version.
            if (old.version == version && same_spec) || (since && old.version >= version) {
                return Heard::default();
            }
            old.version = version;
            if same_spec && old.seen.status == seen.status {
                return Heard::default();
            }
        }
        let old = self.bundles.get(&name);
        let cause = match old.map(|old| old.uid == uid && old.seen.generation == seen.generation) {
            None => format!("Bundle {name} seen"),
            Some(true) => format!("status of Bundle {name} changed"),
            Some(false) => format!("Bundle {name} changed"),
        };
        let events = old.is_none().then(|| fanout::Event::Bundle(name.clone(), true)).into_iter().collect();
        let change = Change::Bundle(name.clone());
        let mut touched = touch(&self.world, &change);
        let (before, invalid) = match intent {
            Ok(intent) => (self.world.intents.insert(name.clone(), intent), None),
            Err(refusal) => (self.world.intents.remove(&name), Some(refusal)),
        };
        if let Some(before) = before {
            self.sources.prune(&before, &mut self.world);
        }
        self.bundles.insert(name, Known { uid, version, epoch, seen, invalid });
        touched.extend(touch(&self.world, &change));
        Heard { touched: because(touched, &cause), events, ..Heard::default() }
    }

    fn upsert_source(&mut self, key: &SourceKey, metadata: &ObjectMeta) -> Touched {
        let known = self.sources.version(key);
        if !self.sources.saw(key, Version::of(metadata), self.epoch) {
            return Touched::new();
        }
        let labels = metadata.labels.clone().unwrap_or_default();
        let output = OutputKeys::of(metadata);
        let object = self.world.sources.entry(key.clone()).or_insert_with(|| SourceObject {
            labels: labels.clone(),
            output: OutputKeys::None,
            content: Content::Unreadable("it was not read yet".to_owned()),
            undecodable: BTreeMap::new(),
        });
        object.output = output;
        let before = std::mem::replace(&mut object.labels, labels.clone());
        self.sources.prune_one(key, &mut self.world);
        self.source_changed(
            key,
            known.map(|_| before),
            Some(labels),
            if known.is_some() { "changed" } else { "created" },
        )
    }

    fn source_changed(
        &self,
        (kind, name): &SourceKey,
        before: Option<Labels>,
        after: Option<Labels>,
        verb: &str,
    ) -> Touched {
        let cause = format!("source {} {}/{name} {verb}", kind.as_str(), self.trust_namespace);
        because(touch(&self.world, &Change::Source { kind: *kind, name: name.clone(), before, after }), &cause)
    }
}

fn because(names: BTreeSet<String>, cause: &str) -> Touched {
    names.into_iter().map(|name| (name, cause.to_owned())).collect()
}

fn key(watch: &Watch, metadata: &ObjectMeta) -> Key {
    let name = metadata.name.clone().unwrap_or_default();
    match watch {
        Watch::Bundles => Key::Bundle(name),
        Watch::Sources(kind) => Key::Source((*kind, name)),
        Watch::Namespaces | Watch::Targets(..) => unreachable!("these are the fan-out's"),
    }
}

/// The part of a status that we write, in the order in which we write it.
fn ours(status: api::BundleStatus) -> api::BundleStatus {
    let api::BundleStatus { conditions, default_ca_version } = status;
    let mut conditions = conditions.unwrap_or_default();
    conditions
        .retain(|condition| [api::SYNCED, api::SOURCES_COMPLETE, api::RECONCILING].contains(&condition.type_.as_str()));
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    api::BundleStatus { conditions: Some(conditions), default_ca_version }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::watch::needed;
    use watcher::Event::{Apply, Init, InitApply, InitDone};

    const TARGETS: Watch = Watch::Targets(ObjectKind::ConfigMap, None);

    impl State {
        fn touched(&mut self, watch: &Watch, event: watcher::Event<Object>) -> Touched {
            self.hear(watch, event).touched
        }

        fn is_ready_for(&self, namespaces: &[&str]) -> bool {
            self.is_ready(|name| namespaces.contains(&name))
        }
    }

    fn metadata(value: serde_json::Value) -> Object {
        Object::Metadata(Box::new(serde_json::from_value(value).expect("metadata")))
    }

    fn state() -> State {
        let world = World::default();
        let watches = needed(&world.settings);
        State::new(world, "cert-manager", &watches)
    }

    #[test]
    fn nothing_is_decided_before_every_watch_has_delivered_its_list() {
        let mut state = state();
        let watches = needed(&state.world.settings);
        for watch in &watches {
            assert!(!state.is_ready_for(&["there"]));
            state.hear(watch, Init);
            assert!(!state.is_ready_for(&["there"]));
            state.hear(watch, InitDone);
        }
        assert!(state.is_ready_for(&["there"]));
        state.hear(&TARGETS, Init);
        assert!(state.is_ready_for(&["there"]), "a list that comes again takes nothing back");
    }

    #[test]
    fn a_listed_namespace_that_is_not_there_is_not_waited_for() {
        let mut world = World::default();
        world.settings.target_namespaces = Some(["absent".to_owned(), "there".to_owned()].into());
        let watches = needed(&world.settings);
        let mut state = State::new(world, "cert-manager", &watches);
        for watch in watches.iter().filter(|watch| !matches!(watch, Watch::Targets(..))) {
            state.hear(watch, Init);
            if *watch == Watch::Namespaces {
                state.hear(watch, InitApply(metadata(json!({ "name": "there", "resourceVersion": "1" }))));
            }
            state.hear(watch, InitDone);
        }
        assert!(!state.is_ready_for(&["there"]));
        let there = Watch::Targets(ObjectKind::ConfigMap, Some("there".to_owned()));
        state.hear(&there, Init);
        state.hear(&there, InitDone);
        assert!(state.is_ready_for(&["there"]));
    }

    #[test]
    fn the_echo_of_an_older_status_is_no_news() {
        let bundle = |version: &str, message: &str| {
            let condition = json!({
                "type": api::SYNCED, "status": "False", "reason": "r", "message": message, "lastTransitionTime": "2026-11-01T00:00:00Z",
            });
            let bundle: api::Bundle = serde_json::from_value(json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": { "name": "b", "uid": "u", "generation": 1, "resourceVersion": version },
                "spec": { "sources": [{ "inLine": "x" }] }, "status": { "conditions": [condition] },
            }))
            .expect("a Bundle");
            (bundle.status.clone().expect("a status"), Object::Bundle(Box::new(Ok(bundle))))
        };
        let mut state = state();
        state.hear(&Watch::Bundles, Apply(bundle("1", "before").1));
        state.published("b", bundle("", "first").0);
        state.answered("b", Version::parse("9"), Some(2));
        state.answered("b", Version::parse("2"), Some(1));
        state.published("b", bundle("", "second").0);
        assert!(state.touched(&Watch::Bundles, Apply(bundle("1", "before").1)).is_empty());
        let second = state.bundle("b").expect("known").seen.status.clone();
        assert_eq!(second, bundle("", "second").0);
        assert!(state.touched(&Watch::Bundles, Apply(bundle("3", "second").1)).is_empty(), "what we published");
        assert!(state.touched(&Watch::Bundles, Apply(bundle("4", "foreign").1)).contains_key("b"));
    }

    #[test]
    fn of_a_source_only_what_a_bundle_reads_is_kept_and_only_as_long_as_it_does() {
        let bundle = |keys: serde_json::Value, generation: i64| {
            let mut source = keys;
            source["name"] = json!("s");
            let bundle = serde_json::from_value(json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": { "name": "b", "uid": "u", "generation": generation, "resourceVersion": generation.to_string() },
                "spec": { "sources": [{ "secret": source }], "target": { "configMap": { "key": "k" } } },
            }));
            Object::Bundle(Box::new(Ok(bundle.expect("a Bundle"))))
        };
        let secrets = Watch::Sources(ObjectKind::Secret);
        let key = (ObjectKind::Secret, "s".to_owned());
        let mut state = state();
        state.hear(&secrets, Apply(metadata(json!({ "name": "s", "resourceVersion": "3" }))));
        state.hear(&Watch::Bundles, Apply(bundle(json!({ "includeAllKeys": true }), 1)));
        let unread = |state: &State| state.unread(&state.world.intents["b"]);

        let [(_, wanted)] = &unread(&state)[..] else { panic!("one object is to be read") };
        let values = BTreeMap::from([("a", b"1"), ("z", b"2")]).into_iter();
        let content = Content::Keys(values.map(|(key, value)| (key.to_owned(), value.to_vec().into())).collect());
        let version = Version::parse("3");
        state.read(&key, Read::Content { version, wanted: wanted.clone(), content });
        assert!(unread(&state).is_empty());

        state.hear(&Watch::Bundles, Apply(bundle(json!({ "key": "a" }), 2)));
        let held = |state: &State| match &state.world.sources[&key].content {
            Content::Keys(values) => values.keys().cloned().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(held(&state), ["a"]);
        assert!(unread(&state).is_empty());

        state.hear(&Watch::Bundles, Apply(bundle(json!({ "key": "z" }), 3)));
        assert!(held(&state).is_empty());
        assert_eq!(unread(&state).len(), 1, "what was let go is read again when it is wanted");

        state.hear(&secrets, Apply(metadata(json!({ "name": "s", "resourceVersion": "4" }))));
        assert_eq!(unread(&state).len(), 1, "a new version is read");
    }
}
