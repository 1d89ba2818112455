//! The inputs of a decision: sorted maps that are filled from watches or from files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::trust::{Anchor, NonPemFormat, PemError, pem};
use crate::{api, limits};

use super::denial::{Denials, Denier};
use super::id::{BundleId, SourceId};
use super::intent::Intent;
use super::object_kind::ObjectKind;
use super::observed_metadata;
use super::policy::RetentionDefaults;
use super::protected::ProtectedName;
use super::selector::{Labels, PackedLabels, Selector};

/// Everything that a decision depends on beside the Bundle and the time.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Settings of this process.
    pub settings: DecisionSettings,
    /// The default CAs, if there are any.
    pub default_cas: Option<DefaultCas>,
    /// Objects of the trust namespaces.
    pub sources: BTreeMap<SourceId, SourceObject>,
    /// The kinds of objects that may not be read in a trust namespace, each with the cause.
    pub unreadable: BTreeMap<(ObjectKind, Arc<str>), String>,
    /// Labels of the trust namespaces that exist: they decide which Bundles write to where others read.
    pub trust_namespaces: BTreeMap<Arc<str>, PackedLabels>,
    /// All valid Bundles, which may read each other's targets.
    pub intents: BTreeMap<BundleId, Intent>,
    /// All that is distrusted.
    pub denials: Denials,
}

/// Settings that apply to every Bundle of a process.
#[derive(Clone, Debug, Default)]
pub struct DecisionSettings {
    /// Whether Secrets may be written.
    pub secret_targets: bool,
    /// Whether expired certificates are left out.
    pub filter_expired: bool,
    /// Whether certificates that are not CAs are left out.
    pub filter_non_ca: bool,
    /// The only namespaces that may receive targets; `None` means every namespace.
    pub target_namespaces: Option<BTreeSet<String>>,
    /// Whose consent overwriting foreign values takes.
    pub adopt: AdoptionPolicy,
    /// Protected names that Bundles may have nevertheless.
    pub allow_names: BTreeSet<String>,
    /// How the certificates of Bundles that say nothing of it are retained.
    pub retention: RetentionDefaults,
    /// What shows that a certificate is in use; `None` for nothing.
    pub evidence: Option<EvidenceSource>,
}

/// What shows that a certificate is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceSource {
    /// CertificateRequests of cert-manager.
    CertificateRequests,
}

/// Whose consent overwriting foreign values takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdoptionPolicy {
    /// Each object consents by itself: its annotation [`api::ADOPT_ANNOTATION`] names the Bundle.
    #[default]
    Consent,
    /// No consent is needed.
    Always,
}

/// The default CAs of this process.
#[derive(Clone, Debug)]
pub struct DefaultCas {
    /// Identifier of the content, shown as `status.defaultCAVersion`.
    pub version: String,
    /// The certificates.
    pub anchors: Vec<Anchor>,
}

/// A ConfigMap or Secret that certificates may come from.
#[derive(Clone, Debug)]
pub struct SourceObject {
    /// Labels of the object.
    pub labels: Labels,
    /// Keys of the object that are the output of a Bundle.
    pub output: OutputKeys,
    /// Content of the object.
    pub content: SourceContent,
    /// Keys of an object from a file whose values cannot be decoded, each with the cause. The API server would not have
    /// accepted the object.
    pub undecodable: BTreeMap<String, String>,
}

/// The keys of an object that a Bundle wrote. An adopted object holds foreign keys beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKeys {
    /// No key: the object does not carry the Bundle label.
    None,
    /// These keys.
    Some(BTreeSet<String>),
    /// All keys: the object carries the Bundle label, and our field manager either owns no key, so that the object is a
    /// copy of output, or owns more keys than a Bundle writes.
    All,
}

/// The content of a source object, as far as it could be read.
#[derive(Clone, Debug)]
pub enum SourceContent {
    /// Values by key: `data`, and `binaryData` where `data` has no such key.
    Keys(BTreeMap<String, SourceValue>),
    /// Values by key of a Secret of type `kubernetes.io/tls`, which holds a private key beside certificates.
    TlsKeys(BTreeMap<String, SourceValue>),
    /// The object exists but could not be read, for this cause.
    Unreadable(String),
}

/// The value of a key of a source object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceValue {
    /// The value as it is.
    Whole(Vec<u8>),
    /// A value without PEM, which is not kept; with its format, if that is known.
    NoPem(Option<NonPemFormat>),
    /// A value whose PEM cannot be used, which is not kept.
    Malformed(Box<PemError>),
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Labels of the namespace.
    pub labels: PackedLabels,
    /// Whether the namespace is terminating and accepts no new objects.
    pub terminating: bool,
    /// Uid of the namespace; empty offline.
    pub uid: Arc<str>,
}

