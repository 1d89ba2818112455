//! What one namespace is offered.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bundle::{Namespace, ObjectKind};
use crate::inject::{self, Bundles, Offered};
use crate::inspect::{Cell, Paint, lay_out};
use crate::text::escape;

use super::expectation::Expectation;
use super::snapshot::Snapshot;
use super::state::Synced;
use super::trouble::Trouble;

const HEADER: [&str; 5] = ["BUNDLE", "SYNCED", "TARGET", "KEYS", "STATE"];

/// What one namespace is offered.
#[derive(Debug)]
pub struct Neighbourhood<'a> {
    /// Its name.
    pub namespace: &'a str,
    /// The Bundle that its label names for its pods, and why they cannot have it, if they cannot.
    pub injected: Option<(String, Option<Trouble>)>,
    /// How each Bundle stands to it.
    pub standings: Vec<Standing<'a>>,
}

/// How a Bundle stands to a namespace.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The Bundle's name.
    pub bundle: &'a str,
    /// What its condition `Synced` says.
    pub synced: Synced<'a>,
    /// Its targets there, or why the namespace is offered nothing.
    pub targets: Result<Vec<Near>, String>,
}

/// A Bundle's target in the namespace.
#[derive(Debug)]
pub struct Near {
    /// Its kind.
    pub kind: ObjectKind,
    /// The keys that it has, or should have.
    pub keys: Vec<String>,
    /// What is wrong with it.
    pub trouble: Option<Trouble>,
}

impl<'a> Neighbourhood<'a> {
    /// Looks at a snapshot of this namespace.
    #[must_use]
    pub fn of(name: &'a str, namespace: &Namespace, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let standings = snapshot.bundles.keys().map(|bundle| Standing::of(bundle, name, namespace, snapshot, now));
        let offered = snapshot.bundles.iter().map(|(bundle, known)| {
            let offered = match (snapshot.world.intents.get(bundle), &known.invalid) {
                (Some(intent), _) => Offered::of(Ok(intent), &snapshot.world.settings),
                (None, why) => {
                    let cause = format!("it is invalid: {}", why.as_deref().unwrap_or_default());
                    Offered::Unusable { cause, cure: "mend it".to_owned() }
                }
            };
            (bundle.clone(), offered)
        });
        let bundles = Bundles { settings: snapshot.world.settings.clone(), offered: offered.collect() };
        let injected = inject::labelled(name, namespace, &bundles)
            .map(|(bundle, why)| (bundle.to_owned(), why.map(|(cause, cure)| Trouble { cause, cure })));
        Self { namespace: name, injected, standings: standings.collect() }
    }

    /// Whether everything that it is offered is there.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.injected.iter().all(|(_, trouble)| trouble.is_none()) && self.troubles().next().is_none()
    }

    fn troubles(&self) -> impl Iterator<Item = (&Standing<'a>, ObjectKind, &Trouble)> {
        self.standings.iter().flat_map(|standing| {
            let targets = standing.targets.iter().flatten();
            targets.filter_map(move |near| near.trouble.as_ref().map(|trouble| (standing, near.kind, trouble)))
        })
    }

    /// A line for each Bundle and kind, what is wrong, and what its pods are given.
    #[must_use]
    pub fn table(&self, paint: Paint) -> String {
        let header = HEADER.map(Cell::plain);
        let rows = self.standings.iter().flat_map(Standing::rows);
        let mut out = lay_out(std::iter::once(header).chain(rows), paint);
        for (Standing { bundle, .. }, kind, Trouble { cause, cure }) in self.troubles() {
            let _ = writeln!(out, "\n{} {}/{bundle}: {}", kind.as_str(), self.namespace, escape(cause));
            let _ = writeln!(out, "  cure: {}", escape(cure));
        }
        let label = inject::BUNDLE;
        let _ = match &self.injected {
            None => writeln!(out, "\nPods: no Bundle is injected, unless their annotation {label} names one"),
            Some((bundle, None)) => {
                writeln!(out, "\nPods: Bundle {} is injected when they start (namespace label {label})", escape(bundle))
            }
            Some((bundle, Some(Trouble { cause, cure }))) => writeln!(
                out,
                "\nPods: Bundle {}, named by namespace label {label}, cannot be injected: {}\n  cure: {}",
                escape(bundle),
                escape(cause),
                escape(cure)
            ),
        };
        out
    }

    /// `namespace`, `injected` and `bundles`.
    #[must_use]
    pub fn document(&self) -> Value {
        let trouble = |Trouble { cause, cure }: &Trouble| json!({ "cause": cause, "cure": cure });
        let injected = self.injected.as_ref();
        json!({
            "namespace": self.namespace,
            "injected": injected.map(|(bundle, why)| json!({ "bundle": bundle, "hindrance": why.as_ref().map(trouble) })),
            "bundles": self.standings.iter().map(Standing::document).collect::<Vec<_>>(),
        })
    }
}

