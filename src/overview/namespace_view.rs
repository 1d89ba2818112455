//! The Bundles as one namespace sees them.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bundle::{BundleId, Namespace, ObjectKind, Selector};
use crate::inject::{self, Injectability, InjectableBundles};
use crate::inspect::{Cell, render_columns};
use crate::text::escape;

use super::desired::DesiredTargets;
use super::diagnosis::Diagnosis;
use super::snapshot::Snapshot;
use super::synced::Synced;

const HEADER: [&str; 5] = ["BUNDLE", "SYNCED", "TARGET", "KEYS", "STATE"];

/// The Bundles as one namespace sees them.
#[derive(Debug)]
pub struct NamespaceView<'a> {
    /// Name of the namespace.
    pub namespace: &'a str,
    /// Bundle that the namespace's label names for its pods, and why it cannot be injected, if it cannot.
    pub injected: Option<(String, Option<Diagnosis>)>,
    /// Each Bundle in the namespace.
    pub bundles: Vec<BundleInNamespace<'a>>,
}

/// A Bundle in one namespace.
#[derive(Debug)]
pub struct BundleInNamespace<'a> {
    /// Identifier of the Bundle.
    pub bundle: &'a BundleId,
    /// State by condition `Synced`.
    pub synced: Synced<'a>,
    /// Targets of the Bundle in the namespace, or why there are none.
    pub targets: Result<Vec<NamespaceTarget>, NotOfferedError>,
}

/// Why a namespace is offered nothing by a Bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOfferedError {
    /// The Bundle is invalid.
    #[error("the Bundle is invalid")]
    InvalidBundle,
    /// The namespace is terminating.
    #[error("the namespace is being deleted")]
    Terminating,
    /// The controller may not write into the namespace.
    #[error("the namespace is not among --target-namespaces")]
    NotAllowed,
    /// The Bundle's selector does not match the labels of the namespace.
    #[error("it does not select this namespace: {0}")]
    NotSelected(Selector),
    /// The target is a Secret, and Secrets are not written.
    #[error("its target is a Secret, and Secret targets are off")]
    SecretTargetsOff,
    /// The Bundle names no target.
    #[error("it has no target")]
    NoTarget,
}

/// A Bundle's target in the namespace.
#[derive(Debug)]
pub struct NamespaceTarget {
    /// Kind of the target.
    pub kind: ObjectKind,
    /// Keys that the target has or should have.
    pub keys: Vec<String>,
    /// Diagnosis, if the target is not in sync.
    pub diagnosis: Option<Diagnosis>,
}

impl<'a> NamespaceView<'a> {
    /// Evaluates a snapshot for one namespace.
    #[must_use]
    pub fn of(name: &'a str, namespace: &Namespace, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let bundle_views =
            snapshot.bundles.keys().map(|bundle| BundleInNamespace::of(bundle, name, namespace, snapshot, now));
        let by_id = snapshot.bundles.iter().map(|(bundle, snapshot_bundle)| {
            let injectability = match (snapshot.inputs.intents.get(bundle), &snapshot_bundle.invalid) {
                (Some(intent), _) => Injectability::of(Ok(intent), &snapshot.inputs.settings),
                (None, why) => {
                    let cause = format!("it is invalid: {}", why.as_deref().unwrap_or_default());
                    Injectability::Unusable { cause, remedy: "mend it".to_owned() }
                }
            };
            (bundle.clone(), injectability)
        });
        let bundles = InjectableBundles { settings: snapshot.inputs.settings.clone(), by_id: by_id.collect() };
        let injected = inject::bundle_of_namespace_label(name, namespace, &bundles)
            .map(|(bundle, why)| (bundle.to_owned(), why.map(|(cause, remedy)| Diagnosis { cause, remedy })));
        Self { namespace: name, injected, bundles: bundle_views.collect() }
    }

