//! Metrics of the controller's reconciles: how a Bundle's decision ended, how long it took, and why it failed.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of a reconcile's time, in seconds: most take less than a millisecond, large keystores some hundred of them.
const RECONCILE_SECONDS: [f64; 9] = [0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// Metrics of reconciles of Bundles; clones share the counters.
#[derive(Clone, Debug)]
pub struct ReconcileMetrics {
    reconciles: Family<ResultLabels, Counter>,
    seconds: Histogram,
    failures: Family<FailureLabels, Counter>,
}

/// The result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileResult {
    /// The Bundle was decided, and its targets are handed to the fan-out.
    Success,
    /// The Bundle is refused until its spec or its sources change.
    Refused,
    /// The decision waits for sources that are being read.
    Waiting,
}

/// The kind of a failure of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileFailure {
    /// The spec or the content of a source does not permit a decision.
    Refused,
    /// A source cannot be read from the API server.
    UnreadableSource,
    /// The status cannot be written.
    StatusNotPublished,
    /// The decision panicked.
    Panic,
}

/// The labels that distinguish reconciles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// The labels that distinguish failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    error: &'static str,
}

impl ReconcileMetrics {
    /// Registers the metrics in a registry of which [`prefixed`](super::prefixed) is a part.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            seconds: Histogram::new(RECONCILE_SECONDS),
            failures: Family::default(),
        };
        registry.register("bundle_reconciles", "Reconciles of Bundles by result", metrics.reconciles.clone());
        registry.register(
            "bundle_reconcile_duration_seconds",
            "Time of one reconcile of a Bundle, without the writes of its targets",
            metrics.seconds.clone(),
        );
        registry.register(
            "bundle_reconcile_failures",
            "Failures in reconciles of Bundles by kind of error",
            metrics.failures.clone(),
        );
        metrics
    }

    /// Counts a reconcile that took `time`.
    pub fn count(&self, result: ReconcileResult, time: Duration) {
        let result = match result {
            ReconcileResult::Success => "success",
            ReconcileResult::Refused => "refused",
            ReconcileResult::Waiting => "waiting",
        };
        self.reconciles.get_or_create(&ResultLabels { result }).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// Counts a failure; it is counted beside the reconcile in which it occurs.
    pub fn count_failure(&self, failure: ReconcileFailure) {
        let error = match failure {
            ReconcileFailure::Refused => "refused",
            ReconcileFailure::UnreadableSource => "unreadable_source",
            ReconcileFailure::StatusNotPublished => "status_not_published",
            ReconcileFailure::Panic => "panic",
        };
        self.failures.get_or_create(&FailureLabels { error }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{assert_served, prefixed, registry};

    #[test]
    fn reconciles_are_counted_by_result_and_failures_by_error() {
        let mut registry = registry();
        let reconciles = ReconcileMetrics::register(prefixed(&mut registry));
        reconciles.count(ReconcileResult::Success, Duration::from_micros(500));
        reconciles.count(ReconcileResult::Refused, Duration::from_micros(200));
        reconciles.count(ReconcileResult::Waiting, Duration::from_millis(2));
        reconciles.count_failure(ReconcileFailure::Refused);
        reconciles.count_failure(ReconcileFailure::UnreadableSource);
        reconciles.count_failure(ReconcileFailure::StatusNotPublished);
        reconciles.count_failure(ReconcileFailure::Panic);
        assert_served(
            &registry,
            &[
                "rootcast_bundle_reconciles_total{result=\"success\"} 1",
                "rootcast_bundle_reconciles_total{result=\"refused\"} 1",
                "rootcast_bundle_reconciles_total{result=\"waiting\"} 1",
                "rootcast_bundle_reconcile_duration_seconds_bucket{le=\"0.001\"} 2",
                "rootcast_bundle_reconcile_failures_total{error=\"refused\"} 1",
                "rootcast_bundle_reconcile_failures_total{error=\"unreadable_source\"} 1",
                "rootcast_bundle_reconcile_failures_total{error=\"status_not_published\"} 1",
                "rootcast_bundle_reconcile_failures_total{error=\"panic\"} 1",
            ],
        );
    }
}
