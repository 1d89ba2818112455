//! Cache of Bundles and their sources, fed by watches and reads. Events of namespaces and targets are translated for the
//! fan-out, which keeps them.

mod bundles_and_sources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher;

use crate::api;
use crate::bundle::{
    BundleId, InputChange, Inputs, Intent, LastStatus, Namespace, ObjectKind, Refusal, SourceId, TargetRef,
    affected_bundles,
};
use crate::fanout::{self, ListPhase, ListScope, Observed, ResourceVersion, TargetEvent};

use crate::client::{KeyFilter, SourceRead, Watch, WatchedObject};
use crate::controller::source_cache::SourceCache;

/// The cache of Bundles and their sources.
pub(in crate::controller) struct Cache {
    /// The inputs of decisions.
    inputs: Inputs,
    trust_namespace: Arc<str>,
    bundles: BTreeMap<BundleId, CachedBundle>,
    /// Terminating Bundles.
    terminating: BTreeSet<BundleId>,
    sources: SourceCache,
    watches: BTreeMap<Watch, Listing>,
    /// Number of lists begun. A list is right about everything that was cached before it began.
    epoch: u64,
}

/// A Bundle, without its [`Intent`], which is part of the inputs.
#[derive(Clone, Debug)]
pub(in crate::controller) struct CachedBundle {
    /// Uid of the Bundle.
    pub(in crate::controller) uid: String,
    version: ResourceVersion,
    /// Number of lists begun when the version was cached.
    epoch: u64,
    /// Generation and status last read, or last published.
    pub(in crate::controller) last_status: LastStatus,
    /// Why the Bundle has no [`Intent`].
    pub(in crate::controller) invalid: Option<Refusal>,
}

enum Listing {
    Never,
    InProgress(BTreeSet<CacheKey>, bool),
    Done,
}

/// The key of a cached object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CacheKey {
    Bundle(BundleId),
    Source(SourceId),
}

/// Bundles whose decision may differ, each with the cause in words.
pub(in crate::controller) type AffectedBundles = BTreeMap<BundleId, String>;

/// The effects of a watch event.
#[derive(Default)]
pub(in crate::controller) struct CacheUpdate {
    /// Bundles to reconcile.
    pub(in crate::controller) affected: AffectedBundles,
    /// Events for the engine.
    pub(in crate::controller) events: Vec<fanout::EngineEvent>,
    /// Whether the event ended a list.
    pub(in crate::controller) list_ended: bool,
}

impl Cache {
    /// Returns an empty cache that waits for the first list of each of these watches.
    pub(in crate::controller) fn new(inputs: Inputs, trust_namespace: &str, watches: &[Watch]) -> Self {
        Self {
            inputs,
            trust_namespace: trust_namespace.into(),
            bundles: BTreeMap::new(),
            terminating: BTreeSet::new(),
            sources: SourceCache::default(),
            watches: watches.iter().map(|watch| (watch.clone(), Listing::Never)).collect(),
            epoch: 0,
        }
    }

    /// The inputs of decisions.
    pub(in crate::controller) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Whether all Bundles have been listed. Targets are listed after that, since only those of known Bundles are kept.
    pub(in crate::controller) fn has_listed_bundles(&self) -> bool {
        matches!(self.watches.get(&Watch::Bundles), Some(Listing::Done))
    }

    /// Whether every watch has delivered its first list: before that, an absent object proves nothing. A watch of a single
    /// namespace that does not exist (`exists`) is not waited for; there may be no role for it either.
    pub(in crate::controller) fn is_ready(&self, exists: impl Fn(&str) -> bool) -> bool {
        let listed = |listing: &Listing| matches!(listing, Listing::Done | Listing::InProgress(_, true));
        self.watches.get(&Watch::Namespaces).is_some_and(listed)
            && self.watches.iter().all(|(watch, listing)| match watch {
                Watch::Targets(_, Some(name)) if !exists(name) => true,
                _ => listed(listing),
            })
    }

