//! The decision on a Bundle whose certificates are retained.

use std::sync::Arc;

use jiff::Timestamp;

use crate::trust::{Anchor, Anchors};

use super::decision::{Decision, Desired, ExistingTargets, Published, publish};
use super::inputs::Inputs;
use super::intent::Intent;
use super::reason::Reason;
use super::refusal::Refusal;
use super::retention::{
    Facts, Ledger, Memory, RecordedRetention, Retained, RetentionInput, Rotation, check_ledger_size, retain,
};
use super::sources::{resolve, resolve_default_cas};

/// A decision, and the memory that has to be stored before it is carried out.
#[derive(Clone, Debug)]
pub struct RetainedDecision {
    /// The decision.
    pub decision: Decision,
    /// The memory.
    pub memory: Memory,
    /// Whether something of what was published is missing: then the memory must not be stored.
    pub lost: bool,
}

/// Decides a Bundle whose certificates are retained. `lost` is what recovery has missed.
///
/// What does not fit into the targets or the ledger is left out until others have gone, and that is the decision's
/// impediment.
///
/// # Errors
/// A [`Refusal`] if the Bundle cannot be carried out as it stands; then memory and targets stay as they are.
pub fn decide_retained(
    intent: &Intent,
    inputs: &Inputs,
    memory: &Memory,
    facts: &Facts,
    lost: Option<&RecordedRetention>,
    now: Timestamp,
) -> Result<RetainedDecision, Refusal> {
    let resolved = resolve(intent, inputs, now)?;
    let own = resolved.own();
    let is_denied = |anchor: &Anchor| inputs.denier(intent, anchor).is_some();
    let decide = |admit: bool| {
        let input = RetentionInput {
            policy: intent.policy.retention(&inputs.settings.retention),
            own: Some(&own),
            admit,
            default_cas: &resolved.default_cas,
            denied: &is_denied,
            facts,
        };
        let retained = retain(memory, &input);
        if retained.memory != *memory {
            let ledger = Ledger { uid: intent.uid.clone(), memory: retained.memory.clone() };
            check_ledger_size(&intent.id, &ledger.encode())?;
        }
        let rotation = Rotation::new(&intent.id, &retained, &input, intent.policy.exclude.len(), lost);
        let Retained { memory, anchors, waits: _, held: _, requeue_at } = retained;
        let denied = resolved.all().any(is_denied) || memory.entries.values().any(|entry| is_denied(&entry.anchor));
        let own = memory.published().map(Anchor::fingerprint).collect();
        let mut decision = publish(intent, inputs, resolved.clone(), &Published { anchors, own, denied })?;
        let requeue_at = requeue_at.map(|at| facts.clock.to_local(at));
        decision.requeue_at = decision.requeue_at.into_iter().chain(requeue_at).min();
        decision.rotation = rotation;
        if lost.is_some() {
            Arc::make_mut(&mut decision.desired).existing = ExistingTargets::Keep;
        }
        Ok(RetainedDecision { decision, memory, lost: lost.is_some() })
    };
    decide(true).or_else(|refusal: Refusal| {
        if !matches!(refusal.reason, Reason::TargetTooLarge | Reason::LedgerTooLarge) {
            return Err(refusal);
        }
        let mut retained = decide(false)?;
        retained.decision.impediment = Some(refusal);
        Ok(retained)
    })
}

/// Returns the desired state of a Bundle as it was published last, going by what is remembered; `None` if it cannot be
/// encoded.
#[must_use]
pub fn published_last(intent: &Intent, inputs: &Inputs, memory: &Memory, now: Timestamp) -> Option<Arc<Desired>> {
    let resolved = resolve_default_cas(intent, inputs, now);
    let anchors = Anchors::collect(memory.published().chain(resolved.default_cas.values()).cloned());
    let own = memory.published().map(Anchor::fingerprint).collect();
    let decision = publish(intent, inputs, resolved, &Published { anchors, own, denied: true }).ok()?;
    Some(decision.desired)
}
