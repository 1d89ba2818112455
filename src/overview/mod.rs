//! Overviews for people: what was read of a cluster, evaluated by the same code as the controller's.
//!
//! ```text
//! Snapshot --Overview::of-----------> a BundleOverview for each Bundle --table, detail, document--> text
//!          --NamespaceView::of------> what one namespace is offered ----table, document-----------> text
//! Snapshot and Overlay --Plan::of---> what would change ----------------table, document-----------> text
//! RotationSnapshot --RotationOverview::of-----------> the way of each certificate --text, document----> text
//!                  --AwaitedCertificate::verdict-> whether a certificate is settled, or retired
//! ```
//!
//! Everything here is a pure function of its arguments: the command line reads the cluster by `client`.

mod awaited;
mod bundle_overview;
mod desired;
mod detail;
mod diagnosis;
mod document;
#[cfg(test)]
mod fixture;
mod foreign_objects;
mod inferred_defaults;
mod namespace_view;
mod plan;
mod pod_use;
mod retirement;
mod rotation_overview;
mod rotation_snapshot;
mod rotation_text;
mod snapshot;
mod synced;
mod table;

pub use awaited::{AwaitedCertificate, AwaitedState, WaitVerdict};
pub use bundle_overview::{BundleOverview, Overview};
pub use desired::UnknownSourcesError;
pub use diagnosis::Diagnosis;
pub use inferred_defaults::PublishedDefaultCas;
pub use namespace_view::{BundleInNamespace, NamespaceTarget, NamespaceView, NotOfferedError};
pub use plan::{AffectedByOverlay, BundlePlan, InvalidOverlayError, Overlay, Plan, PlannedAction};
pub use pod_use::{FixedUse, FixedUseKind, PodFields, PodUse};
pub use retirement::{RetirementPlan, RetiringCertificate, UnknownUsesError};
pub use rotation_overview::{CertificateTimeline, RotationOverview, StalePod};
pub use rotation_snapshot::{InvalidBundleError, LedgerState, RotationSnapshot};
pub use rotation_text::describe_dropped;
pub use snapshot::{LeaderStatus, Snapshot, SnapshotBundle, SnapshotTarget, SourceQuery, Unread};
pub use synced::Synced;
