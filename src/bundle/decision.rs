//! The decision on a Bundle: the same content for every namespace that it reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::trust::{Anchor, Anchors, Fingerprint};

use super::expiry::ExpirySummary;
use super::finding::Finding;
use super::inputs::Inputs;
use super::intent::{Intent, Output};
use super::object_kind::ObjectKind;
use super::payload::{Content, Manifest, Payload, encode};
use super::policy::DeletionPolicy;
use super::protected::ProtectedName;
use super::refusal::Refusal;
use super::related::related_to_denied;
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
    /// Why not everything that the sources hold is in force.
    pub impediment: Option<Refusal>,
    /// Published certificates that are related to denied ones, in words, by the Distrust that names these.
    pub related: BTreeMap<Arc<str>, BTreeSet<String>>,
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
    /// What the Bundle specifies of its targets.
    pub output: Output,
    /// The content of each kind of target.
    pub payloads: BTreeMap<ObjectKind, Payload>,
    /// Whether every certificate is denied, so that the targets hold none.
    pub all_denied: bool,
    /// Whether a Secret target is left out because Secret targets are switched off.
    pub secrets_off: bool,
    /// The protected name that the Bundle has: then only objects that are this Bundle's already are written.
    pub protected: Option<ProtectedName>,
    /// Whether the Bundle owns its targets.
    pub deletion: DeletionPolicy,
    /// What becomes of targets that exist.
    pub existing: ExistingTargets,
    /// Whether the Bundle was deleted: completed objects are handed over, and all others are left to garbage
    /// collection.
    pub deleted: bool,
}

/// What becomes of targets that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingTargets {
    /// They are brought to the desired state.
    Update,
    /// They stay as they are: something of what they hold is not known.
    Keep,
}

/// Decides a Bundle: from sources to anchors, from anchors to content.
///
/// What has to be written follows for each object by itself, from [`Desired::diff`].
///
/// # Errors
/// A [`Refusal`] if the Bundle cannot be carried out as it stands; then its targets stay as they are.
pub fn decide(intent: &Intent, inputs: &Inputs, now: Timestamp) -> Result<Decision, Refusal> {
    let resolved = resolve(intent, inputs, now)?;
    let is_denied = |anchor: &Anchor| inputs.denier(intent, anchor).is_some();
    let own = resolved.origins.iter().map(|origin| origin.anchor.fingerprint()).collect();
    let anchors = resolved.anchors(is_denied);
    let denied = resolved.all().any(is_denied);
    publish(intent, inputs, resolved, &Published { anchors, own, denied })
}

/// What a Bundle is to publish.
pub(super) struct Published {
    /// The certificates; `None` if all are denied.
    pub(super) anchors: Option<Anchors>,
    /// Those that do not, or not only, come from the default CAs.
    pub(super) own: BTreeSet<Fingerprint>,
    /// Whether any is denied.
    pub(super) denied: bool,
}

