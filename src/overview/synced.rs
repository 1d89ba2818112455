//! The state of a Bundle by its condition `Synced`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;

use super::snapshot::SnapshotBundle;

/// The state of a Bundle by its condition `Synced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced<'a> {
    /// All targets are in sync.
    Yes,
    /// Targets are not in sync, for this reason.
    No(&'a str),
    /// The condition is not of the present generation, for this reason.
    NotYet(&'a str),
}

impl<'a> Synced<'a> {
    pub(super) fn of(snapshot_bundle: &'a SnapshotBundle) -> Self {
        let current = |condition: &&Condition| condition.observed_generation == snapshot_bundle.generation;
        match snapshot_bundle.condition(api::SYNCED).filter(current) {
            Some(condition) if condition.status == "True" => Self::Yes,
            Some(condition) => Self::No(&condition.reason),
            None => {
                let begun = snapshot_bundle.condition(api::RECONCILING).filter(current);
                Self::NotYet(begun.map_or("NotYetSeen", |condition| &condition.reason))
            }
        }
    }

    /// Returns the status and the reason of the condition.
    #[must_use]
    pub fn status_and_reason(self) -> (&'static str, &'a str) {
        match self {
            Self::Yes => ("True", "Synced"),
            Self::No(reason) => ("False", reason),
            Self::NotYet(reason) => ("Unknown", reason),
        }
    }
}
