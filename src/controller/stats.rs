//! How things stand, for whoever scrapes.

use crate::api::SYNCED;
use crate::controller::cache::CachedBundle;
use crate::metrics::{BundleStats, ConditionLabels, StatsSnapshot};

use super::Controller;

impl Controller {
    /// How things stand now.
    pub(super) fn stats_snapshot(&self) -> StatsSnapshot {
        let fanout = self.engine.stats(self.started.elapsed());
        let bundles = self.cache.bundles().filter(|_| self.leading).map(|(name, known)| {
            let state = self.states.get(name);
            BundleStats {
                name: name.clone(),
                conditions: conditions(known),
                rollout: fanout.bundles.get(name.as_str()).copied(),
                decision: state.and_then(|desk| desk.decided.as_ref()).map(|(decision, _)| decision.clone()),
            }
        });
        StatsSnapshot { is_leader: self.leading, undecided: self.queue.len(), bundles: bundles.collect(), fanout }
    }
}

/// What a Bundle's status says; one that nothing was said of yet is not known to be synced.
fn conditions(known: &CachedBundle) -> Vec<ConditionLabels> {
    let reported = known.last_status.status.conditions.iter().flatten();
    let mut conditions: Vec<_> = reported
        .map(|condition| ConditionLabels {
            type_: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
        })
        .collect();
    if conditions.iter().all(|condition| condition.type_ != SYNCED) {
        let [type_, status, reason] = [SYNCED, "Unknown", "NothingSaidYet"].map(str::to_owned);
        conditions.push(ConditionLabels { type_, status, reason });
    }
    conditions
}
