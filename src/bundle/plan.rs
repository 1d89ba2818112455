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
    /// It holds keys of others: take only our fields out of it, if it is still this very object.
    HandOver {
        /// Its uid.
        uid: String,
    },
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
        Release::HandOver { uid: found.uid.clone() }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{intent, labels, now, pem, plain};
    use crate::bundle::{Settings, decide};

    /// The object as it is after a write of ours.
    fn written(intent: &Intent, payload: &Payload) -> Observed {
        let mut found = Observed {
            uid: "u1".to_owned(),
            resource_version: "7".to_owned(),
            labels: payload.labels.clone(),
            annotations: payload.annotations.clone(),
            controller: Some(Controller {
                identity: (api::API_VERSION.to_owned(), api::KIND.to_owned(), intent.name.clone()),
                uid: intent.uid.clone(),
            }),
            own_keys: payload.values.keys().cloned().collect(),
            foreign_keys: false,
        };
        found.labels.insert(api::BUNDLE_LABEL.to_owned(), intent.name.clone());
        found.annotations.insert(api::HASH_ANNOTATION.to_owned(), payload.hash.clone());
        found
    }

    fn place(intent: &Intent, kind: ObjectKind, namespace: &str) -> Target {
        Target { kind, name: intent.name.clone(), namespace: namespace.to_owned() }
    }

    fn decided(intent: &Intent, world: &World) -> Plan {
        decide(intent, world, now()).expect("a plan").plan
    }

    /// A world in which everything that the Bundle wants is there.
    fn in_sync(intent: &Intent, mut world: World) -> World {
        let plan = decided(intent, &world);
        for (namespace, steps) in plan.steps {
            for (kind, _) in steps.writes {
                world.targets.insert(place(intent, kind, &namespace), written(intent, &plan.payloads[&kind]));
            }
        }
        world
    }

    fn drift_after(edit: impl FnOnce(&mut Observed)) -> Option<Drift> {
        let intent = intent(
            "b",
            &json!({ "sources": [{ "inLine": pem("rsa") }], "target": { "configMap": { "key": "k", "metadata": { "labels": { "a": "1" } } } } }),
        );
        let mut world = in_sync(&intent, World::default().with_namespace("one", &[]));
        edit(world.targets.get_mut(&place(&intent, ObjectKind::ConfigMap, "one")).expect("a target"));
        match decided(&intent, &world).steps.get("one")?.writes[..] {
            [(ObjectKind::ConfigMap, Write::Update(drift))] => Some(drift),
            ref other => panic!("one update expected: {other:?}"),
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        assert_eq!(drift_after(|_| {}), None);
        assert_eq!(drift_after(|found| found.foreign_keys = true), None, "keys of others are theirs");
        assert_eq!(drift_after(|found| found.labels.extend(labels(&[("other", "x")]))), None);
    }

    #[test]
    fn every_kind_of_drift_is_seen_in_metadata() {
        assert_eq!(drift_after(|found| found.controller = None), Some(Drift::Owner));
        assert_eq!(drift_after(|found| found.annotations.clear()), Some(Drift::Content));
        assert_eq!(drift_after(|found| found.own_keys.clear()), Some(Drift::Keys), "an edited value has another owner");
        assert_eq!(drift_after(|found| found.own_keys.extend(["old".to_owned()])), Some(Drift::Keys));
        assert_eq!(drift_after(|found| found.labels.extend(labels(&[("a", "2")]))), Some(Drift::Metadata));
        assert_eq!(drift_after(|found| found.labels.retain(|key, _| key != api::BUNDLE_LABEL)), Some(Drift::Metadata));
    }

    #[test]
    fn a_namespace_that_no_longer_matches_lets_its_target_go() {
        let intent = intent(
            "b",
            &json!({ "sources": [{ "inLine": pem("rsa") }], "target": { "configMap": { "key": "k" }, "namespaceSelector": { "matchLabels": { "a": "1" } } } }),
        );
        let world = in_sync(&intent, World::default().with_namespace("one", &[("a", "1")]).with_namespace("two", &[]));
        assert!(decided(&intent, &world).is_empty());

        let mut world = world.with_namespace("one", &[]);
        let gone = Release::Delete { uid: "u1".to_owned(), resource_version: "7".to_owned() };
        assert_eq!(decided(&intent, &world).steps["one"].releases, [(ObjectKind::ConfigMap, gone)]);

        world.targets.values_mut().for_each(|found| found.foreign_keys = true);
        assert_eq!(
            decided(&intent, &world).steps["one"].releases,
            [(ObjectKind::ConfigMap, Release::HandOver { uid: "u1".to_owned() })]
        );

        world.targets.values_mut().for_each(|found| found.controller = None);
        assert!(decided(&intent, &world).is_empty(), "an object that we do not control is not ours to take away");

        let mut world = in_sync(&intent, World::default().with_namespace("one", &[("a", "1")]));
        world.namespaces.get_mut("one").expect("there").terminating = true;
        assert!(decided(&intent, &world).is_empty(), "a namespace on its way out is left to Kubernetes");
    }

    #[test]
    fn a_target_that_changes_kind_is_let_go_after_the_new_one_is_written() {
        let config_map = plain("b");
        let mut world = in_sync(&config_map, World::default().with_namespace("one", &[]));
        let secret =
            intent("b", &json!({ "sources": [{ "inLine": pem("rsa") }], "target": { "secret": { "key": "ca.pem" } } }));

        let off = decided(&secret, &world);
        assert!(off.secrets_off && off.is_empty(), "what is published stays while its successor may not be written");

        world.settings = Settings { secret_targets: true, ..Settings::default() };
        let steps = &decided(&secret, &world).steps["one"];
        assert_eq!(steps.writes, [(ObjectKind::Secret, Write::Create)]);
        assert!(matches!(steps.releases[..], [(ObjectKind::ConfigMap, Release::Delete { .. })]));
    }

    #[test]
    fn only_allowed_namespaces_are_written() {
        let mut world = World::default().with_namespace("one", &[]).with_namespace("two", &[]);
        world.settings.target_namespaces = Some(["two".to_owned()].into());
        let plan = decided(&plain("b"), &world);
        assert_eq!(plan.steps.keys().collect::<Vec<_>>(), ["two"]);
        assert_eq!(plan.namespaces, 1);
    }
}
