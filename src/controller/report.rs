//! What is said of Bundles: one statement at a time for each of them.

use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use crate::api::BundleStatus;

use super::{Controller, TaskOutput};
use crate::client::connection::ApiError;
use crate::client::publish::PublishedVersion;
use crate::controller::reconcile_state::{PendingStatus, StatusUpdate};

impl Controller {
    /// Says something of a Bundle as soon as nothing else is being said.
    pub(super) fn report(&mut self, name: &str, update: StatusUpdate, cause: String) {
        if let Some(state) = self.states.get_mut(name) {
            state.enqueue_status(update, cause);
            self.publish(name);
        }
    }

    /// A statement was published, or not: then with the status that was there before.
    pub(super) fn on_status_published(
        &mut self,
        name: &str,
        result: Result<Option<PublishedVersion>, (ApiError, BundleStatus)>,
    ) {
        let Some(state) = self.states.get_mut(name) else { return };
        state.publishing = false;
        match result {
            Ok(answer) => {
                state.publish_failures = 0;
                if let Some(PublishedVersion { version, generation }) = answer {
                    self.cache.set_published_version(name, version, generation);
                }
                self.publish(name);
            }
            Err((failure, before)) => {
                error!(bundle = name, "status not published: {failure}");
                state.retry_publishing();
                self.cache.set_published_status(name, before);
                self.note_server_health(&failure);
            }
        }
    }

    /// Publishes what is to be said of a Bundle, unless something is being published.
    pub(super) fn publish(&mut self, name: &str) {
        let (Some(state), Some(known)) = (self.states.get_mut(name), self.cache.bundle(name)) else { return };
        if state.publishing {
            return;
        }
        let Some(PendingStatus { update, cause }) = state.pending.take() else { return };
        let Some(report) = state.report(&update, &known.last_status, Timestamp::now()) else { return };
        let status_changed = known.last_status.status != report.status;
        if !status_changed && report.events.is_empty() {
            debug!(bundle = name, cause, "nothing to do");
            return;
        }
        for event in &report.events {
            let wrote = matches!(&update, StatusUpdate::Outcome(outcome) if outcome.written > 0);
            if event.warning {
                warn!(bundle = name, reason = %event.reason, cause, "{}", event.note);
            } else if !wrote {
                info!(bundle = name, reason = %event.reason, cause, "{}", event.note);
            }
        }
        state.publishing = true;
        let (publisher, name, uid) = (self.publisher.clone(), name.to_owned(), known.uid.clone());
        let before = known.last_status.status.clone();
        self.cache.set_published_status(&name, report.status.clone());
        self.tasks.spawn(async move {
            let result = publisher.publish(&name, &uid, &report, status_changed).await;
            TaskOutput::Published { name, result: result.map_err(|failure| (failure, before)) }
        });
    }
}
