//! How things stand, for whoever scrapes.

use crate::api::SYNCED;
use crate::cluster::state::Known;
use crate::metrics::{BundleSurvey, Condition, Survey};

use super::Controller;

impl Controller {
    /// How things stand now.
    pub(super) fn survey(&self) -> Survey {
        let fanout = self.engine.census(self.born.elapsed());
        let bundles = self.state.bundles().filter(|_| self.leads).map(|(name, known)| {
            let desk = self.desks.get(name);
            BundleSurvey {
                name: name.clone(),
                conditions: conditions(known),
                standing: fanout.bundles.get(name.as_str()).copied(),
                decision: desk.and_then(|desk| desk.decided.as_ref()).map(|(decision, _)| decision.clone()),
            }
        });
        Survey { leads: self.leads, undecided: self.queue.len(), bundles: bundles.collect(), fanout }
    }
}

/// What a Bundle's status says; one that nothing was said of yet is not known to be synced.
fn conditions(known: &Known) -> Vec<Condition> {
    let said = known.seen.status.conditions.iter().flatten();
    let mut conditions: Vec<_> = said
        .map(|condition| Condition {
            type_: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
        })
        .collect();
    if conditions.iter().all(|condition| condition.type_ != SYNCED) {
        let [type_, status, reason] = [SYNCED, "Unknown", "NothingSaidYet"].map(str::to_owned);
        conditions.push(Condition { type_, status, reason });
    }
    conditions
}
