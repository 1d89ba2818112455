//! Metrics of the controller: events are counted as they happen, gauges are collected when they are scraped.
//!
//! ```text
//! scrape --ScrapeRequest--> the controller's loop, at its next turn --StatsSnapshot--> encoded, and dropped
//! ```
//!
//! So no gauge has to be kept in step with the state, no series outlives its Bundle, and nothing is copied that a
//! scrape does not show.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::fanout::{TargetRequest, WriteResult};

use super::prefixed;
use super::reconciles::ReconcileMetrics;
use super::stats_snapshot::{StatsCollector, StatsSnapshot};

/// The bounds of a rollout's time, in seconds.
const ROLLOUT_SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// The time for which a scrape waits for the loop, which may be about to end.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics that the controller's loop counts, and the scrapes that it answers.
#[derive(Debug)]
pub struct ControllerMetrics {
    /// The counters of writes of targets.
    pub writes: WriteMetrics,
    /// The counters of reconciles.
    pub reconciles: ReconcileMetrics,
    /// The seconds from a change to the last target.
    pub rollouts: Histogram,
    /// The scrapes that wait for a snapshot; closed when there will be none.
    pub scrape_requests: mpsc::Receiver<ScrapeRequest>,
}

/// A scrape that waits for a snapshot.
pub type ScrapeRequest = oneshot::Sender<StatsSnapshot>;

/// A handle by which a scrape gets a snapshot from the controller's loop.
#[derive(Clone, Debug)]
pub struct ScrapeHandle {
    scrape_requests: mpsc::Sender<ScrapeRequest>,
    latest: StatsCollector,
}

/// Counters of writes of targets; clones share them.
#[derive(Clone, Debug, Default)]
pub struct WriteMetrics(Family<WriteLabels, Counter>);

/// The labels that distinguish writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    verb: &'static str,
    result: &'static str,
}

impl ControllerMetrics {
    /// Registers the metrics; a scrape serves the snapshot of the last [`ScrapeHandle::refresh`].
    pub fn register(registry: &mut Registry) -> (Self, ScrapeHandle) {
        let (sender, scrape_requests) = mpsc::channel(1);
        let (latest, writes, rollouts) =
            (StatsCollector::default(), WriteMetrics::default(), Histogram::new(ROLLOUT_SECONDS));
        let registry = prefixed(registry);
        registry.register("target_writes", "Requests to write a target by verb and result", writes.0.clone());
        registry.register(
            "rollout_duration_seconds",
            "Time from a change of a Bundle or its sources until the last target was written, or could not be",
            rollouts.clone(),
        );
        let reconciles = ReconcileMetrics::register(registry);
        registry.register_collector(Box::new(latest.clone()));
        (Self { writes, reconciles, rollouts, scrape_requests }, ScrapeHandle { scrape_requests: sender, latest })
    }
}

impl ScrapeHandle {
    /// Gets a snapshot from the loop for the next scrape; none if the loop has ended.
    pub async fn refresh(&self) {
        let answer = async {
            let (sender, answer) = oneshot::channel();
            self.scrape_requests.send(sender).await.ok()?;
            answer.await.ok()
        };
        let snapshot = tokio::time::timeout(SCRAPE_TIMEOUT, answer).await.ok().flatten();
        self.latest.set(snapshot);
    }
}

impl WriteMetrics {
    /// Counts a request by its result; reads are not counted.
    pub fn count(&self, request: &TargetRequest, result: &WriteResult) {
        let verb = match request {
            TargetRequest::Create => "create",
            TargetRequest::Replace(_) => "update",
            TargetRequest::Merge { .. } | TargetRequest::HandOver(..) => "patch",
            TargetRequest::Apply { .. } => "apply",
            TargetRequest::Delete(_) => "delete",
            TargetRequest::GetMetadata | TargetRequest::GetContent => return,
        };
        let result = match result {
            WriteResult::Observed(_) | WriteResult::Compared(..) => "done",
            WriteResult::NotFound if matches!(request, TargetRequest::Delete(_)) => "done",
            WriteResult::NotFound | WriteResult::NamespaceGone => "gone",
            WriteResult::AlreadyExists | WriteResult::Conflict => "conflict",
            WriteResult::Forbidden(_) => "forbidden",
            WriteResult::Refused { .. } => "refused",
            WriteResult::Busy(..) => "busy",
            WriteResult::Failed(_) => "failed",
            WriteResult::Lost(_) => "lost",
            WriteResult::TimedOut(_) => "timed_out",
        };
        self.0.get_or_create(&WriteLabels { verb, result }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::{EngineStats, ResourceVersion};
    use crate::metrics::stats_snapshot::tests::bundle;
    use crate::metrics::{assert_served, registry, text};

    #[tokio::test]
    async fn a_scrape_serves_what_the_loop_answers_and_only_bundles_that_exist_now() {
        let mut registry = registry();
        let (mut controller, scrape) = ControllerMetrics::register(&mut registry);
        controller.rollouts.observe(0.3);
        controller.writes.count(&TargetRequest::Delete(ResourceVersion::NEWEST), &WriteResult::NotFound);
        controller.writes.count(&TargetRequest::Create, &WriteResult::Busy(None, String::new()));
        controller.writes.count(&TargetRequest::GetMetadata, &WriteResult::NotFound);
        let fanout = EngineStats { in_flight: 2, limit: 8, paused: true, queued: 4, ..EngineStats::default() };
        let snapshots = [
            StatsSnapshot { is_leader: true, undecided: 1, fanout, bundles: vec![bundle("a"), bundle("b")] },
            StatsSnapshot { is_leader: true, bundles: vec![bundle("b")], ..StatsSnapshot::default() },
        ];
        let looping = tokio::spawn(async move {
            for snapshot in snapshots {
                let request = controller.scrape_requests.recv().await.expect("a scrape waits");
                request.send(snapshot).expect("the scrape waits");
            }
        });

        scrape.refresh().await;
        assert_served(
            &registry,
            &[
                "rootcast_leader 1",
                "rootcast_bundles_queued 1",
                "rootcast_targets_queued 4",
                "rootcast_target_requests_in_flight 2",
                "rootcast_target_requests_in_flight_limit 8",
                "rootcast_target_requests_paused 1",
                "rootcast_target_writes_total{verb=\"create\",result=\"busy\"} 1",
                "rootcast_target_writes_total{verb=\"delete\",result=\"done\"} 1",
                "rootcast_rollout_duration_seconds_bucket{le=\"0.5\"} 1",
            ],
        );

        scrape.refresh().await;
        let text_now = text(&registry);
        assert!(!text_now.contains("bundle=\"a\"") && text_now.contains("bundle=\"b\""), "{text_now}");
        scrape.refresh().await;
        assert!(!text(&registry).contains("bundle="), "the loop has ended");
        looping.await.expect("the loop ends");
    }
}
