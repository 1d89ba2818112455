//! What is said of Bundles: one statement at a time for each of them.

use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use crate::api::BundleStatus;

use super::{Controller, Done};
use crate::cluster::connection::Failure;
use crate::cluster::desk::{Statement, What};
use crate::cluster::publish::Answer;

impl Controller {
    /// Says something of a Bundle as soon as nothing else is being said.
    pub(super) fn say(&mut self, name: &str, what: What, cause: String) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.state(what, cause);
            self.publish(name);
        }
    }

    /// A statement was published, or not: then with the status that was there before.
    pub(super) fn published(&mut self, name: &str, result: Result<Option<Answer>, (Failure, BundleStatus)>) {
        let Some(desk) = self.desks.get_mut(name) else { return };
        desk.publishing = false;
        match result {
            Ok(answer) => {
                desk.unpublished = 0;
                if let Some(Answer { version, generation }) = answer {
                    self.state.answered(name, version, generation);
                }
                self.publish(name);
            }
            Err((failure, before)) => {
                error!(bundle = name, "status not published: {failure}");
                desk.retry_publishing();
                self.state.published(name, before);
                self.heed(&failure);
            }
        }
    }

    /// Publishes what is to be said of a Bundle, unless something is being published.
    pub(super) fn publish(&mut self, name: &str) {
        let (Some(desk), Some(known)) = (self.desks.get_mut(name), self.state.bundle(name)) else { return };
        if desk.publishing {
            return;
        }
        let Some(Statement { what, cause }) = desk.next.take() else { return };
        let Some(report) = desk.report(&what, &known.seen, Timestamp::now()) else { return };
        let news = known.seen.status != report.status;
        if !news && report.events.is_empty() {
            debug!(bundle = name, cause, "nothing to do");
            return;
        }
        for event in &report.events {
            let wrote = matches!(&what, What::Outcome(outcome) if outcome.written > 0);
            if event.warning {
                warn!(bundle = name, reason = %event.reason, cause, "{}", event.note);
            } else if !wrote {
                info!(bundle = name, reason = %event.reason, cause, "{}", event.note);
            }
        }
        desk.publishing = true;
        let (publisher, name, uid) = (self.publisher.clone(), name.to_owned(), known.uid.clone());
        let before = known.seen.status.clone();
        self.state.published(&name, report.status.clone());
        self.tasks.spawn(async move {
            let result = publisher.publish(&name, &uid, &report, news).await;
            Done::Published { name, result: result.map_err(|failure| (failure, before)) }
        });
    }
}
