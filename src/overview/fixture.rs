//! Fixtures of the tests of this module.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api;
use crate::bundle::fixture::{anchor, bundle, labels, now};
use crate::bundle::{
    ContentSummary, DecisionSettings, FieldOwnership, Inputs, Ledger, Memory, Namespace, ObjectKind, ObservedMetadata,
    OwnerRef, Phase, TargetRef, decide,
};

use super::rotation_snapshot::RotationSnapshot;
use super::snapshot::{LeaderStatus, Snapshot, SnapshotTarget};

pub(super) const TRUST_NAMESPACE: &str = "cert-manager";

/// A Bundle that reads key `ca` of ConfigMap `corporate` and writes into namespaces with `tier: yes`.
pub(super) fn corporate(name: &str) -> api::Bundle {
    selecting(name, "yes")
}

pub(super) fn selecting(name: &str, label: &str) -> api::Bundle {
    let target = json!({
        "configMap": { "key": "ca.pem" }, "namespaceSelector": { "matchLabels": { "tier": label } },
    });
    let sources = json!([{ "configMap": { "name": "corporate", "key": "ca" } }]);
    bundle(name, &json!({ "sources": sources, "target": target }))
}

/// The Bundle with a status as the controller writes it.
pub(super) fn with_condition(mut bundle: api::Bundle, status: &str, reason: &str, message: &str) -> api::Bundle {
    let condition = json!({
        "type": api::SYNCED, "status": status, "reason": reason, "message": message,
        "observedGeneration": 1, "lastTransitionTime": "2026-10-31T00:00:00Z",
    });
    bundle.status =
        serde_json::from_value::<Option<api::BundleStatus>>(json!({ "conditions": [condition] })).expect("a status");
    bundle
}

pub(super) fn namespace(pairs: &[(&str, &str)]) -> Namespace {
    Namespace { labels: (&labels(pairs)).into(), terminating: false, uid: "".into() }
}

/// A cluster in which namespaces `a` and `b` are selected, `c` is not, and the source holds this text.
pub(super) fn snapshot(bundles: &[api::Bundle], text: &str) -> Snapshot {
    let inputs = Inputs { settings: DecisionSettings::default(), ..Inputs::default() };
    let mut snapshot =
        Snapshot { inputs: inputs.with_config_map("corporate", &[], &[("ca", text)]), ..Snapshot::default() };
    for (name, label) in [("a", "yes"), ("b", "yes"), ("c", "no")] {
        snapshot.namespaces.insert(name.into(), namespace(&[("tier", label)]));
    }
    for bundle in bundles {
        snapshot.add_bundle(bundle, &TRUST_NAMESPACE.into());
    }
    snapshot.leadership = LeaderStatus::Led { lease: "l/l".to_owned(), holder: "pod-1".to_owned(), renewed: now() };
    snapshot
}

impl Snapshot {
    /// The controller writes what the Bundle wants now into these namespaces.
    pub(super) fn write(&mut self, name: &str, namespaces: &[&str]) {
        let decision = decide(&self.inputs.intents[&name.into()], &self.inputs, now()).expect("a decision");
        let payload = &decision.desired.payloads[&ObjectKind::ConfigMap];
        let metadata = ObservedMetadata {
            labels: labels(&[(api::BUNDLE_LABEL, name)]),
            annotations: labels(&[(api::HASH_ANNOTATION, &payload.hash)]),
            owner: Some(owner(api::KIND, name, &decision.desired.uid)),
            own_keys: payload.values.keys().cloned().collect(),
            ownership: FieldOwnership::Exclusive,
            ..ObservedMetadata::default()
        };
        for namespace in namespaces {
            let target =
                SnapshotTarget { metadata: metadata.clone(), written: Some(now()), ..SnapshotTarget::default() };
            self.target(name, namespace, target);
        }
    }

    pub(super) fn target(&mut self, name: &str, namespace: &str, target: SnapshotTarget) {
        let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: name.into() };
        self.targets.entry(name.into()).or_default().insert(place, target);
    }
}

/// A foreign object with key `ca.pem`, whose value may not be replaced (`taken`) or may, as it is seen
/// once its content was read.
pub(super) fn foreign_target(taken: bool) -> SnapshotTarget {
    let key = || "ca.pem".to_owned();
    let holdings =
        ContentSummary { keys: 1, taken: taken.then(key).into_iter().collect(), ..ContentSummary::default() };
    let metadata =
        ObservedMetadata { foreign_keys: [(key(), "kubectl".to_owned())].into(), ..ObservedMetadata::default() };
    SnapshotTarget { metadata, holdings: Some(holdings), written: None }
}

/// A table without its colours.
pub(super) fn plain(table: &str) -> String {
    anstream::adapter::strip_str(table).to_string()
}

pub(super) fn owner(kind: &str, name: &str, uid: &str) -> OwnerRef {
    OwnerRef {
        api_version: api::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

/// A Bundle of this name with annotations and conditions (type, status, reason, message), and its ledger.
pub(super) fn rotation(
    annotations: &[(&str, &str)],
    conditions: &[(&str, &str, &str, &str)],
    memory: Option<Memory>,
) -> RotationSnapshot {
    let mut bundle = corporate("corp");
    bundle.metadata.annotations = Some(labels(annotations));
    let conditions = conditions.iter().map(|(type_, status, reason, message)| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": "2026-10-31T00:00:00Z",
        })
    });
    let status = json!({ "conditions": conditions.collect::<Vec<_>>() });
    bundle.status = serde_json::from_value(status).expect("a status");
    let ledger = memory.map(|memory| Ledger { uid: "uid-of-corp".to_owned(), memory }.encode());
    RotationSnapshot::of(&bundle, TRUST_NAMESPACE, ledger.as_ref(), now())
}

/// A memory of certificates, each with the time since when it is everywhere and its phase.
pub(super) fn memory(entries: &[(&str, Option<Timestamp>, Phase)]) -> Memory {
    let anchors = entries.iter().map(|(name, ..)| anchor(name));
    let mut memory = Memory::begin(anchors, now() - SignedDuration::from_hours(48));
    for (name, everywhere, phase) in entries {
        let entry = memory.entries.get_mut(&anchor(name).fingerprint()).expect("an entry");
        (entry.everywhere, entry.phase) = (*everywhere, *phase);
        entry.origins = vec![format!("ConfigMap cert-manager/corporate key {name:?}")];
    }
    memory
}
