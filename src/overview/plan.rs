//! Plans: what would change if some objects were as in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api;
use crate::bundle::{
    BundleId, CertificateUses, Denials, Diff, InputChange, Intent, Memory, Namespace, ObjectKind, Refusal,
    ResolvedSources, SourceId, SourceObject, TargetRef, TrustNamespaces, affected_bundles, resolve,
};
use crate::inspect::{CertificateDiff, CertificateSet, DetailLevel, LocatedCertificate, Location, ValuePlace};
use crate::text::escape;
use crate::trust::Anchor;

use super::desired::{DesiredTargets, TargetDiff};
use super::detail::{located_in_source, summarize_targets};
use super::diagnosis::Diagnosis;
use super::retirement::{RetirementPlan, UnknownUsesError};
use super::snapshot::{Snapshot, SnapshotTarget};

/// Objects to lay over a snapshot.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Bundles to add or replace.
    pub bundles: BTreeMap<BundleId, api::Bundle>,
    /// Source objects to add or replace.
    pub sources: BTreeMap<SourceId, SourceObject>,
    /// Namespaces to add or replace, by name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// What Distrusts to add or replace name.
    pub denials: Denials,
}

/// The Bundles and namespaces that an overlay affects.
#[derive(Debug, Default)]
pub struct AffectedByOverlay {
    /// Bundles that are affected in all namespaces.
    pub bundles: BTreeSet<BundleId>,
    /// Namespaces in which all Bundles are affected.
    pub namespaces: BTreeSet<String>,
}

/// The invalid Bundles of an overlay: a line for each, with all of its errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOverlayError(String);

/// The changes that an overlay would cause.
#[derive(Debug)]
pub struct Plan {
    /// Bundles of which anything would change or is not known, ordered by name.
    pub bundles: Vec<BundlePlan>,
    /// Findings in the sources of each Bundle that is affected in all namespaces, in words.
    pub findings: BTreeMap<BundleId, Vec<String>>,
}

/// The changes of one Bundle that an overlay would cause.
#[derive(Debug)]
pub struct BundlePlan {
    /// Identifier of the Bundle.
    pub bundle: BundleId,
    /// Why the Bundle would be refused, or its content is not known; its targets then stay as they are.
    pub refusal: Option<String>,
    /// Namespaces of the targets, by action and kind.
    pub actions: BTreeMap<(PlannedAction, ObjectKind), Vec<Arc<str>>>,
    /// Certificates that come and go, if the content is known.
    pub trust: Option<CertificateDiff>,
    /// Certificates that no source would hold any more, if they are retained.
    pub retirement: Option<RetirementPlan>,
}

/// The planned action on a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlannedAction {
    /// The object would be created.
    Created,
    /// The object would be updated.
    Updated,
    /// The object would be released: deleted, or only our keys removed where it holds foreign keys.
    Released,
    /// The object would be desired, and not be written, since another controller owns it.
    Blocked,
    /// The object would be desired, and stay as it is, for this cause.
    NotWritten(Diagnosis),
}

impl PlannedAction {
    const fn label(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Released => "released",
            Self::Blocked => "not written, since another controller owns them",
            Self::NotWritten(_) => "not written",
        }
    }
}

