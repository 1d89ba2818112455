//! The fan-out: which object is written when. One owner of everything known about targets, and a pure step.
//!
//! ```text
//! Event --> step --> Index   what is there: a slim entry for each target, learned from watches and from our own answers
//!             |  --> Fleet   what is to be done, for each Bundle: single events before the bulk of a rollout
//!             |  --> Pace    how much may be in flight, for the whole process
//!             '----> Actions: orders to send, outcomes to report
//! ```
//!
//! A queue holds places, never content: what is written is decided when an order is given, so the latest content wins. A
//! target has one order in flight at most. Time is the monotonic time since the start of the process.

mod action;
mod bundle_targets;
mod concurrency_limit;
mod contention;
mod context;
mod damping;
mod engine;
mod event;
mod failure_origin;
mod in_flight;
mod index;
mod list_epochs;
mod list_scope;
mod listing;
mod messages;
mod namespaces;
mod observed;
mod put_permission;
mod request_choice;
mod resource_version;
mod rollouts;
mod stats;
mod targets_by_bundle;
mod task;

pub use action::{Action, Order, OwnedFields, TargetRequest};
pub use bundle_targets::PROGRESS_INTERVAL;
pub use concurrency_limit::WriteLimits;
pub use damping::Damping;
pub use engine::Engine;
pub use event::{Comparison, EngineEvent, TargetEvent, TargetListResult, WriteResult};
pub use list_scope::{ListPhase, ListScope};
pub use observed::Observed;
pub use resource_version::ResourceVersion;
pub use stats::{EngineStats, RolloutStats};
