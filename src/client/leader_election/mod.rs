//! Leader election on a Lease (<https://kubernetes.io/docs/concepts/architecture/leases/>), as client-go does it.
//!
//! ```text
//!   Lease --answer--> Election --step--> request, wait or end      (pure: a clock's readings in, decisions out)
//!                        |
//!   Candidacy (asks, sleeps, logs) --Leadership--> Mandate --> the controller's loop, the gate before every write
//! ```
//!
//! Nobody trusts another's clock: a Lease has expired when *we* have seen it unchanged for as long as it says. And a
//! leader stops by itself, by its own clock and counted from the moment it *asked* for its last renewal, before anybody
//! who saw that renewal may take over.

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

/// One candidate's part in the election.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are: unlike any other process, now or ever.
    pub identity: String,
    /// How long others wait after they saw our last renewal. Told to them in whole seconds, rounded up.
    pub lease_duration: Duration,
    /// How long we lead after we asked for our last renewal; shorter than the lease duration.
    pub renew_deadline: Duration,
    /// The pause between two renewals, and the shortest between two looks at somebody else's Lease. Some pauses fit into
    /// the renew deadline.
    pub retry_period: Duration,
}
