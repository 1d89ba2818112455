//! The desired targets of a Bundle.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api;
use crate::bundle::{
    AdoptionVerdict, AnchorOrigin, BundleId, Clock, Decision, DecisionSettings, Desired, Diff, Evidence,
    ExistingTargets, Facts, Intent, Memory, ObjectKind, Obstacle, Output, Payload, PayloadValue, ProtectedName,
    Refusal, ResolvedSources, TargetRef, decide, decide_retained, resolve,
};

use super::snapshot::{Snapshot, SnapshotTarget};

/// The desired targets of a Bundle, as far as they are known.
#[derive(Debug)]
pub(super) struct DesiredTargets {
    bundle: BundleId,
    pub(super) desired: Arc<Desired>,
    /// What would be remembered of the Bundle's certificates, if they are retained.
    pub(super) memory: Option<Memory>,
    /// Certificates of the sources, or why they are not known.
    pub(super) origins: Result<Vec<AnchorOrigin>, UnknownSourcesError>,
    /// Findings in the sources, in words.
    pub(super) findings: Vec<String>,
    /// Why the content could not be decided; it is then taken from the target that was written last.
    pub(super) unverified_reason: Option<String>,
}

/// Why the certificates of a Bundle's sources are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownSourcesError {
    /// The Bundle is invalid.
    #[error("the Bundle is invalid")]
    InvalidBundle,
    /// A source could not be read, for this cause.
    #[error("{0}")]
    Unread(String),
    /// The Bundle is refused with this message.
    #[error("{0}")]
    Refused(String),
}

/// The difference between a target and its desired state, or why it stays.
#[derive(Debug)]
pub(super) enum TargetDiff {
    /// The object is written or released, unless another controller owns it.
    Act(Diff),
    /// The object is foreign and stays as it is.
    Leave(Obstacle),
    /// The name of the object is protected.
    Refuse(ProtectedName),
}

impl DesiredTargets {
    pub(super) fn of(intent: &Intent, snapshot: &Snapshot, now: Timestamp) -> Self {
        let unread = snapshot.unread_source(intent);
        let (origins, findings) = match (&unread, resolve(intent, &snapshot.inputs, now)) {
            (Some(cause), _) => (Err(UnknownSourcesError::Unread(cause.clone())), Vec::new()),
            (None, Ok(ResolvedSources { mut origins, findings, .. })) => {
                origins.retain(|origin| snapshot.inputs.denier(intent, &origin.anchor).is_none());
                (Ok(origins), findings)
            }
            (None, Err(refusal)) => {
                (Err(UnknownSourcesError::Refused(refusal.message)), refusal.findings.unwrap_or_default())
            }
        };
        let findings = findings.iter().map(ToString::to_string).collect();
        let unknown = unread.or_else(|| snapshot.unknown_default_cas(intent));
        let decided = match unknown {
            Some(cause) => Err(cause),
            None => decide_with_memory(intent, snapshot, now).map_err(|refusal| refusal.message),
        };
        let bundle = intent.id.clone();
        match decided {
            Ok((Decision { desired, .. }, memory)) => {
                Self { bundle, desired, memory, origins, findings, unverified_reason: None }
            }
            Err(cause) => {
                let none = BTreeMap::new();
                let targets = snapshot.targets.get(&intent.id).unwrap_or(&none);
                let desired = Arc::new(as_last_written(intent, targets, &snapshot.inputs.settings));
                Self { bundle, desired, memory: None, origins, findings, unverified_reason: Some(cause) }
            }
        }
    }