impl Snapshot {
    /// Lays objects over the snapshot.
    ///
    /// # Errors
    /// When Bundles among the objects are invalid.
    pub fn apply_overlay(
        &mut self,
        overlay: Overlay,
        trust_namespaces: &TrustNamespaces,
    ) -> Result<AffectedByOverlay, InvalidOverlayError> {
        let Overlay { bundles, sources, namespaces, denials } = overlay;
        let mut affected = AffectedByOverlay::default();
        let mut changes = Vec::new();
        for (id, object) in sources {
            let after = Some(object.labels.clone());
            let before = self.inputs.sources.insert(id.clone(), object).map(|before| before.labels);
            changes.push(InputChange::Source { object: id, before, after });
        }
        for (name, denied) in denials.iter() {
            self.inputs.denials.insert(name, denied.clone());
            changes.push(InputChange::Denials);
        }
        let mut invalid = Vec::new();
        for (id, mut bundle) in bundles {
            affected.bundles.extend(affected_bundles(&self.inputs, &InputChange::Bundle(id.clone())));
            // Status and identity are the cluster's.
            bundle.metadata.uid = self.inputs.intents.get(&id).map(|live| live.uid.clone());
            let live = self.bundles.get(&id).cloned().unwrap_or_default();
            let snapshot_bundle = self.add_bundle(&bundle, trust_namespaces);
            invalid.extend(snapshot_bundle.invalid.iter().map(|why| format!("Bundle {id} is invalid: {why}")));
            snapshot_bundle.default_ca_version = live.default_ca_version;
            changes.push(InputChange::Bundle(id));
        }
        for (name, namespace) in namespaces {
            if let Some(trust_namespace) = trust_namespaces.find(&name) {
                self.inputs.trust_namespaces.insert(trust_namespace, namespace.labels.clone());
                changes.push(InputChange::TrustNamespace);
            }
            affected.namespaces.insert(name.clone());
            self.namespaces.insert(name.into(), namespace);
        }
        affected.bundles.extend(changes.iter().flat_map(|change| affected_bundles(&self.inputs, change)));
        if invalid.is_empty() { Ok(affected) } else { Err(InvalidOverlayError(invalid.join("\n"))) }
    }

    /// Returns the target of each Bundle that was written last, and the key of its PEM.
    #[must_use]
    pub fn newest_targets(&self) -> BTreeMap<BundleId, (TargetRef, String)> {
        let newest = self.inputs.intents.iter().filter_map(|(id, intent)| {
            let targets = self.targets.get(id)?.iter();
            let key = |place: &TargetRef| intent.output.objects.iter().find(|object| object.kind == place.kind);
            let (place, _) =
                targets.filter(|(place, _)| key(place).is_some()).max_by_key(|(_, found)| found.written)?;
            Some((id.clone(), (place.clone(), key(place)?.pem_key.clone())))
        });
        newest.collect()
    }
}

impl Plan {
    /// Compares the cluster as it is with what a snapshot under an overlay would make of it. `published` is what
    /// the Bundles publish now.
    #[must_use]
    pub fn of(
        snapshot: &Snapshot,
        affected: &AffectedByOverlay,
        published: &BTreeMap<BundleId, CertificateSet>,
        now: Timestamp,
    ) -> Self {
        let intents = snapshot.inputs.intents.values();
        let mut findings = BTreeMap::new();
        let bundles = intents.filter_map(|intent| {
            let everywhere = affected.bundles.contains(&intent.id);
            if !everywhere && affected.namespaces.is_empty() {
                return None;
            }
            let mut desired_targets = DesiredTargets::of(intent, snapshot, now);
            if everywhere {
                findings.insert(intent.id.clone(), std::mem::take(&mut desired_targets.findings));
            }
            let mut bundle_plan = BundlePlan {
                bundle: intent.id.clone(),
                refusal: None,
                actions: BTreeMap::new(),
                trust: None,
                retirement: None,
            };
            if let Some(cause) = desired_targets.unverified_reason {
                bundle_plan.refusal = everywhere.then_some(cause);
                return bundle_plan.refusal.is_some().then_some(bundle_plan);
            }
            for (place, _, found, plan) in desired_targets.diff(snapshot) {
                if (everywhere || affected.namespaces.contains(&*place.namespace))
                    && let Some(action) = plan.and_then(|plan| PlannedAction::of(&plan, intent.id.name(), found))
                {
                    bundle_plan.actions.entry((action, place.kind)).or_default().push(place.namespace);
                }
            }
            if desired_targets.desired.protected.is_some() && everywhere {
                let refusal = desired_targets.desired.refusal();
                bundle_plan.refusal = refusal.map(|Refusal { reason, message, .. }| format!("{reason}: {message}"));
            }
            // Under a protected name only what is the Bundle's already goes on.
            let published_anew = bundle_plan.refusal.is_none() || bundle_plan.has_writes();
            if everywhere && published_anew && !desired_targets.desired.payloads.is_empty() {
                let planned =
                    resolve(intent, &snapshot.inputs, now).ok().map(|resolved| planned(intent, &resolved, snapshot));
                let nothing = CertificateSet::default();
                let before = published.get(&intent.id).unwrap_or(&nothing);
                let retained = desired_targets.memory.as_ref().map(|after| (&snapshot.memories[&intent.id], after));
                let planned = planned.map(|planned| with_retained(planned, before, retained.map(|(_, after)| after)));
                bundle_plan.trust = planned.map(|planned| CertificateDiff::between(before, &planned));
                bundle_plan.retirement = retained.map(|(memory, after)| {
                    let defaults = &snapshot.inputs.settings.retention;
                    RetirementPlan::of(intent, defaults, memory, after, desired_targets.desired.certificates())
                });
            }
            (!bundle_plan.is_empty()).then_some(bundle_plan)
        });
        let bundles = bundles.collect();
        Self { bundles, findings }
    }

