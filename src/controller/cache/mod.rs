//! Cache of Bundles and their sources, fed by watches and reads. Events of namespaces and targets are translated for the
//! fan-out, which keeps them.

mod bundles_and_sources;
mod distrusts;
mod evidence;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;

use crate::api;
use crate::bundle::{
    BundleId, InputChange, Inputs, Intent, LastStatus, Memory, Namespace, ObjectKind, Refusal, SourceId, TargetRef,
    TrustNamespaces, affected_bundles,
};
use crate::client::{KeyFilter, PublishedVersion, SourceRead, Watch, WatchEvent};
use crate::controller::source_cache::SourceCache;
use crate::fanout::{EngineEvent, ListPhase, ListScope, ListTracker, Observed, ResourceVersion, TargetEvent};

use distrusts::DistrustCache;
pub(in crate::controller) use distrusts::LiftedDistrust;
use evidence::EvidenceCache;

/// The cache of Bundles and their sources.
pub(in crate::controller) struct Cache {
    /// The inputs of decisions.
    inputs: Inputs,
    trust_namespaces: TrustNamespaces,
    bundles: BTreeMap<BundleId, CachedBundle>,
    /// Terminating Bundles.
    terminating: BTreeSet<BundleId>,
    sources: SourceCache,
    distrusts: DistrustCache,
    evidence: EvidenceCache,
    bundle_list: ListTracker<BundleId>,
    /// The lists of the objects of a kind in each trust namespace.
    source_lists: BTreeMap<(ObjectKind, Arc<str>), ListTracker<SourceId>>,
    ledgers: BTreeMap<BundleId, LedgerVersion>,
    /// Whether the first list of each of the engine's watches has ended.
    fanout_listed: BTreeMap<ListScope, bool>,
    /// Number of lists begun. A list is right about everything that was cached before it began.
    epoch: u64,
}

/// A Bundle, without its [`Intent`], which is part of the inputs.
#[derive(Clone, Debug)]
pub(in crate::controller) struct CachedBundle {
    /// Uid of the Bundle.
    pub(in crate::controller) uid: String,
    /// When the Bundle was created.
    pub(in crate::controller) created: Timestamp,
    version: ResourceVersion,
    /// Number of lists begun when the version was cached.
    epoch: u64,
    /// The annotations that decisions depend on. They change without a new generation.
    policy_annotations: BTreeMap<String, String>,
    /// Generation and status last read, or last published.
    pub(in crate::controller) last_status: LastStatus,
    /// Why the Bundle has no [`Intent`].
    pub(in crate::controller) invalid: Option<Refusal>,
}

/// The last version of a Bundle's ledger that a watch has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum LedgerVersion {
    /// The ledger exists.
    At(ResourceVersion),
    /// The ledger was gone as of this version.
    Gone(ResourceVersion),
}

/// Bundles whose decision may differ, each with the cause in words.
pub(in crate::controller) type AffectedBundles = BTreeMap<BundleId, String>;

/// The effects of a watch event.
#[derive(Default)]
pub(in crate::controller) struct CacheUpdate {
    /// Bundles to reconcile.
    pub(in crate::controller) affected: AffectedBundles,
    /// Events for the engine.
    pub(in crate::controller) events: Vec<EngineEvent>,
    /// The Bundle whose ledger has changed.
    pub(in crate::controller) ledger: Option<BundleId>,
    /// Distrusts that name less than before.
    pub(in crate::controller) lifted: Vec<LiftedDistrust>,
    /// Whether the event may have made the cache ready.
    pub(in crate::controller) may_be_ready: bool,
}

