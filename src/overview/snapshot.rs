//! What was read of a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api;
use crate::bundle::{
    BundleId, CertificateSource, ContentSummary, Inputs, Intent, Namespace, ObjectKind, ObjectSource, ObservedMetadata,
    Select, SourceId, TargetRef,
};

/// What was read of a cluster, at about the same moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// What decisions depend on: settings and default CAs of the controller, sources, Bundles that are valid.
    pub inputs: Inputs,
    /// What the settings are known from, in words.
    pub settings_from: String,
    /// All Bundles that are looked at.
    pub bundles: BTreeMap<BundleId, SnapshotBundle>,
    /// The namespaces, by name.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// The objects that carry the Bundle label, and those that stand where a target is to be, by their Bundle.
    pub targets: BTreeMap<BundleId, BTreeMap<TargetRef, SnapshotTarget>>,
    /// What could not be read.
    pub unread: Unread,
    /// Who leads the controllers.
    pub leadership: LeaderStatus,
}

/// What could not be read, and why.
#[derive(Debug, Default)]
pub struct Unread {
    /// Sources.
    pub sources: BTreeMap<SourceQuery, String>,
    /// The Secret targets.
    pub secret_targets: Option<String>,
    /// The default CAs that the controller has.
    pub default_cas: Option<String>,
    /// Some of the objects that stand where a target is to be.
    pub foreign_objects: Option<String>,
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

/// A Bundle as the cluster has it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotBundle {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// `status.defaultCAVersion`.
    pub default_ca_version: Option<String>,
    /// Why it is not among the [`World::intents`], if it is not.
    pub invalid: Option<String>,
}

/// An object that carries the Bundle label, or has the name of a Bundle.
#[derive(Clone, Debug, Default)]
pub struct SnapshotTarget {
    /// How it looks.
    pub metadata: ObservedMetadata,
    /// What it holds of others under the Bundle's keys, if that was looked at.
    pub holdings: Option<ContentSummary>,
    /// When our field manager last wrote it.
    pub written: Option<Timestamp>,
}

/// Who leads the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderStatus {
    /// Somebody holds the Lease.
    Led {
        /// Namespace and name of the Lease.
        lease: String,
        /// Who.
        holder: String,
        /// When it was last renewed.
        renewed: Timestamp,
    },
    /// The Lease is there, and nobody holds it any more.
    Vacant {
        /// Namespace and name of the Lease.
        lease: String,
        /// When it was last renewed.
        renewed: Option<Timestamp>,
    },
    /// There is no Lease.
    NoLease,
    /// This cannot be told, for this cause.
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
    /// A Bundle as it was read.
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

    /// One of its conditions.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl SnapshotTarget {
    /// Reads what matters out of an object's metadata.
    #[must_use]
    pub fn read(metadata: &ObjectMeta) -> Self {
        let ours = metadata.managed_fields.iter().flatten();
        let ours = ours.filter(|entry| entry.manager.as_deref() == Some(api::FIELD_MANAGER));
        let written = ours.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max();
        Self { metadata: ObservedMetadata::from_metadata(metadata, |_, _| true), holdings: None, written }
    }
}

impl Snapshot {
    /// Adds a Bundle; one that is invalid is known all the same.
    pub fn add_bundle(&mut self, bundle: &api::Bundle, trust_namespace: &str) -> &mut SnapshotBundle {
        let id = BundleId::from(bundle.metadata.name.as_deref().unwrap_or_default());
        let mut snapshot_bundle = SnapshotBundle::of(bundle);
        match Intent::parse(bundle, trust_namespace) {
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

    /// What to say where not all objects could be looked at that stand where a target is to be.
    #[must_use]
    pub fn foreign_objects_unread(&self) -> Option<String> {
        let cause = self.unread.foreign_objects.as_ref()?;
        Some(format!("whether objects of others stand where targets are to be is not known: {cause}"))
    }

    /// Why the sources of a Bundle are not all known, if they are not.
    pub(super) fn unread_source(&self, intent: &Intent) -> Option<String> {
        intent.object_sources().find_map(|source| self.unread.sources.get(&source.into()).cloned())
    }

    /// Why the default CAs that the controller gives a Bundle are not known, if they are not.
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
