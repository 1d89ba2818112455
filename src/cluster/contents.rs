//! Which source objects are in memory, in which version, and which of their keys: never more than a Bundle reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::{Content, Intent, Keys, ObjectKind, Select, SourceObject, World};
use crate::fanout::Version;

/// Kind and name of an object in the trust namespace.
pub(super) type SourceKey = (ObjectKind, String);

/// The source objects that are there.
#[derive(Default)]
pub(super) struct Contents(BTreeMap<SourceKey, Held>);

struct Held {
    version: Version,
    /// When that was seen: how many lists had begun.
    epoch: u64,
    content: Option<(Version, Kept)>,
}

/// What was kept of a source object that was read.
struct Kept {
    /// The keys; of a TLS Secret only those that a Bundle names.
    wanted: Wanted,
    /// Whether it is a TLS Secret.
    tls: bool,
}

/// The keys of a source object that any Bundle reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    all: bool,
    keys: BTreeSet<String>,
}

/// What a read of a source object brought.
#[derive(Clone, Debug)]
pub(super) enum Read {
    /// Its content, cut down to what was wanted.
    Content {
        /// Its resource version.
        version: Version,
        /// What was kept.
        wanted: Wanted,
        /// The kept content.
        content: Content,
    },
    /// It is gone.
    Gone,
}

impl Contents {
    /// The names of the known objects of a kind.
    pub(super) fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = &SourceKey> {
        self.0.keys().filter(move |key| key.0 == kind)
    }

    /// The newest version that was heard of.
    pub(super) fn version(&self, key: &SourceKey) -> Option<Version> {
        self.0.get(key).map(|held| held.version)
    }

    /// An object is there in this version, as seen when so many lists had begun; what was read of an older one is out of
    /// date. `false`: it is no news.
    pub(super) fn saw(&mut self, key: &SourceKey, version: Version, epoch: u64) -> bool {
        let Some(held) = self.0.get_mut(key) else {
            self.0.insert(key.clone(), Held { version, epoch, content: None });
            return true;
        };
        let since = std::mem::replace(&mut held.epoch, epoch) == epoch;
        if held.version == version || (since && held.version > version) {
            return false;
        }
        if version < held.version {
            // What was read has not happened.
            held.content = None;
        }
        held.version = version;
        true
    }

    /// An object is gone.
    pub(super) fn lost(&mut self, key: &SourceKey) {
        self.0.remove(key);
    }

    /// The objects that a Bundle reads and that are not in memory as they are now.
    pub(super) fn unread(&self, intent: &Intent, world: &World) -> Vec<(SourceKey, Wanted)> {
        let unread = read_by(intent, world).into_iter().filter_map(|key| {
            let wanted = Wanted::of(world, &key);
            let is_fresh = |held: &Held| {
                held.content.as_ref().is_some_and(|(version, kept)| *version >= held.version && kept.covers(&wanted))
            };
            let fresh = self.0.get(&key).is_some_and(is_fresh);
            (!fresh).then_some((key, wanted))
        });
        unread.collect()
    }

    /// Takes in what a read brought of an object that is still there; `false` if something better is held already: reads
    /// for several Bundles may overtake each other, and one that failed tells nothing.
    pub(super) fn keep(&mut self, key: &SourceKey, version: Version, wanted: Wanted, content: &Content) -> bool {
        let Some(held) = self.0.get_mut(key) else { return false };
        let better = held.content.as_ref().is_some_and(|(old, kept)| {
            let current = *old >= held.version && kept.covers(&wanted);
            *old != Version::NEWEST && if version == Version::NEWEST { current } else { *old > version }
        });
        if !better {
            let tls = matches!(content, Content::TlsKeys(_));
            let wanted = Wanted { all: wanted.all && !tls, ..wanted };
            held.content = Some((version, Kept { wanted, tls }));
        }
        !better
    }

    /// Forgets reads that failed, so that they are tried again.
    pub(super) fn forget_unreadable(&mut self, world: &World) {
        for (key, held) in &mut self.0 {
            if matches!(world.sources.get(key), Some(SourceObject { content: Content::Unreadable(_), .. })) {
                held.content = None;
            }
        }
    }

    /// Lets go of what no Bundle reads any more, now that this one reads something else or nothing.
    pub(super) fn prune(&mut self, before: &Intent, world: &mut World) {
        for key in read_by(before, world) {
            self.prune_one(&key, world);
        }
    }

    /// Lets go of what no Bundle reads any more of one object.
    pub(super) fn prune_one(&mut self, key: &SourceKey, world: &mut World) {
        let Some((_, kept)) = self.0.get_mut(key).and_then(|held| held.content.as_mut()) else { return };
        let wanted = Wanted::of(world, key);
        if wanted.covers(&kept.wanted) {
            return;
        }
        if let Some(SourceObject { content: Content::Keys(values) | Content::TlsKeys(values), .. }) =
            world.sources.get_mut(key)
        {
            values.retain(|name, _| wanted.includes(name, kept.tls));
        }
        kept.wanted = kept.wanted.and(&wanted);
    }
}

/// The objects that a Bundle reads.
fn read_by(intent: &Intent, world: &World) -> BTreeSet<SourceKey> {
    let mut found = BTreeSet::new();
    for source in intent.object_sources() {
        match &source.select {
            Select::Named(name) => {
                let key = (source.kind, name.clone());
                if world.sources.contains_key(&key) {
                    found.insert(key);
                }
            }
            Select::Labelled(selector) => {
                let all = world.sources.iter().filter(|((kind, _), _)| *kind == source.kind);
                let selected = all.filter(|(_, object)| selector.matches(&object.labels));
                found.extend(selected.map(|(key, _)| key.clone()));
            }
        }
    }
    found
}

impl Kept {
    fn covers(&self, wanted: &Wanted) -> bool {
        // That it is a TLS Secret is all that is read of one with all keys.
        self.wanted.covers(&Wanted { all: wanted.all && !self.tls, ..wanted.clone() })
    }
}

impl Wanted {
    #[cfg(test)]
    pub(super) fn everything() -> Self {
        Self { all: true, keys: BTreeSet::new() }
    }

    fn of(world: &World, key: &SourceKey) -> Self {
        let mut wanted = Self::default();
        let (kind, name) = key;
        let Some(object) = world.sources.get(key) else { return wanted };
        let sources = world.intents.values().flat_map(Intent::object_sources);
        for source in sources.filter(|source| source.reads(*kind, name, &object.labels)) {
            match &source.keys {
                Keys::All => wanted.all = true,
                Keys::One(key) => {
                    wanted.keys.insert(key.clone());
                }
            }
        }
        wanted
    }

    /// The keys that both hold.
    fn and(&self, other: &Self) -> Self {
        match (self.all, other.all) {
            (true, _) => other.clone(),
            (false, true) => self.clone(),
            (false, false) => Self { all: false, keys: self.keys.intersection(&other.keys).cloned().collect() },
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.all || (!other.all && other.keys.is_subset(&self.keys))
    }

    /// Whether the key is read by any Bundle; of a TLS Secret only keys that a Bundle names.
    pub(super) fn includes(&self, key: &str, tls: bool) -> bool {
        (self.all && !tls) || self.keys.contains(key)
    }
}
