//! The parts of a target's metadata that the diff uses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{api, limits};

use super::selector::Labels;

/// The parts of a target's metadata that the diff uses. Equal for all in-sync targets of a Bundle, so that they are
/// shared.
///
/// Others may put as much into an object as the API server accepts. What the Bundle names is kept, and of the rest a
/// little ([`limits::TARGET_FIELDS`], [`limits::TARGET_VALUE`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ObservedMetadata {
    /// Labels of the object; long values as their SHA-256.
    pub labels: Labels,
    /// Annotations of the object; long values as their SHA-256.
    pub annotations: Labels,
    /// Controlling owner of the object, if it has one.
    pub owner: Option<OwnerRef>,
    /// Uids of the object's owners that are Namespaces of the name of its own namespace.
    pub namespace_owner_uids: BTreeSet<String>,
    /// Keys that the annotation [`api::KEYS_ANNOTATION`] names as ours, if the object has it.
    pub annotated_keys: Option<BTreeSet<String>>,
    /// Data keys that our field manager owns.
    pub own_keys: BTreeSet<String>,
    /// Data keys that other field managers own, each with one of them.
    pub foreign_keys: BTreeMap<String, String>,
    /// Whether there are more foreign keys than [`Self::foreign_keys`], none of which the Bundle names.
    pub more_foreign_keys: bool,
    /// Labels that only our field manager owns.
    pub own_labels: BTreeSet<String>,
    /// Annotations that only our field manager owns.
    pub own_annotations: BTreeSet<String>,
    /// Which field managers own fields of the object.
    pub ownership: FieldOwnership,
}

/// Which field managers own fields of an object, by its managed fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FieldOwnership {
    /// Only our field manager owns fields: the whole object may be replaced.
    Exclusive,
    /// Other field managers own fields, too.
    #[default]
    Shared,
    /// The object has no managed fields.
    Unknown,
}

/// The controlling owner of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerRef {
    /// `apiVersion` of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Uid of the owner.
    pub uid: String,
}

/// The fields that one side owns
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
#[derive(Default)]
struct Fields {
    /// Below `data` and `binaryData`, with the manager.
    keys: BTreeMap<String, String>,
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

/// A named part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectPart {
    /// A data key.
    Key,
    /// A label.
    Label,
    /// An annotation.
    Annotation,
}

