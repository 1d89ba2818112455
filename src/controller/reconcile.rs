//! Reconciles one Bundle: fetch its sources, decide, set the desired state.
//!
//! The step is level-triggered: it depends on the cache alone, whatever the cause. It never waits: sources that have to be
//! fetched first are requested, and the Bundle is reconciled again when they are there. What follows from the desired
//! state, one write for each target, is [`mod@super::roll_out`]; status and events are [`mod@super::report`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{debug_span, info};

use crate::bundle::{
    BundleId, Decision, Refusal, ResolvedSources, SourceId, decide, decide_retained, resolve, resolve_default_cas,
};
use crate::client::KeyFilter;
use crate::metrics::{ReconcileFailure, ReconcileMetrics, ReconcileResult};

use super::reconcile_state::{ReconcileState, StatusUpdate};
use super::report::report;
use super::retention_state::PendingDecision;
use super::roll_out::roll_out;
use super::{Controller, distrusts, fetch_sources, recover_memory, store_memory};

/// The next step of a reconcile, as the cache determines it.
enum Step {
    /// The Bundle is gone.
    Deleted,
    /// The sources of the Bundle are not listed yet: it is reconciled again when they are.
    AwaitList,
    /// These sources are not cached in their present version.
    Fetch(Vec<(SourceId, KeyFilter)>),
    /// The spec is invalid: the Bundle's targets stay as they are.
    Invalid(Refusal),
    /// The Bundle cannot be carried out: its targets stay as they are.
    Refuse(Refusal, ReconcileFailure),
    /// The Bundle of this generation has a desired state.
    Apply(Box<Decision>, Option<i64>),
    /// What is remembered of the Bundle has to be recovered first.
    Recover(Box<ResolvedSources>),
    /// The Bundle has a desired state once a memory is stored.
    Store(Box<PendingDecision>),
}

/// Reconciles a Bundle with the cache.
pub(super) fn reconcile(controller: &mut Controller, id: BundleId, cause: String) {
    let _span = debug_span!("reconcile", bundle = &**id.name()).entered();
    let (started, now) = (Instant::now(), Timestamp::now());
    let uid = controller.cache.bundle(&id).map(|known| known.uid.as_str());
    let state = controller.states.entry(id.clone()).or_default();
    if let Some(uid) = uid
        && state.published.as_ref().is_some_and(|published| published.uid != uid)
    {
        // It was deleted and created anew.
        *state = ReconcileState::default();
    }
    state.begin();

    let step = next_step(controller, &id, now);
    count(&controller.metrics.reconciles, &step, started.elapsed());

    let state = controller.states.entry(id.clone()).or_default();
    let (desired, mut refusal) = match step {
        Step::AwaitList => return,
        Step::Fetch(unread) => return fetch_sources::fetch(controller, id, cause, unread),
        Step::Recover(sources) => return recover_memory::recover_memory(controller, id, cause, *sources),
        Step::Store(pending) => return store_memory::store(controller, id, cause, pending),
        Step::Apply(decision, generation) => (Some(state.decided(*decision, generation, now)), None),
        Step::Invalid(refusal) => {
            state.forget_decision();
            (None, Some(refusal))
        }
        Step::Refuse(refusal, _) => {
            state.refused(&refusal, now);
            (None, Some(refusal))
        }
        Step::Deleted => {
            info!(bundle = &**id.name(), cause, "its targets are left to garbage collection");
            controller.states.remove(&id);
            controller.cache.evidence_mut().forget(&id);
            (None, None)
        }
    };

    let event = distrusts::desired_event(controller, &id, desired, refusal.as_mut(), cause.clone());
    roll_out(controller, event);
    if let Some(refusal) = refusal {
        report(controller, &id, StatusUpdate::Refused(Box::new(refusal)), cause);
    }
}

/// Decides a Bundle if all of its sources are cached. A panic, which would be a bug, is kept to the Bundle that raised it.
fn next_step(controller: &mut Controller, id: &BundleId, now: Timestamp) -> Step {
    let cache = &controller.cache;
    let Some(known) = cache.bundle(id) else { return Step::Deleted };
    if let Some(refusal) = &known.invalid {
        return Step::Invalid(refusal.clone());
    }
    let inputs = cache.inputs();
    let intent = &inputs.intents[id];
    if cache.awaits_sources(intent) {
        return Step::AwaitList;
    }
    let unread = cache.unread(intent);
    if !unread.is_empty() {
        return Step::Fetch(unread);
    }
    let generation = known.last_status.generation;
    let decided = catch_unwind(AssertUnwindSafe(|| {
        if !store_memory::is_retained(controller, id, intent) {
            return decide(intent, inputs, now).map(|decision| Step::Apply(Box::new(decision), generation));
        }
        let Some(memory) = controller.states.get(id).and_then(|state| state.retention.memory(&intent.uid)) else {
            let sources = match resolve(intent, inputs, now) {
                // What is denied has to go whatever the sources hold.
                Err(_) if controller.cache.has_ledger(id) => resolve_default_cas(intent, inputs, now),
                sources => sources?,
            };
            return Ok(Step::Recover(Box::new(sources)));
        };
        let (facts, lost) = store_memory::observed(controller, id, intent, now);
        let retained = decide_retained(intent, inputs, memory, &facts, lost.as_ref(), now)?;
        Ok(Step::Store(Box::new(PendingDecision { retained, generation })))
    }));
    match decided {
        Ok(Ok(step)) => step,
        Ok(Err(refusal)) if refusal.retry => Step::Refuse(refusal, ReconcileFailure::UnreadableSource),
        Ok(Err(refusal)) => Step::Refuse(refusal, ReconcileFailure::Refused),
        Err(_) => Step::Refuse(Refusal::panicked(), ReconcileFailure::Panic),
    }
}

fn count(metrics: &ReconcileMetrics, step: &Step, time: Duration) {
    let (result, failure) = match step {
        Step::AwaitList | Step::Fetch(_) | Step::Recover(_) => (ReconcileResult::Waiting, None),
        Step::Apply(..) | Step::Store(_) | Step::Deleted => (ReconcileResult::Success, None),
        Step::Invalid(_) => (ReconcileResult::Refused, Some(ReconcileFailure::Refused)),
        Step::Refuse(_, failure) => (ReconcileResult::Refused, Some(*failure)),
    };
    metrics.count(result, time);
    if let Some(failure) = failure {
        metrics.count_failure(failure);
    }
}
