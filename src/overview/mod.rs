//! What the Bundles of a cluster are like, for people: what was read of it, judged by the same code as the controller's.
//!
//! ```text
//! what was read: Snapshot --Overview::of---------> a State for each Bundle --table, detail, document--> text
//!                         --Neighbourhood::of----> what one namespace is offered --table, document----> text
//! Snapshot, and objects laid over it --Forecast::of--> what would change --table, document------------> text
//! ```
//!
//! Everything here is a pure function of its arguments: who reads the cluster is the room `cluster`, told by the command line.

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
mod snapshot;
mod synced;
mod table;

pub use bundle_overview::{BundleOverview, Overview};
pub use diagnosis::Diagnosis;
pub use inferred_defaults::PublishedDefaultCas;
pub use namespace_view::{BundleInNamespace, NamespaceTarget, NamespaceView};
pub use plan::{AffectedByOverlay, BundlePlan, Overlay, Plan, PlannedAction};
pub use snapshot::{LeaderStatus, Snapshot, SnapshotBundle, SnapshotTarget, SourceQuery, Unread};
pub use synced::Synced;
