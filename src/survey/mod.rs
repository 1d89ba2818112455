//! What the Bundles of a cluster are like, for people: what was read of it, judged by the same code as the controller's.
//!
//! ```text
//! what was read: Snapshot --Overview::of---------> a State for each Bundle --table, detail, document--> text
//!                         --Neighbourhood::of----> what one namespace is offered --table, document----> text
//! Snapshot, and objects laid over it --Forecast::of--> what would change --table, document------------> text
//! ```
//!
//! Everything here is a pure function of its arguments: who reads the cluster is the room `cluster`, told by the command line.

mod detail;
mod document;
mod expectation;
#[cfg(test)]
mod fixture;
mod forecast;
mod neighbourhood;
mod others;
mod snapshot;
mod state;
mod table;
mod trouble;
mod witness;

pub use forecast::{Concerned, Fate, Forecast, Overlay, Prospect};
pub use neighbourhood::{Near, Neighbourhood, Standing};
pub use snapshot::{Known, Leadership, Snapshot, Target, Unread, source_key};
pub use state::{Overview, State, Synced};
pub use trouble::Trouble;
pub use witness::Witness;
