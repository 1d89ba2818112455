//! Creation, change and deletion of Bundles and sources in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;

use crate::api;
use crate::bundle::{
    BundleId, DeletionPolicy, InputChange, Intent, Labels, LastStatus, ObjectKind, OutputKeys, Refusal, SourceContent,
    SourceId, SourceObject, affected_bundles, ledger_of, policy_annotations,
};
use crate::client::{UnreadableObject, WatchedBundle, watched_metadata};
use crate::fanout::{EngineEvent, ResourceVersion};
use crate::text;

use super::{AffectedBundles, Cache, CacheUpdate, CachedBundle, LedgerVersion, with_cause};

/// The finalizer of an object whose dependents are to stay
/// (<https://kubernetes.io/docs/concepts/architecture/garbage-collection/#orphaned-dependents>).
const ORPHAN: &str = "orphan";

impl Cache {
    /// Applies an event of a Bundle.
    pub(super) fn apply_bundle_event(&mut self, event: Event<WatchedBundle>) -> CacheUpdate {
        match event {
            Event::Apply(bundle) | Event::InitApply(bundle) => {
                let id = bundle_id(watched_metadata(&bundle));
                self.bundle_list.record(&id);
                // A terminating Bundle counts as deleted: what others do to its targets is not undone.
                if watched_metadata(&bundle).deletion_timestamp.is_none() {
                    return self.upsert_bundle(id, *bundle);
                }
                self.terminating.insert(id.clone());
                self.remove_bundle(&id)
            }
            Event::Delete(bundle) => {
                let metadata = watched_metadata(&bundle);
                let id = bundle_id(metadata);
                if self.bundles.get(&id).is_some_and(|known| known.version > ResourceVersion::of(metadata)) {
                    return CacheUpdate::default();
                }
                let mut update = self.remove_bundle(&id);
                update.events.push(self.deletion_event(&id, Some(metadata)));
                update
            }
            Event::Init => {
                self.epoch += 1;
                self.bundle_list.begin(self.bundles.keys().chain(&self.terminating).cloned());
                CacheUpdate::default()
            }
            Event::InitDone => {
                let mut update = CacheUpdate { may_be_ready: true, ..CacheUpdate::default() };
                for id in self.bundle_list.end() {
                    let CacheUpdate { affected, events, .. } = self.remove_bundle(&id);
                    update.affected.extend(affected);
                    update.events.extend(events);
                    // The list does not show how the object was deleted.
                    update.events.push(self.deletion_event(&id, None));
                }
                update
            }
        }
    }

    /// Applies an event of a source in a trust namespace; `None` is the main one.
    pub(super) fn apply_source_event(
        &mut self,
        kind: ObjectKind,
        additional: Option<&Arc<str>>,
        event: Event<ObjectMeta>,
    ) -> CacheUpdate {
        let namespace = additional.unwrap_or(self.trust_namespaces.main()).clone();
        let list = self.source_lists.entry((kind, namespace.clone())).or_default();
        let id = |metadata: &ObjectMeta| {
            let name = metadata.name.as_deref().unwrap_or_default().into();
            SourceId { kind, namespace: namespace.clone(), name }
        };
        let mut ledger = None;
        let affected = match event {
            Event::Apply(metadata) | Event::InitApply(metadata) => {
                let id = id(&metadata);
                list.record(&id);
                if is_ledger(&metadata) {
                    ledger = self.ledger_changed(&id, LedgerVersion::At(ResourceVersion::of(&metadata)));
                }
                self.upsert_source(&id, &metadata)
            }
            Event::Delete(metadata) => {
                let id = id(&metadata);
                ledger = self.ledger_changed(&id, LedgerVersion::Gone(ResourceVersion::of(&metadata)));
                if self.sources.version(&id).is_some_and(|known| known > ResourceVersion::of(&metadata)) {
                    return CacheUpdate::default();
                }
                self.remove_source(&id)
            }
            Event::Init => {
                self.epoch += 1;
                list.begin(self.sources.of_kind(kind).filter(|id| id.namespace == namespace).cloned());
                return CacheUpdate::default();
            }
            Event::InitDone => {
                let is_news = additional.is_some() && !list.has_ended();
                let mut gone = list.end();
                // It may have been found to be gone when it was fetched.
                gone.retain(|id| self.sources.version(id).is_some());
                let mut affected: AffectedBundles = gone.iter().flat_map(|id| self.remove_source(id)).collect();
                for id in &gone {
                    let bundle = self.ledger_changed(id, LedgerVersion::Gone(ResourceVersion::NEWEST));
                    affected.extend(bundle.map(|bundle| (bundle, "its ledger is gone".to_owned())));
                }
                if is_news {
                    self.inputs.unreadable.remove(&(kind, namespace.clone()));
                    affected.extend(self.source_list_changed(kind, &namespace, "listed"));
                }
                return CacheUpdate { affected, may_be_ready: true, ..CacheUpdate::default() };
            }
        };
        CacheUpdate { affected, ledger, ..CacheUpdate::default() }
    }

