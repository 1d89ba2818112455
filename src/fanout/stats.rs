//! Counts of targets and requests, made on demand.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::BundleId;

/// The counts of the fan-out at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Number of requests in flight.
    pub in_flight: usize,
    /// Number of requests that may be in flight at present.
    pub limit: usize,
    /// Whether sending is paused, because the API server is busy or cannot be reached.
    pub paused: bool,
    /// Number of targets that wait for an order.
    pub queued: usize,
    /// Counts of the Bundles that are rolled out.
    pub bundles: BTreeMap<BundleId, RolloutStats>,
}

/// The counts of one Bundle's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloutStats {
    /// Number of desired targets.
    pub desired: usize,
    /// Number of these that are in sync.
    pub in_sync: usize,
    /// Number of targets that cannot be written or let go; each is retried.
    pub failing: usize,
    /// Time for which the next rollout is held back, if it is.
    pub held: Option<Duration>,
}