/// Encodes what a Bundle is to publish.
pub(super) fn publish(
    intent: &Intent,
    inputs: &Inputs,
    resolved: ResolvedSources,
    published: &Published,
) -> Result<Decision, Refusal> {
    let Published { anchors, own, denied } = published;
    let related = related_to_denied(intent, inputs, &resolved, anchors.as_ref());
    let ResolvedSources { default_cas: _, origins: _, findings, default_ca_version, requeue_at } = resolved;
    let content = Content { bundle: intent.id.name(), anchors: anchors.as_ref(), denied: *denied };
    let payloads = encode(&intent.output, content).map_err(|refusal| Refusal {
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
        output: intent.output.clone(),
        payloads: payloads
            .into_iter()
            .filter(|payload| enabled(payload.kind))
            .map(|payload| (payload.kind, payload))
            .collect(),
        all_denied: anchors.is_none(),
        secrets_off,
        protected: inputs.settings.protection(intent.id.name()),
        deletion: intent.policy.deletion,
        existing: ExistingTargets::Update,
        deleted: false,
    };
    let expiry_summary = ExpirySummary::of(anchors.as_ref(), own);
    let restricted = inputs.settings.target_namespaces.is_some();
    Ok(Decision {
        desired: Arc::new(desired),
        restricted,
        expiry_summary,
        findings,
        default_ca_version,
        rotation: None,
        impediment: None,
        related,
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
            output: Output::default(),
            payloads: BTreeMap::new(),
            all_denied: false,
            secrets_off: false,
            protected: None,
            deletion: DeletionPolicy::Delete,
            existing: ExistingTargets::Update,
            deleted: true,
        }
    }

    /// The uid of the Bundle, if it owns its targets: not offline, where it has none, and not with
    /// [`DeletionPolicy::Orphan`].
    #[must_use]
    pub fn owner_uid(&self) -> Option<&str> {
        (self.deletion == DeletionPolicy::Delete && !self.uid.is_empty()).then_some(&self.uid)
    }

    /// Returns the manifests of one namespace's targets, sorted by kind, complete but for the namespace; none for a
    /// name that is protected.
    pub fn manifests(&self) -> impl Iterator<Item = Manifest<'_>> {
        self.payloads
            .values()
            .filter(|_| self.protected.is_none())
            .map(|payload| payload.manifest(&self.name, self.owner_uid()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::{anchor, denying, intent, now, pem};
    use crate::bundle::{DefaultCas, Reason};
    use crate::trust::{Password, jks, pkcs12};

    fn in_all_formats(sources: &serde_json::Value) -> Intent {
        let formats = json!({ "jks": { "key": "j" }, "pkcs12": { "key": "p", "password": "pw" } });
        intent(
            "b",
            &json!({ "sources": sources, "target": { "configMap": { "key": "k" }, "additionalFormats": formats } }),
        )
    }

    fn value<'a>(decision: &'a Decision, key: &str) -> &'a [u8] {
        decision.desired.payloads[&ObjectKind::ConfigMap].values[key].bytes()
    }

    #[test]
    fn what_is_denied_is_taken_off_every_source_and_the_default_cas() {
        let default_cas = Some(DefaultCas { version: "v".to_owned(), anchors: vec![anchor("rsa"), anchor("ec")] });
        let denials = denying("d", &["rsa"]);
        let inputs = Inputs { default_cas, denials, ..Inputs::default() };
        let own = json!([{ "useDefaultCAs": true }, { "inLine": pem("rsa") + &pem("expired") }]);
        let decision = decide(&in_all_formats(&own), &inputs, now()).expect("a decision");
        let rest = Anchors::collect([anchor("ec"), anchor("expired")]).expect("two");
        assert_eq!(value(&decision, "k"), rest.to_pem().as_bytes());
        let jks = jks::read(value(&decision, "j")).expect("a keystore");
        assert_eq!((jks.entries.len(), decision.expiry_summary.published), (2, 2));
        let names: Vec<_> = decision.expiry_summary.own.iter().map(|expiry| &*expiry.name).collect();
        assert_eq!(names, ["Expired Root A"]);
        assert!(decision.desired.refusal().is_none());
    }

    #[test]
    fn where_everything_is_denied_the_pem_is_a_comment_and_stores_are_empty() {
        let inputs = Inputs { denials: denying("d", &["rsa", "ec"]), ..Inputs::default() };
        let intent = in_all_formats(&json!([{ "inLine": pem("rsa") + &pem("ec") }]));
        let decision = decide(&intent, &inputs, now()).expect("a decision");
        assert_eq!(value(&decision, "k"), b"# no CA: all are distrusted (b)\n");
        assert_eq!(value(&decision, "j"), jks::encode(None, &Password::new("changeit")));
        let p12 = pkcs12::encode(None, &Password::new("pw"), crate::trust::Profile::LegacyRc2);
        assert_eq!(value(&decision, "p"), p12);
        assert_eq!((decision.expiry_summary.published, decision.expiry_summary.earliest), (0, None));
        let refusal = decision.desired.refusal().expect("it is said");
        assert_eq!(refusal.reason, Reason::EverythingDistrusted);
        assert!(refusal.message.ends_with("add a CA that is trusted to its sources"), "{}", refusal.message);
    }

    #[test]
    fn a_denial_makes_keystores_empty_where_java_refuses_the_rest() {
        let intent = in_all_formats(&json!([{ "inLine": pem("rsa") + &pem("nosubject") }]));
        let inputs = Inputs { denials: denying("d", &["rsa"]), ..Inputs::default() };
        let decision = decide(&intent, &inputs, now()).expect("a denial is no reason to leave targets as they are");
        assert_eq!(value(&decision, "k"), Anchors::collect([anchor("nosubject")]).expect("one").to_pem().as_bytes());
        assert!(jks::read(value(&decision, "j")).expect("a keystore").entries.is_empty());
    }

    #[test]
    fn a_denial_of_what_no_source_has_changes_no_byte() {
        let intent = in_all_formats(&json!([{ "inLine": pem("rsa") }]));
        let with = Inputs { denials: denying("d", &["ec"]), ..Inputs::default() };
        let [with, without] = [&with, &Inputs::default()].map(|inputs| decide(&intent, inputs, now()).expect("one"));
        for key in ["k", "j", "p"] {
            assert_eq!(value(&with, key), value(&without, key));
        }
        assert!(with.findings.is_empty() && !with.desired.all_denied);
    }
}
