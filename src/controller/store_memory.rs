//! Stores what is remembered of a Bundle before it is published.
//!
//! The asynchronous half of [`mod@super::reconcile`] for Bundles with a ledger. At most one request of a Bundle is in
//! flight; meanwhile the Bundle is not reconciled.

use jiff::Timestamp;
use tracing::info;

use crate::bundle::{
    BundleId, Clock, DeletionPolicy, Desired, Evidence, Facts, Inputs, Intent, Ledger, Memory, RecordedRetention,
    Refusal, RetainedDecision, ledger_name,
};
use crate::client::{LedgerOwner, delete_ledger, read_ledger, write_ledger};
use crate::fanout::EngineEvent;

use super::reconcile_state::StatusUpdate;
use super::report::{emit, report};
use super::retention_state::{PendingDecision, RetentionState, StoreResult, ledger_ref};
use super::roll_out::{roll_out, roll_out_decision};
use super::{Controller, TaskOutput, distrusts};

/// Returns whether certificates of a Bundle are retained, or still are.
pub(super) fn is_retained(controller: &Controller, id: &BundleId, intent: &Intent) -> bool {
    let state = controller.states.get(id).map(|state| &state.retention);
    let policy = intent.policy.retention(&controller.cache.inputs().settings.retention);
    policy.retain.is_some()
        || state.and_then(|state| state.memory(&intent.uid)).is_some_and(|memory| *memory != Memory::default())
        || state.is_some_and(RetentionState::has_lost)
        || controller.cache.has_ledger(id)
        || was_retained(controller, id)
}

/// Returns whether the status of a Bundle that this process has not decided yet says that certificates are retained.
fn was_retained(controller: &Controller, id: &BundleId) -> bool {
    let is_new = controller.states.get(id).is_none_or(|state| state.published.is_none());
    let status = controller.cache.bundle(id).map(|known| &known.last_status.status).filter(|_| is_new);
    status.is_some_and(|status| RecordedRetention::read(status).content.is_some())
}

/// Returns what was observed of a Bundle, and what was lost of it, unless its loss is accepted.
pub(super) fn observed(
    controller: &Controller,
    id: &BundleId,
    intent: &Intent,
    local: Timestamp,
) -> (Facts, Option<RecordedRetention>) {
    let state = controller.states.get(id).map(|state| &state.retention);
    let server = controller.connection.server_clock().now().unwrap_or(local);
    let lost = state.and_then(|state| state.lost(intent.policy.ledger_lost.as_deref()));
    let clock = Clock { local, server };
    let memory = state.and_then(|state| state.memory(&intent.uid));
    let evidence = memory.map(|memory| controller.cache.evidence().of(id, memory, local.min(server)));
    let facts = Facts {
        placed: state.and_then(RetentionState::placed).filter(|_| lost.is_none()),
        evidence: evidence.unwrap_or_else(|| Evidence::Complete(Vec::new())),
        clock,
    };
    (facts, lost.cloned())
}

/// Carries out a decision once its memory is stored.
pub(super) fn store(controller: &mut Controller, id: BundleId, cause: String, pending: Box<PendingDecision>) {
    let observed = controller.cache.ledger_version(&id);
    let Some(state) = controller.states.get_mut(&id) else { return };
    // Its sources were read, whatever becomes of the ledger.
    state.fetch_failures = 0;
    state.retention.observe(observed);
    let memory = &pending.retained.memory;
    controller.cache.observe_leaving(&id, memory);
    let collected = pending.retained.decision.desired.deletion == DeletionPolicy::Delete;
    // While something is lost its record must not be replaced.
    if state.retention.is_stored(memory, collected) || pending.retained.lost {
        return carry_out(controller, &id, cause, *pending);
    }
    // What would be held back is not stored yet: one write for each rollout.
    let published = state.published.as_ref();
    let denies = published.is_some_and(|published| is_denied_in(controller.cache.inputs(), &id, published));
    if let Some(at) = controller.engine.held_until(&id).filter(|_| !denies) {
        return state.requeue(controller.started + at);
    }
    state.retention.set_busy(true);
    let version = state.retention.version();
    let intent = &controller.cache.inputs().intents[&id];
    let ledger = Ledger { uid: intent.uid.clone(), memory: memory.clone() };
    let data = (*memory != Memory::default()).then(|| ledger.encode());
    let owner = LedgerOwner { name: id.name().to_string(), uid: intent.uid.clone(), collected };
    let (connection, ledger) = (controller.connection.clone(), ledger_ref(controller.trust_namespaces.main(), &id));
    controller.tasks.spawn(async move {
        let result = match (&data, version) {
            (Some(data), version) => write_ledger(&connection, &ledger, &owner, version, data).await.map(Some),
            (None, Some(version)) => delete_ledger(&connection, &ledger, version).await.map(|()| None),
            (None, None) => Ok(None),
        };
        let result = match result {
            Ok(version) => StoreResult::Stored(version),
            Err(error) if error.is_conflict() => match read_ledger(&connection, &ledger).await {
                Ok(object) => StoreResult::Conflict(object.map(|object| object.version)),
                Err(error) => StoreResult::Failed(error),
            },
            Err(error) => StoreResult::Failed(error),
        };
        TaskOutput::Stored { id, cause, pending, result }
    });
}

