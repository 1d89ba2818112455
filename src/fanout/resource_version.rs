//! Versions of objects.

use std::cmp::Ordering;

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

    /// Returns whether an object that is known in this version is replaced by what shows it in the version `seen`.
    ///
    /// An older version is taken in only if the object has not become known `since` the last list began: a list is right
    /// about all that was known before, since etcd may have been restored from a backup. `same` is whether the two are
    /// equal but for their versions.
    #[must_use]
    pub fn is_replaced_by(self, seen: Self, since: bool, same: bool) -> bool {
        match self.cmp(&seen) {
            Ordering::Less => true,
            Ordering::Equal => !since && !same,
            Ordering::Greater => !since,
        }
    }
}

impl std::fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_right_about_what_was_known_before_and_else_the_newer_version_is() {
        let replaced = |seen, since, same| ResourceVersion(5).is_replaced_by(ResourceVersion(seen), since, same);
        let rows = [4, 5, 6].map(|seen| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(since, same)| replaced(seen, since, same))
        });
        assert_eq!(rows[0], [false, false, true, true]);
        assert_eq!(rows[1], [false, false, false, true]);
        assert_eq!(rows[2], [true; 4]);
    }
}
