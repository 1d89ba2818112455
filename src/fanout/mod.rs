//! The fan-out: decides which target is written when. One owner of the state of all targets, and a pure step.
//!
//! ```text
//! EngineEvent --> Engine::step --> TargetIndex    state of each target, from watches and results of orders
//!                       |      --> BundleTargets  tasks and queues of one Bundle, single events before a rollout
//!                       |      --> AimdLimit      limit on the requests in flight of the process
//!                       '----> Actions: orders to send, outcomes to report
//! ```
//!
//! A queue holds targets, never content: what is written is decided when an order is built, so the latest content wins.
//! A target has one order in flight at most. Time is the monotonic time since the start of the process.

mod action;
mod backoff;
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
mod list_tracker;
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
pub use backoff::ExponentialBackoff;
pub use bundle_targets::PROGRESS_INTERVAL;
pub use concurrency_limit::WriteLimits;
pub use damping::Damping;
pub use engine::Engine;
pub use event::{Comparison, EngineEvent, TargetEvent, TargetListResult, WriteResult};
pub use list_scope::{ListPhase, ListScope};
pub use list_tracker::ListTracker;
pub use observed::Observed;
pub use resource_version::ResourceVersion;
pub use stats::{EngineStats, RolloutStats};
