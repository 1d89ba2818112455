//! The decision on a Bundle: the same content for every namespace that it reaches.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::expiry::ExpirySummary;
use super::finding::Finding;
use super::inputs::Inputs;
use super::intent::Intent;
use super::object_kind::ObjectKind;
use super::payload::{Manifest, Payload, encode};
use super::protected::ProtectedName;
use super::refusal::Refusal;
use super::retention::Rotation;
use super::selector::Selector;
use super::sources::{ResolvedSources, resolve};

/// The decision on one Bundle, with what its report needs.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The desired state.
    pub desired: Arc<Desired>,
    /// Whether only listed namespaces may receive targets.
    pub restricted: bool,
    /// When the published certificates expire.
    pub expiry_summary: ExpirySummary,
    /// Findings in the sources.
    pub findings: Vec<Finding>,
    /// Version of the default CAs, if the Bundle uses them.
    pub default_ca_version: Option<String>,
    /// What one sees of retained certificates; `None` while they are not retained.
    pub rotation: Option<Rotation>,
    /// When the decision changes by time alone.
    pub requeue_at: Option<Timestamp>,
}

/// The desired state of one Bundle in every namespace that it reaches.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Name of the Bundle, and so of its targets.
    pub name: String,
    /// Uid of the Bundle; empty offline.
    pub uid: String,
    /// Selector of the namespaces that the Bundle reaches.
    pub namespaces: Selector,
    /// The content of each kind of target.
    pub payloads: BTreeMap<ObjectKind, Payload>,
    /// Whether a Secret target is left out because Secret targets are switched off.
    pub secrets_off: bool,
    /// The protected name that the Bundle has: then only objects that are this Bundle's already are written.
    pub protected: Option<ProtectedName>,
    /// Whether the Bundle was deleted: completed objects are handed over, and all others are left to garbage
    /// collection.
    pub deleted: bool,
}

/// Decides a Bundle: from sources to anchors, from anchors to content.
///
/// What has to be written follows for each object by itself, from [`Desired::diff`].
///
/// # Errors
/// A [`Refusal`] if the Bundle cannot be carried out as it stands; then its targets stay as they are.
pub fn decide(intent: &Intent, inputs: &Inputs, now: Timestamp) -> Result<Decision, Refusal> {
    let ResolvedSources { anchors, origins: _, expiry_summary, findings, default_ca_version, requeue_at } =
        resolve(intent, inputs, now)?;
    let payloads = encode(&intent.output, &anchors).map_err(|refusal| Refusal {
        findings: Some(findings.clone()),
        requeue_at,
        ..refusal
    })?;
    let enabled = |kind| kind != ObjectKind::Secret || inputs.settings.secret_targets;
    let secrets_off = payloads.iter().any(|payload| !enabled(payload.kind));
    let desired = Desired {
        name: intent.id.name().to_string(),
        uid: intent.uid.clone(),
        namespaces: intent.namespaces.clone(),
        payloads: payloads
            .into_iter()
            .filter(|payload| enabled(payload.kind))
            .map(|payload| (payload.kind, payload))
            .collect(),
        secrets_off,
        protected: inputs.settings.protection(intent.id.name()),
        deleted: false,
    };
    let restricted = inputs.settings.target_namespaces.is_some();
    Ok(Decision {
        desired: Arc::new(desired),
        restricted,
        expiry_summary,
        findings,
        default_ca_version,
        rotation: None,
        requeue_at,
    })
}

impl Desired {
    /// Returns the desired state of a Bundle that was deleted.
    #[must_use]
    pub fn of_deleted(name: &str, uid: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespaces: Selector::default(),
            payloads: BTreeMap::new(),
            secrets_off: false,
            protected: None,
            deleted: true,
        }
    }

    /// Returns the manifests of one namespace's targets, sorted by kind, complete but for the namespace; none for a
    /// name that is protected.
    pub fn manifests(&self) -> impl Iterator<Item = Manifest<'_>> {
        self.payloads
            .values()
            .filter(|_| self.protected.is_none())
            .map(|payload| payload.manifest(&self.name, &self.uid))
    }
}
