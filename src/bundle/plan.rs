//! What has to be written where.

use std::collections::{BTreeMap, BTreeSet};

use crate::api;

use super::intent::{Intent, ObjectKind};
use super::payload::Payload;
use super::world::{Controller, Observed, Target, World};

/// Everything to do for one Bundle; namespaces are independent of each other.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The content of each kind of target.
    pub payloads: BTreeMap<ObjectKind, Payload>,
    /// What to do, by namespace; namespaces where all is well are absent.
    pub steps: BTreeMap<String, Steps>,
    /// How many namespaces the Bundle reaches.
    pub namespaces: usize,
    /// Whether a Secret target is left out because Secret targets are switched off.
    pub secrets_off: bool,
}

/// What to do in one namespace: first all writes, then, only if they succeeded, the releases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Objects to create or update, sorted by kind.
    pub writes: Vec<(ObjectKind, Write)>,
    /// Objects to let go, sorted by kind.
    pub releases: Vec<(ObjectKind, Release)>,
}

/// Why an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is not there, or there without our label.
    Create,
    /// It is there, and this differs.
    Update(Drift),
}

/// In what a target differs from what it should be; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The controlling owner is not this Bundle.
    Owner,
    /// The hash annotation: sources, formats or metadata changed.
    Content,
    /// The keys that we own: somebody edited a value, or a key was renamed.
    Keys,
    /// A label or annotation.
    Metadata,
}

/// How an object that is no longer wanted is let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It holds nothing but ours: delete it, if it is still this very version.
    Delete {
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
    /// It holds keys of others: take only our fields out of it.
    HandOver,
}

/// Compares what should be with what is.
#[must_use]
pub fn plan(intent: &Intent, payloads: Vec<Payload>, world: &World) -> Plan {
    let enabled = |kind| kind != ObjectKind::Secret || world.settings.secret_targets;
    let secrets_off = payloads.iter().any(|payload| !enabled(payload.kind));
    let payloads: BTreeMap<_, _> =
        payloads.into_iter().filter(|payload| enabled(payload.kind)).map(|payload| (payload.kind, payload)).collect();
    let reached: BTreeSet<&str> = world
        .namespaces
        .iter()
        .filter(|(name, namespace)| {
            !namespace.terminating && world.settings.allows(name) && intent.namespaces.matches(&namespace.labels)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    let observed: BTreeMap<_, _> = world.targets_of(&intent.name).collect();

    let mut steps: BTreeMap<String, Steps> = BTreeMap::new();
    for &namespace in &reached {
        for payload in payloads.values() {
            let target = Target { kind: payload.kind, name: intent.name.clone(), namespace: namespace.to_owned() };
            let write = match observed.get(&target) {
                None => Some(Write::Create),
                Some(found) => drift(intent, payload, found).map(Write::Update),
            };
            if let Some(write) = write {
                steps.entry(namespace.to_owned()).or_default().writes.push((payload.kind, write));
            }
        }
    }
    for (target, found) in observed {
        let namespace = target.namespace.as_str();
        let wanted = reached.contains(namespace) && (secrets_off || payloads.contains_key(&target.kind));
        let gone = world.namespaces.get(namespace).is_none_or(|namespace| namespace.terminating);
        if !wanted && !gone && is_ours(intent, found) {
            steps.entry(namespace.to_owned()).or_default().releases.push((target.kind, release(found)));
        }
    }
    Plan { payloads, steps, namespaces: reached.len(), secrets_off }
}

fn is_ours(intent: &Intent, found: &Observed) -> bool {
    found.controller.as_ref().is_some_and(|controller| controller.uid == intent.uid)
}

fn release(found: &Observed) -> Release {
    if found.foreign_keys {
        Release::HandOver
    } else {
        Release::Delete { uid: found.uid.clone(), resource_version: found.resource_version.clone() }
    }
}

fn drift(intent: &Intent, payload: &Payload, found: &Observed) -> Option<Drift> {
    let owner = Controller {
        identity: (api::API_VERSION.to_owned(), api::KIND.to_owned(), intent.name.clone()),
        uid: intent.uid.clone(),
    };
    let holds =
        |wanted: &super::Labels, there: &super::Labels| wanted.iter().all(|(key, value)| there.get(key) == Some(value));
    let ladder = [
        (found.controller.as_ref() != Some(&owner), Drift::Owner),
        (found.annotations.get(api::HASH_ANNOTATION) != Some(&payload.hash), Drift::Content),
        (!found.own_keys.iter().eq(payload.values.keys()), Drift::Keys),
        (
            found.labels.get(api::BUNDLE_LABEL) != Some(&intent.name)
                || !holds(&payload.labels, &found.labels)
                || !holds(&payload.annotations, &found.annotations),
            Drift::Metadata,
        ),
    ];
    ladder.into_iter().find_map(|(differs, drift)| differs.then_some(drift))
}

impl Plan {
    /// How many objects have to be written or let go.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.values().map(|steps| steps.writes.len() + steps.releases.len()).sum()
    }

    /// Whether nothing has to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
