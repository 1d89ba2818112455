//! Validated form of a Bundle's spec, free of contradictions.

use std::sync::Arc;

use crate::api;
use crate::trust::{Password, Profile};

use super::id::{BundleId, SourceId};
use super::object_kind::ObjectKind;
use super::observed_metadata::ObjectPart;
use super::policy::BundlePolicy;
use super::selector::{Labels, Selector};

/// A valid Bundle.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Identifier of the Bundle; its targets have its name.
    pub id: BundleId,
    /// Uid of the Bundle; empty where the input has none (offline rendering).
    pub uid: String,
    /// Sources of certificates, in the order of `spec.sources`.
    pub sources: Vec<CertificateSource>,
    /// The namespaces that receive targets.
    pub namespaces: Selector,
    /// What is written into each of these namespaces; nothing if the Bundle names no target.
    pub output: Output,
    /// What the annotations of the Bundle say.
    pub policy: BundlePolicy,
}

/// One item of `spec.sources`.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// The default CAs of this process.
    DefaultCas,
    /// PEM text in the Bundle itself.
    Inline(String),
    /// Keys of ConfigMaps or Secrets in a trust namespace.
    Object(ObjectSource),
}

/// A source that reads objects of a trust namespace.
#[derive(Clone, Debug)]
pub struct ObjectSource {
    /// Kind of the objects.
    pub kind: ObjectKind,
    /// The trust namespace that the source reads.
    pub namespace: Arc<str>,
    /// Which objects are read.
    pub select: Select,
    /// Which keys of the objects are read.
    pub keys: Keys,
}

/// How a source selects its objects.
#[derive(Clone, Debug)]
pub enum Select {
    /// The object of this name.
    Named(Arc<str>),
    /// All objects whose labels match.
    Labelled(Selector),
}

/// Which keys of an object are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This key.
    One(String),
    /// Every key.
    All,
}

/// What one target holds: at most one object of each kind, and the formats that all of them carry.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Objects to write, at most one of each kind, sorted by kind.
    pub objects: Vec<ObjectOutput>,
    /// A Java keystore beside the PEM.
    pub jks: Option<JksOutput>,
    /// A PKCS#12 trust store beside the PEM.
    pub pkcs12: Option<Pkcs12Output>,
}

/// One object that is written into each namespace.
#[derive(Clone, Debug)]
pub struct ObjectOutput {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// The key that holds the PEM.
    pub pem_key: String,
    /// Labels from the Bundle's template.
    pub labels: Labels,
    /// Annotations from the Bundle's template.
    pub annotations: Labels,
}

/// A Java keystore in the target.
#[derive(Clone, Debug)]
pub struct JksOutput {
    /// Key of the keystore.
    pub key: String,
    /// Integrity password of the keystore.
    pub password: Password,
}

/// A PKCS#12 trust store in the target.
#[derive(Clone, Debug)]
pub struct Pkcs12Output {
    /// Key of the keystore.
    pub key: String,
    /// Password of the keystore; empty means no encryption and no MAC.
    pub password: Password,
    /// The profile as the Bundle names it; `None` means the default, [`Profile::LegacyRc2`].
    pub profile: Option<Profile>,
}

impl Keys {
    /// Whether this key is read.
    #[must_use]
    pub fn include(&self, key: &str) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::All => true,
        }
    }
}

impl Output {
    /// Whether keystores for Java are among the formats.
    #[must_use]
    pub fn has_keystores(&self) -> bool {
        self.jks.is_some() || self.pkcs12.is_some()
    }
}

impl Intent {
    /// Whether the Bundle declares a part of its targets of a kind.
    #[must_use]
    pub fn declares(&self, kind: ObjectKind, part: ObjectPart, name: &str) -> bool {
        let Output { objects, jks, pkcs12 } = &self.output;
        let stores = || [jks.as_ref().map(|jks| &jks.key), pkcs12.as_ref().map(|pkcs12| &pkcs12.key)];
        objects.iter().filter(|object| object.kind == kind).any(|object| match part {
            ObjectPart::Key => object.pem_key == name || stores().into_iter().flatten().any(|key| key == name),
            ObjectPart::Label => object.labels.contains_key(name),
            ObjectPart::Annotation => object.annotations.contains_key(name),
        })
    }

    /// Returns the object sources among the sources.
    pub fn object_sources(&self) -> impl Iterator<Item = &ObjectSource> {
        self.sources.iter().filter_map(|source| match source {
            CertificateSource::Object(object) => Some(object),
            CertificateSource::DefaultCas | CertificateSource::Inline(_) => None,
        })
    }
}

impl ObjectSource {
    /// Whether the source reads the object with these labels. A selector reads no ledger.
    #[must_use]
    pub fn reads(&self, object: &SourceId, labels: &Labels) -> bool {
        let SourceId { kind, namespace, name } = object;
        (self.kind, &self.namespace) == (*kind, namespace)
            && match &self.select {
                Select::Named(named) => named == name,
                Select::Labelled(selector) => !labels.contains_key(api::LEDGER_LABEL) && selector.matches(labels),
            }
    }

    /// The one object that the source reads; `None` if it selects objects by their labels.
    #[must_use]
    pub fn named_object(&self) -> Option<SourceId> {
        match &self.select {
            Select::Named(name) => {
                Some(SourceId { kind: self.kind, namespace: self.namespace.clone(), name: name.clone() })
            }
            Select::Labelled(_) => None,
        }
    }
}
