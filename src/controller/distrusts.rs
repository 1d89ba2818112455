//! Enforcement of Distrusts: what targets get of a Bundle when something is denied, and the status of each Distrust.
//!
//! The status is evaluated when all that has happened is decided, so that a Distrust that concerns no target is said to
//! be enforced at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::api;
use crate::bundle::{BundleEvent, BundleId, Desired, DistrustedBundle, LastStatus, Refusal, report_distrust};
use crate::client::{ApiError, ListWatchError};
use crate::fanout::{EngineEvent, ExponentialBackoff, ResourceVersion};

use super::cache::LiftedDistrust;
use super::{Controller, TaskOutput};

/// Pauses after failures to publish a status.
const RETRY: ExponentialBackoff = ExponentialBackoff { first: Duration::from_millis(500), max: Duration::from_mins(1) };

/// What is to be published of Distrusts.
#[derive(Default)]
pub(super) struct DistrustReports {
    /// Whether anything has happened that their status depends on.
    changed: bool,
    /// Distrusts whose status is being published.
    publishing: BTreeSet<String>,
    /// Failures in a row to publish a status, and when it is tried again.
    failures: BTreeMap<String, (u32, Instant)>,
}

impl DistrustReports {
    /// Records that something has happened that the status of Distrusts depends on.
    pub(super) fn set_changed(&mut self) {
        self.changed = true;
    }

    /// The earliest time from now on at which publishing is tried again.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        let now = Instant::now();
        self.failures.values().map(|(_, at)| *at).filter(|at| *at > now).min()
    }
}

/// Returns the engine's event for what was decided of a Bundle; for a refused one its targets stay as they are, but for
/// what is denied: then the refusal says so.
pub(super) fn desired_event(
    controller: &mut Controller,
    id: &BundleId,
    desired: Option<Arc<Desired>>,
    refusal: Option<&mut Refusal>,
    cause: String,
) -> EngineEvent {
    controller.distrusts.set_changed();
    let inputs = controller.cache.inputs();
    let exclude = inputs.intents.get(id).map(|intent| &intent.policy.exclude);
    let (desired, urgent) = match (controller.states.get_mut(id), desired, refusal) {
        (Some(state), Some(desired), _) => {
            state.published = Some(desired.clone());
            let none = BTreeSet::new();
            let urgent = state.enforcement.decided(&inputs.denials, exclude.unwrap_or(&none), &desired);
            (Some(desired), urgent)
        }
        (Some(state), None, Some(refusal)) => {
            let published = state.published.as_ref();
            let (rest, urgent) = state.enforcement.refused(&inputs.denials, exclude, published, refusal);
            if rest.is_some() {
                *refusal = refusal.clone().with_denials_enforced();
            }
            (rest, urgent)
        }
        (_, desired, _) => (desired, false),
    };
    EngineEvent::Desired { bundle: id.clone(), desired, cause, urgent }
}

/// Handles that Distrusts cannot be watched. Where the API server does not have them, or does not show them, nothing
/// waits for them.
pub(super) fn on_unavailable(controller: &mut Controller, error: &ListWatchError) {
    if controller.cache.set_distrusts_unavailable() {
        info!("no Distrust can be read, so those known stay in force; it is asked again once a minute: {error}");
    }
}

/// Sends an event about a Distrust that was lifted.
pub(super) fn on_lifted(controller: &mut Controller, LiftedDistrust { name, uid, lifted }: LiftedDistrust) {
    let event = BundleEvent::lifted(&lifted);
    warn!(distrust = name, reason = %event.reason, "{}", event.note);
    if controller.leading {
        let publisher = controller.publisher.clone();
        controller.tasks.spawn(async move {
            publisher.emit_about_distrust(&name, &uid, &event).await;
            TaskOutput::Emitted
        });
    }
}

/// Publishes the status of every Distrust that differs from what was published, unless a Bundle is about to be decided
/// for the first time.
pub(super) fn report(controller: &mut Controller) {
    let now = Instant::now();
    let due = controller.distrusts.failures.values().any(|(_, at)| *at <= now);
    if !(controller.distrusts.changed || due) || !controller.leading || !controller.liveness.is_ready() {
        return;
    }
    if controller.cache.distrusts().next().is_some() && controller.cache.bundles().any(|(id, _)| is_new(controller, id))
    {
        return;
    }
    controller.distrusts.changed = false;
    let names: Vec<_> = controller.cache.distrusts().map(|(name, _)| name.clone()).collect();
    for name in names {
        publish(controller, name, now);
    }
    let Controller { distrusts, cache, .. } = controller;
    let exists = |name: &String| cache.distrusts().any(|(known, _)| known == name);
    distrusts.failures.retain(|name, _| exists(name));
}