impl From<&ObjectMeta> for Namespace {
    fn from(metadata: &ObjectMeta) -> Self {
        Self {
            labels: metadata.labels.as_ref().map(PackedLabels::from).unwrap_or_default(),
            terminating: metadata.deletion_timestamp.is_some(),
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
        }
    }
}

/// The maximum number of keys in an object that a Bundle wrote.
const KEYS_MAX: usize = limits::TARGET_FIELDS.max;

/// The type of Secrets that hold a certificate and its private key
/// (<https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets>).
pub const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";

impl OutputKeys {
    /// Returns the output keys by the object's label and managed fields.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let labelled = metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(api::BUNDLE_LABEL));
        let own_keys = observed_metadata::own_keys(metadata);
        match (labelled, own_keys.len()) {
            (false, _) => Self::None,
            (true, 1..=KEYS_MAX) => Self::Some(own_keys),
            (true, _) => Self::All,
        }
    }

    /// Whether the key is output of a Bundle.
    #[must_use]
    pub fn include(&self, key: &str) -> bool {
        match self {
            Self::None => false,
            Self::Some(keys) => keys.contains(key),
            Self::All => true,
        }
    }
}

impl SourceContent {
    /// Returns the content of a ConfigMap, reduced to the keys that `keep` accepts.
    #[must_use]
    pub fn of_config_map(object: ConfigMap, keep: impl Fn(&str) -> bool) -> Self {
        let binary = object.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0.into()));
        let text = object.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes().into()));
        Self::Keys(binary.chain(text).filter(|(key, _)| keep(key)).collect())
    }

    /// Returns the content of a Secret, reduced to the keys that `keep` accepts.
    ///
    /// The second argument of `keep` is whether the Secret is of type `kubernetes.io/tls`.
    #[must_use]
    pub fn of_secret(object: Secret, keep: impl Fn(&str, bool) -> bool) -> Self {
        let tls = object.type_.as_deref() == Some(TLS_SECRET_TYPE);
        let data = object.data.into_iter().flatten().map(|(key, value)| (key, value.0));
        let text = object.string_data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
        let values = data.chain(text).filter(|(key, _)| keep(key, tls));
        let values = values.map(|(key, value)| (key, value.into())).collect();
        if tls { Self::TlsKeys(values) } else { Self::Keys(values) }
    }

    /// Drops values that are no certificates, such as private keys; only why they are none is kept.
    #[must_use]
    pub fn certificates_only(self) -> Self {
        let reduce =
            |values: BTreeMap<_, SourceValue>| values.into_iter().map(|(key, text)| (key, text.reduced())).collect();
        match self {
            Self::Keys(values) => Self::Keys(reduce(values)),
            Self::TlsKeys(values) => Self::TlsKeys(reduce(values)),
            Self::Unreadable(cause) => Self::Unreadable(cause),
        }
    }
}

impl SourceValue {
    fn reduced(self) -> Self {
        let Self::Whole(value) = self else { return self };
        match pem::read(&value) {
            Ok(blocks) if blocks.is_empty() => Self::NoPem(NonPemFormat::of(&value)),
            Ok(_) => Self::Whole(value),
            Err(error) => Self::Malformed(error.into()),
        }
    }

    /// Returns the value, if it is kept.
    #[must_use]
    pub fn whole(self) -> Option<Vec<u8>> {
        match self {
            Self::Whole(value) => Some(value),
            Self::NoPem(_) | Self::Malformed(_) => None,
        }
    }
}

impl From<Vec<u8>> for SourceValue {
    fn from(value: Vec<u8>) -> Self {
        Self::Whole(value)
    }
}

impl Inputs {
    /// Returns what denies a certificate of a Bundle, if anything does.
    #[must_use]
    pub fn denier(&self, intent: &Intent, anchor: &Anchor) -> Option<Denier> {
        self.denials.denier(anchor, &intent.policy.exclude)
    }
}

impl DecisionSettings {
    /// Whether a Bundle with this selector reaches a namespace.
    #[must_use]
    pub fn reaches(&self, selector: &Selector, name: &str, namespace: &Namespace) -> bool {
        !namespace.terminating && self.allows_namespace(name) && selector.matches(&namespace.labels)
    }

    /// Returns the protected name that no Bundle may have, if `name` is one and not allowed.
    #[must_use]
    pub fn protection(&self, name: &str) -> Option<ProtectedName> {
        ProtectedName::find(name).filter(|_| !self.allow_names.contains(name))
    }

    /// Whether targets may be written into the namespace.
    #[must_use]
    pub fn allows_namespace(&self, namespace: &str) -> bool {
        self.target_namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }
}
