//! The objects that a list or watch covers.

use crate::bundle::ObjectKind;

/// The objects that one watch lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListScope {
    /// All namespaces.
    Namespaces,
    /// Targets of a kind, in one namespace or in all.
    Targets(ObjectKind, Option<String>),
}

/// The start or the end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListPhase {
    /// The list begins.
    Began,
    /// The list is complete.
    Ended,
}

impl ListScope {
    /// Returns whether targets of a kind in a namespace are in this scope.
    pub(super) fn covers(&self, of_kind: ObjectKind, of_namespace: &str) -> bool {
        match self {
            Self::Namespaces => false,
            Self::Targets(kind, namespace) => {
                *kind == of_kind && namespace.as_ref().is_none_or(|only| only == of_namespace)
            }
        }
    }
}