    /// The cached Bundle of an id.
    pub(in crate::controller) fn bundle(&self, id: &BundleId) -> Option<&CachedBundle> {
        self.bundles.get(id)
    }

    /// All Bundles, sorted by name.
    pub(in crate::controller) fn bundles(&self) -> impl Iterator<Item = (&BundleId, &CachedBundle)> {
        self.bundles.iter()
    }

    /// Applies a watch event.
    pub(in crate::controller) fn apply_event(
        &mut self,
        watch: &Watch,
        event: watcher::Event<WatchedObject>,
    ) -> CacheUpdate {
        let list_ended = matches!(event, watcher::Event::InitDone);
        let update = match watch {
            Watch::Bundles | Watch::Sources(_) => self.apply_object_event(watch, event),
            Watch::Namespaces => self.apply_namespace_event(event),
            Watch::Targets(kind, namespace) => {
                let scope = ListScope::Targets(*kind, namespace.clone());
                let event = match event {
                    watcher::Event::Init => Some(self.begin_fanout_list(watch, scope)),
                    watcher::Event::InitDone => Some(self.end_fanout_list(watch, scope)),
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        self.target_event(*kind, object.metadata(), |bundle, metadata| {
                            TargetEvent::Applied(self.observed(bundle, *kind, metadata))
                        })
                    }
                    watcher::Event::Delete(object) => self.target_event(*kind, object.metadata(), |_, metadata| {
                        TargetEvent::Deleted(ResourceVersion::of(metadata))
                    }),
                };
                CacheUpdate { events: event.into_iter().collect(), ..CacheUpdate::default() }
            }
        };
        CacheUpdate { list_ended, ..update }
    }

    /// The metadata of a target that its Bundle's diff uses.
    pub(in crate::controller) fn observed(
        &self,
        bundle: &BundleId,
        kind: ObjectKind,
        metadata: &ObjectMeta,
    ) -> Observed {
        let intent = self.inputs.intents.get(bundle);
        Observed::read(metadata, |part, name| intent.is_some_and(|intent| intent.declares(kind, part, name)))
    }

    /// The engine's event for a target; none for an object whose name is no Bundle's.
    fn target_event(
        &self,
        kind: ObjectKind,
        metadata: &ObjectMeta,
        now: impl Fn(&BundleId, &ObjectMeta) -> TargetEvent,
    ) -> Option<fanout::EngineEvent> {
        let (bundle, _) = self.bundles.get_key_value(&metadata.name.as_deref()?.into())?;
        let namespace = metadata.namespace.as_deref().unwrap_or_default().into();
        let target = TargetRef { kind, namespace, name: bundle.name().clone() };
        Some(fanout::EngineEvent::Target { bundle: bundle.clone(), target, event: now(bundle, metadata) })
    }

    fn apply_namespace_event(&mut self, event: watcher::Event<WatchedObject>) -> CacheUpdate {
        let (name, now) = match event {
            watcher::Event::Init => {
                let event = self.begin_fanout_list(&Watch::Namespaces, ListScope::Namespaces);
                return CacheUpdate { events: vec![event], ..CacheUpdate::default() };
            }
            watcher::Event::InitDone => {
                let event = self.end_fanout_list(&Watch::Namespaces, ListScope::Namespaces);
                return CacheUpdate { events: vec![event], ..CacheUpdate::default() };
            }
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                let metadata = object.metadata();
                (metadata.name.clone().unwrap_or_default(), Some(Namespace::from(metadata)))
            }
            watcher::Event::Delete(object) => (object.metadata().name.clone().unwrap_or_default(), None),
        };
        let mut affected = AffectedBundles::new();
        if *name == *self.trust_namespace {
            let labels = now.as_ref().map(|namespace| namespace.labels.clone());
            if labels != self.inputs.trust_namespace {
                self.inputs.trust_namespace = labels;
                affected = with_cause(
                    affected_bundles(&self.inputs, &InputChange::TrustNamespace),
                    "the trust namespace changed",
                );
            }
        }
        CacheUpdate { affected, events: vec![fanout::EngineEvent::Namespace(name, now)], ..CacheUpdate::default() }
    }

    /// Applies an event of a Bundle or a source.
    fn apply_object_event(&mut self, watch: &Watch, event: watcher::Event<WatchedObject>) -> CacheUpdate {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match event {
            Apply(object) => self.upsert(self.key(watch, object.metadata()), object),
            Delete(object) => {
                let key = self.key(watch, object.metadata());
                if self.version(&key) > ResourceVersion::of(object.metadata()) {
                    return CacheUpdate::default();
                }
                let mut update = self.remove(&key);
                update.events.extend(self.deletion_event(&key, Some(object.metadata())));
                update
            }
            Init => {
                self.mark_listing(watch);
                CacheUpdate::default()
            }
            InitApply(object) => {
                let key = self.key(watch, object.metadata());
                if let Some(Listing::InProgress(seen, _)) = self.watches.get_mut(watch) {
                    seen.insert(key.clone());
                }
                self.upsert(key, object)
            }
            InitDone => self.finish_list(watch),
        }
    }

    fn mark_listing(&mut self, watch: &Watch) {
        let again = !matches!(self.watches.get(watch), Some(Listing::Never | Listing::InProgress(_, false)));
        self.watches.insert(watch.clone(), Listing::InProgress(BTreeSet::new(), again));
        self.epoch += 1;
    }

    fn begin_fanout_list(&mut self, watch: &Watch, scope: ListScope) -> fanout::EngineEvent {
        self.mark_listing(watch);
        fanout::EngineEvent::List(scope, ListPhase::Began)
    }

    fn end_fanout_list(&mut self, watch: &Watch, scope: ListScope) -> fanout::EngineEvent {
        self.watches.insert(watch.clone(), Listing::Done);
        fanout::EngineEvent::List(scope, ListPhase::Ended)
    }

    /// Caches a published status, so that its watch event changes nothing.
    pub(in crate::controller) fn set_published_status(&mut self, id: &BundleId, status: api::BundleStatus) {
        if let Some(known) = self.bundles.get_mut(id) {
            known.last_status.status = status;
        }
    }

    /// Caches the version of a published status, so that watch events of older versions change nothing; unless the
    /// response has a generation that no watch event has delivered yet.
    pub(in crate::controller) fn set_published_version(
        &mut self,
        id: &BundleId,
        version: ResourceVersion,
        generation: Option<i64>,
    ) {
        if let Some(known) = self.bundles.get_mut(id)
            && known.last_status.generation == generation
        {
            let since = std::mem::replace(&mut known.epoch, self.epoch) == self.epoch;
            known.version = if since { known.version.max(version) } else { version };
        }
    }

    /// The source objects that a Bundle reads and whose present version is not cached, each with the keys to fetch.
    pub(in crate::controller) fn unread(&self, intent: &Intent) -> Vec<(SourceId, KeyFilter)> {
        self.sources.unread(intent, &self.inputs)
    }

    /// Caches a fetched source; returns the affected Bundles.
    pub(in crate::controller) fn apply_read(&mut self, key: &SourceId, read: SourceRead) -> AffectedBundles {
        match read {
            SourceRead::Gone => return self.remove(&CacheKey::Source(key.clone())).affected,
            SourceRead::Content { version, filter, content } => {
                if let Some(object) = self.inputs.sources.get_mut(key)
                    && self.sources.store(key, version, filter, &content)
                {
                    object.content = content;
                    self.sources.prune_one(key, &mut self.inputs);
                }
            }
        }
        AffectedBundles::new()
    }

    /// Drops sources that could not be fetched, so that they are fetched again.
    pub(in crate::controller) fn forget_unreadable(&mut self) {
        self.sources.forget_unreadable(&self.inputs);
    }

    fn finish_list(&mut self, watch: &Watch) -> CacheUpdate {
        let mut update = CacheUpdate::default();
        let Some(Listing::InProgress(seen, _)) = self.watches.insert(watch.clone(), Listing::Done) else {
            return update;
        };
        for key in self.keys(watch).iter().filter(|key| !seen.contains(key)) {
            let CacheUpdate { affected, events, .. } = self.remove(key);
            update.affected.extend(affected);
            update.events.extend(events);
            // The list does not show how the object was deleted.
            update.events.extend(self.deletion_event(key, None));
        }
        update
    }

    fn keys(&self, watch: &Watch) -> Vec<CacheKey> {
        match watch {
            Watch::Bundles => self.bundles.keys().chain(&self.terminating).cloned().map(CacheKey::Bundle).collect(),
            Watch::Sources(kind) => self.sources.of_kind(*kind).cloned().map(CacheKey::Source).collect(),
            Watch::Namespaces | Watch::Targets(..) => unreachable!("the cache holds only Bundles and sources"),
        }
    }

    /// The key of an object of a watch.
    fn key(&self, watch: &Watch, metadata: &ObjectMeta) -> CacheKey {
        let name = metadata.name.as_deref().unwrap_or_default();
        match watch {
            Watch::Bundles => CacheKey::Bundle(name.into()),
            Watch::Sources(kind) => {
                let (namespace, name) = (self.trust_namespace.clone(), name.into());
                CacheKey::Source(SourceId { kind: *kind, namespace, name })
            }
            Watch::Namespaces | Watch::Targets(..) => unreachable!("the cache holds only Bundles and sources"),
        }
    }

    fn version(&self, key: &CacheKey) -> ResourceVersion {
        match key {
            CacheKey::Bundle(bundle) => self.bundles.get(bundle).map(|known| known.version).unwrap_or_default(),
            CacheKey::Source(source) => self.sources.version(source).unwrap_or_default(),
        }
    }
}