impl ObservedMetadata {
    /// Reads an object's metadata. `named` returns whether the Bundle names a part of the object.
    #[must_use]
    pub fn from_metadata(metadata: &ObjectMeta, named: impl Fn(ObjectPart, &str) -> bool) -> Self {
        let (ours, others, ownership) = fields(metadata);
        let own_keys: BTreeSet<_> = bounded(ours.keys.into_keys(), |key| named(ObjectPart::Key, key)).collect();
        let all = others.keys.len();
        let foreign_keys: BTreeMap<_, _> =
            bounded(others.keys, |(key, _)| named(ObjectPart::Key, key) || own_keys.contains(key)).collect();
        let pairs = |pairs: &Option<Labels>, part, ours: &[&str]| -> Labels {
            let kept = bounded(pairs.iter().flatten(), |(name, _)| ours.contains(&name.as_str()) || named(part, name));
            kept.map(|(name, value)| (name.clone(), digest_if_long(value).into_owned())).collect()
        };
        let own = |ours: &BTreeSet<String>, others, part| {
            bounded(ours.difference(others), |name| named(part, name)).cloned().collect()
        };
        Self {
            labels: pairs(&metadata.labels, ObjectPart::Label, &[api::BUNDLE_LABEL]),
            annotations: pairs(
                &metadata.annotations,
                ObjectPart::Annotation,
                &[api::HASH_ANNOTATION, api::ADOPT_ANNOTATION],
            ),
            owner: metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).map(
                |owner| OwnerRef {
                    api_version: digest_if_long(&owner.api_version).into_owned(),
                    kind: digest_if_long(&owner.kind).into_owned(),
                    name: digest_if_long(&owner.name).into_owned(),
                    uid: digest_if_long(&owner.uid).into_owned(),
                },
            ),
            namespace_owner_uids: namespace_owner_uids(metadata).take(limits::TARGET_FIELDS.max).collect(),
            annotated_keys: metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(api::KEYS_ANNOTATION))
                .map(|keys| {
                    keys.split(',')
                        .filter(|key| !key.is_empty())
                        .take(limits::NAMED_KEYS.max)
                        .map(str::to_owned)
                        .collect()
                }),
            own_labels: own(&ours.labels, &others.labels, ObjectPart::Label),
            own_annotations: own(&ours.annotations, &others.annotations, ObjectPart::Annotation),
            more_foreign_keys: foreign_keys.len() < all,
            own_keys,
            foreign_keys,
            ownership,
        }
    }

    /// Whether foreign keys are, or may be, beside ours.
    #[must_use]
    pub fn holds_foreign_keys(&self) -> bool {
        self.ownership == FieldOwnership::Unknown || !self.foreign_keys.is_empty()
    }

    /// Whether another field manager owns a key, or may own it.
    #[must_use]
    pub fn may_be_foreign(&self, key: &str) -> bool {
        self.ownership == FieldOwnership::Unknown || self.more_foreign_keys || self.foreign_keys.contains_key(key)
    }

    /// Returns a field manager that changed the object, and a key of it: one that took one of these keys from us, or
    /// else any.
    #[must_use]
    pub fn conflicting_manager<'a>(&'a self, mut keys: impl Iterator<Item = &'a String>) -> Option<(&'a str, &'a str)> {
        let taken = keys.find_map(|key| self.foreign_keys.get_key_value(key));
        let (key, manager) = taken.or_else(|| self.foreign_keys.iter().next())?;
        Some((manager, key))
    }

    /// Whether the object is a target of the Bundle of this name, whatever else was changed: it has its label, and a
    /// hash or fields that we wrote.
    #[must_use]
    pub fn is_target_of(&self, bundle: &str) -> bool {
        let written = self.annotations.contains_key(api::HASH_ANNOTATION)
            || self.ownership == FieldOwnership::Exclusive
            || !(self.own_keys.is_empty() && self.own_labels.is_empty() && self.own_annotations.is_empty());
        self.labels.get(api::BUNDLE_LABEL).is_some_and(|label| label == bundle) && written
    }

    /// Returns the first foreign key that is neither ours nor among these, with its field manager.
    pub fn extra_foreign_key(&self, is_desired: impl Fn(&String) -> bool) -> Option<(&str, &str)> {
        let mut extra_keys =
            self.foreign_keys.iter().filter(|(key, _)| !self.own_keys.contains(*key) && !is_desired(key));
        extra_keys.next().map(|(key, manager)| (manager.as_str(), key.as_str()))
    }
}

/// The uids of the owners that are the object's own namespace, or called so.
fn namespace_owner_uids(metadata: &ObjectMeta) -> impl Iterator<Item = String> {
    let is_namespace = |owner: &&OwnerReference| {
        owner.api_version == "v1" && owner.kind == "Namespace" && Some(&owner.name) == metadata.namespace.as_ref()
    };
    let owners = metadata.owner_references.iter().flatten().filter(is_namespace);
    owners.map(|owner| digest_if_long(&owner.uid).into_owned())
}

/// Those that are named, and as many of the others as may be.
fn bounded<T>(all: impl IntoIterator<Item = T>, named: impl Fn(&T) -> bool) -> impl Iterator<Item = T> {
    let mut others = 0;
    all.into_iter().filter(move |one| {
        named(one) || {
            others += 1;
            others <= limits::TARGET_FIELDS.max
        }
    })
}

/// A value as it is compared and shown: a long one is its digest.
pub(super) fn digest_if_long(value: &str) -> Cow<'_, str> {
    if value.len() <= limits::TARGET_VALUE.max {
        return Cow::Borrowed(value);
    }
    let digest = Sha256::digest(value.as_bytes());
    Cow::Owned(digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

/// Data keys that our field manager owns.
pub(super) fn own_keys(metadata: &ObjectMeta) -> BTreeSet<String> {
    fields(metadata).0.keys.into_keys().collect()
}

/// The fields that we own, those that others own, and the ownership of the whole object.
fn fields(metadata: &ObjectMeta) -> (Fields, Fields, FieldOwnership) {
    let (mut ours, mut others) = (Fields::default(), Fields::default());
    let Some(entries) = metadata.managed_fields.as_ref().filter(|entries| !entries.is_empty()) else {
        return (ours, others, FieldOwnership::Unknown);
    };
    let mut ownership = FieldOwnership::Exclusive;
    for entry in entries {
        if entry.manager.as_deref() == Some(api::FIELD_MANAGER) {
            ours.extend(entry);
        } else {
            ownership = FieldOwnership::Shared;
            others.extend(entry);
        }
    }
    (ours, others, ownership)
}

impl Fields {
    fn extend(&mut self, entry: &ManagedFieldsEntry) {
        let root = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object());
        let manager = entry.manager.as_deref().unwrap_or_default();
        for field in ["f:data", "f:binaryData"] {
            self.keys.extend(names(root, &[field]).map(|key| (key, manager.to_owned())));
        }
        self.labels.extend(names(root, &["f:metadata", "f:labels"]));
        self.annotations.extend(names(root, &["f:metadata", "f:annotations"]));
    }
}