impl Cache {
    /// Returns an empty cache that waits for the first list of each watch.
    pub(in crate::controller) fn new(inputs: Inputs, trust_namespaces: TrustNamespaces) -> Self {
        let scope = |watch| if let Watch::Fanout(scope) = watch { Some((scope, false)) } else { None };
        let evidence = EvidenceCache::new(inputs.settings.evidence.is_some());
        let watches = Watch::needed(&inputs.settings, &trust_namespaces);
        let fanout_listed = watches.into_iter().filter_map(scope).collect();
        let of_namespace = |namespace: &Arc<str>| ObjectKind::ALL.map(|kind| (kind, namespace.clone()));
        let lists = trust_namespaces.all().flat_map(of_namespace);
        let source_lists = lists.map(|list| (list, ListTracker::default())).collect();
        Self {
            inputs,
            trust_namespaces,
            bundles: BTreeMap::new(),
            terminating: BTreeSet::new(),
            sources: SourceCache::default(),
            distrusts: DistrustCache::default(),
            evidence,
            bundle_list: ListTracker::default(),
            source_lists,
            ledgers: BTreeMap::new(),
            fanout_listed,
            epoch: 0,
        }
    }

    /// The inputs of decisions.
    pub(in crate::controller) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Whether all Bundles have been listed. Targets are listed after that, since only those of known Bundles are kept.
    pub(in crate::controller) fn has_listed_bundles(&self) -> bool {
        self.bundle_list.has_ended()
    }

    /// Whether every watch has delivered its first list: before that, an absent object proves nothing. A watch of a single
    /// namespace that does not exist (`exists`) is not waited for; there may be no role for it either. For an additional
    /// trust namespace only the Bundles wait whose sources are there.
    pub(in crate::controller) fn is_ready(&self, exists: impl Fn(&str) -> bool) -> bool {
        let main = self.trust_namespaces.main();
        self.bundle_list.has_ended()
            && self.distrusts.is_listed()
            && self.source_lists.iter().all(|((_, namespace), list)| namespace != main || list.has_ended())
            && self.fanout_listed.get(&ListScope::Namespaces) == Some(&true)
            && self.fanout_listed.iter().all(|(scope, listed)| match scope {
                ListScope::Targets(_, Some(name)) if !exists(name) => true,
                _ => *listed,
            })
    }

    /// The cached Bundle of an id.
    pub(in crate::controller) fn bundle(&self, id: &BundleId) -> Option<&CachedBundle> {
        self.bundles.get(id)
    }

    /// The last version of a Bundle's ledger that a watch has shown; `None` if there was none.
    pub(in crate::controller) fn ledger_version(&self, id: &BundleId) -> Option<LedgerVersion> {
        self.ledgers.get(id).copied()
    }

    /// The evidence of use.
    pub(in crate::controller) fn evidence(&self) -> &EvidenceCache {
        &self.evidence
    }

    /// Records what a Bundle publishes: the uses of certificates that are leaving it are looked for.
    pub(in crate::controller) fn observe_leaving(&mut self, id: &BundleId, memory: &Memory) {
        let default_cas = self.inputs.default_cas.iter().flat_map(|cas| &cas.anchors);
        self.evidence.observe(id, memory, default_cas);
    }

    /// The evidence of use, to be changed.
    pub(in crate::controller) fn evidence_mut(&mut self) -> &mut EvidenceCache {
        &mut self.evidence
    }

    /// Whether a Bundle has a ledger.
    pub(in crate::controller) fn has_ledger(&self, id: &BundleId) -> bool {
        matches!(self.ledger_version(id), Some(LedgerVersion::At(_)))
    }

    /// All Bundles, sorted by name.
    pub(in crate::controller) fn bundles(&self) -> impl Iterator<Item = (&BundleId, &CachedBundle)> {
        self.bundles.iter()
    }

    /// Applies a watch event.
    pub(in crate::controller) fn apply_event(&mut self, event: WatchEvent) -> CacheUpdate {
        match event {
            WatchEvent::Bundle(event) => self.apply_bundle_event(event),
            WatchEvent::Distrust(event) => self.apply_distrust_event(event),
            WatchEvent::Source(kind, namespace, event) => self.apply_source_event(kind, namespace.as_ref(), event),
            WatchEvent::Fanout(scope, event) => self.apply_fanout_event(scope, event),
            WatchEvent::CertificateRequest(event) => {
                CacheUpdate { affected: self.evidence.apply(event, Timestamp::now()), ..CacheUpdate::default() }
            }
        }
    }

