//! Retention of one Bundle: stores what is remembered before it is published.
//!
//! The asynchronous part of [`mod@super::reconcile`] for Bundles with a ledger. At most one request of a Bundle is in
//! flight; meanwhile the Bundle is not reconciled.

use jiff::Timestamp;
use tracing::info;

use crate::bundle::{
    BundleId, Clock, ContentDigest, DeletionPolicy, Evidence, Facts, Intent, Ledger, Memory, Phase, RecordedRetention,
    Refusal, RetainedDecision, WithdrawalReason, ledger_name,
};
use crate::client::{ApiError, LedgerOwner, LedgerRef, delete_ledger, read_ledger, write_ledger};
use crate::fanout::{EngineEvent, ResourceVersion};
use crate::trust::Anchor;

use super::cache::LedgerVersion;
use super::reconcile_state::StatusUpdate;
use super::report::{emit, report};
use super::roll_out::roll_out;
use super::{Controller, TaskOutput, distrusts, reconcile};

/// What a process knows of a Bundle with retention.
#[derive(Default)]
pub(super) struct RetentionState {
    /// Uid of the Bundle, and what any of its targets may hold; `None` before it is recovered.
    memory: Option<(String, Memory)>,
    /// The ledger as it was last written or read; `None` if there is none.
    stored: Option<StoredLedger>,
    /// The content that every target holds, and since when.
    placed: Option<(ContentDigest, Timestamp)>,
    /// What was published before the start and is missing in part.
    lost: Option<RecordedRetention>,
    /// Whether a request is in flight.
    busy: bool,
}

/// A ledger as it is stored.
struct StoredLedger {
    version: ResourceVersion,
    /// What it holds, and whether it is deleted with the Bundle; `None` if others have written it.
    content: Option<(Memory, bool)>,
}

/// A decision that is carried out once its memory is stored, and the generation that it is for.
pub(super) struct PendingDecision {
    pub(super) retained: RetainedDecision,
    pub(super) generation: Option<i64>,
}

/// The result of storing a memory.
pub(super) enum StoreResult {
    /// The ledger has this version; none if it was deleted.
    Stored(Option<ResourceVersion>),
    /// Others have written the ledger, which now has this version; none if they have deleted it.
    Conflict(Option<ResourceVersion>),
    /// The ledger was not written.
    Failed(ApiError),
}

impl RetentionState {
    /// Returns what is remembered of the Bundle with this uid; `None` before it is recovered.
    pub(super) fn memory(&self, uid: &str) -> Option<&Memory> {
        self.memory.as_ref().filter(|(of, _)| of == uid).map(|(_, memory)| memory)
    }

    /// Returns whether a request is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Takes in what was recovered of the Bundle with this uid, and the ledger as it was read.
    pub(super) fn set_recovered(
        &mut self,
        uid: String,
        memory: Memory,
        lost: Option<RecordedRetention>,
        ledger: Option<(ResourceVersion, Option<(Memory, bool)>)>,
    ) {
        self.memory = Some((uid, memory));
        self.lost = lost;
        self.stored = ledger.map(|(version, content)| StoredLedger { version, content });
    }

    /// Sets whether a request is in flight.
    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Takes in the version of the ledger that a watch has shown last; returns whether others have written it.
    fn observe(&mut self, observed: Option<LedgerVersion>) -> bool {
        let known = self.stored.as_ref().map(|stored| stored.version);
        match (known, observed) {
            (known, Some(LedgerVersion::At(version))) if known < Some(version) => {
                self.stored = Some(StoredLedger { version, content: None });
                true
            }
            (Some(known), Some(LedgerVersion::Gone(version))) if known < version => {
                self.stored = None;
                true
            }
            _ => false,
        }
    }

    /// Returns whether a memory withdraws what is published now because it is denied.
    fn denies_more(&self, next: &Memory) -> bool {
        let published = self.memory.iter().flat_map(|(_, memory)| memory.published());
        let is_denied = |anchor: &Anchor| {
            let phase = next.entries.get(&anchor.fingerprint()).map(|entry| entry.phase);
            matches!(phase, Some(Phase::Withdrawing { reason: WithdrawalReason::Denied, .. }))
        };
        published.into_iter().any(is_denied)
    }

    fn is_stored(&self, memory: &Memory, collected: bool) -> bool {
        let stored = self.stored.as_ref().map(|stored| stored.content.as_ref());
        match stored {
            Some(content) => {
                *memory != Memory::default()
                    && content.is_some_and(|(known, owned)| (known, *owned) == (memory, collected))
            }
            None => *memory == Memory::default(),
        }
    }
}

/// Returns whether certificates of a Bundle are retained, or still are.
pub(super) fn is_retained(controller: &Controller, id: &BundleId, intent: &Intent) -> bool {
    let state = controller.states.get(id).map(|state| &state.retention);
    is_on(controller, intent)
        || state.and_then(|state| state.memory(&intent.uid)).is_some_and(|memory| *memory != Memory::default())
        || has_ledger(controller, id)
}

/// Returns whether a Bundle has a ledger.
pub(super) fn has_ledger(controller: &Controller, id: &BundleId) -> bool {
    matches!(controller.cache.ledger_version(id), Some(LedgerVersion::At(_)))
}

