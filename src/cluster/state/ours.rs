//! Bundles and sources that come, change and go.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api;
use crate::bundle::{Change, Content, Intent, Labels, OutputKeys, Refusal, Seen, SourceObject, touch};
use crate::cluster::contents::SourceKey;
use crate::cluster::watch::{Object, Unreadable};
use crate::fanout::{self, Version};
use crate::text;

use super::{Heard, Key, Known, State, Touched, because};

/// The finalizer of an object whose dependents are to stay
/// (<https://kubernetes.io/docs/concepts/architecture/garbage-collection/#orphaned-dependents>).
const ORPHAN: &str = "orphan";

impl State {
    pub(super) fn upsert(&mut self, key: Key, object: Object) -> Heard {
        match (key, object) {
            // A Bundle on its way out counts as gone: whoever takes its targets, or takes them off it, is to have them.
            (key @ Key::Bundle(_), object) if object.metadata().deletion_timestamp.is_some() => {
                self.leaving.extend(object.metadata().name.clone());
                self.remove(&key)
            }
            (Key::Bundle(name), Object::Bundle(bundle)) => self.upsert_bundle(name, *bundle),
            (Key::Source(key), object) => {
                Heard { touched: self.upsert_source(&key, object.metadata()), ..Heard::default() }
            }
            (Key::Bundle(_), Object::Metadata(_)) => unreachable!("Bundles are watched whole"),
        }
    }

    /// A Bundle was deleted; `last`: as it was last seen, if that is known. A Bundle that was deleted with `--cascade=orphan` leaves
    /// what it completed as it is.
    pub(super) fn deleted(&mut self, key: &Key, last: Option<&ObjectMeta>) -> Option<fanout::Event> {
        let Key::Bundle(bundle) = key else { return None };
        self.leaving.remove(bundle);
        let orphans = |metadata: &&ObjectMeta| metadata.finalizers.iter().flatten().any(|name| name == ORPHAN);
        let uid = last.filter(|last| !orphans(last)).and_then(|last| last.uid.clone());
        Some(fanout::Event::Deleted { bundle: bundle.clone(), uid })
    }

    pub(super) fn remove(&mut self, key: &Key) -> Heard {
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
        let writer = writer(bundle.as_ref().map_or_else(|unreadable| &unreadable.metadata, |bundle| &bundle.metadata));
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
            Some(false) => format!("Bundle {name} changed{writer}"),
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
        let verb = if known.is_some() { "changed" } else { "created" };
        self.source_changed(key, known.map(|_| before), Some(labels), &format!("{verb}{}", writer(metadata)))
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

/// Who wrote an object last, but for its status, as the end of a sentence; empty if its metadata does not tell.
fn writer(metadata: &ObjectMeta) -> String {
    let entries = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let last = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let manager = last.and_then(|entry| entry.manager.as_deref());
    manager.map(|manager| format!(" by field manager {}", text::quoted(manager))).unwrap_or_default()
}

/// The part of a status that we write, in the order in which we write it.
fn ours(status: api::BundleStatus) -> api::BundleStatus {
    let api::BundleStatus { conditions, default_ca_version } = status;
    let mut conditions = conditions.unwrap_or_default();
    let ours = [api::SYNCED, api::SOURCES_COMPLETE, api::SOURCE_UNSTABLE, api::RECONCILING];
    conditions.retain(|condition| ours.contains(&condition.type_.as_str()));
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    api::BundleStatus { conditions: Some(conditions), default_ca_version }
}