    /// Translates an event of a namespace or target for the engine.
    fn apply_fanout_event(&mut self, scope: ListScope, event: Event<ObjectMeta>) -> CacheUpdate {
        let (metadata, deleted) = match event {
            Event::Apply(metadata) | Event::InitApply(metadata) => (metadata, false),
            Event::Delete(metadata) => (metadata, true),
            Event::Init => {
                self.epoch += 1;
                let events = vec![EngineEvent::List(scope, ListPhase::Began)];
                return CacheUpdate { events, ..CacheUpdate::default() };
            }
            Event::InitDone => {
                self.fanout_listed.insert(scope.clone(), true);
                let events = vec![EngineEvent::List(scope, ListPhase::Ended)];
                return CacheUpdate { events, may_be_ready: true, ..CacheUpdate::default() };
            }
        };
        match scope {
            ListScope::Namespaces => self.apply_namespace(&metadata, deleted),
            ListScope::Targets(kind, _) => {
                let events = self.target_event(kind, &metadata, deleted).into_iter().collect();
                CacheUpdate { events, ..CacheUpdate::default() }
            }
        }
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

    /// Returns the engine's event for a target; none for an object whose name is no Bundle's.
    fn target_event(&self, kind: ObjectKind, metadata: &ObjectMeta, deleted: bool) -> Option<EngineEvent> {
        let (bundle, _) = self.bundles.get_key_value(&metadata.name.as_deref()?.into())?;
        let namespace = metadata.namespace.as_deref().unwrap_or_default().into();
        let target = TargetRef { kind, namespace, name: bundle.name().clone() };
        let event = if deleted {
            TargetEvent::Deleted(ResourceVersion::of(metadata))
        } else {
            TargetEvent::Applied(self.observed(bundle, kind, metadata))
        };
        Some(EngineEvent::Target { bundle: bundle.clone(), target, event })
    }

    fn apply_namespace(&mut self, metadata: &ObjectMeta, deleted: bool) -> CacheUpdate {
        let name = metadata.name.clone().unwrap_or_default();
        let now = (!deleted).then(|| Namespace::from(metadata));
        let mut affected = AffectedBundles::new();
        if let Some(trust_namespace) = self.trust_namespaces.find(&name) {
            let labels = now.as_ref().map(|namespace| namespace.labels.clone());
            if labels.as_ref() != self.inputs.trust_namespaces.get(&trust_namespace) {
                self.inputs.trust_namespaces.remove(&trust_namespace);
                self.inputs.trust_namespaces.extend(labels.map(|labels| (trust_namespace, labels)));
                affected = with_cause(
                    affected_bundles(&self.inputs, &InputChange::TrustNamespace),
                    "the trust namespace changed",
                );
            }
        }
        let events = vec![EngineEvent::Namespace(name, now)];
        CacheUpdate { affected, events, may_be_ready: true, ..CacheUpdate::default() }
    }

    /// Caches a published status, so that its watch event changes nothing.
    pub(in crate::controller) fn set_published_status(&mut self, id: &BundleId, status: api::BundleStatus) {
        if let Some(known) = self.bundles.get_mut(id) {
            known.last_status.status = status;
        }
    }

    /// Caches the version of a published status, so that watch events of older versions change nothing; unless the
    /// response has a generation or policy that no watch event has delivered yet.
    pub(in crate::controller) fn set_published_version(&mut self, id: &BundleId, published: &PublishedVersion) {
        let PublishedVersion { version, generation, policy_annotations } = published;
        if let Some(known) = self.bundles.get_mut(id)
            && known.last_status.generation == *generation
            && known.policy_annotations == *policy_annotations
        {
            let since = std::mem::replace(&mut known.epoch, self.epoch) == self.epoch;
            if known.version.is_replaced_by(*version, since, true) {
                known.version = *version;
            }
        }
    }

    /// Whether it is not known yet which objects there are in the trust namespace of a Bundle.
    pub(in crate::controller) fn awaits_sources(&self, intent: &Intent) -> bool {
        intent.object_sources().any(|source| {
            let list = (source.kind, source.namespace.clone());
            !self.inputs.unreadable.contains_key(&list)
                && self.source_lists.get(&list).is_some_and(|list| !list.has_ended())
        })
    }

    /// Records that objects of a kind may not be listed in an additional trust namespace. What was listed before stays.
    pub(in crate::controller) fn deny_sources(
        &mut self,
        kind: ObjectKind,
        namespace: &Arc<str>,
        cause: String,
    ) -> AffectedBundles {
        let list = (kind, namespace.clone());
        let has_ended = self.source_lists.get(&list).is_some_and(ListTracker::has_ended);
        if has_ended || self.inputs.unreadable.get(&list) == Some(&cause) {
            return AffectedBundles::new();
        }
        self.inputs.unreadable.insert(list, cause);
        self.source_list_changed(kind, namespace, "cannot be listed")
    }

    fn source_list_changed(&self, kind: ObjectKind, namespace: &Arc<str>, verb: &str) -> AffectedBundles {
        let affected = affected_bundles(&self.inputs, &InputChange::SourceList(kind, namespace.clone()));
        with_cause(affected, &format!("{}s of trust namespace {namespace} {verb}", kind.as_str()))
    }

    /// The source objects that a Bundle reads and whose present version is not cached, each with the keys to fetch.
    pub(in crate::controller) fn unread(&self, intent: &Intent) -> Vec<(SourceId, KeyFilter)> {
        self.sources.unread(intent, &self.inputs)
    }

    /// Caches a fetched source; returns the affected Bundles.
    pub(in crate::controller) fn apply_read(&mut self, key: &SourceId, read: SourceRead) -> AffectedBundles {
        match read {
            SourceRead::Gone => return self.remove_source(key),
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
    use crate::client::WatchedBundle;
    use Event::{Apply, Init, InitApply, InitDone};

    impl Cache {
        fn affected(&mut self, bundle: WatchedBundle) -> AffectedBundles {
            self.apply_event(WatchEvent::Bundle(Apply(bundle))).affected
        }

        /// Begins or ends a list of a watch.
        fn list(&mut self, watch: &Watch, phase: ListPhase) {
            fn event<T>(phase: ListPhase) -> Event<T> {
                if phase == ListPhase::Began { Init } else { InitDone }
            }
            self.apply_event(match watch.clone() {
                Watch::Bundles => WatchEvent::Bundle(event(phase)),
                Watch::Distrusts => WatchEvent::Distrust(event(phase)),
                Watch::Sources(kind, namespace) => WatchEvent::Source(kind, namespace, event(phase)),
                Watch::Fanout(scope) => WatchEvent::Fanout(scope, event(phase)),
                Watch::CertificateRequests => WatchEvent::CertificateRequest(event(phase)),
            });
        }

        fn is_ready_for(&self, namespaces: &[&str]) -> bool {
            self.is_ready(|name| namespaces.contains(&name))
        }
    }

    fn metadata(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).expect("metadata")
    }

    fn cache() -> Cache {
        Cache::new(Inputs::default(), "cert-manager".into())
    }

    #[test]
    fn nothing_is_decided_before_every_watch_has_delivered_its_list() {
        let mut cache = cache();
        let watches = Watch::needed(&cache.inputs.settings, &cache.trust_namespaces);
        for watch in &watches {
            assert!(!cache.is_ready_for(&["there"]));
            cache.list(watch, ListPhase::Began);
            assert!(!cache.is_ready_for(&["there"]));
            cache.list(watch, ListPhase::Ended);
        }
        assert!(cache.is_ready_for(&["there"]));
        cache.list(&Watch::Fanout(ListScope::Targets(ObjectKind::ConfigMap, None)), ListPhase::Began);
        assert!(cache.is_ready_for(&["there"]), "a list that comes again takes nothing back");
    }

    #[test]
    fn a_listed_namespace_that_is_not_there_is_not_waited_for() {
        let mut inputs = Inputs::default();
        inputs.settings.target_namespaces = Some(["absent".to_owned(), "there".to_owned()].into());
        let watches = Watch::needed(&inputs.settings, &"cert-manager".into());
        let mut cache = Cache::new(inputs, "cert-manager".into());
        for watch in watches.iter().filter(|watch| !matches!(watch, Watch::Fanout(ListScope::Targets(..)))) {
            cache.list(watch, ListPhase::Began);
            if *watch == Watch::Fanout(ListScope::Namespaces) {
                let there = InitApply(metadata(json!({ "name": "there", "resourceVersion": "1" })));
                cache.apply_event(WatchEvent::Fanout(ListScope::Namespaces, there));
            }
            cache.list(watch, ListPhase::Ended);
        }
        assert!(!cache.is_ready_for(&["there"]));
        let there = Watch::Fanout(ListScope::Targets(ObjectKind::ConfigMap, Some("there".to_owned())));
        cache.list(&there, ListPhase::Began);
        cache.list(&there, ListPhase::Ended);
        assert!(cache.is_ready_for(&["there"]));
    }

    #[test]
    fn an_additional_trust_namespace_holds_up_only_the_bundles_whose_sources_are_there() {
        let bundle = |name: &str, annotations: &serde_json::Value| -> WatchedBundle {
            let bundle = serde_json::from_value(json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": {
                    "name": name, "uid": name, "generation": 1, "resourceVersion": "1", "annotations": annotations,
                },
                "spec": {
                    "sources": [{ "configMap": { "name": "ca", "key": "ca" } }], "target": { "configMap": { "key": "k" } },
                },
            }));
            Box::new(Ok(bundle.expect("a Bundle")))
        };
        let trust_namespaces = TrustNamespaces::new("cert-manager", &["team".to_owned()]);
        let watches = Watch::needed(&Inputs::default().settings, &trust_namespaces);
        let mut cache = Cache::new(Inputs::default(), trust_namespaces);
        let is_additional = |watch: &&Watch| matches!(watch, Watch::Sources(_, Some(_)));
        assert_eq!(watches.iter().filter(is_additional).count(), ObjectKind::ALL.len());
        for watch in watches.iter().filter(|watch| !is_additional(watch)) {
            cache.list(watch, ListPhase::Began);
            cache.list(watch, ListPhase::Ended);
        }
        assert!(cache.is_ready_for(&[]));

