//! The orders that were sent and whose results have not come back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bundle::{BundleId, TargetRef};

use super::failure_origin::SLOW_AFTER;

/// The orders in flight, by Bundle and target.
#[derive(Default)]
pub(super) struct OrdersInFlight(BTreeMap<(BundleId, TargetRef), InFlightOrder>);

/// An order in flight.
#[derive(Clone, Copy)]
pub(super) struct InFlightOrder {
    /// Time at which the order was sent.
    pub(super) since: Duration,
    /// Whether the order counts as slow.
    pub(super) slow: bool,
    /// Bytes that count against the budget of rollouts.
    pub(super) bytes: usize,
}

impl OrdersInFlight {
    pub(super) fn insert(&mut self, bundle: BundleId, target: TargetRef, order: InFlightOrder) {
        self.0.insert((bundle, target), order);
    }

    pub(super) fn remove(&mut self, bundle: &BundleId, target: &TargetRef) -> Option<InFlightOrder> {
        self.0.remove(&(bundle.clone(), target.clone()))
    }

    /// Marks the orders that have taken long by now as slow; returns their targets.
    pub(super) fn mark_slow(&mut self, now: Duration) -> Vec<&TargetRef> {
        let late = |order: &InFlightOrder| !order.slow && order.since + SLOW_AFTER <= now;
        let mut marked = Vec::new();
        for ((_, target), order) in self.0.iter_mut().filter(|(_, order)| late(order)) {
            order.slow = true;
            marked.push(target);
        }
        marked
    }

    /// The first time at which another order counts as slow.
    pub(super) fn next_slow_at(&self) -> Option<Duration> {
        self.0.values().filter(|order| !order.slow).map(|order| order.since + SLOW_AFTER).min()
    }
}