fn with_cause(bundles: BTreeSet<BundleId>, cause: &str) -> AffectedBundles {
    bundles.into_iter().map(|bundle| (bundle, cause.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::SourceContent;
    use crate::bundle::fixture::source_id;
    use watcher::Event::{Apply, Init, InitApply, InitDone};

    const TARGETS: Watch = Watch::Targets(ObjectKind::ConfigMap, None);

    impl Cache {
        fn affected(&mut self, watch: &Watch, event: watcher::Event<WatchedObject>) -> AffectedBundles {
            self.apply_event(watch, event).affected
        }

        fn is_ready_for(&self, namespaces: &[&str]) -> bool {
            self.is_ready(|name| namespaces.contains(&name))
        }
    }

    fn metadata(value: serde_json::Value) -> WatchedObject {
        WatchedObject::Metadata(Box::new(serde_json::from_value(value).expect("metadata")))
    }

    fn cache() -> Cache {
        let inputs = Inputs::default();
        let watches = Watch::needed(&inputs.settings);
        Cache::new(inputs, "cert-manager", &watches)
    }

    #[test]
    fn nothing_is_decided_before_every_watch_has_delivered_its_list() {
        let mut cache = cache();
        let watches = Watch::needed(&cache.inputs.settings);
        for watch in &watches {
            assert!(!cache.is_ready_for(&["there"]));
            cache.apply_event(watch, Init);
            assert!(!cache.is_ready_for(&["there"]));
            cache.apply_event(watch, InitDone);
        }
        assert!(cache.is_ready_for(&["there"]));
        cache.apply_event(&TARGETS, Init);
        assert!(cache.is_ready_for(&["there"]), "a list that comes again takes nothing back");
    }

    #[test]
    fn a_listed_namespace_that_is_not_there_is_not_waited_for() {
        let mut inputs = Inputs::default();
        inputs.settings.target_namespaces = Some(["absent".to_owned(), "there".to_owned()].into());
        let watches = Watch::needed(&inputs.settings);
        let mut cache = Cache::new(inputs, "cert-manager", &watches);
        for watch in watches.iter().filter(|watch| !matches!(watch, Watch::Targets(..))) {
            cache.apply_event(watch, Init);
            if *watch == Watch::Namespaces {
                cache.apply_event(watch, InitApply(metadata(json!({ "name": "there", "resourceVersion": "1" }))));
            }
            cache.apply_event(watch, InitDone);
        }
        assert!(!cache.is_ready_for(&["there"]));
        let there = Watch::Targets(ObjectKind::ConfigMap, Some("there".to_owned()));
        cache.apply_event(&there, Init);
        cache.apply_event(&there, InitDone);
        assert!(cache.is_ready_for(&["there"]));
    }

    #[test]
    fn the_echo_of_an_older_status_affects_nothing() {
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
            (bundle.status.clone().expect("a status"), WatchedObject::Bundle(Box::new(Ok(bundle))))
        };
        let mut cache = cache();
        cache.apply_event(&Watch::Bundles, Apply(bundle("1", "before").1));
        cache.set_published_status(&"b".into(), bundle("", "first").0);
        cache.set_published_version(&"b".into(), ResourceVersion::parse("9"), Some(2));
        cache.set_published_version(&"b".into(), ResourceVersion::parse("2"), Some(1));
        cache.set_published_status(&"b".into(), bundle("", "second").0);
        assert!(cache.affected(&Watch::Bundles, Apply(bundle("1", "before").1)).is_empty());
        let second = cache.bundle(&"b".into()).expect("known").last_status.status.clone();
        assert_eq!(second, bundle("", "second").0);
        assert!(cache.affected(&Watch::Bundles, Apply(bundle("3", "second").1)).is_empty(), "what we published");
        assert!(cache.affected(&Watch::Bundles, Apply(bundle("4", "foreign").1)).contains_key(&"b".into()));
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
            WatchedObject::Bundle(Box::new(Ok(bundle.expect("a Bundle"))))
        };
        let secrets = Watch::Sources(ObjectKind::Secret);
        let key = source_id(ObjectKind::Secret, "s");
        let mut cache = cache();
        cache.apply_event(&secrets, Apply(metadata(json!({ "name": "s", "resourceVersion": "3" }))));
        cache.apply_event(&Watch::Bundles, Apply(bundle(json!({ "includeAllKeys": true }), 1)));
        let unread = |cache: &Cache| cache.unread(&cache.inputs.intents[&"b".into()]);

        let [(_, filter)] = &unread(&cache)[..] else { panic!("one object is to be read") };
        let values = BTreeMap::from([("a", b"1"), ("z", b"2")]).into_iter();
        let content = SourceContent::Keys(values.map(|(key, value)| (key.to_owned(), value.to_vec().into())).collect());
        let version = ResourceVersion::parse("3");
        cache.apply_read(&key, SourceRead::Content { version, filter: filter.clone(), content });
        assert!(unread(&cache).is_empty());

        cache.apply_event(&Watch::Bundles, Apply(bundle(json!({ "key": "a" }), 2)));
        let held = |cache: &Cache| match &cache.inputs.sources[&key].content {
            SourceContent::Keys(values) => values.keys().cloned().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(held(&cache), ["a"]);
        assert!(unread(&cache).is_empty());

        cache.apply_event(&Watch::Bundles, Apply(bundle(json!({ "key": "z" }), 3)));
        assert!(held(&cache).is_empty());
        assert_eq!(unread(&cache).len(), 1, "what was let go is read again when it is wanted");

        cache.apply_event(&secrets, Apply(metadata(json!({ "name": "s", "resourceVersion": "4" }))));
        assert_eq!(unread(&cache).len(), 1, "a new version is read");
    }
}
