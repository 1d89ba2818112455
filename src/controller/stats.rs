//! Takes the snapshot of the controller that metrics are made from.

use crate::api::SYNCED;
use crate::metrics::{BundleStats, ConditionLabels, StatsSnapshot};

use super::Controller;
use super::cache::CachedBundle;

/// Returns what is known now; of Bundles only while this process leads.
pub(super) fn snapshot(controller: &Controller) -> StatsSnapshot {
    let fanout = controller.engine.stats(controller.started.elapsed());
    let bundles = controller.cache.bundles().filter(|_| controller.leading).map(|(id, known)| {
        let state = controller.states.get(id);
        BundleStats {
            name: id.name().to_string(),
            conditions: conditions(known),
            rollout: fanout.bundles.get(id).copied(),
            decision: state.and_then(|state| state.decided.as_ref()).map(|(decision, _)| decision.clone()),
        }
    });
    let (is_leader, undecided) = (controller.leading, controller.queue.len());
    StatsSnapshot { is_leader, undecided, bundles: bundles.collect(), fanout }
}

/// The conditions of a Bundle's status. `Synced` is unknown where no status was published yet.
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
