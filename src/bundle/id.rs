//! Keys that name a bundle, a source object and a target in every map, event and report.

use std::fmt;
use std::sync::Arc;

use super::object_kind::ObjectKind;

/// The name of a bundle of any kind. Ordered by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BundleId {
    /// A cluster-scoped `Bundle` of `trust.cert-manager.io`.
    Bundle(Arc<str>),
}

/// The key of a ConfigMap or Secret that certificates are read from. Ordered by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
}

/// The key of a ConfigMap or Secret that a bundle is written to. Ordered by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetRef {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
}

impl BundleId {
    /// Name of the bundle's object.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Bundle(name) => name,
        }
    }
}

impl<T: Into<Arc<str>>> From<T> for BundleId {
    fn from(name: T) -> Self {
        Self::Bundle(name.into())
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        write!(f, "{} {namespace}/{name}", kind.as_str())
    }
}

impl fmt::Display for TargetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        write!(f, "{} {namespace}/{name}", kind.as_str())
    }
}