    /// Whether nothing would change, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bundles.iter().all(BundlePlan::is_empty)
    }

    /// Returns for each Bundle the number and namespaces of changed objects, and the certificates that come and go.
    #[must_use]
    pub fn table(&self, now: Timestamp) -> String {
        let mut out = String::new();
        for BundlePlan { bundle, refusal, actions, trust, retirement } in &self.bundles {
            if refusal.is_some() && actions.is_empty() {
                continue;
            }
            let _ = writeln!(out, "Bundle {}", escape(bundle.name()));
            for ((action, kind), namespaces) in actions {
                let _ = write!(out, "  {}: {}", action.label(), summarize_targets(*kind, namespaces));
                if let PlannedAction::NotWritten(Diagnosis { cause, remedy }) = action {
                    let _ = write!(out, ": {}\n    cure: {}", escape(cause), escape(remedy));
                }
                out.push('\n');
            }
            if let Some(trust) = trust {
                for line in trust.table(now, DetailLevel::Brief).lines() {
                    let _ = writeln!(out, "  {line}");
                }
            }
            if let Some(retirement) = retirement {
                out += &retirement.table();
            }
        }
        out
    }

    /// Returns what is not known, a line for each Bundle.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        self.bundles.iter().filter_map(|bundle_plan| {
            let BundlePlan { bundle, refusal, .. } = bundle_plan;
            let stay = if bundle_plan.has_writes() { "" } else { "its targets would stay as they are: " };
            Some(format!("Bundle {bundle}: {stay}{}", escape(refusal.as_ref()?)))
        })
    }

    /// Returns a line for each finding in the sources, as condition `SourcesComplete` would have it.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let lines = |(bundle, findings): (&BundleId, &Vec<String>)| {
            findings.iter().map(|finding| format!("Bundle {bundle}: {finding}")).collect::<Vec<_>>()
        };
        self.findings.iter().flat_map(lines)
    }

    /// Returns the certificates that would go, and those that would stay in their place.
    pub fn retirement_anchors(&self) -> impl Iterator<Item = &Anchor> {
        let retirements = self.bundles.iter().filter_map(|plan| plan.retirement.as_ref());
        retirements.filter(|retirement| !retirement.retiring.is_empty()).flat_map(|retirement| {
            retirement.retiring.iter().map(|retiring| &retiring.anchor).chain(&retirement.staying)
        })
    }

    /// Records what depends on the certificates that would go.
    ///
    /// # Errors
    /// When that is not known, with the cause.
    pub fn record_uses(&mut self, uses: &CertificateUses, now: Timestamp) -> Result<(), UnknownUsesError> {
        let retirements = self.bundles.iter_mut().filter_map(|plan| plan.retirement.as_mut());
        for retirement in retirements {
            retirement.record_uses(uses, now)?;
        }
        Ok(())
    }

    /// Returns `bundles`, each with `name`, `refusal`, `created`, `updated`, `released`, `blocked` and `trust`. Foreign
    /// objects in `blocked` have `cause` and `cure`.
    #[must_use]
    pub fn document(&self, now: Timestamp) -> Value {
        let bundles = self.bundles.iter().map(|BundlePlan { bundle, refusal, actions, trust, retirement }| {
            let of = |expected: &PlannedAction| {
                let places = actions.iter().filter(|((action, _), _)| action == expected);
                let places = places.flat_map(|((_, kind), namespaces)| {
                    namespaces.iter().map(|namespace| json!({ "kind": kind.as_str(), "namespace": &**namespace }))
                });
                places.collect::<Vec<_>>()
            };
            let not_written = actions.iter().flat_map(|((action, kind), namespaces)| {
                let diagnosis = if let PlannedAction::NotWritten(trouble) = action { Some(trouble) } else { None };
                diagnosis.into_iter().flat_map(move |Diagnosis { cause, remedy }| {
                    let kind = kind.as_str();
                    namespaces.iter().map(move |namespace| {
                        json!({ "kind": kind, "namespace": &**namespace, "cause": cause, "cure": remedy })
                    })
                })
            });
            let blocked: Vec<_> = of(&PlannedAction::Blocked).into_iter().chain(not_written).collect();
            let mut document = json!({
                "name": &**bundle.name(),
                "refusal": refusal,
                "created": of(&PlannedAction::Created),
                "updated": of(&PlannedAction::Updated),
                "released": of(&PlannedAction::Released),
                "blocked": blocked,
                "trust": trust.as_ref().map(|trust| trust.document(now, DetailLevel::Brief)),
            });
            if let Some(retirement) = retirement {
                document["retiring"] = retirement.document();
            }
            document
        });
        json!({ "bundles": bundles.collect::<Vec<_>>() })
    }
}