/// Returns whether retention is on for a Bundle.
pub(super) fn is_on(controller: &Controller, intent: &Intent) -> bool {
    intent.policy.retention(&controller.cache.inputs().settings.retention).retain.is_some()
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
    let accepted = |lost: &&RecordedRetention| intent.policy.ledger_lost == lost.content.map(|content| content.short());
    let lost = state.and_then(|state| state.lost.as_ref());
    let lost = lost.filter(|lost| is_on(controller, intent) && !accepted(lost));
    let clock = Clock { local, server };
    let memory = state.and_then(|state| state.memory(&intent.uid));
    let evidence = memory.map(|memory| controller.cache.evidence().of(id, memory, local.min(server)));
    let facts = Facts {
        placed: state.and_then(|state| state.placed).filter(|_| lost.is_none()),
        evidence: evidence.unwrap_or_else(|| Evidence::Complete(Vec::new())),
        clock,
    };
    (facts, lost.cloned())
}

/// Takes in whether every target of a Bundle holds what was decided last.
pub(super) fn on_outcome(controller: &mut Controller, id: &BundleId, placed: bool) {
    let Some(state) = controller.states.get_mut(id) else { return };
    let RetentionState { memory: Some((_, memory)), placed: before, .. } = &mut state.retention else { return };
    let Some(content) = memory.content else { return };
    if !placed {
        *before = None;
    } else if before.is_none_or(|(digest, _)| digest != content) {
        let local = Timestamp::now();
        let later = controller.connection.server_clock().now().map_or(local, |server| server.max(local));
        *before = Some((content, later));
        controller.queue.entry(id.clone()).or_insert_with(|| "every target holds the content".to_owned());
    }
}

/// Handles that a watch has shown another version of a ledger.
pub(super) fn on_ledger_changed(controller: &mut Controller, id: BundleId) {
    let observed = controller.cache.ledger_version(&id);
    let Some(state) = controller.states.get_mut(&id) else { return };
    if state.retention.memory.is_some() && !state.retention.busy && state.retention.observe(observed) {
        controller.queue.entry(id).or_insert_with(|| "others have changed its ledger".to_owned());
    }
}

/// Carries out a decision once its memory is stored.
pub(super) fn store(controller: &mut Controller, id: BundleId, cause: String, pending: Box<PendingDecision>) {
    let observed = controller.cache.ledger_version(&id);
    let Some(state) = controller.states.get_mut(&id) else { return };
    state.retention.observe(observed);
    let memory = &pending.retained.memory;
    controller.cache.observe_leaving(&id, memory);
    let collected = pending.retained.decision.desired.deletion == DeletionPolicy::Delete;
    // While something is lost its record must not be replaced.
    if state.retention.is_stored(memory, collected) || pending.retained.lost {
        return carry_out(controller, &id, cause, *pending);
    }
    // What would be held back is not stored yet: one write for each rollout.
    if let Some(at) = controller.engine.held_until(&id).filter(|_| !state.retention.denies_more(memory)) {
        return state.requeue(controller.started + at);
    }
    state.retention.busy = true;
    let version = state.retention.stored.as_ref().map(|stored| stored.version);
    let intent = &controller.cache.inputs().intents[&id];
    let ledger = Ledger { uid: intent.uid.clone(), memory: memory.clone() };
    let data = (*memory != Memory::default()).then(|| ledger.encode());
    let owner = LedgerOwner { name: id.name().to_string(), uid: intent.uid.clone(), collected };
    let (connection, ledger) = (controller.connection.clone(), ledger_ref(controller, &id));
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
    state.retention.busy = false;
    match result {
        StoreResult::Stored(version) => {
            let RetainedDecision { decision, memory, .. } = &pending.retained;
            let content = Some((memory.clone(), decision.desired.deletion == DeletionPolicy::Delete));
            state.retention.stored = version.map(|version| StoredLedger { version, content });
            // Meanwhile the Bundle may have been replaced, or its spec have become invalid.
            let intent = controller.cache.inputs().intents.get(id);
            if intent.is_some_and(|intent| intent.uid == pending.retained.decision.desired.uid) {
                carry_out(controller, id, cause, *pending);
            }
        }
        StoreResult::Conflict(version) => {
            info!(bundle = &**id.name(), "others have written its ledger, which is written again");
            state.retention.stored = version.map(|version| StoredLedger { version, content: None });
            state.retry();
        }
        StoreResult::Failed(error) => {
            state.retry();
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

fn carry_out(controller: &mut Controller, id: &BundleId, cause: String, pending: PendingDecision) {
    let PendingDecision { retained: RetainedDecision { decision, memory, lost }, generation } = pending;
    let Some(state) = controller.states.get_mut(id) else { return };
    if !lost {
        state.retention.lost = None;
    }
    let before = state.retention.memory.take().map(|(_, memory)| memory).unwrap_or_default();
    let events = decision.rotation.as_ref().map(|rotation| rotation.events(&before)).unwrap_or_default();
    state.retention.placed = state.retention.placed.filter(|(digest, _)| Some(*digest) == memory.content);
    state.retention.memory = Some((decision.desired.uid.clone(), memory));
    for event in events {
        info!(bundle = &**id.name(), reason = %event.reason, cause, "{}", event.note);
        emit(controller, id.clone(), event);
    }
    reconcile::apply(controller, id, cause, decision, generation);
}

/// Where the ledger of a Bundle is.
pub(super) fn ledger_ref(controller: &Controller, id: &BundleId) -> LedgerRef {
    LedgerRef { namespace: controller.trust_namespaces.main().to_string(), name: ledger_name(id) }
}