        cache.affected(bundle("here", &json!({})));
        cache.affected(bundle("there", &json!({ "rootcast.dev/trust-namespace": "team" })));
        let awaits = |cache: &Cache, name: &str| cache.awaits_sources(&cache.inputs.intents[&name.into()]);
        assert!(!awaits(&cache, "here") && awaits(&cache, "there"));

        let (kind, team) = (ObjectKind::ConfigMap, Arc::from("team"));
        let denied = |cache: &mut Cache, cause: &str| cache.deny_sources(kind, &team, cause.to_owned());
        let cause = "ConfigMaps of trust namespace team cannot be listed".to_owned();
        assert!(denied(&mut cache, "forbidden").into_iter().eq([("there".into(), cause)]));
        assert!(denied(&mut cache, "forbidden").is_empty(), "it is known already");
        assert!(!awaits(&cache, "there") && !cache.inputs.unreadable.is_empty());

        let event = |event| WatchEvent::Source(kind, Some(team.clone()), event);
        let found = InitApply(metadata(json!({ "name": "ca", "resourceVersion": "1" })));
        cache.apply_event(event(Init));
        let CacheUpdate { affected, .. } = cache.apply_event(event(found));
        assert!(affected.into_keys().eq(["there".into()]), "an object of another namespace is another object");
        let CacheUpdate { affected, .. } = cache.apply_event(event(InitDone));
        assert!(affected.into_keys().eq(["there".into()]));
        assert!(!awaits(&cache, "there") && cache.inputs.unreadable.is_empty());
        assert!(denied(&mut cache, "forbidden").is_empty(), "what was listed stays");
        cache.list(&Watch::Sources(kind, None), ListPhase::Began);
        cache.list(&Watch::Sources(kind, None), ListPhase::Ended);
        assert_eq!(cache.inputs.sources.len(), 1, "a list of the main one shows nothing of the others");
    }

    #[test]
    fn what_a_list_ends_without_is_gone() {
        let bundle = |name: &str, deletion_timestamp: Option<&str>| -> WatchedBundle {
            let secret = |name| json!({ "secret": { "name": name, "includeAllKeys": true } });
            let bundle = serde_json::from_value(json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": {
                    "name": name, "uid": name, "generation": 1, "resourceVersion": "1", "deletionTimestamp": deletion_timestamp,
                },
                "spec": { "sources": [secret("s"), secret("t")], "target": { "configMap": { "key": "k" } } },
            }));
            Box::new(Ok(bundle.expect("a Bundle")))
        };
        let mut cache = cache();
        for name in ["gone", "kept"] {
            cache.affected(bundle(name, None));
        }
        cache.affected(bundle("ending", Some("2026-11-01T00:00:00Z")));
        cache.list(&Watch::Bundles, ListPhase::Began);
        cache.apply_event(WatchEvent::Bundle(InitApply(bundle("kept", None))));
        let CacheUpdate { events, .. } = cache.apply_event(WatchEvent::Bundle(InitDone));
        let [
            EngineEvent::Deleted { bundle: ending, uid: None },
            EngineEvent::Bundle(gone, false),
            EngineEvent::Deleted { bundle: deleted, uid: None },
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!([ending, gone, deleted].map(ToString::to_string), ["ending", "gone", "gone"]);
        assert!(cache.bundles().map(|(id, _)| id).eq([&"kept".into()]));

        for name in ["s", "t"] {
            let found = Apply(metadata(json!({ "name": name, "resourceVersion": "1" })));
            cache.apply_event(WatchEvent::Source(ObjectKind::Secret, None, found));
        }
        cache.list(&Watch::Sources(ObjectKind::Secret, None), ListPhase::Began);
        cache.apply_read(&source_id(ObjectKind::Secret, "t"), SourceRead::Gone);
        let CacheUpdate { affected, .. } = cache.apply_event(WatchEvent::Source(ObjectKind::Secret, None, InitDone));
        let expected = ("kept".into(), "source Secret cert-manager/s deleted".to_owned());
        assert!(affected.into_iter().eq([expected]), "one was gone before");
        assert!(cache.inputs.sources.is_empty());
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
            (bundle.status.clone().expect("a status"), Box::new(Ok(bundle)))
        };
        let mut cache = cache();
        cache.affected(bundle("1", "before").1);
        cache.set_published_status(&"b".into(), bundle("", "first").0);
        cache.set_published_version(&"b".into(), &published("9", 2, BTreeMap::new()));
        cache.set_published_version(&"b".into(), &published("2", 1, BTreeMap::new()));
        cache.set_published_status(&"b".into(), bundle("", "second").0);
        assert!(cache.affected(bundle("1", "before").1).is_empty());
        let second = cache.bundle(&"b".into()).expect("known").last_status.status.clone();
        assert_eq!(second, bundle("", "second").0);
        assert!(cache.affected(bundle("3", "second").1).is_empty(), "what we published");
        assert!(cache.affected(bundle("4", "foreign").1).contains_key(&"b".into()));
    }

    fn published(version: &str, generation: i64, policy_annotations: BTreeMap<String, String>) -> PublishedVersion {
        PublishedVersion { version: ResourceVersion::parse(version), generation: Some(generation), policy_annotations }
    }

    #[test]
    fn a_changed_policy_affects_its_bundle_and_no_other_annotation_does() {
        let bundle = |version: &str, annotations: &serde_json::Value| -> WatchedBundle {
            let bundle = serde_json::from_value(json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": {
                    "name": "b", "uid": "u", "generation": 1, "resourceVersion": version, "annotations": annotations,
                },
                "spec": { "sources": [{ "inLine": "x" }], "target": { "configMap": { "key": "k" } } },
            }));
            Box::new(Ok(bundle.expect("a Bundle")))
        };
        let mut cache = cache();
        cache.affected(bundle("1", &json!({})));
        for (version, annotations, expected) in [
            ("2", json!({ "team": "a" }), None),
            ("3", json!({ "team": "a", "rootcast.dev/retain": "1h" }), Some("Bundle b changed")),
            ("4", json!({ "team": "b", "rootcast.dev/retain": "1h", "inject.rootcast.dev/x": "y" }), None),
            ("5", json!({ "rootcast.dev/retain": "an hour" }), Some("Bundle b changed")),
            ("6", json!({}), Some("Bundle b changed")),
        ] {
            let cause = cache.affected(bundle(version, &annotations)).remove(&"b".into());
            assert_eq!(cause.as_deref(), expected, "{annotations}");
            let invalid = cache.bundle(&"b".into()).expect("known").invalid.is_some();
            assert_eq!(invalid, version == "5");
        }

        let retain = json!({ "rootcast.dev/retain": "1h" });
        let annotations: BTreeMap<_, _> = [("rootcast.dev/retain".to_owned(), "1h".to_owned())].into();
        cache.set_published_version(&"b".into(), &published("8", 1, annotations));
        assert!(!cache.affected(bundle("7", &retain)).is_empty(), "the answer to a status was there before the change");
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
            Box::new(Ok(bundle.expect("a Bundle")))
        };
        let secret = |version: &str| {
            WatchEvent::Source(
                ObjectKind::Secret,
                None,
                Apply(metadata(json!({ "name": "s", "resourceVersion": version }))),
            )
        };
        let key = source_id(ObjectKind::Secret, "s");
        let mut cache = cache();
        cache.apply_event(secret("3"));
        cache.affected(bundle(json!({ "includeAllKeys": true }), 1));
        let unread = |cache: &Cache| cache.unread(&cache.inputs.intents[&"b".into()]);

        let [(_, filter)] = &unread(&cache)[..] else { panic!("one object is to be read") };
        let values = BTreeMap::from([("a", b"1"), ("z", b"2")]).into_iter();
        let content = SourceContent::Keys(values.map(|(key, value)| (key.to_owned(), value.to_vec().into())).collect());
        let version = ResourceVersion::parse("3");
        cache.apply_read(&key, SourceRead::Content { version, filter: filter.clone(), content });
        assert!(unread(&cache).is_empty());

        cache.affected(bundle(json!({ "key": "a" }), 2));
        let held = |cache: &Cache| match &cache.inputs.sources[&key].content {
            SourceContent::Keys(values) => values.keys().cloned().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(held(&cache), ["a"]);
        assert!(unread(&cache).is_empty());

        cache.affected(bundle(json!({ "key": "z" }), 3));
        assert!(held(&cache).is_empty());
        assert_eq!(unread(&cache).len(), 1, "what was let go is read again when it is wanted");

        cache.apply_event(secret("4"));
        assert_eq!(unread(&cache).len(), 1, "a new version is read");
    }
}