impl BundlePlan {
    fn is_empty(&self) -> bool {
        self.refusal.is_none()
            && self.actions.is_empty()
            && self.trust.as_ref().is_none_or(CertificateDiff::is_empty)
            && self.retirement.as_ref().is_none_or(|retirement| retirement.retiring.is_empty())
    }

    /// Whether anything is written or let go.
    fn has_writes(&self) -> bool {
        self.actions.keys().any(|(action, _)| !matches!(action, PlannedAction::Blocked | PlannedAction::NotWritten(_)))
    }
}

impl PlannedAction {
    fn of(target_diff: &TargetDiff, bundle: &str, found: Option<&SnapshotTarget>) -> Option<Self> {
        let diff = match target_diff {
            TargetDiff::Act(need) => need,
            TargetDiff::Leave(obstacle) => {
                return Some(Self::NotWritten(Diagnosis::of_foreign_object(
                    obstacle,
                    bundle,
                    found.map(|found| &found.metadata),
                )));
            }
            TargetDiff::Refuse(protected) => return Some(Self::NotWritten(Diagnosis::of_protected_name(*protected))),
        };
        match diff {
            Diff::Create => Some(Self::Created),
            Diff::Update(_) | Diff::Recreate => Some(Self::Updated),
            Diff::Release(_) => Some(Self::Released),
            Diff::Blocked(_) => Some(Self::Blocked),
            Diff::VerifyBytes => None,
        }
    }
}