impl<'a> Standing<'a> {
    fn of(bundle: &'a str, name: &str, namespace: &Namespace, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let known = &snapshot.bundles[bundle];
        let synced = Synced::of(known);
        let Some(intent) = snapshot.world.intents.get(bundle) else {
            return Self { bundle, synced, targets: Err("the Bundle is invalid".to_owned()) };
        };
        let expectation = Expectation::of(intent, snapshot, now);
        let targets: Vec<_> = expectation
            .judge(snapshot)
            .filter(|(place, ..)| &*place.namespace == name)
            .map(|(place, _, found, plan)| {
                let payload = expectation.wanted.payloads.get(&place.kind);
                let keys = payload.iter().flat_map(|payload| payload.values.keys().cloned()).collect();
                let look = found.map(|found| &found.look);
                let trouble = plan.map(|plan| Trouble::of(&plan, bundle, &place, look, known, &snapshot.leadership));
                Near { kind: place.kind, keys, trouble }
            })
            .collect();
        let settings = &snapshot.world.settings;
        let why = if !targets.is_empty() {
            return Self { bundle, synced, targets: Ok(targets) };
        } else if namespace.terminating {
            "the namespace is being deleted".to_owned()
        } else if !settings.allows(name) {
            "the namespace is not among --target-namespaces".to_owned()
        } else if !intent.namespaces.matches(&namespace.labels) {
            format!("it does not select this namespace: {}", intent.namespaces)
        } else if expectation.wanted.secrets_off {
            "its target is a Secret, and Secret targets are off".to_owned()
        } else {
            "it has no target".to_owned()
        };
        Self { bundle, synced, targets: Err(why) }
    }

    fn rows(&self) -> Vec<[Cell; HEADER.len()]> {
        let row = |target: &str, keys: &str, state| {
            [
                Cell::plain(self.bundle),
                Cell::plain(self.synced.words().0),
                Cell::plain(target),
                Cell::plain(keys),
                state,
            ]
        };
        match &self.targets {
            Err(why) => vec![row("-", "-", Cell::plain(format!("not offered: {why}")))],
            Ok(targets) => targets
                .iter()
                .map(|Near { kind, keys, trouble }| {
                    let state = trouble.as_ref().map_or_else(|| Cell::good("in sync"), |_| Cell::bad("not in sync"));
                    row(kind.as_str(), &keys.join(", "), state)
                })
                .collect(),
        }
    }

    fn document(&self) -> Value {
        let (synced, reason) = self.synced.words();
        let targets = self.targets.as_ref().ok().map(|targets| {
            let targets = targets.iter().map(|Near { kind, keys, trouble }| {
                let (cause, cure) = trouble.as_ref().map(|Trouble { cause, cure }| (cause, cure)).unzip();
                json!({ "kind": kind.as_str(), "keys": keys, "inSync": trouble.is_none(), "cause": cause, "cure": cure })
            });
            targets.collect::<Vec<_>>()
        });
        json!({
            "name": self.bundle,
            "synced": synced,
            "reason": reason,
            "targets": targets.unwrap_or_default(),
            "notOffered": self.targets.as_ref().err(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::survey::fixture::{corporate, namespace, selecting, snapshot, with_condition};

    #[test]
    fn each_bundle_is_named_with_what_it_offers_or_why_it_offers_nothing() {
        let mut invalid = corporate("bad");
        invalid.spec.sources.clear();
        let here = with_condition(corporate("here"), "True", "Synced", "well");
        let mut snapshot = snapshot(&[here, corporate("late"), selecting("other", "no"), invalid], &pem("rsa"));
        snapshot.write("here", &["a", "b"]);
        let labelled = |bundle| namespace(&[("story", "yes"), (inject::BUNDLE, bundle)]);
        let table = |bundle| Neighbourhood::of("a", &labelled(bundle), &snapshot, now()).table(Paint::Plain);
        let bundles = "\
BUNDLE  SYNCED   TARGET     KEYS    STATE
bad     Unknown  -          -       not offered: the Bundle is invalid
here    True     ConfigMap  ca.pem  in sync
late    Unknown  ConfigMap  ca.pem  not in sync
other   Unknown  -          -       not offered: it does not select this namespace: story=no

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
        assert!(!Neighbourhood::of("a", &labelled("here"), &snapshot, now()).is_well());
        snapshot.bundles.remove("late");
        assert!(Neighbourhood::of("a", &labelled("here"), &snapshot, now()).is_well());
    }
}
