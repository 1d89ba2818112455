//! What the controller knows of Bundles and sources: one owner, fed by watches and by reads. Namespaces and targets are
//! the fan-out's: what is heard of them is passed on.

mod ours;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher;

use crate::api;
use crate::bundle::{Change, Intent, Namespace, ObjectKind, Refusal, Seen, World, touch};
use crate::fanout::{self, Observed, Phase, Scope, Sighting, Version};

use crate::cluster::contents::{Contents, Read, SourceKey, Wanted};
use crate::cluster::watch::{Object, Watch};

/// The known cluster.
pub(in crate::cluster) struct State {
    /// What decisions see.
    pub(in crate::cluster) world: World,
    trust_namespace: String,
    bundles: BTreeMap<String, Known>,
    /// Bundles on their way out.
    leaving: BTreeSet<String>,
    sources: Contents,
    watches: BTreeMap<Watch, Listing>,
    /// How many lists were begun: what a list shows is right, whatever was seen before it began.
    epoch: u64,
}

/// A Bundle beside its [`Intent`], which the world holds.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Known {
    /// Its uid.
    pub(in crate::cluster) uid: String,
    version: Version,
    /// When that was seen: how many lists had begun.
    epoch: u64,
    /// What it said of itself when last seen, or what we last published.
    pub(in crate::cluster) seen: Seen,
    /// Why it has no [`Intent`].
    pub(in crate::cluster) invalid: Option<Refusal>,
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
pub(in crate::cluster) type Touched = BTreeMap<String, String>;

/// What follows from news.
#[derive(Default)]
pub(in crate::cluster) struct Heard {
    /// Bundles to decide anew.
    pub(in crate::cluster) touched: Touched,
    /// What the fan-out has to know.
    pub(in crate::cluster) events: Vec<fanout::Event>,
    /// Whether a list has ended.
    pub(in crate::cluster) list_ended: bool,
}

impl State {
    /// An empty world that waits for these watches.
    pub(in crate::cluster) fn new(world: World, trust_namespace: &str, watches: &[Watch]) -> Self {
        Self {
            world,
            trust_namespace: trust_namespace.to_owned(),
            bundles: BTreeMap::new(),
            leaving: BTreeSet::new(),
            sources: Contents::default(),
            watches: watches.iter().map(|watch| (watch.clone(), Listing::Never)).collect(),
            epoch: 0,
        }
    }

    /// Whether all Bundles have been listed: of targets only what has a Bundle's name is kept.
    pub(in crate::cluster) fn knows_bundles(&self) -> bool {
        matches!(self.watches.get(&Watch::Bundles), Some(Listing::Done))
    }

    /// Whether every watch has delivered its first list: before that, "not there" means nothing. A listed namespace that
    /// is not there (`exists`) has nothing to deliver, nor perhaps a role that lets us ask.
    pub(in crate::cluster) fn is_ready(&self, exists: impl Fn(&str) -> bool) -> bool {
        let listed = |listing: &Listing| matches!(listing, Listing::Done | Listing::Under(_, true));
        self.watches.get(&Watch::Namespaces).is_some_and(listed)
            && self.watches.iter().all(|(watch, listing)| match watch {
                Watch::Targets(_, Some(name)) if !exists(name) => true,
                _ => listed(listing),
            })
    }

    /// What is known of a Bundle.
    pub(in crate::cluster) fn bundle(&self, name: &str) -> Option<&Known> {
        self.bundles.get(name)
    }

    /// All Bundles, sorted by name.
    pub(in crate::cluster) fn bundles(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.bundles.iter()
    }

    /// Takes in what a watch tells.
    pub(in crate::cluster) fn hear(&mut self, watch: &Watch, event: watcher::Event<Object>) -> Heard {
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
    pub(in crate::cluster) fn observed(&self, kind: ObjectKind, metadata: &ObjectMeta) -> Observed {
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
                let mut heard = self.remove(&key);
                heard.events.extend(self.deleted(&key, Some(object.metadata())));
                heard
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
    pub(in crate::cluster) fn published(&mut self, name: &str, status: api::BundleStatus) {
        if let Some(known) = self.bundles.get_mut(name) {
            known.seen.status = status;
        }
    }

    /// Takes in the version that a published status made: what the watch still has to tell of older ones is no news.
    ///
    /// Unless the answer already has a spec that the watch has not told of.
    pub(in crate::cluster) fn answered(&mut self, name: &str, version: Version, generation: Option<i64>) {
        if let Some(known) = self.bundles.get_mut(name)
            && known.seen.generation == generation
        {
            let since = std::mem::replace(&mut known.epoch, self.epoch) == self.epoch;
            known.version = if since { known.version.max(version) } else { version };
        }
    }

    /// The source objects that a Bundle reads and that are not in memory as they are now.
    pub(in crate::cluster) fn unread(&self, intent: &Intent) -> Vec<(SourceKey, Wanted)> {
        self.sources.unread(intent, &self.world)
    }

    /// Takes in what a read brought; returns the Bundles that it matters to.
    pub(in crate::cluster) fn read(&mut self, key: &SourceKey, read: Read) -> Touched {
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
    pub(in crate::cluster) fn forget_unreadable(&mut self) {
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
            // How it was deleted is not known.
            heard.events.extend(self.deleted(key, None));
        }
        heard
    }

    fn keys(&self, watch: &Watch) -> Vec<Key> {
        match watch {
            Watch::Bundles => self.bundles.keys().chain(&self.leaving).cloned().map(Key::Bundle).collect(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::Content;
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
