//! Versions of objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A resource version; newer ones are greater
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(u64);

impl ResourceVersion {
    /// A version that is newer than any that a server returns.
    pub const NEWEST: Self = Self(u64::MAX);

    /// Returns the version of an object.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::parse(metadata.resource_version.as_deref().unwrap_or_default())
    }

    /// Parses a `resourceVersion`; what is no number counts as the oldest.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.parse().unwrap_or_default())
    }
}

impl std::fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
