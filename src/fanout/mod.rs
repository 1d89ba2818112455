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
mod answer;
mod blame;
mod census;
mod damping;
mod engine;
mod event;
mod fleet;
mod fleets;
mod heal;
mod index;
mod listing;
mod pace;
mod put;
mod rollout;
mod story;
mod task;
mod verb;
mod version;

pub use action::{Action, Order, Own, Request};
pub use census::{Census, Standing};
pub use damping::Damping;
pub use engine::Engine;
pub use event::{Answer, Comparison, Event, Phase, Scope, Sighting};
pub use index::Observed;
pub use listing::Found;
pub use pace::Limits;
pub use story::PROGRESS_EVERY;
pub use version::Version;
