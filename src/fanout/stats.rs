//! How things stand: counted when somebody asks, and kept nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How the fan-out stands at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// How many requests are in flight.
    pub in_flight: usize,
    /// How many may be in flight at present.
    pub limit: usize,
    /// Whether the API server has asked for a pause, or cannot be reached, so that nothing is sent for now.
    pub paused: bool,
    /// How many targets wait for their turn.
    pub queued: usize,
    /// Bundles that are carried out.
    pub bundles: BTreeMap<Arc<str>, RolloutStats>,
}

/// How one Bundle's targets stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloutStats {
    /// How many objects there are to be.
    pub desired: usize,
    /// How many of these are as they should be.
    pub in_sync: usize,
    /// How many objects cannot be written or let go; each is tried again and again.
    pub failing: usize,
    /// How long the next rollout is held back, if it is.
    pub held: Option<Duration>,
}
