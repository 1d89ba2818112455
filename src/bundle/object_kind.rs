//! The kinds of objects that are sources and targets.

/// The kind of an object that is a source or a target. Ordered by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
}

impl ObjectKind {
    /// All kinds, sorted.
    pub const ALL: [Self; 2] = [Self::ConfigMap, Self::Secret];

    /// The kind as manifests spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// The plural, as messages spell it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMaps",
            Self::Secret => "Secrets",
        }
    }

    /// The resource, as paths of the API and rules of RBAC spell it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }

    /// The field of a Bundle's source or target that holds an item of this kind.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::ConfigMap => "configMap",
            Self::Secret => "secret",
        }
    }
}
