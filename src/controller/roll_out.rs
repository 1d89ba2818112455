//! Rolls out desired states: passes events to the engine and executes the actions that it returns.
//!
//! Entered by every change of a namespace or target, every result of a write or list, time and leadership, and by
//! [`mod@super::reconcile`] with a new desired state. What the engine reports goes to [`mod@super::report`].

use jiff::Timestamp;
use tracing::{Instrument as _, debug_span, info, warn};

use crate::bundle::{BundleEvent, BundleId, Decision, RolloutOutcome};
use crate::fanout::{Action, EngineEvent};

use super::reconcile_state::StatusUpdate;
use super::report::{emit, report};
use super::{Controller, TaskOutput, distrusts, list_targets};

/// Passes an event to the engine and executes the actions that it returns. Leadership is checked first, since any time
/// may have passed: the engine of a process that no longer leads returns no write.
pub(super) fn roll_out(controller: &mut Controller, event: EngineEvent) {
    refresh_leadership(controller);
    step(controller, event);
}

/// Passes a change of leadership, if there was one, to the engine.
pub(super) fn refresh_leadership(controller: &mut Controller) {
    set_leading(controller, controller.leadership.is_leader());
}

/// Sets whether the engine may return writes.
pub(super) fn set_leading(controller: &mut Controller, leading: bool) {
    if controller.leading != leading {
        controller.leading = leading;
        step(controller, EngineEvent::Leading(leading));
    }
}

/// Rolls out the content of a decision for a generation of a Bundle.
pub(super) fn roll_out_decision(
    controller: &mut Controller,
    id: &BundleId,
    cause: String,
    decision: Decision,
    generation: Option<i64>,
) {
    let state = controller.states.entry(id.clone()).or_default();
    let desired = Some(state.decided(decision, generation, Timestamp::now()));
    let event = distrusts::desired_event(controller, id, desired, None, cause);
    roll_out(controller, event);
}

/// Takes in whether every target of a Bundle holds what was decided last; if that is news it is to be remembered.
fn record_outcome(controller: &mut Controller, id: &BundleId, placed: bool) {
    let local = Timestamp::now();
    let later = controller.connection.server_clock().now().map_or(local, |server| server.max(local));
    if controller.states.get_mut(id).is_some_and(|state| state.record_outcome(placed, later)) {
        controller.queue.entry(id.clone()).or_insert_with(|| "every target holds the content".to_owned());
    }
}

fn step(controller: &mut Controller, event: EngineEvent) {
    for action in controller.engine.step(controller.started.elapsed(), event) {
        execute(controller, action);
    }
}

fn execute(controller: &mut Controller, action: Action) {
    match action {
        Action::Send(order) => {
            let (bundle, target) = (order.bundle.clone(), order.target.clone());
            let span = debug_span!("roll_out", bundle = &**bundle.name());
            let result = span.in_scope(|| controller.writer.send(order));
            let write = async move { TaskOutput::Order(bundle, target, Box::new(result.await)) };
            controller.tasks.spawn(write.instrument(span));
        }
        Action::List { bundle, scope, number } => list_targets::list(controller, bundle, scope, number),
        Action::Report { bundle, outcome, cause } => {
            controller.writer.forget(&bundle);
            observe_duration(controller, &bundle, &outcome);
            if outcome.written > 0 {
                let (namespaces, written, failed) = (outcome.namespaces, outcome.written, outcome.failures.len());
                info!(bundle = &**bundle.name(), namespaces, written, failed, cause, "targets written");
            }
            record_outcome(controller, &bundle, outcome.placed);
            if let Some(state) = controller.states.get_mut(&bundle) {
                state.enforcement.on_outcome(&outcome.failures);
                controller.distrusts.set_changed();
            }
            report(controller, &bundle, StatusUpdate::Outcome(outcome), cause);
        }
        Action::Progress { bundle, progress } => {
            report(controller, &bundle, StatusUpdate::Progress(progress), "a rollout goes on".to_owned());
        }
        Action::Held { bundle, unstable } => {
            let cause = unstable.cause.clone();
            report(controller, &bundle, StatusUpdate::Held(unstable), cause);
        }
        Action::Contested { bundle, target, conflicting_manager } => {
            let manager = conflicting_manager.as_ref().map(|(manager, key)| (manager.as_str(), key.as_str()));
            let event = BundleEvent::contested(&target, manager);
            warn!(bundle = &**bundle.name(), reason = %event.reason, "{}", event.note);
            emit(controller, bundle, event);
        }
        Action::Completed { bundle, target } => {
            let event = BundleEvent::completed(&target);
            info!(bundle = &**bundle.name(), reason = %event.reason, "{}", event.note);
            emit(controller, bundle, event);
        }
        Action::PutForbidden => info!(
            "PUT is not permitted (verb update): targets are patched from now on, which costs the API server more"
        ),
    }
}

/// Records the duration of a rollout that has ended and has written targets.
fn observe_duration(controller: &mut Controller, bundle: &BundleId, outcome: &RolloutOutcome) {
    let state = controller.states.get_mut(bundle).filter(|_| outcome.rolled_out);
    let changed_at = state.and_then(|state| state.changed_at.take());
    if let Some(changed_at) = changed_at.filter(|_| outcome.written > 0) {
        controller.metrics.rollouts.observe(changed_at.elapsed().as_secs_f64());
    }
}
