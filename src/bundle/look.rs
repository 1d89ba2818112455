//! How a target looks, judged from its metadata alone.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value};

use crate::api;

use super::selector::Labels;

/// What an object's metadata says of everything that concerns us. All targets of a Bundle that are in sync look alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Look {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Its controlling owner, if it has one.
    pub controller: Option<Controller>,
    /// The data keys that our field manager owns.
    pub own_keys: BTreeSet<String>,
    /// The data keys that other field managers own, each with one of them.
    pub foreign_keys: BTreeMap<String, String>,
    /// Labels that nobody but our field manager owns.
    pub own_labels: BTreeSet<String>,
    /// Annotations that nobody but our field manager owns.
    pub own_annotations: BTreeSet<String>,
    /// Who has touched it.
    pub touched: Touched,
}

/// Who has touched an object, going by its managed fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Touched {
    /// Our field manager and nobody else: the whole object may be replaced.
    ByUsAlone,
    /// Others, too.
    #[default]
    ByOthers,
    /// It has no managed fields that could tell.
    ByWhoKnows,
}

/// The controlling owner of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
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

impl Look {
    /// Reads what matters out of an object's metadata.
    #[must_use]
    pub fn read(metadata: &ObjectMeta) -> Self {
        let (ours, others, touched) = fields(metadata);
        Self {
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            controller: metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).map(
                |owner| Controller {
                    api_version: owner.api_version.clone(),
                    kind: owner.kind.clone(),
                    name: owner.name.clone(),
                    uid: owner.uid.clone(),
                },
            ),
            own_keys: ours.keys.into_keys().collect(),
            own_labels: ours.labels.difference(&others.labels).cloned().collect(),
            own_annotations: ours.annotations.difference(&others.annotations).cloned().collect(),
            foreign_keys: others.keys,
            touched,
        }
    }

    /// Whether keys of others are, or may be, beside ours.
    #[must_use]
    pub fn holds_foreign_keys(&self) -> bool {
        self.touched == Touched::ByWhoKnows || !self.foreign_keys.is_empty()
    }

    /// A field manager that changed the object, and a key of it: one that took one of these keys from us, or else any.
    #[must_use]
    pub fn rival<'a>(&'a self, mut keys: impl Iterator<Item = &'a String>) -> Option<(&'a str, &'a str)> {
        let taken = keys.find_map(|key| self.foreign_keys.get_key_value(key));
        let (key, manager) = taken.or_else(|| self.foreign_keys.iter().next())?;
        Some((manager, key))
    }

    /// Whether the object is a target of the Bundle of this name, whatever else was done to it: it has its label, and a hash
    /// or fields that we wrote.
    #[must_use]
    pub fn is_target_of(&self, bundle: &str) -> bool {
        let written = self.annotations.contains_key(api::HASH_ANNOTATION)
            || self.touched == Touched::ByUsAlone
            || !(self.own_keys.is_empty() && self.own_labels.is_empty() && self.own_annotations.is_empty());
        self.labels.get(api::BUNDLE_LABEL).is_some_and(|label| label == bundle) && written
    }

    /// The first key that others hold and that is neither ours nor among these, with its field manager.
    pub fn stranger(&self, is_wanted: impl Fn(&String) -> bool) -> Option<(&str, &str)> {
        let mut strangers =
            self.foreign_keys.iter().filter(|(key, _)| !self.own_keys.contains(*key) && !is_wanted(key));
        strangers.next().map(|(key, manager)| (manager.as_str(), key.as_str()))
    }
}

/// The data keys that our field manager owns.
pub(super) fn own_keys(metadata: &ObjectMeta) -> BTreeSet<String> {
    fields(metadata).0.keys.into_keys().collect()
}

/// What we own, what others own, and who has touched the object at all.
fn fields(metadata: &ObjectMeta) -> (Fields, Fields, Touched) {
    let (mut ours, mut others) = (Fields::default(), Fields::default());
    let Some(entries) = metadata.managed_fields.as_ref().filter(|entries| !entries.is_empty()) else {
        return (ours, others, Touched::ByWhoKnows);
    };
    let mut touched = Touched::ByUsAlone;
    for entry in entries {
        if entry.manager.as_deref() == Some(api::FIELD_MANAGER) {
            ours.extend(entry);
        } else {
            touched = Touched::ByOthers;
            others.extend(entry);
        }
    }
    (ours, others, touched)
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