/// Returns whether a Bundle is about to be decided for the first time.
fn is_new(controller: &Controller, id: &BundleId) -> bool {
    let state = controller.states.get(id);
    let is_known = state.is_some_and(|state| state.enforcement.is_known());
    let is_busy = state.is_some_and(|state| state.fetching || state.retention.is_busy());
    !is_known && (is_busy || controller.queue.contains_key(id))
}

fn publish(controller: &mut Controller, name: String, now: Instant) {
    let is_waiting = controller.distrusts.failures.get(&name).is_some_and(|(_, at)| *at > now);
    if is_waiting || controller.distrusts.publishing.contains(&name) {
        return;
    }
    let Some((_, known)) = controller.cache.distrusts().find(|(known, _)| **known == name) else { return };
    let denied = controller.cache.inputs().denials.get(&name).cloned().unwrap_or_default();
    let bundles: Vec<_> = controller
        .cache
        .bundles()
        .map(|(id, _)| {
            let state = controller.states.get(id);
            let has_targets = || controller.engine.may_have_targets(id);
            let progress = state.map(|state| state.enforcement.progress(&name, &denied, has_targets));
            let decided = state.and_then(|state| state.decided.as_ref());
            let related = decided.and_then(|(decision, _)| decision.related.get(&*name));
            DistrustedBundle { id, progress: progress.unwrap_or_default(), related }
        })
        .collect();
    let condition = report_distrust(&bundles, &known.faults, &known.last_status, Timestamp::now());
    if known.last_status.status.conditions.as_deref() == Some(std::slice::from_ref(&condition)) {
        controller.distrusts.failures.remove(&name);
        return;
    }
    info!(distrust = name, reason = condition.reason, "{}", condition.message);
    let (uid, before) = (known.uid.clone(), known.last_status.clone());
    let status = api::BundleStatus { conditions: Some(vec![condition.clone()]), default_ca_version: None };
    let last_status = LastStatus { generation: before.generation, status };
    controller.cache.set_distrust_status(&name, last_status, None);
    controller.distrusts.publishing.insert(name.clone());
    let publisher = controller.publisher.clone();
    controller.tasks.spawn(async move {
        let result = publisher.publish_distrust(&name, &uid, condition).await;
        TaskOutput::DistrustPublished { name, result: result.map_err(|error| (error, before)) }
    });
}

/// Handles the result of publishing a status.
pub(super) fn on_published(
    controller: &mut Controller,
    name: &str,
    result: Result<Option<ResourceVersion>, (ApiError, LastStatus)>,
) {
    controller.distrusts.publishing.remove(name);
    controller.distrusts.set_changed();
    match result {
        Ok(version) => {
            controller.distrusts.failures.remove(name);
            let known = controller.cache.distrusts().find(|(known, _)| *known == name);
            if let Some(last_status) = known.map(|(_, known)| known.last_status.clone()) {
                controller.cache.set_distrust_status(name, last_status, version);
            }
        }
        Err((error, before)) => {
            error!(distrust = name, "status not published: {error}");
            let failures = controller.distrusts.failures.get(name).map_or(0, |(failures, _)| *failures);
            let at = Instant::now() + RETRY.pause(failures);
            controller.distrusts.failures.insert(name.to_owned(), (failures.saturating_add(1), at));
            controller.cache.set_distrust_status(name, before, None);
            controller.note_server_health(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_tried_again_already_wakes_nobody() {
        let started = Instant::now();
        let at = |seconds| started + Duration::from_secs(seconds);
        tokio::time::advance(Duration::from_secs(10)).await;
        let reports = |failures: &[(&str, u64)]| DistrustReports {
            failures: failures.iter().map(|(name, seconds)| ((*name).to_owned(), (1, at(*seconds)))).collect(),
            ..DistrustReports::default()
        };
        assert_eq!(reports(&[]).next_wakeup(), None);
        assert_eq!(reports(&[("tried", 5)]).next_wakeup(), None);
        assert_eq!(reports(&[("tried", 5), ("soon", 20), ("later", 30)]).next_wakeup(), Some(at(20)));
    }
}