    /// Returns each target that exists or is desired, sorted by namespace, with its difference, as far as known, and
    /// whether it is desired.
    pub(super) fn diff<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (TargetRef, bool, Option<&'a SnapshotTarget>, Option<TargetDiff>)> + 'a {
        let targets = snapshot.targets.get(&self.bundle);
        let secrets_unread = snapshot.unread.secret_targets.is_some();
        let kinds = ObjectKind::ALL.into_iter().filter(move |kind| !(secrets_unread && *kind == ObjectKind::Secret));
        // What is in a namespace on its way out is left to Kubernetes.
        let living = snapshot.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
        living.flat_map(move |(namespace_name, namespace)| {
            let is_selected = self.desired.reaches(&snapshot.inputs.settings, namespace_name, namespace);
            kinds.clone().filter_map(move |kind| {
                let place = TargetRef { kind, namespace: namespace_name.clone(), name: self.bundle.name().clone() };
                let found = targets.and_then(|targets| targets.get(&place));
                let desired = is_selected && self.desired.payloads.contains_key(&kind);
                let diff = self.diff_target(kind, is_selected, desired, found, &snapshot.inputs.settings);
                (desired || diff.is_some()).then_some((place, desired, found, diff))
            })
        })
    }

    /// Decides as the controller does: by the object's metadata, and by its content where that has to be looked at.
    fn diff_target(
        &self,
        kind: ObjectKind,
        is_selected: bool,
        desired: bool,
        found: Option<&SnapshotTarget>,
        settings: &DecisionSettings,
    ) -> Option<TargetDiff> {
        let metadata = found.map(|found| &found.metadata);
        match self.desired.diff(kind, is_selected, metadata) {
            Some(diff) => Some(match self.adoption_verdict(kind, &diff, found, settings) {
                Some(AdoptionVerdict::Refuse(obstacle)) => TargetDiff::Leave(obstacle),
                _ => TargetDiff::Act(diff),
            }),
            None => self.desired.protection_for(metadata).filter(|_| desired).map(TargetDiff::Refuse),
        }
    }

    /// Returns whether an object that is to be updated may be written; `None` if there is no such object.
    fn adoption_verdict(
        &self,
        kind: ObjectKind,
        diff: &Diff,
        found: Option<&SnapshotTarget>,
        settings: &DecisionSettings,
    ) -> Option<AdoptionVerdict> {
        let (Diff::Update(_), Some(found)) = (diff, found) else { return None };
        let payload = self.desired.payloads.get(&kind)?;
        Some(self.desired.may_write(payload, &found.metadata, found.holdings.as_ref(), settings.adopt))
    }

    /// Returns the targets to create.
    pub(super) fn targets_to_create(&self, snapshot: &Snapshot) -> Vec<TargetRef> {
        let created = self.diff(snapshot).filter(|(.., plan)| matches!(plan, Some(TargetDiff::Act(Diff::Create))));
        created.map(|(place, ..)| place).collect()
    }

    /// Returns the targets whose content has to be read.
    pub(super) fn targets_to_read(&self, snapshot: &Snapshot) -> Vec<TargetRef> {
        let unseen = self.diff(snapshot).filter(|(place, _, found, plan)| match plan {
            Some(TargetDiff::Act(need)) => {
                self.adoption_verdict(place.kind, need, *found, &snapshot.inputs.settings)
                    == Some(AdoptionVerdict::NeedsContent)
            }
            _ => false,
        });
        unseen.map(|(place, ..)| place).collect()
    }
}

/// Decides as the controller does, by what its ledger holds, but withdraws nothing for which it may have waited.
fn decide_with_memory(
    intent: &Intent,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<(Decision, Option<Memory>), Refusal> {
    let Some(memory) = snapshot.memories.get(&intent.id) else {
        return Ok((decide(intent, &snapshot.inputs, now)?, None));
    };
    let evidence = Evidence::Incomplete("it was not looked for".to_owned());
    let facts = Facts { placed: None, evidence, clock: Clock { local: now, server: now } };
    let retained = decide_retained(intent, &snapshot.inputs, memory, &facts, None, now)?;
    Ok((retained.decision, Some(retained.memory)))
}

/// Returns the desired state by the spec, with the content of the target that was written last.
fn as_last_written(
    intent: &Intent,
    targets: &BTreeMap<TargetRef, SnapshotTarget>,
    settings: &DecisionSettings,
) -> Desired {
    let Output { objects, jks, pkcs12 } = &intent.output;
    let enabled = |kind| kind != ObjectKind::Secret || settings.secret_targets;
    let formats = jks.iter().map(|jks| &jks.key).chain(pkcs12.iter().map(|pkcs12| &pkcs12.key));
    let formats = formats.map(|key| (key.clone(), PayloadValue::Binary(Arc::default())));
    let payloads = objects.iter().filter(|object| enabled(object.kind)).map(|object| {
        let of_kind = targets.iter().filter(|(place, _)| place.kind == object.kind).map(|(_, target)| target);
        let hash = of_kind
            .max_by_key(|target| target.written)
            .and_then(|target| target.metadata.annotations.get(api::HASH_ANNOTATION));
        let values = formats.clone().chain([(object.pem_key.clone(), PayloadValue::Text("".into()))]);
        let payload = Payload {
            kind: object.kind,
            values: values.collect(),
            labels: object.labels.clone(),
            annotations: object.annotations.clone(),
            hash: hash.cloned().unwrap_or_default(),
            partial: false,
        };
        (object.kind, payload)
    });
    Desired {
        name: intent.id.name().to_string(),
        uid: intent.uid.clone(),
        namespaces: intent.namespaces.clone(),
        output: intent.output.clone(),
        payloads: payloads.collect(),
        all_denied: false,
        secrets_off: objects.iter().any(|object| !enabled(object.kind)),
        protected: settings.protection(intent.id.name()),
        deletion: intent.policy.deletion,
        existing: ExistingTargets::Update,
        deleted: false,
    }
}