    /// Whether everything that the namespace is offered is in sync.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.injected.iter().all(|(_, diagnosis)| diagnosis.is_none()) && self.diagnoses().next().is_none()
    }

    fn diagnoses(&self) -> impl Iterator<Item = (&BundleInNamespace<'a>, ObjectKind, &Diagnosis)> {
        self.bundles.iter().flat_map(|bundle| {
            let targets = bundle.targets.iter().flatten();
            targets.filter_map(move |target| target.diagnosis.as_ref().map(|trouble| (bundle, target.kind, trouble)))
        })
    }

    /// Returns a line for each Bundle and kind, the diagnoses, and what is injected into pods.
    #[must_use]
    pub fn table(&self) -> String {
        let header = HEADER.map(Cell::plain);
        let rows = self.bundles.iter().flat_map(BundleInNamespace::rows);
        let mut out = render_columns(std::iter::once(header).chain(rows));
        for (BundleInNamespace { bundle, .. }, kind, Diagnosis { cause, remedy }) in self.diagnoses() {
            let _ = writeln!(out, "\n{} {}/{bundle}: {}", kind.as_str(), self.namespace, escape(cause));
            let _ = writeln!(out, "  cure: {}", escape(remedy));
        }
        let label = inject::BUNDLE;
        let _ = match &self.injected {
            None => writeln!(out, "\nPods: no Bundle is injected, unless their annotation {label} names one"),
            Some((bundle, None)) => {
                writeln!(out, "\nPods: Bundle {} is injected when they start (namespace label {label})", escape(bundle))
            }
            Some((bundle, Some(Diagnosis { cause, remedy }))) => writeln!(
                out,
                "\nPods: Bundle {}, named by namespace label {label}, cannot be injected: {}\n  cure: {}",
                escape(bundle),
                escape(cause),
                escape(remedy)
            ),
        };
        out
    }

    /// Returns an object with `namespace`, `injected` and `bundles`.
    #[must_use]
    pub fn document(&self) -> Value {
        let diagnosis = |Diagnosis { cause, remedy }: &Diagnosis| json!({ "cause": cause, "cure": remedy });
        let injected = self.injected.as_ref();
        json!({
            "namespace": self.namespace,
            "injected": injected.map(|(bundle, why)| json!({ "bundle": bundle, "hindrance": why.as_ref().map(diagnosis) })),
            "bundles": self.bundles.iter().map(BundleInNamespace::document).collect::<Vec<_>>(),
        })
    }
}

impl<'a> BundleInNamespace<'a> {
    fn of(bundle: &'a BundleId, name: &str, namespace: &Namespace, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let snapshot_bundle = &snapshot.bundles[bundle];
        let synced = Synced::of(snapshot_bundle);
        let Some(intent) = snapshot.inputs.intents.get(bundle) else {
            return Self { bundle, synced, targets: Err(NotOfferedError::InvalidBundle) };
        };
        let desired_targets = DesiredTargets::of(intent, snapshot, now);
        let targets: Vec<_> = desired_targets
            .diff(snapshot)
            .filter(|(place, ..)| &*place.namespace == name)
            .map(|(place, _, found, plan)| {
                let payload = desired_targets.desired.payloads.get(&place.kind);
                let keys = payload.iter().flat_map(|payload| payload.values.keys().cloned()).collect();
                let metadata = found.map(|found| &found.metadata);
                let diagnosis = plan.map(|plan| {
                    Diagnosis::of(&plan, bundle.name(), &place, metadata, snapshot_bundle, &snapshot.leadership)
                });
                NamespaceTarget { kind: place.kind, keys, diagnosis }
            })
            .collect();
        let settings = &snapshot.inputs.settings;
        let why = if !targets.is_empty() {
            return Self { bundle, synced, targets: Ok(targets) };
        } else if namespace.terminating {
            NotOfferedError::Terminating
        } else if !settings.allows_namespace(name) {
            NotOfferedError::NotAllowed
        } else if !intent.namespaces.matches(&namespace.labels) {
            NotOfferedError::NotSelected(intent.namespaces.clone())
        } else if desired_targets.desired.secrets_off {
            NotOfferedError::SecretTargetsOff
        } else {
            NotOfferedError::NoTarget
        };
        Self { bundle, synced, targets: Err(why) }
    }

