//! What the controller tells: of some things it counts as they happen, of all others it is asked when somebody scrapes.
//!
//! ```text
//! scrape --Inquiry--> the controller's loop, at its next turn --Survey--> encoded, and forgotten
//! ```
//!
//! So nothing has to be kept in step with what is told, no series outlives its Bundle, and nothing is copied that a scrape
//! does not show.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::fanout::{Answer, Request};

use super::ours;
use super::survey::{Latest, Survey};

/// Bounds of a rollout's time, in seconds.
const ROLLOUT_SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// How long a scrape waits for the loop, which may be about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the controller's loop has to do with metrics.
#[derive(Debug)]
pub struct Controller {
    /// Counts writes.
    pub writes: Writes,
    /// Seconds from a change to the last target.
    pub rollouts: Histogram,
    /// Who asks how things stand; closed when nobody ever will.
    pub inquiries: mpsc::Receiver<Inquiry>,
}

/// Where an answer is waited for.
pub type Inquiry = oneshot::Sender<Survey>;

/// Asks the controller's loop how things stand.
#[derive(Clone, Debug)]
pub struct Scrape {
    inquiries: mpsc::Sender<Inquiry>,
    latest: Latest,
}

/// Counts writes of targets. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Writes(Family<Write, Counter>);

/// What distinguishes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    verb: &'static str,
    result: &'static str,
}

impl Controller {
    /// Serves what the loop counts and, to each [`Scrape::ask`], what it answers.
    pub fn register(registry: &mut Registry) -> (Self, Scrape) {
        let (sender, inquiries) = mpsc::channel(1);
        let (latest, writes, rollouts) = (Latest::default(), Writes::default(), Histogram::new(ROLLOUT_SECONDS));
        let registry = ours(registry);
        registry.register("target_writes", "Requests to write a target by verb and result", writes.0.clone());
        registry.register(
            "rollout_duration_seconds",
            "Time from a change of a Bundle or its sources until the last target was written, or could not be",
            rollouts.clone(),
        );
        registry.register_collector(Box::new(latest.clone()));
        (Self { writes, rollouts, inquiries }, Scrape { inquiries: sender, latest })
    }
}

impl Scrape {
    /// Has the next scrape tell how things stand now; or nothing of it, if the loop has ended.
    pub async fn ask(&self) {
        let answer = async {
            let (sender, answer) = oneshot::channel();
            self.inquiries.send(sender).await.ok()?;
            answer.await.ok()
        };
        let survey = tokio::time::timeout(PATIENCE, answer).await.ok().flatten();
        self.latest.set(survey);
    }
}

impl Writes {
    /// A request was answered, or its answer was waited for in vain; those that only read do not count.
    pub fn count(&self, request: &Request, answer: &Answer) {
        let verb = match request {
            Request::Create => "create",
            Request::Replace(_) => "update",
            Request::Merge { .. } | Request::HandOver(..) => "patch",
            Request::Apply { .. } => "apply",
            Request::Delete(_) => "delete",
            Request::Look | Request::Compare => return,
        };
        let result = match answer {
            Answer::Is(_) | Answer::Compared(..) => "done",
            Answer::Gone if matches!(request, Request::Delete(_)) => "done",
            Answer::Gone | Answer::NamespaceGone => "gone",
            Answer::Exists | Answer::Conflict => "conflict",
            Answer::Forbidden(_) => "forbidden",
            Answer::Refused { .. } => "refused",
            Answer::Busy(..) => "busy",
            Answer::Failed(_) => "failed",
            Answer::Lost(_) => "lost",
            Answer::TimedOut(_) => "timed_out",
        };
        self.0.get_or_create(&Write { verb, result }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::{Census, Version};
    use crate::metrics::survey::tests::bundle;
    use crate::metrics::{assert_served, registry, text};

    #[tokio::test]
    async fn a_scrape_tells_what_the_loop_answers_and_of_bundles_that_are_there_now() {
        let mut registry = registry();
        let (mut controller, scrape) = Controller::register(&mut registry);
        controller.rollouts.observe(0.3);
        controller.writes.count(&Request::Delete(Version::NEWEST), &Answer::Gone);
        controller.writes.count(&Request::Create, &Answer::Busy(None, String::new()));
        controller.writes.count(&Request::Look, &Answer::Gone);
        let fanout = Census { in_flight: 2, limit: 8, paused: true, queued: 4, ..Census::default() };
        let surveys = [
            Survey { leads: true, undecided: 1, fanout, bundles: vec![bundle("a"), bundle("b")] },
            Survey { leads: true, bundles: vec![bundle("b")], ..Survey::default() },
        ];
        let looping = tokio::spawn(async move {
            for survey in surveys {
                let inquiry = controller.inquiries.recv().await.expect("somebody asks");
                inquiry.send(survey).expect("somebody waits");
            }
        });

        scrape.ask().await;
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

        scrape.ask().await;
        let text_now = text(&registry);
        assert!(!text_now.contains("bundle=\"a\"") && text_now.contains("bundle=\"b\""), "{text_now}");
        scrape.ask().await;
        assert!(!text(&registry).contains("bundle="), "the loop has ended");
        looping.await.expect("it ends");
    }
}
