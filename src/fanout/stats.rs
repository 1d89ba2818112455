//! How things stand: counted when somebody asks, and kept nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::bundle_targets::{BundleTargets, RolloutContext};
use super::engine::Engine;
use super::task::{Task, TaskState};

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

impl Engine {
    /// Counts; takes time in proportion to what is yet to be done, not to what is there.
    #[must_use]
    pub fn stats(&self, now: Duration) -> EngineStats {
        let ctx = self.context(now);
        let bundles = || self.bundles.values();
        EngineStats {
            in_flight: self.concurrency.in_flight(),
            limit: self.concurrency.limit(),
            paused: self.concurrency.is_paused(now),
            queued: bundles()
                .flat_map(|bundle_targets| bundle_targets.tasks.iter())
                .filter(|(_, task)| is_queued(task))
                .count(),
            bundles: bundles()
                .filter(|bundle_targets| bundle_targets.exists)
                .filter_map(|bundle_targets| Some((bundle_targets.name.clone(), bundle_targets.rollout_stats(ctx)?)))
                .collect(),
        }
    }
}

impl BundleTargets {
    /// `None`: it is refused, or not decided yet; its targets stay as they are.
    fn rollout_stats(&self, ctx: RolloutContext<'_>) -> Option<RolloutStats> {
        let desired = self.reached * self.desired.as_ref()?.payloads.len();
        // What is let go has its task, too, but is not among what is wanted.
        let behind = self.tasks.targets().filter(|target| self.is_desired(ctx, target)).count();
        let held = self.unstable(ctx).and_then(|unstable| unstable.wait);
        Some(RolloutStats {
            desired,
            in_sync: desired.saturating_sub(behind + self.held_back_count(ctx)),
            failing: self.failures(ctx).len(),
            held,
        })
    }
}

fn is_queued(task: &Task) -> bool {
    matches!(task.state, TaskState::Queued)
}