    /// Records the version of an object that may be a ledger; returns its Bundle if it is one. Ledgers are in the main
    /// trust namespace alone.
    fn ledger_changed(&mut self, object: &SourceId, version: LedgerVersion) -> Option<BundleId> {
        let SourceId { kind, namespace, name } = object;
        let may_hold = *kind == ObjectKind::ConfigMap && namespace == self.trust_namespaces.main();
        let bundle = ledger_of(name).filter(|_| may_hold)?;
        match version {
            LedgerVersion::At(_) => drop(self.ledgers.insert(bundle.clone(), version)),
            LedgerVersion::Gone(_) => *self.ledgers.get_mut(&bundle)? = version,
        }
        Some(bundle)
    }

    /// Returns the event of a deleted Bundle; `last` is its last known metadata. A Bundle that was deleted with
    /// `--cascade=orphan`, or has that as its policy, leaves the objects that it completed as they are.
    fn deletion_event(&mut self, id: &BundleId, last: Option<&ObjectMeta>) -> EngineEvent {
        self.terminating.remove(id);
        let orphans = |metadata: &&ObjectMeta| {
            metadata.finalizers.iter().flatten().any(|name| name == ORPHAN)
                || DeletionPolicy::of(metadata) == DeletionPolicy::Orphan
        };
        let uid = last.filter(|last| !orphans(last)).and_then(|last| last.uid.clone());
        EngineEvent::Deleted { bundle: id.clone(), uid }
    }

    fn remove_bundle(&mut self, id: &BundleId) -> CacheUpdate {
        if self.bundles.remove(id).is_none() {
            return CacheUpdate::default();
        }
        let affected = affected_bundles(&self.inputs, &InputChange::Bundle(id.clone()));
        if let Some(intent) = self.inputs.intents.remove(id) {
            self.sources.prune(&intent, &mut self.inputs);
        }
        CacheUpdate {
            affected: with_cause(affected, &format!("Bundle {id} deleted")),
            events: vec![EngineEvent::Bundle(id.clone(), false)],
            ..CacheUpdate::default()
        }
    }

    /// Removes a source; returns the affected Bundles.
    pub(super) fn remove_source(&mut self, key: &SourceId) -> AffectedBundles {
        self.sources.remove(key);
        let before = self.inputs.sources.remove(key).map(|object| object.labels);
        self.source_changed(key, before, None, "deleted")
    }

