//! Orders: which is sent next, and what follows from their results.

use std::time::Duration;

use crate::bundle::{BundleId, Payload, TargetRef};
use crate::fanout::action::{Action, Order};
use crate::fanout::concurrency_limit::{Lane, PAUSE_MAX, ServerHealth};
use crate::fanout::event::WriteResult;
use crate::fanout::failure_origin::FailureOrigin;
use crate::fanout::in_flight::InFlightOrder;

use super::Engine;

impl Engine {
    /// Marks orders that have taken long as slow, so that others may be sent beside them.
    pub(super) fn mark_slow_orders(&mut self, now: Duration) {
        for target in self.in_flight.mark_slow(now) {
            self.concurrency.count_slow(true);
            self.shared.history.mark_slow(&target.namespace);
        }
    }

    /// The next order: single events before rollouts, Bundles in turn.
    pub(super) fn next_order(&mut self, now: Duration) -> Option<Order> {
        for lane in Lane::ALL {
            while self.leads && self.concurrency.allows(now, lane) {
                let Some(bundle) = self.bundles.next(lane, &self.last_served) else { break };
                self.last_served = bundle.clone();
                let targets = self.bundles.get_mut(&bundle).expect("a Bundle with work has targets");
                let order = targets.next_order(self.shared.context(now), lane);
                let bulk = order.as_ref().is_some_and(|order| targets.is_bulk(order));
                self.bundles.reindex_one(&bundle);
                if let Some(order) = order {
                    let payload = order.desired.payloads.get(&order.target.kind);
                    let bytes = payload.filter(|_| order.request.carries_content()).map_or(0, Payload::size);
                    self.concurrency.on_sent(now, bytes);
                    let slow = lane == Lane::Slow;
                    if slow {
                        self.concurrency.count_slow(true);
                    }
                    let bytes = if bulk { bytes } else { 0 };
                    self.in_flight.insert(bundle, order.target.clone(), InFlightOrder { since: now, slow, bytes });
                    return Some(order);
                }
            }
        }
        None
    }

    /// Handles the result of an order.
    pub(super) fn on_result(
        &mut self,
        now: Duration,
        bundle: &BundleId,
        target: &TargetRef,
        result: WriteResult,
        actions: &mut Vec<Action>,
    ) {
        let epoch = self.lists.epoch(target);
        let flight = self.in_flight.remove(bundle, target);
        if flight.is_some_and(|flight| flight.slow) {
            self.concurrency.count_slow(false);
        }
        let since = flight.map_or(now, |flight| flight.since);
        if let (Some(flight), WriteResult::Observed(_)) = (flight, &result) {
            self.budget.wrote(bundle, flight.bytes);
        }
        let Some(targets) = self.bundles.get_mut(bundle) else { return self.concurrency.on_ended() };
        let write = targets.is_being_written(target);
        let failure =
            server_health(&result).map(|health| (health, targets.attribute_failure(&mut self.shared.history, target)));
        match failure {
            // A failure of this namespace alone stops the others for a moment only.
            Some((ServerHealth::Unavailable(wait), FailureOrigin::Server { confirmed: false })) => {
                self.concurrency.on_response(now, ServerHealth::Unavailable(wait.map(|wait| wait.min(PAUSE_MAX))));
            }
            Some((health, FailureOrigin::Server { .. })) => self.concurrency.on_response(now, health),
            Some((_, FailureOrigin::Target { .. })) => self.concurrency.on_ended(),
            None => {
                self.concurrency.on_response(now, ServerHealth::Healthy);
                if write {
                    self.shared.history.record_success(&target.namespace, now.saturating_sub(since));
                }
            }
        }
        if targets
            .request_in_flight(target)
            .is_some_and(|request| self.shared.put_permission.on_result(request, &result))
        {
            actions.push(Action::PutForbidden);
        }
        targets.on_result(
            self.shared.context(now),
            &mut self.interner,
            target,
            result,
            failure.map(|(_, origin)| origin),
            epoch,
        );
        if targets.awaits_deletion() {
            targets.on_bundle_removed(self.shared.context(now));
        }
    }
}

/// The state of the API server that a result shows; `None` if it is healthy.
fn server_health(result: &WriteResult) -> Option<ServerHealth> {
    match result {
        WriteResult::Busy(retry_after, _) => Some(ServerHealth::Unavailable(*retry_after)),
        WriteResult::Lost(_) => Some(ServerHealth::Unavailable(None)),
        WriteResult::TimedOut(_) | WriteResult::Failed(_) => Some(ServerHealth::Slow),
        _ => None,
    }
}
