//! Reports on Bundles: status and events, one report of each Bundle in flight at a time.
//!
//! Called by [`mod@super::reconcile`] with a refusal, by [`mod@super::roll_out`] with the outcome of a rollout, and
//! when a status was published.

use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use crate::api::BundleStatus;
use crate::bundle::{BundleEvent, BundleId};
use crate::client::{ApiError, PublishedVersion};
use crate::metrics::ReconcileFailure;

use super::reconcile_state::{PendingStatus, StatusUpdate};
use super::{Controller, TaskOutput};

/// Publishes a report on a Bundle, or queues it until the report in flight is published.
pub(super) fn report(controller: &mut Controller, id: &BundleId, update: StatusUpdate, cause: String) {
    if let Some(state) = controller.states.get_mut(id) {
        state.enqueue_status(update, cause);
        publish(controller, id);
    }
}

/// Sends an event about a Bundle that is still there.
pub(super) fn emit(controller: &mut Controller, id: BundleId, event: BundleEvent) {
    let Some(known) = controller.cache.bundle(&id) else { return };
    let (publisher, uid) = (controller.publisher.clone(), known.uid.clone());
    controller.tasks.spawn(async move {
        publisher.emit(id.name(), &uid, &event).await;
        TaskOutput::Emitted
    });
}

/// Handles the result of publishing a report. A failure restores the former status and requeues the Bundle.
pub(super) fn on_published(
    controller: &mut Controller,
    id: &BundleId,
    result: Result<Option<PublishedVersion>, (ApiError, BundleStatus)>,
) {
    let Some(state) = controller.states.get_mut(id) else { return };
    state.publishing = false;
    match result {
        Ok(published) => {
            state.publish_failures = 0;
            if let Some(published) = published {
                controller.cache.set_published_version(id, &published);
            }
            publish(controller, id);
        }
        Err((error, before)) => {
            controller.metrics.reconciles.count_failure(ReconcileFailure::StatusNotPublished);
            error!(bundle = &**id.name(), "status not published: {error}");
            state.retry_publishing();
            controller.cache.set_published_status(id, before);
            controller.note_server_health(&error);
        }
    }
}

/// Publishes the pending report of a Bundle unless one is in flight or nothing of it is new.
fn publish(controller: &mut Controller, id: &BundleId) {
    let (Some(state), Some(known)) = (controller.states.get_mut(id), controller.cache.bundle(id)) else { return };
    if state.publishing {
        return;
    }
    let Some(PendingStatus { update, cause }) = state.pending.take() else { return };
    let Some(report) = state.report(&update, &known.last_status, Timestamp::now()) else { return };
    let status_changed = known.last_status.status != report.status;
    let name = &**id.name();
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
    let (publisher, id, uid) = (controller.publisher.clone(), id.clone(), known.uid.clone());
    let before = known.last_status.status.clone();
    controller.cache.set_published_status(&id, report.status.clone());
    controller.tasks.spawn(async move {
        let result = publisher.publish(id.name(), &uid, &report, status_changed).await;
        TaskOutput::Published { id, result: result.map_err(|error| (error, before)) }
    });
}
