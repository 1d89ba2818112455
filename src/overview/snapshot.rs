//! Snapshots of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api;
use crate::bundle::{
    BundleId, CertificateSource, ContentSummary, Inputs, Intent, Memory, Namespace, ObjectKind, ObjectSource,
    ObservedMetadata, Select, SourceId, TargetRef, TrustNamespaces,
};

/// What was read of a cluster at about the same moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Inputs of decisions: settings and default CAs of the controller, sources, valid Bundles.
    pub inputs: Inputs,
    /// Where the settings are known from, in words.
    pub settings_from: String,
    /// All Bundles in the scope of the snapshot.
    pub bundles: BTreeMap<BundleId, SnapshotBundle>,
    /// Namespaces by name.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Objects that carry the Bundle label and objects in place of targets, by their Bundle.
    pub targets: BTreeMap<BundleId, BTreeMap<TargetRef, SnapshotTarget>>,
    /// What is remembered of the certificates of Bundles that retain them.
    pub memories: BTreeMap<BundleId, Memory>,
    /// What could not be read.
    pub unread: Unread,
    /// Leader of the controllers.
    pub leadership: LeaderStatus,
}

/// What could not be read, and why.
#[derive(Debug, Default)]
pub struct Unread {
    /// Sources that could not be read.
    pub sources: BTreeMap<SourceQuery, String>,
    /// Why Secret targets could not be read.
    pub secret_targets: Option<String>,
    /// Why the controller's default CAs are not known.
    pub default_cas: Option<String>,
    /// Why some objects in place of targets could not be read.
    pub foreign_objects: Option<String>,
    /// Bundles that retain certificates of which it is not known what is remembered, and why.
    pub memories: BTreeMap<BundleId, String>,
}

/// The objects that a source reads. Displays as in the messages about them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceQuery {
    /// One object.
    Object(SourceId),
    /// All objects of a kind whose labels match a selector.
    Labelled {
        /// Kind of the objects.
        kind: ObjectKind,
        /// Namespace of the objects.
        namespace: Arc<str>,
        /// The selector, as the API server takes it.
        selector: String,
    },
}

/// A Bundle in a snapshot.
#[derive(Clone, Debug, Default)]
pub struct SnapshotBundle {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Conditions of the Bundle.
    pub conditions: Vec<Condition>,
    /// `status.defaultCAVersion`.
    pub default_ca_version: Option<String>,
    /// Why the Bundle is not among the [`Inputs::intents`], if it is not.
    pub invalid: Option<String>,
}

/// An object that carries the Bundle label, or has the name of a Bundle.
#[derive(Clone, Debug, Default)]
pub struct SnapshotTarget {
    /// Metadata of the object.
    pub metadata: ObservedMetadata,
    /// Content under the Bundle's keys, if it was read.
    pub holdings: Option<ContentSummary>,
    /// When our field manager last wrote the object.
    pub written: Option<Timestamp>,
}

/// Leader of the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderStatus {
    /// The Lease is held.
    Led {
        /// Namespace and name of the Lease.
        lease: String,
        /// Identity of the holder.
        holder: String,
        /// When the Lease was last renewed.
        renewed: Timestamp,
    },
    /// The Lease exists and is no longer held.
    Vacant {
        /// Namespace and name of the Lease.
        lease: String,
        /// When the Lease was last renewed.
        renewed: Option<Timestamp>,
    },
    /// There is no Lease.
    NoLease,
    /// The leader is not known, for this cause.
    Unknown(String),
}

impl Default for LeaderStatus {
    fn default() -> Self {
        Self::Unknown("it was not looked for".to_owned())
    }
}

impl From<&ObjectSource> for SourceQuery {
    fn from(source: &ObjectSource) -> Self {
        let ObjectSource { kind, namespace, select, keys: _ } = source;
        let (kind, namespace) = (*kind, namespace.clone());
        match select {
            Select::Named(name) => Self::Object(SourceId { kind, namespace, name: name.clone() }),
            Select::Labelled(selector) => Self::Labelled { kind, namespace, selector: selector.to_string() },
        }
    }
}