    fn upsert_bundle(&mut self, id: BundleId, bundle: Result<api::Bundle, UnreadableObject>) -> CacheUpdate {
        let written_by = manager_clause(watched_metadata(&bundle));
        let policy_annotations = policy_annotations(watched_metadata(&bundle));
        let created =
            watched_metadata(&bundle).creation_timestamp.as_ref().map_or_else(Timestamp::default, |time| time.0);
        let (uid, version, last_status, intent) = match bundle {
            Ok(bundle) => {
                let version = ResourceVersion::of(&bundle.metadata);
                let status = owned_part(bundle.status.clone().unwrap_or_default());
                let last_status = LastStatus { generation: bundle.metadata.generation, status };
                let intent =
                    Intent::parse(&bundle, &self.trust_namespaces).map_err(|problems| Refusal::invalid_spec(&problems));
                (bundle.metadata.uid.unwrap_or_default(), version, last_status, intent)
            }
            Err(UnreadableObject { metadata, cause }) => {
                let status = self.bundles.get(&id).map(|known| known.last_status.status.clone()).unwrap_or_default();
                let last_status = LastStatus { generation: metadata.generation, status };
                let version = ResourceVersion::of(&metadata);
                (metadata.uid.unwrap_or_default(), version, last_status, Err(Refusal::unreadable(&cause)))
            }
        };
        let epoch = self.epoch;
        let mut cause = format!("Bundle {id} seen");
        if let Some(old) = self.bundles.get_mut(&id) {
            let since = std::mem::replace(&mut old.epoch, epoch) == epoch;
            let same_spec = old.uid == uid
                && old.last_status.generation == last_status.generation
                && old.policy_annotations == policy_annotations;
            // While a status is being published, the cached status is ahead of the cached version.
            if !old.version.is_replaced_by(version, since, same_spec) {
                return CacheUpdate::default();
            }
            old.version = version;
            if same_spec && old.last_status.status == last_status.status {
                return CacheUpdate::default();
            }
            cause = if same_spec {
                format!("status of Bundle {id} changed")
            } else {
                format!("Bundle {id} changed{written_by}")
            };
        }
        let is_new = !self.bundles.contains_key(&id);
        let events = is_new.then(|| EngineEvent::Bundle(id.clone(), true)).into_iter().collect();
        let change = InputChange::Bundle(id.clone());
        let mut affected = affected_bundles(&self.inputs, &change);
        let (before, invalid) = match intent {
            Ok(intent) => (self.inputs.intents.insert(id.clone(), intent), None),
            Err(refusal) => (self.inputs.intents.remove(&id), Some(refusal)),
        };
        if let Some(before) = before {
            self.sources.prune(&before, &mut self.inputs);
        }
        self.bundles
            .insert(id, CachedBundle { uid, created, version, epoch, policy_annotations, last_status, invalid });
        affected.extend(affected_bundles(&self.inputs, &change));
        CacheUpdate { affected: with_cause(affected, &cause), events, ..CacheUpdate::default() }
    }

    fn upsert_source(&mut self, key: &SourceId, metadata: &ObjectMeta) -> AffectedBundles {
        let known = self.sources.version(key);
        if !self.sources.observe(key, ResourceVersion::of(metadata), self.epoch) {
            return AffectedBundles::new();
        }
        let labels = metadata.labels.clone().unwrap_or_default();
        let output = OutputKeys::of(metadata);
        let object = self.inputs.sources.entry(key.clone()).or_insert_with(|| SourceObject {
            labels: labels.clone(),
            output: OutputKeys::None,
            content: SourceContent::Unreadable("it was not read yet".to_owned()),
            undecodable: BTreeMap::new(),
        });
        object.output = output;
        let before = std::mem::replace(&mut object.labels, labels.clone());
        self.sources.prune_one(key, &mut self.inputs);
        let verb = if known.is_some() { "changed" } else { "created" };
        self.source_changed(key, known.map(|_| before), Some(labels), &format!("{verb}{}", manager_clause(metadata)))
    }

    fn source_changed(
        &self,
        object: &SourceId,
        before: Option<Labels>,
        after: Option<Labels>,
        verb: &str,
    ) -> AffectedBundles {
        let cause = format!("source {object} {verb}");
        let change = InputChange::Source { object: object.clone(), before, after };
        with_cause(affected_bundles(&self.inputs, &change), &cause)
    }
}

fn is_ledger(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(api::LEDGER_LABEL))
}

fn bundle_id(metadata: &ObjectMeta) -> BundleId {
    metadata.name.as_deref().unwrap_or_default().into()
}

/// The field manager of the last write outside of the status, as the end of a sentence; empty if unknown.
fn manager_clause(metadata: &ObjectMeta) -> String {
    let entries = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let manager = last.and_then(|entry| entry.manager.as_deref());
    manager.map(|manager| format!(" by field manager {}", text::quote_name(manager))).unwrap_or_default()
}

/// The conditions of a status that the controller writes, in the order in which it writes them.
fn owned_part(status: api::BundleStatus) -> api::BundleStatus {
    let api::BundleStatus { conditions, default_ca_version } = status;
    let mut conditions = conditions.unwrap_or_default();
    let owned =
        [api::SYNCED, api::SOURCES_COMPLETE, api::SOURCE_UNSTABLE, api::RECONCILING, api::SETTLED, api::RETIRING];
    conditions.retain(|condition| owned.contains(&condition.type_.as_str()));
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    api::BundleStatus { conditions: Some(conditions), default_ca_version }
}
