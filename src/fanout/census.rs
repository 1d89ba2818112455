//! How things stand: counted when somebody asks, and kept nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::fleet::{Fleet, Surroundings};
use super::task::{State, Task};

/// How the fan-out stands at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many requests are in flight.
    pub in_flight: usize,
    /// How many may be in flight at present.
    pub limit: usize,
    /// Whether the API server has asked for a pause, or cannot be reached, so that nothing is sent for now.
    pub paused: bool,
    /// How many targets wait for their turn.
    pub queued: usize,
    /// Bundles that are carried out.
    pub bundles: BTreeMap<Arc<str>, Standing>,
}

/// How one Bundle's targets stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many objects there are to be.
    pub wanted: usize,
    /// How many of these are as they should be.
    pub in_sync: usize,
    /// How many objects cannot be written or let go; each is tried again and again.
    pub failing: usize,
    /// How long the next rollout is held back, if it is.
    pub held: Option<Duration>,
}

impl Engine {
    /// Counts; takes time in proportion to what is yet to be done, not to what is there.
    #[must_use]
    pub fn census(&self, now: Duration) -> Census {
        let around = self.around(now);
        let fleets = || self.fleets.values();
        Census {
            in_flight: self.pace.in_flight(),
            limit: self.pace.limit(),
            paused: self.pace.is_paused(now),
            queued: fleets().flat_map(|fleet| fleet.tasks.iter()).filter(|(_, task)| is_queued(task)).count(),
            bundles: fleets()
                .filter(|fleet| fleet.there)
                .filter_map(|fleet| Some((fleet.name.clone(), fleet.standing(around)?)))
                .collect(),
        }
    }
}

impl Fleet {
    /// `None`: it is refused, or not decided yet; its targets stay as they are.
    fn standing(&self, around: Surroundings<'_>) -> Option<Standing> {
        let wanted = self.reached * self.wanted.as_ref()?.payloads.len();
        // What is let go has its task, too, but is not among what is wanted.
        let behind = self.tasks.places().filter(|place| self.holds(around, place)).count();
        let held = self.unstable(around).and_then(|unstable| unstable.wait);
        Some(Standing {
            wanted,
            in_sync: wanted.saturating_sub(behind + self.waiting(around)),
            failing: self.failures(around).len(),
            held,
        })
    }
}

fn is_queued(task: &Task) -> bool {
    matches!(task.state, State::Queued)
}