impl fmt::Display for SourceQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Labelled { kind, namespace, selector } => {
                write!(f, "{} {namespace}/with labels {selector}", kind.as_str())
            }
        }
    }
}

impl SnapshotBundle {
    /// Returns the snapshot of a Bundle that was read.
    #[must_use]
    pub fn of(bundle: &api::Bundle) -> Self {
        let status = bundle.status.clone().unwrap_or_default();
        Self {
            generation: bundle.metadata.generation,
            conditions: status.conditions.unwrap_or_default(),
            default_ca_version: status.default_ca_version,
            invalid: None,
        }
    }

    /// Returns the condition of a type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl SnapshotTarget {
    /// Returns the snapshot of an object by its metadata.
    #[must_use]
    pub fn read(metadata: &ObjectMeta) -> Self {
        let ours = metadata.managed_fields.iter().flatten();
        let ours = ours.filter(|entry| entry.manager.as_deref() == Some(api::FIELD_MANAGER));
        let written = ours.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max();
        Self { metadata: ObservedMetadata::from_metadata(metadata, |_, _| true), holdings: None, written }
    }
}

impl Snapshot {
    /// Adds a Bundle; an invalid one is added with its errors.
    pub fn add_bundle(&mut self, bundle: &api::Bundle, trust_namespaces: &TrustNamespaces) -> &mut SnapshotBundle {
        let id = BundleId::from(bundle.metadata.name.as_deref().unwrap_or_default());
        let mut snapshot_bundle = SnapshotBundle::of(bundle);
        match Intent::parse(bundle, trust_namespaces) {
            Ok(intent) => {
                self.inputs.intents.insert(id.clone(), intent);
            }
            Err(errors) => {
                snapshot_bundle.invalid = Some(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
                self.inputs.intents.remove(&id);
            }
        }
        self.bundles.entry(id).insert_entry(snapshot_bundle).into_mut()
    }

    /// Returns the remark for foreign objects in place of targets that could not be read.
    #[must_use]
    pub fn foreign_objects_unread(&self) -> Option<String> {
        let cause = self.unread.foreign_objects.as_ref()?;
        Some(format!("whether objects of others stand where targets are to be is not known: {cause}"))
    }

    /// Returns why the sources of a Bundle are not all known, if they are not.
    pub(super) fn unread_source(&self, intent: &Intent) -> Option<String> {
        intent.object_sources().find_map(|source| self.unread.sources.get(&source.into()).cloned())
    }

    /// Returns the Bundles whose certificates are retained.
    pub fn retaining(&self) -> impl Iterator<Item = &Intent> {
        let defaults = &self.inputs.settings.retention;
        self.inputs.intents.values().filter(|intent| intent.policy.retention(defaults).retain.is_some())
    }

    /// Returns a remark for each of these Bundles of which it is not known what is remembered.
    pub fn memories_unread(&self, bundles: &BTreeSet<BundleId>) -> impl Iterator<Item = String> {
        let unread = self.unread.memories.iter().filter(|(bundle, _)| bundles.contains(*bundle));
        unread.map(|(bundle, cause)| {
            format!("Bundle {bundle}: how long its certificates are retained is not known, so not shown: {cause}")
        })
    }

    /// Returns why the default CAs of a Bundle are not known, if they are not.
    pub(super) fn unknown_default_cas(&self, intent: &Intent) -> Option<String> {
        if !intent.sources.iter().any(|source| matches!(source, CertificateSource::DefaultCas)) {
            return None;
        }
        if let Some(cause) = &self.unread.default_cas {
            return Some(cause.clone());
        }
        let theirs = self.bundles.get(&intent.id)?.default_ca_version.as_ref()?;
        let ours = self.inputs.default_cas.as_ref().map(|cas| &cas.version);
        (ours != Some(theirs)).then(|| {
            let ours = ours.map_or("none", String::as_str);
            format!(
                "the controller has default CAs of version {theirs}, but here are those of version {ours}: use the controller's version of rootcast, or its --default-cas and --default-package-location"
            )
        })
    }
}
