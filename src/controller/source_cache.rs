//! Cache of source objects: their versions, and the keys that Bundles read. Values are part of the inputs of decisions.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::{Inputs, Intent, ObjectKind, SourceContent, SourceId, SourceObject};
use crate::client::KeyFilter;
use crate::fanout::ResourceVersion;

/// The existing source objects.
#[derive(Default)]
pub(super) struct SourceCache(BTreeMap<SourceId, CacheEntry>);

struct CacheEntry {
    version: ResourceVersion,
    /// Number of lists begun when the version was cached.
    epoch: u64,
    content: Option<(ResourceVersion, StoredKeys)>,
}

/// The keys that are cached of a fetched source object.
struct StoredKeys {
    /// The cached keys; of a TLS Secret only those that a Bundle names.
    filter: KeyFilter,
    /// Whether the object is a TLS Secret.
    tls: bool,
}

impl SourceCache {
    /// The keys of the existing objects of a kind.
    pub(super) fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = &SourceId> {
        self.0.keys().filter(move |key| key.kind == kind)
    }

    /// The latest known version of an object.
    pub(super) fn version(&self, key: &SourceId) -> Option<ResourceVersion> {
        self.0.get(key).map(|entry| entry.version)
    }

    /// Records that an object exists in a version, known when `epoch` lists had begun. Content of an older version is then
    /// out of date. Returns whether the version is new.
    pub(super) fn observe(&mut self, key: &SourceId, version: ResourceVersion, epoch: u64) -> bool {
        let Some(entry) = self.0.get_mut(key) else {
            self.0.insert(key.clone(), CacheEntry { version, epoch, content: None });
            return true;
        };
        let since = std::mem::replace(&mut entry.epoch, epoch) == epoch;
        if !entry.version.is_replaced_by(version, since, true) {
            return false;
        }
        if version < entry.version {
            // The object was restored to an older version: what was fetched since never happened.
            entry.content = None;
        }
        entry.version = version;
        true
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, key: &SourceId) {
        self.0.remove(key);
    }

    /// The objects that a Bundle reads and whose present version is not cached, each with the keys to fetch.
    pub(super) fn unread(&self, intent: &Intent, inputs: &Inputs) -> Vec<(SourceId, KeyFilter)> {
        let unread = read_by(intent, inputs).into_iter().filter_map(|key| {
            let filter = KeyFilter::of(inputs, &key);
            let is_fresh = |entry: &CacheEntry| {
                entry
                    .content
                    .as_ref()
                    .is_some_and(|(version, stored)| *version >= entry.version && stored.covers(&filter))
            };
            let fresh = self.0.get(&key).is_some_and(is_fresh);
            (!fresh).then_some((key, filter))
        });
        unread.collect()
    }

    /// Records fetched content of an object that still exists. Returns `false` if better content is cached already: fetches
    /// for several Bundles may overtake each other, and a failed one replaces no content.
    pub(super) fn store(
        &mut self,
        key: &SourceId,
        version: ResourceVersion,
        filter: KeyFilter,
        content: &SourceContent,
    ) -> bool {
        let Some(entry) = self.0.get_mut(key) else { return false };
        let better = entry.content.as_ref().is_some_and(|(old, stored)| {
            let current = *old >= entry.version && stored.covers(&filter);
            *old != ResourceVersion::NEWEST && if version == ResourceVersion::NEWEST { current } else { *old > version }
        });
        if !better {
            let tls = matches!(content, SourceContent::TlsKeys(_));
            let filter = filter.of_type(tls);
            entry.content = Some((version, StoredKeys { filter, tls }));
        }
        !better
    }

    /// Drops failed fetches, so that they are tried again.
    pub(super) fn forget_unreadable(&mut self, inputs: &Inputs) {
        for (key, entry) in &mut self.0 {
            if matches!(inputs.sources.get(key), Some(SourceObject { content: SourceContent::Unreadable(_), .. })) {
                entry.content = None;
            }
        }
    }

    /// Drops the keys that no Bundle reads any more after a Bundle with this former intent changed.
    pub(super) fn prune(&mut self, before: &Intent, inputs: &mut Inputs) {
        for key in read_by(before, inputs) {
            self.prune_one(&key, inputs);
        }
    }

    /// Drops the keys of one object that no Bundle reads any more.
    pub(super) fn prune_one(&mut self, key: &SourceId, inputs: &mut Inputs) {
        let Some((_, stored)) = self.0.get_mut(key).and_then(|held| held.content.as_mut()) else { return };
        let filter = KeyFilter::of(inputs, key);
        if filter.covers(&stored.filter) {
            return;
        }
        if let Some(SourceObject { content: SourceContent::Keys(values) | SourceContent::TlsKeys(values), .. }) =
            inputs.sources.get_mut(key)
        {
            values.retain(|name, _| filter.includes(name, stored.tls));
        }
        stored.filter = stored.filter.intersection(&filter);
    }
}

/// The objects that a Bundle reads.
fn read_by(intent: &Intent, inputs: &Inputs) -> BTreeSet<SourceId> {
    let mut found = BTreeSet::new();
    for source in intent.object_sources() {
        if let Some(id) = source.named_object() {
            found.extend(inputs.sources.contains_key(&id).then_some(id));
        } else {
            let selected = inputs.sources.iter().filter(|(id, object)| source.reads(id, &object.labels));
            found.extend(selected.map(|(id, _)| id.clone()));
        }
    }
    found
}

impl StoredKeys {
    fn covers(&self, filter: &KeyFilter) -> bool {
        // Of a TLS Secret that is read with all keys only its type is used.
        self.filter.covers(&filter.clone().of_type(self.tls))
    }
}
