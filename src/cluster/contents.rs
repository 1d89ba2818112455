//! Which source objects are in memory, in which version, and which of their keys: never more than a Bundle reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::{Content, Intent, Keys, ObjectKind, SourceObject, World};
use crate::fanout::Version;

/// Kind and name of an object in the trust namespace.
pub(super) type SourceKey = (ObjectKind, String);

/// The source objects that are there.
#[derive(Default)]
pub(super) struct Contents(BTreeMap<SourceKey, Held>);

struct Held {
    version: Version,
    content: Option<(Version, Wanted)>,
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

    /// An object is there in this version; what was read of an older one is out of date.
    pub(super) fn saw(&mut self, key: &SourceKey, version: Version) {
        self.0.entry(key.clone()).or_insert(Held { version, content: None }).version = version;
    }

    /// An object is gone.
    pub(super) fn lost(&mut self, key: &SourceKey) {
        self.0.remove(key);
    }

    /// The objects that a Bundle reads and that are not in memory as they are now.
    pub(super) fn unread(&self, intent: &Intent, world: &World) -> Vec<(SourceKey, Wanted)> {
        let read = world.sources.iter().filter(|((kind, name), object)| {
            intent.object_sources().any(|source| source.reads(*kind, name, &object.labels))
        });
        read.filter_map(|(key, object)| {
            let wanted = Wanted::of(world, key, object);
            let content = |held: &Held| {
                held.content.as_ref().is_some_and(|(version, kept)| *version >= held.version && kept.covers(&wanted))
            };
            let fresh = self.0.get(key).is_some_and(content);
            (!fresh).then(|| (key.clone(), wanted))
        })
        .collect()
    }

    /// Takes in what a read brought of an object that is still there; `false` if something better is held already: reads
    /// for several Bundles may overtake each other, and one that failed tells nothing.
    pub(super) fn keep(&mut self, key: &SourceKey, version: Version, wanted: Wanted) -> bool {
        let Some(held) = self.0.get_mut(key) else { return false };
        let better = held.content.as_ref().is_some_and(|(old, kept)| {
            let current = *old >= held.version && kept.covers(&wanted);
            *old != Version::NEWEST && if version == Version::NEWEST { current } else { *old > version }
        });
        if !better {
            held.content = Some((version, wanted));
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

    /// Lets go of what no Bundle reads any more.
    pub(super) fn prune(&mut self, world: &mut World) {
        for (key, held) in &mut self.0 {
            let (Some((_, kept)), Some(object)) = (&mut held.content, world.sources.get(key)) else {
                continue;
            };
            let wanted = Wanted::of(world, key, object);
            if wanted.covers(kept) {
                continue;
            }
            if let Some(SourceObject { content: Content::Keys(values) | Content::TlsKeys(values), .. }) =
                world.sources.get_mut(key)
            {
                values.retain(|name, _| wanted.includes(name, false));
            }
            *kept = kept.and(&wanted);
        }
    }
}

impl Wanted {
    fn of(world: &World, (kind, name): &SourceKey, object: &SourceObject) -> Self {
        let mut wanted = Self::default();
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