/// The names of the fields below a path; `.`, the field itself, is none of them.
fn names<'a>(root: Option<&'a Map<String, Value>>, path: &[&str]) -> impl Iterator<Item = String> + use<'a> {
    let found = root.and_then(|root| path.iter().try_fold(root, |fields, step| fields.get(*step)?.as_object()));
    found.into_iter().flat_map(Map::keys).filter_map(|key| key.strip_prefix("f:")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(prefix: &str) -> impl Iterator<Item = String> {
        (0..50_000).map(move |number| format!("{prefix}{number}"))
    }

    /// An object of which every part that others can fill is full; among all that are our keys, `k` and `ca.crt`.
    fn full() -> ObjectMeta {
        let fields = |prefix: &str, more: &[&str]| -> Value {
            let names = names(prefix).chain(more.iter().map(|name| (*name).to_owned()));
            names.map(|name| (format!("f:{name}"), json!({}))).collect::<Map<_, _>>().into()
        };
        let entry = |manager: &str, more: &[&str]| {
            let prefix = &manager[..1];
            json!({ "manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {
                "f:data": fields(prefix, more), "f:metadata": { "f:labels": fields(prefix, &[]), "f:annotations": fields(prefix, &[]) },
            } })
        };
        let pairs = |more: &str| -> Value {
            let pairs =
                names("p").map(|name| (name, json!("v"))).chain([(more.to_owned(), json!("x".repeat(100_000)))]);
            pairs.collect::<Map<_, _>>().into()
        };
        let owner =
            json!({ "apiVersion": "v1", "kind": "K".repeat(100_000), "name": "n", "uid": "u", "controller": true });
        serde_json::from_value(json!({
            "name": "b", "labels": pairs(api::BUNDLE_LABEL), "annotations": pairs("note"), "ownerReferences": [owner],
            "managedFields": [entry(api::FIELD_MANAGER, &["k"]), entry("other", &["k", "zz"])],
        }))
        .expect("metadata")
    }

    #[test]
    fn of_an_object_that_others_have_filled_only_what_the_bundle_names_and_a_little_more_is_kept() {
        let named = |part: ObjectPart, name: &str| match part {
            ObjectPart::Key => ["k", "zz"].contains(&name),
            ObjectPart::Label => false,
            ObjectPart::Annotation => name == "note",
        };
        let observed = ObservedMetadata::from_metadata(&full(), named);
        let most = limits::TARGET_FIELDS.max + 2;
        let counts = [
            observed.labels.len(),
            observed.annotations.len(),
            observed.own_keys.len(),
            observed.foreign_keys.len(),
            observed.own_labels.len(),
            observed.own_annotations.len(),
        ];
        assert!(counts.iter().all(|count| *count <= most), "{counts:?}");
        assert!(format!("{observed:?}").len() < 16 * 1024);
        assert!(observed.own_keys.contains("k") && observed.may_be_foreign("anything"));
        assert_eq!(observed.conflicting_manager(["zz".to_owned()].iter()), Some(("other", "zz")));
        assert_eq!(observed.annotations["note"], digest_if_long(&"x".repeat(100_000)));
        assert!(observed.labels.contains_key(api::BUNDLE_LABEL));
        assert_eq!(observed, ObservedMetadata::from_metadata(&full(), named), "the same object looks the same");
    }

    #[test]
    fn of_an_ordinary_object_everything_is_kept() {
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "labels": { "a": "1" }, "annotations": { "b": "2" },
            "managedFields": [{ "manager": "m", "operation": "Update", "fieldsV1": { "f:data": { ".": {}, "f:k": {} } } }],
        }))
        .expect("metadata");
        let observed = ObservedMetadata::from_metadata(&metadata, |_, _| false);
        assert_eq!((observed.labels.len(), observed.annotations.len(), observed.foreign_keys.len()), (1, 1, 1));
        assert!(!observed.more_foreign_keys && observed.holds_foreign_keys() && !observed.may_be_foreign("other"));
    }
}
