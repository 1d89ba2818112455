//! Leader election on a Lease (<https://kubernetes.io/docs/concepts/architecture/leases/>), as client-go does it.
//!
//! ```text
//!   Lease --response--> Election --step--> request, wait or end      (pure: readings of a clock in, decisions out)
//!                        |
//!   LeaderElector (requests, sleeps, logs) --LeadershipState--> LeadershipWatch --> Controller, WriteFence
//! ```
//!
//! No candidate relies on the clock of another: a Lease has expired when *this* process has seen it unchanged for the
//! lease duration. A leader stops by itself, by its own clock and counted from the moment at which it *requested* its
//! last renewal, before a candidate that saw that renewal may take over.

mod election;
mod elector;
mod leadership_watch;
#[cfg(test)]
mod simulation;
mod write_fence;

use std::time::Duration;

pub use elector::LeaderElector;
pub use leadership_watch::{LeadershipState, LeadershipWatch};
pub(super) use write_fence::WriteFenceLayer;

/// The settings of a candidate.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Identity of this process, unique among all processes, past and future.
    pub identity: String,
    /// The time for which other candidates wait after a renewal. Written into the Lease in whole seconds, rounded up.
    pub lease_duration: Duration,
    /// The time for which this process leads after the request of its last renewal; shorter than the lease duration.
    pub renew_deadline: Duration,
    /// The pause between two renewals, and the shortest between two reads of a Lease that another process holds.
    /// Several pauses fit into the renew deadline.
    pub retry_period: Duration,
}