/// Carries out a decision whose memory was stored; after a failure the one before stays in force.
pub(super) fn on_stored(
    controller: &mut Controller,
    id: &BundleId,
    cause: String,
    pending: Box<PendingDecision>,
    result: StoreResult,
) {
    let Some(state) = controller.states.get_mut(id) else { return };
    state.retention.set_busy(false);
    match result {
        StoreResult::Stored(version) => {
            let RetainedDecision { decision, memory, .. } = &pending.retained;
            let content = Some((memory.clone(), decision.desired.deletion == DeletionPolicy::Delete));
            state.retention.set_stored(version, content);
            // Meanwhile the Bundle may have been replaced, or its spec have become invalid.
            let (inputs, desired) = (controller.cache.inputs(), &pending.retained.decision.desired);
            if inputs.intents.get(id).is_none_or(|intent| intent.uid != desired.uid) {
                return;
            }
            // Or more be denied, so that it is decided anew.
            if is_denied_in(inputs, id, desired) {
                controller.queue.entry(id.clone()).or_insert(cause);
                return;
            }
            carry_out(controller, id, cause, *pending);
        }
        StoreResult::Conflict(version) => {
            info!(bundle = &**id.name(), "others have written its ledger, which is written again");
            if state.retention.version().is_none() {
                // A ledger that no watch has shown may remember more.
                state.retention.forget_memory();
            }
            state.retention.set_stored(version, None);
            state.retry_ledger();
        }
        StoreResult::Failed(error) => {
            state.retry_ledger();
            let (namespace, name) = (controller.trust_namespaces.main(), ledger_name(id));
            let mut refusal = Refusal::ledger_not_written(namespace, &name, &error.to_string());
            controller.note_server_health(&error);
            // The content before stays in force, but for what is denied.
            let event = distrusts::desired_event(controller, id, None, Some(&mut refusal), cause.clone());
            if let EngineEvent::Desired { desired: Some(_), .. } = &event {
                roll_out(controller, event);
            }
            if let Some(state) = controller.states.get_mut(id) {
                state.impede(&refusal);
            }
            report(controller, id, StatusUpdate::Refused(Box::new(refusal)), cause);
        }
    }
}

/// Returns whether a content holds what is denied by now.
fn is_denied_in(inputs: &Inputs, id: &BundleId, desired: &Desired) -> bool {
    let denies = |intent: &Intent| desired.certificates().iter().any(|anchor| inputs.denier(intent, anchor).is_some());
    (!inputs.denials.is_empty() || inputs.intents.get(id).is_some_and(|intent| !intent.policy.exclude.is_empty()))
        && inputs.intents.get(id).is_some_and(denies)
}

fn carry_out(controller: &mut Controller, id: &BundleId, cause: String, pending: PendingDecision) {
    let PendingDecision { retained: RetainedDecision { decision, memory, lost }, generation } = pending;
    let Some(state) = controller.states.get_mut(id) else { return };
    if !lost {
        state.retention.forget_loss();
    }
    let before = state.retention.replace_memory(decision.desired.uid.clone(), memory);
    let events = decision.rotation.as_ref().map(|rotation| rotation.events(&before)).unwrap_or_default();
    for event in events {
        info!(bundle = &**id.name(), reason = %event.reason, cause, "{}", event.note);
        emit(controller, id.clone(), event);
    }
    roll_out_decision(controller, id, cause, decision, generation);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{anchor, denying, intent, now, pem};
    use crate::bundle::{DefaultCas, Denials, decide};

    #[test]
    fn a_content_holds_what_is_denied_whether_that_is_its_own_or_a_default_ca() {
        let spec = json!({
            "sources": [{ "useDefaultCAs": true }, { "inLine": pem("rsa") }],
            "target": { "configMap": { "key": "ca.pem" } },
        });
        let mut intent = intent("b", &spec);
        let default_cas = DefaultCas { version: "1".to_owned(), anchors: vec![anchor("ec")] };
        let mut inputs = Inputs { default_cas: Some(default_cas), ..Inputs::default() }.with_intent(&intent);
        let published = decide(&intent, &inputs, now()).expect("a decision").desired;
        for (denials, exclude, expected) in [
            (Denials::default(), BTreeSet::new(), false),
            (denying("d", &["expired"]), BTreeSet::new(), false),
            (denying("d", &["rsa"]), BTreeSet::new(), true),
            (denying("d", &["ec"]), BTreeSet::new(), true),
            (Denials::default(), [anchor("ec").fingerprint()].into(), true),
        ] {
            intent.policy.exclude = exclude;
            inputs = Inputs { denials, ..inputs }.with_intent(&intent);
            let case = format!("{:?}, {:?}", inputs.denials, intent.policy.exclude);
            assert_eq!(is_denied_in(&inputs, &intent.id, &published), expected, "{case}");
        }
        assert!(!is_denied_in(&inputs, &"another".into(), &published), "there is no such Bundle");
    }
}
