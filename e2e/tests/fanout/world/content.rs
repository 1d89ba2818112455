//! What Bundles come to, and what that is on the wire.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rootcast::api::{API_VERSION, BUNDLE_LABEL, HASH_ANNOTATION, KEYS_ANNOTATION, KIND};
use rootcast::bundle::{
    ContentSummary, DeletionPolicy, Desired, ExistingTargets, FieldErrors, Labels, Namespace, ObjectKind, Output,
    Payload, PayloadValue, Selector, TargetRef,
};
use rootcast::fanout::{EngineEvent, ListScope, Observed, OwnedFields, ResourceVersion, TargetEvent};
use serde_json::json;

use crate::model::{Field, Fields, Key, Object, Part, Space, Told};

use super::Target;

/// What a Bundle may come to.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Whether namespaces need the label `in`.
    pub(crate) selective: bool,
    pub(crate) kinds: BTreeSet<ObjectKind>,
    pub(crate) keys: &'static [&'static str],
    pub(crate) value: &'static str,
    /// Whether the template has the label `team`.
    pub(crate) label: bool,
}

impl Content {
    pub(super) fn wanted(&self, name: &str, uid: &str) -> Desired {
        let Self { selective, kinds, keys, value, label } = self;
        let labels = selective.then(|| json!({ "matchLabels": { "in": "" } })).unwrap_or_default();
        let selector = serde_json::from_value(labels).unwrap_or_default();
        let values = keys.iter().map(|key| {
            let value = if key.ends_with("jks") {
                PayloadValue::Binary(value.as_bytes().into())
            } else {
                PayloadValue::Text((*value).into())
            };
            ((*key).to_owned(), value)
        });
        let values: BTreeMap<_, _> = values.collect();
        let payload = |kind: &ObjectKind| Payload {
            kind: *kind,
            values: values.clone(),
            labels: label.then(|| ("team".to_owned(), "x".to_owned())).into_iter().collect(),
            annotations: Labels::new(),
            // As in truth, keys are not part of it.
            hash: format!("{value}{label}"),
            partial: false,
        };
        Desired {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespaces: Selector::parse(&selector, "", &mut FieldErrors::default()),
            output: Output::default(),
            payloads: kinds.iter().map(|kind| (*kind, payload(kind))).collect(),
            all_denied: false,
            secrets_off: false,
            protected: None,
            deletion: DeletionPolicy::Delete,
            existing: ExistingTargets::Update,
            deleted: false,
        }
    }
}

/// The key of others beside ours.
pub(crate) const FOREIGN: &str = "theirs";

/// The names that there are.
pub(crate) const BUNDLES: [&str; 2] = ["a", "b"];
pub(crate) const NAMESPACES: [&str; 3] = ["one", "two", "three"];

pub(super) fn targets() -> impl Iterator<Item = Target> {
    let targets = |bundle: &'static str| {
        ObjectKind::ALL.into_iter().flat_map(move |kind| {
            NAMESPACES.map(|namespace| TargetRef { kind, namespace: namespace.into(), name: bundle.into() })
        })
    };
    BUNDLES.into_iter().flat_map(move |bundle| targets(bundle).map(move |target| (bundle.into(), target)))
}

pub(crate) fn scopes() -> [ListScope; 3] {
    let [config_maps, secrets] = ObjectKind::ALL.map(|kind| ListScope::Targets(kind, None));
    [ListScope::Namespaces, config_maps, secrets]
}

pub(crate) fn key(bundle: &str, place: &TargetRef) -> Key {
    Key { kind: place.kind, namespace: place.namespace.to_string(), name: bundle.to_owned() }
}

pub(super) fn version(number: u64) -> ResourceVersion {
    ResourceVersion::parse(&number.to_string())
}

pub(super) fn target_event(key: &Key, told: Told) -> EngineEvent {
    let now = match told {
        Told::Added(object) | Told::Modified(object) => TargetEvent::Applied(observed(key, &object)),
        Told::Deleted(object) => TargetEvent::Deleted(version(object.version)),
    };
    let target = TargetRef { kind: key.kind, namespace: key.namespace.as_str().into(), name: key.name.as_str().into() };
    EngineEvent::Target { bundle: key.name.as_str().into(), target, event: now }
}

