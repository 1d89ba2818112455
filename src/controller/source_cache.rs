//! Which source objects are in memory, in which version, and which of their keys: never more than a Bundle reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::{Inputs, Intent, ObjectKind, SourceContent, SourceId, SourceObject};
use crate::client::KeyFilter;
use crate::fanout::ResourceVersion;

/// The source objects that are there.
#[derive(Default)]
pub(super) struct SourceCache(BTreeMap<SourceId, CacheEntry>);

struct CacheEntry {
    version: ResourceVersion,
    /// When that was seen: how many lists had begun.
    epoch: u64,
    content: Option<(ResourceVersion, StoredKeys)>,
}

/// What was kept of a source object that was read.
struct StoredKeys {
    /// The keys; of a TLS Secret only those that a Bundle names.
    filter: KeyFilter,
    /// Whether it is a TLS Secret.
    tls: bool,
}

impl SourceCache {
    /// The names of the known objects of a kind.
    pub(super) fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = &SourceId> {
        self.0.keys().filter(move |key| key.kind == kind)
    }

    /// The newest version that was heard of.
    pub(super) fn version(&self, key: &SourceId) -> Option<ResourceVersion> {
        self.0.get(key).map(|entry| entry.version)
    }

    /// An object is there in this version, as seen when so many lists had begun; what was read of an older one is out of
    /// date. `false`: it is no news.
    pub(super) fn observe(&mut self, key: &SourceId, version: ResourceVersion, epoch: u64) -> bool {
        let Some(entry) = self.0.get_mut(key) else {
            self.0.insert(key.clone(), CacheEntry { version, epoch, content: None });
            return true;
        };
        let since = std::mem::replace(&mut entry.epoch, epoch) == epoch;
        if entry.version == version || (since && entry.version > version) {
            return false;
        }
        if version < entry.version {
            // What was read has not happened.
            entry.content = None;
        }
        entry.version = version;
        true
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, key: &SourceId) {
        self.0.remove(key);
    }

    /// The objects that a Bundle reads and that are not in memory as they are now.
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

    /// Takes in what a read brought of an object that is still there; `false` if something better is held already: reads
    /// for several Bundles may overtake each other, and one that failed tells nothing.
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

    /// Forgets reads that failed, so that they are tried again.
    pub(super) fn forget_unreadable(&mut self, inputs: &Inputs) {
        for (key, entry) in &mut self.0 {
            if matches!(inputs.sources.get(key), Some(SourceObject { content: SourceContent::Unreadable(_), .. })) {
                entry.content = None;
            }
        }
    }

    /// Lets go of what no Bundle reads any more, now that this one reads something else or nothing.
    pub(super) fn prune(&mut self, before: &Intent, inputs: &mut Inputs) {
        for key in read_by(before, inputs) {
            self.prune_one(&key, inputs);
        }
    }

    /// Lets go of what no Bundle reads any more of one object.
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
        // That it is a TLS Secret is all that is read of one with all keys.
        self.filter.covers(&filter.clone().of_type(self.tls))
    }
}