/// What would be published, each certificate with the places that it comes from.
fn planned(intent: &Intent, resolved: &ResolvedSources, snapshot: &Snapshot) -> CertificateSet {
    let ResolvedSources { default_cas, origins, .. } = resolved;
    let trusted = |anchor: &Anchor| snapshot.inputs.denier(intent, anchor).is_none();
    let own: BTreeSet<_> = origins.iter().map(|origin| origin.anchor.fingerprint()).collect();
    let origins = origins.iter().filter(|origin| trusted(&origin.anchor)).map(located_in_source);
    let default_cas = default_cas.values().filter(|anchor| !own.contains(&anchor.fingerprint()));
    let default_cas = default_cas.filter(|anchor| trusted(anchor)).zip(1..);
    let default_cas = default_cas.map(|(anchor, number)| LocatedCertificate {
        place: ValuePlace::of_key("default CAs"),
        location: Location::Number(number),
        certificate: Ok(anchor.clone()),
    });
    CertificateSet { certificates: origins.chain(default_cas).collect(), ..CertificateSet::new(&**intent.id.name()) }
}

/// Adds to what the sources hold the certificates that stay published without a source.
fn with_retained(mut planned: CertificateSet, before: &CertificateSet, memory: Option<&Memory>) -> CertificateSet {
    let in_sources: BTreeSet<_> = planned.certificates.iter().map(LocatedCertificate::fingerprint).collect();
    let retained = memory.into_iter().flat_map(Memory::published).map(Anchor::fingerprint);
    let retained: BTreeSet<_> = retained.filter(|fingerprint| !in_sources.contains(fingerprint)).collect();
    let retained = before.certificates.iter().filter(|found| retained.contains(&found.fingerprint()));
    planned.certificates.extend(retained.cloned());
    planned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{labels, now, pem, source_id};
    use crate::bundle::{OutputKeys, Phase, SourceContent};
    use crate::inspect::Passwords;
    use crate::overview::fixture::{
        TRUST_NAMESPACE, corporate, foreign_target, memory, namespace, plain, selecting, snapshot,
    };

    fn source(text: &str) -> BTreeMap<SourceId, SourceObject> {
        let content = SourceContent::Keys([("ca".to_owned(), text.as_bytes().to_vec().into())].into());
        let object =
            SourceObject { labels: BTreeMap::new(), output: OutputKeys::None, content, undecodable: BTreeMap::new() };
        [(source_id(ObjectKind::ConfigMap, "corporate"), object)].into()
    }

    fn bundles(bundle: api::Bundle) -> Overlay {
        let name = bundle.metadata.name.as_deref().expect("a name").into();
        Overlay { bundles: [(name, bundle)].into(), ..Overlay::default() }
    }

    fn table_and_notices(overlay: Overlay) -> (String, Vec<String>) {
        let mut snapshot = snapshot(&[corporate("one")], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let mut published = CertificateSet::new("target");
        published.read(&ValuePlace::of_key("ca.pem"), pem("rsa").as_bytes(), &Passwords::WellKnown).expect("PEM");
        assert_eq!(snapshot.newest_targets()[&"one".into()].1, "ca.pem");
        let affected = snapshot.apply_overlay(overlay, &TRUST_NAMESPACE.into()).expect("valid Bundles");
        let published = [("one".into(), published)].into();
        let plan = Plan::of(&snapshot, &affected, &published, now());
        (plain(&plan.table(now())), plan.refusals().chain(plan.findings()).collect())
    }

    #[test]
    fn what_would_change_is_counted_and_named() {
        let table: [(&str, Overlay, &str); 6] = [
            ("the same again", bundles(corporate("one")), ""),
            ("the source as it is", Overlay { sources: source(&pem("rsa")), ..Overlay::default() }, ""),
            (
                "another certificate",
                Overlay { sources: source(&(pem("rsa") + &pem("ec"))), ..Overlay::default() },
                "\
Bundle one
  updated: 2 ConfigMaps in a, b
  +  CN=Beta EC Root A  (itself)  2049-01-01, 8097 days  EC P-256  yes  888818f8  ConfigMap cert-manager/corporate key \"ca\" line 21
  1 added, 0 removed, 1 the same
",
            ),
            (
                "other namespaces",
                bundles(selecting("one", "no")),
                "Bundle one\n  created: 1 ConfigMap in c\n  released: 2 ConfigMaps in a, b\n  0 added, 0 removed, 1 the same\n",
            ),
            (
                "a namespace joins",
                Overlay { namespaces: [("c".to_owned(), namespace(&[("tier", "yes")]))].into(), ..Overlay::default() },
                "Bundle one\n  created: 1 ConfigMap in c\n",
            ),
            (
                "a Bundle more",
                bundles(selecting("two", "no")),
                "\
Bundle two
  created: 1 ConfigMap in c
  +  CN=Alpha Root CA A,O=Example Corp,C=US  (itself)  2049-01-01, 8097 days  RSA 2048  yes  e533eb20  ConfigMap cert-manager/corporate key \"ca\" line 1
  1 added, 0 removed, 0 the same
",
            ),
        ];
        for (case, overlay, expected) in table {
            assert_eq!(table_and_notices(overlay), (expected.to_owned(), Vec::new()), "{case}");
        }
    }

    fn plan_of(snapshot: &mut Snapshot, overlay: Overlay) -> Plan {
        let affected = snapshot.apply_overlay(overlay, &TRUST_NAMESPACE.into()).expect("valid Bundles");
        Plan::of(snapshot, &affected, &BTreeMap::new(), now())
    }

    #[test]
    fn what_a_bundle_retains_stays_for_a_time_and_what_depends_on_it_is_named() {
        let mut retaining = corporate("one");
        retaining.metadata.annotations = Some(labels(&[(api::RETAIN_ANNOTATION, "24h")]));
        let plan = |memory: Option<Memory>| {
            let mut snapshot = snapshot(&[retaining.clone()], &pem("rsa"));
            snapshot.write("one", &["a", "b"]);
            snapshot.memories.extend(memory.map(|memory| ("one".into(), memory)));
            let overlay = Overlay { sources: source(&pem("ec")), ..Overlay::default() };
            let affected = snapshot.apply_overlay(overlay, &TRUST_NAMESPACE.into()).expect("valid Bundles");
            let mut published = CertificateSet::new("target");
            published.read(&ValuePlace::of_key("ca.pem"), pem("rsa").as_bytes(), &Passwords::WellKnown).expect("PEM");
            Plan::of(&snapshot, &affected, &[("one".into(), published)].into(), now())
        };
        let ec = "  +  CN=Beta EC Root A  (itself)  2049-01-01, 8097 days  EC P-256  yes  888818f8  ConfigMap cert-manager/corporate key \"ca\" line 1\n";
        let mut retained = plan(Some(memory(&[("rsa", Some(now()), Phase::Present)])));
        let expected = format!(
            "Bundle one\n  updated: 2 ConfigMaps in a, b\n{ec}  1 added, 0 removed, 1 the same\n  \
             CN=Alpha Root CA A,O=Example Corp,C=US (e533eb20) stays until 2026-11-02T00:00:00Z, then goes\n"
        );
        assert_eq!(plain(&retained.table(now())), expected);
        assert_eq!(retained.retirement_anchors().count(), 2);

        // Objects are named as long as nothing that stays vouches for their certificates.
        let retirement = retained.bundles[0].retirement.as_mut().expect("retained");
        retirement.retiring[0].breaks = (0..12).map(|number| format!("Certificate shop/{number}")).collect();
        let table = plain(&retained.table(now()));
        assert!(table.ends_with("Certificate shop/9 and 2 more\n") && table.contains("\n    would break: "), "{table}");
        let document = retained.document(now());
        let retiring = &document["bundles"][0]["retiring"][0];
        assert_eq!(
            (&retiring["until"], &retiring["wouldBreak"][1]),
            (&json!("2026-11-02T00:00:00Z"), &json!("Certificate shop/1"))
        );

        let unknown = plan(None);
        assert!(plain(&unknown.table(now())).contains("  1 added, 1 removed, 0 the same\n"));
        assert_eq!(unknown.document(now())["bundles"][0].get("retiring"), None);
    }

    #[test]
    fn what_stays_as_it_is_since_it_is_of_others_is_named_with_the_remedy() {
        let mut snapshot = snapshot(&[], &pem("rsa"));
        snapshot.target("one", "a", foreign_target(true));
        snapshot.target("one", "b", foreign_target(false));
        let plan = plan_of(&mut snapshot, bundles(corporate("one")));
        let table = plain(&plan.table(now()));
        let expected = "\
Bundle one
  updated: 1 ConfigMap in b
  not written: 1 ConfigMap in a: TargetExists: it holds a value of others under key \"ca.pem\", written by field manager \"kubectl\"; it stays as it is, and pods that ask for the Bundle there mount it so
    cure: delete that key, annotate it with rootcast.dev/adopt=one to have the value replaced, or give the Bundle another key or name
";
        assert!(table.starts_with(expected), "{table}");
        let blocked = &plan.document(now())["bundles"][0]["blocked"];
        assert_eq!((&blocked[0]["kind"], &blocked[0]["namespace"]), (&json!("ConfigMap"), &json!("a")));
        assert!(blocked[0]["cause"].as_str().is_some_and(|cause| cause.starts_with("TargetExists: ")), "{blocked}");
    }

    #[test]
    fn under_a_protected_name_nothing_new_is_written_and_what_is_the_bundles_goes_on() {
        let refusal = "InvalidSpec: Bundle is invalid: metadata.name: Forbidden: \"coredns\" is a name that CoreDNS";
        let kept = "  not written: 1 ConfigMap in b: InvalidSpec: \"coredns\" is a name that CoreDNS keeps objects of its own under, so it is not written\n";
        let mut fresh = snapshot(&[], &pem("rsa"));
        let plan = plan_of(&mut fresh, bundles(corporate("coredns")));
        let table = plain(&plan.table(now()));
        assert!(
            table.starts_with(&format!("Bundle coredns\n{}", kept.replace("1 ConfigMap in b", "2 ConfigMaps in a, b"))),
            "{table}"
        );
        assert!(!table.contains("CN="), "{table}");
        let refusals: Vec<_> = plan.refusals().collect();
        let stay = "Bundle coredns: its targets would stay as they are: ";
        assert!(refusals[0].starts_with(&format!("{stay}{refusal}")), "{refusals:?}");

        let mut live = snapshot(&[corporate("coredns")], &pem("rsa"));
        live.write("coredns", &["a"]);
        let plan = plan_of(&mut live, Overlay { sources: source(&pem("ec")), ..Overlay::default() });
        let table = plain(&plan.table(now()));
        assert!(table.starts_with(&format!("Bundle coredns\n  updated: 1 ConfigMap in a\n{kept}")), "{table}");
        assert!(table.contains("CN="), "{table}");
        let refusals: Vec<_> = plan.refusals().collect();
        assert!(refusals[0].starts_with(&format!("Bundle coredns: {refusal}")), "{refusals:?}");

        let mut allowed = snapshot(&[], &pem("rsa"));
        allowed.inputs.settings.allow_names = ["coredns".to_owned()].into();
        let plan = plan_of(&mut allowed, bundles(corporate("coredns")));
        assert!(
            plain(&plan.table(now())).contains("  created: 2 ConfigMaps in a, b\n") && plan.refusals().next().is_none()
        );
    }

    #[test]
    fn what_would_be_refused_changes_nothing_and_is_reported_with_its_reason() {
        let (table, refusals) = table_and_notices(Overlay { sources: source("garbage"), ..Overlay::default() });
        assert_eq!(table, "");
        assert!(refusals[0].starts_with("Bundle one: its targets would stay as they are: "), "{refusals:?}");
        let place = "Bundle one: ConfigMap cert-manager/corporate key \"ca\"";
        assert_eq!(refusals[1..], [format!("{place}: holds no PEM certificate")]);
    }
}