/// A namespace as a watch shows it.
pub(super) fn namespace(name: &str, space: &Space) -> Namespace {
    Namespace { labels: (&space.labels).into(), terminating: space.terminating, uid: uid_of(name).into() }
}

/// The uid of a namespace.
fn uid_of(namespace: &str) -> String {
    format!("namespace {namespace}")
}

/// How an object looks.
pub(crate) fn observed(key: &Key, object: &Object) -> Observed {
    let metadata = ObjectMeta { namespace: Some(key.namespace.clone()), ..object.metadata() };
    Observed::read(&metadata, |_, _| true)
}

/// Whether a value counts as certificates.
fn is_certificates(value: &str) -> bool {
    value.len() == 1
}

/// Whether a value may be replaced that nobody says is ours.
pub(super) fn is_replaceable(kind: ObjectKind, field: &Field, value: &str) -> bool {
    value.is_empty() || (kind == ObjectKind::ConfigMap && field.part == Part::Data && is_certificates(value))
}

/// What an object holds, beside what a Bundle writes.
pub(crate) fn holdings(kind: ObjectKind, object: &Object, payload: Option<&Payload>) -> ContentSummary {
    let named: Vec<_> = object.fields.iter().filter(|(field, _)| field.is_content() && field.name.is_some()).collect();
    let at = |key: &String| named.iter().find(|(field, _)| field.name.as_ref() == Some(key));
    let values = || payload.into_iter().flat_map(|payload| &payload.values);
    let is_taken = |(key, value): (&String, &PayloadValue)| {
        at(key).is_some_and(|(field, there)| {
            let part = match value {
                PayloadValue::Binary(_) if kind == ObjectKind::ConfigMap => Part::BinaryData,
                _ => Part::Data,
            };
            field.part != part || !is_replaceable(kind, field, there)
        })
    };
    ContentSummary {
        keys: named.len(),
        has_foreign_keys: named.len() > values().filter(|(key, _)| at(key).is_some()).count(),
        taken: values().filter(|value| is_taken(*value)).map(|(key, _)| key.clone()).collect(),
        secret_type: None,
    }
}

/// What an object that holds keys of others gets beside its content.
pub(super) fn sharing(payload: &Payload, namespace: &str, uid: &str) -> Fields {
    let keys: Vec<_> = payload.values.keys().map(String::as_str).collect();
    let owner = json!({ "apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid });
    let keys = (Field::new(Part::Annotations, KEYS_ANNOTATION), keys.join(","));
    [keys, (Field::new(Part::Owners, uid), owner.to_string())].into()
}

pub(super) fn own_fields(own: &OwnedFields) -> impl Iterator<Item = Field> {
    let keys = own.keys.iter().flat_map(|key| [Field::new(Part::Data, key), Field::new(Part::BinaryData, key)]);
    let labels = own.labels.iter().map(|name| Field::new(Part::Labels, name));
    let annotations = own.annotations.iter().map(|name| Field::new(Part::Annotations, name));
    let owners = own.namespaces.iter().map(|uid| Field::new(Part::Owners, uid));
    keys.chain(labels).chain(annotations).chain(owners)
}

/// What a write of ours carries.
pub(crate) fn fields(wanted: &Desired, payload: &Payload) -> Fields {
    let Payload { kind, values, labels, annotations, hash, partial: _ } = payload;
    let owner = json!({
        "apiVersion": API_VERSION, "kind": KIND, "name": wanted.name, "uid": wanted.uid, "controller": true,
    });
    let value = |(key, value): (&String, &PayloadValue)| {
        let part = match (kind, value) {
            (ObjectKind::ConfigMap, PayloadValue::Binary(_)) => Part::BinaryData,
            _ => Part::Data,
        };
        (Field::new(part, key), String::from_utf8(value.bytes().to_vec()).expect("text"))
    };
    let pair = |part| move |(key, value): (&String, &String)| (Field::new(part, key), value.clone());
    let own = [
        (Field::new(Part::Labels, BUNDLE_LABEL), wanted.name.clone()),
        (Field::new(Part::Annotations, HASH_ANNOTATION), hash.clone()),
        (Field::new(Part::Owners, &wanted.uid), owner.to_string()),
    ];
    values
        .iter()
        .map(value)
        .chain(labels.iter().map(pair(Part::Labels)))
        .chain(annotations.iter().map(pair(Part::Annotations)))
        .chain(own)
        .collect()
}