    fn rows(&self) -> Vec<[Cell; HEADER.len()]> {
        let row = |target: &str, keys: &str, state| {
            [
                Cell::plain(&**self.bundle.name()),
                Cell::plain(self.synced.status_and_reason().0),
                Cell::plain(target),
                Cell::plain(keys),
                state,
            ]
        };
        match &self.targets {
            Err(why) => vec![row("-", "-", Cell::plain(format!("not offered: {why}")))],
            Ok(targets) => targets
                .iter()
                .map(|NamespaceTarget { kind, keys, diagnosis }| {
                    let state = diagnosis.as_ref().map_or_else(|| Cell::good("in sync"), |_| Cell::bad("not in sync"));
                    row(kind.as_str(), &keys.join(", "), state)
                })
                .collect(),
        }
    }

    fn document(&self) -> Value {
        let (synced, reason) = self.synced.status_and_reason();
        let targets = self.targets.as_ref().ok().map(|targets| {
            let targets = targets.iter().map(|NamespaceTarget { kind, keys, diagnosis }| {
                let (cause, remedy) = diagnosis.as_ref().map(|Diagnosis { cause, remedy: cure }| (cause, cure)).unzip();
                json!({ "kind": kind.as_str(), "keys": keys, "inSync": diagnosis.is_none(), "cause": cause, "cure": remedy })
            });
            targets.collect::<Vec<_>>()
        });
        json!({
            "name": &**self.bundle.name(),
            "synced": synced,
            "reason": reason,
            "targets": targets.unwrap_or_default(),
            "notOffered": self.targets.as_ref().err().map(ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::overview::fixture::{corporate, namespace, plain, selecting, snapshot, with_condition};

    #[test]
    fn each_bundle_is_listed_with_its_targets_or_why_it_has_none() {
        let mut invalid = corporate("bad");
        invalid.spec.sources.clear();
        let here = with_condition(corporate("here"), "True", "Synced", "well");
        let mut snapshot = snapshot(&[here, corporate("late"), selecting("other", "no"), invalid], &pem("rsa"));
        snapshot.write("here", &["a", "b"]);
        let labelled = |bundle| namespace(&[("tier", "yes"), (inject::BUNDLE, bundle)]);
        let table = |bundle| plain(&NamespaceView::of("a", &labelled(bundle), &snapshot, now()).table());
        let bundles = "\
BUNDLE  SYNCED   TARGET     KEYS    STATE
bad     Unknown  -          -       not offered: the Bundle is invalid
here    True     ConfigMap  ca.pem  in sync
late    Unknown  ConfigMap  ca.pem  not in sync
other   Unknown  -          -       not offered: it does not select this namespace: tier=no

ConfigMap a/late: it is not there, or lacks the Bundle's label
  cure: it is mended within seconds; if not, the log of pod-1 and the Bundle's events say why
";
        let pods = [
            ("here", "Bundle here is injected when they start (namespace label inject.rootcast.dev/bundle)"),
            (
                "bad",
                "Bundle bad, named by namespace label inject.rootcast.dev/bundle, cannot be injected: it is invalid: spec.sources: Forbidden: must define at least one source\n  cure: mend it",
            ),
            ("", "no Bundle is injected, unless their annotation inject.rootcast.dev/bundle names one"),
        ];
        for (label, words) in pods {
            assert_eq!(table(label), format!("{bundles}\nPods: {words}\n"));
        }
        assert!(!NamespaceView::of("a", &labelled("here"), &snapshot, now()).is_healthy());
        snapshot.bundles.remove(&"late".into());
        assert!(NamespaceView::of("a", &labelled("here"), &snapshot, now()).is_healthy());
    }
}
