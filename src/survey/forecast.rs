//! What would change if some objects were as in a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api;
use crate::bundle::{Change, Namespace, Need, ObjectKind, TargetRef, Refusal, Resolved, SourceObject, resolve, touch};
use crate::inspect::{At, Collection, Difference, Found, Paint};
use crate::text::escape;

use super::detail::{found_at, places};
use super::expectation::{Expectation, Plan};
use super::snapshot::{Snapshot, Target};
use super::trouble::Trouble;

/// Objects to lay over a snapshot.
#[derive(Debug, Default)]
pub struct Overlay {
    /// Bundles by name.
    pub bundles: BTreeMap<String, api::Bundle>,
    /// Objects of the trust namespace.
    pub sources: BTreeMap<(ObjectKind, String), SourceObject>,
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Namespace>,
}

/// Whom an overlay concerns.
#[derive(Debug, Default)]
pub struct Concerned {
    /// These Bundles, wherever their targets are.
    pub bundles: BTreeSet<String>,
    /// All Bundles in these namespaces.
    pub namespaces: BTreeSet<String>,
}

/// What would change.
#[derive(Debug)]
pub struct Forecast {
    /// Each Bundle of which anything would change, or cannot be told, by name.
    pub prospects: Vec<Prospect>,
    /// What the sources show of each Bundle that is concerned wherever its targets are, by name, in words.
    pub findings: BTreeMap<String, Vec<String>>,
}

/// What would change of one Bundle.
#[derive(Debug)]
pub struct Prospect {
    /// Its name.
    pub bundle: String,
    /// Why it would be refused, or cannot be told; then its targets stay as they are.
    pub refusal: Option<String>,
    /// What would become of which objects.
    pub fates: BTreeMap<(Fate, ObjectKind), Vec<Arc<str>>>,
    /// Which certificates come and go, if its content can be told.
    pub trust: Option<Difference>,
}

/// What would become of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It would be there.
    Created,
    /// It would be changed.
    Updated,
    /// It would be let go: deleted, or only our keys of it where others have keys in it, too.
    Released,
    /// It would be wanted, and could not be written, since another controller owns it.
    Blocked,
    /// It would be wanted, and stay as it is, for this cause.
    Kept(Trouble),
}

impl Fate {
    const fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Released => "released",
            Self::Blocked => "not written, since another controller owns them",
            Self::Kept(_) => "not written",
        }
    }
}

impl Snapshot {
    /// Lays objects over it.
    ///
    /// # Errors
    /// Each Bundle among them that is invalid, with everything that is wrong with it.
    pub fn lay_over(&mut self, overlay: Overlay, trust_namespace: &str) -> Result<Concerned, String> {
        let Overlay { bundles, sources, namespaces } = overlay;
        let mut concerned = Concerned::default();
        let mut changes = Vec::new();
        for (key, object) in sources {
            let after = Some(object.labels.clone());
            let (kind, name) = key.clone();
            let before = self.world.sources.insert(key, object).map(|before| before.labels);
            changes.push(Change::Source { kind, name, before, after });
        }
        let mut invalid = Vec::new();
        for (name, mut bundle) in bundles {
            concerned.bundles.extend(touch(&self.world, &Change::Bundle(name.clone())));
            // Status and identity are the cluster's.
            bundle.metadata.uid = self.world.intents.get(&name).map(|live| live.uid.clone());
            let live = self.bundles.get(&name).cloned().unwrap_or_default();
            let known = self.add_bundle(&bundle, trust_namespace);
            invalid.extend(known.invalid.iter().map(|why| format!("Bundle {name} is invalid: {why}")));
            known.default_ca_version = live.default_ca_version;
            changes.push(Change::Bundle(name));
        }
        for (name, namespace) in namespaces {
            if name == trust_namespace {
                self.world.trust_namespace = Some(namespace.labels.clone());
                changes.push(Change::TrustNamespace);
            }
            concerned.namespaces.insert(name.clone());
            self.namespaces.insert(name.into(), namespace);
        }
        concerned.bundles.extend(changes.iter().flat_map(|change| touch(&self.world, change)));
        if invalid.is_empty() { Ok(concerned) } else { Err(invalid.join("\n")) }
    }

    /// One target of each Bundle, and the key of its PEM: that which was written last.
    #[must_use]
    pub fn newest_targets(&self) -> BTreeMap<String, (TargetRef, String)> {
        let newest = self.world.intents.iter().filter_map(|(name, intent)| {
            let targets = self.targets.get(name)?.iter();
            let key = |place: &TargetRef| intent.output.objects.iter().find(|object| object.kind == place.kind);
            let (place, _) =
                targets.filter(|(place, _)| key(place).is_some()).max_by_key(|(_, found)| found.written)?;
            Some((name.clone(), (place.clone(), key(place)?.pem_key.clone())))
        });
        newest.collect()
    }
}

impl Forecast {
    /// Compares the cluster as it is with what the snapshot, with objects laid over it, would make of it. `published` is what
    /// the Bundles publish now.
    #[must_use]
    pub fn of(
        snapshot: &Snapshot,
        concerned: &Concerned,
        published: &BTreeMap<String, Collection>,
        now: Timestamp,
    ) -> Self {
        let intents = snapshot.world.intents.values();
        let mut findings = BTreeMap::new();
        let prospects = intents.filter_map(|intent| {
            let everywhere = concerned.bundles.contains(&intent.name);
            if !everywhere && concerned.namespaces.is_empty() {
                return None;
            }
            let mut expectation = Expectation::of(intent, snapshot, now);
            if everywhere {
                findings.insert(intent.name.clone(), std::mem::take(&mut expectation.findings));
            }
            let mut prospect =
                Prospect { bundle: intent.name.clone(), refusal: None, fates: BTreeMap::new(), trust: None };
            if let Some(cause) = expectation.hearsay {
                prospect.refusal = everywhere.then_some(cause);
                return prospect.refusal.is_some().then_some(prospect);
            }
            for (place, _, found, plan) in expectation.judge(snapshot) {
                if (everywhere || concerned.namespaces.contains(&*place.namespace))
                    && let Some(fate) = plan.and_then(|plan| Fate::of(&plan, &intent.name, found))
                {
                    prospect.fates.entry((fate, place.kind)).or_default().push(place.namespace);
                }
            }
            if expectation.wanted.protected.is_some() && everywhere {
                let refusal = expectation.wanted.refusal();
                prospect.refusal = refusal.map(|Refusal { reason, message, .. }| format!("{reason}: {message}"));
            }
            // Under a protected name only what is the Bundle's already goes on.
            let published_anew = prospect.refusal.is_none() || prospect.is_written();
            if everywhere && published_anew && !expectation.wanted.payloads.is_empty() {
                let planned =
                    resolve(intent, &snapshot.world, now).ok().map(|resolved| planned(&intent.name, &resolved));
                let nothing = Collection::default();
                let before = published.get(&intent.name).unwrap_or(&nothing);
                prospect.trust = planned.map(|planned| Difference::between(before, &planned));
            }
            (!prospect.is_empty()).then_some(prospect)
        });
        let prospects = prospects.collect();
        Self { prospects, findings }
    }

    /// Whether nothing would change, as far as can be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prospects.iter().all(Prospect::is_empty)
    }

    /// Of each Bundle how many objects would change and where, and which certificates come and go.
    #[must_use]
    pub fn table(&self, now: Timestamp, paint: Paint) -> String {
        let mut out = String::new();
        for Prospect { bundle, refusal, fates, trust } in &self.prospects {
            if refusal.is_some() && fates.is_empty() {
                continue;
            }
            let _ = writeln!(out, "Bundle {}", escape(bundle));
            for ((fate, kind), namespaces) in fates {
                let _ = write!(out, "  {}: {}", fate.word(), places(*kind, namespaces));
                if let Fate::Kept(Trouble { cause, cure }) = fate {
                    let _ = write!(out, ": {}\n    cure: {}", escape(cause), escape(cure));
                }
                out.push('\n');
            }
            if let Some(trust) = trust {
                for line in trust.table(now, paint).lines() {
                    let _ = writeln!(out, "  {line}");
                }
            }
        }
        out
    }

    /// What could not be told, a line for each Bundle.
    pub fn refusals(&self) -> impl Iterator<Item = String> {
        self.prospects.iter().filter_map(|prospect| {
            let Prospect { bundle, refusal, .. } = prospect;
            let stay = if prospect.is_written() { "" } else { "its targets would stay as they are: " };
            Some(format!("Bundle {bundle}: {stay}{}", escape(refusal.as_ref()?)))
        })
    }

    /// What deserves a look in the sources, as condition `SourcesComplete` would say it, a line for each finding.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        let lines = |(bundle, findings): (&String, &Vec<String>)| {
            findings.iter().map(|finding| format!("Bundle {bundle}: {finding}")).collect::<Vec<_>>()
        };
        self.findings.iter().flat_map(lines)
    }

    /// `bundles`, each with `name`, `refusal`, `created`, `updated`, `released`, `blocked` and `trust`. What is blocked since
    /// it is of others has `cause` and `cure`.
    #[must_use]
    pub fn document(&self, now: Timestamp) -> Value {
        let bundles = self.prospects.iter().map(|Prospect { bundle, refusal, fates, trust }| {
            let of = |wanted: &Fate| {
                let places = fates.iter().filter(|((fate, _), _)| fate == wanted);
                let places = places.flat_map(|((_, kind), namespaces)| {
                    namespaces.iter().map(|namespace| json!({ "kind": kind.as_str(), "namespace": &**namespace }))
                });
                places.collect::<Vec<_>>()
            };
            let kept = fates.iter().flat_map(|((fate, kind), namespaces)| {
                let trouble = if let Fate::Kept(trouble) = fate { Some(trouble) } else { None };
                trouble.into_iter().flat_map(move |Trouble { cause, cure }| {
                    let kind = kind.as_str();
                    namespaces.iter().map(move |namespace| {
                        json!({ "kind": kind, "namespace": &**namespace, "cause": cause, "cure": cure })
                    })
                })
            });
            let blocked: Vec<_> = of(&Fate::Blocked).into_iter().chain(kept).collect();
            json!({
                "name": bundle,
                "refusal": refusal,
                "created": of(&Fate::Created),
                "updated": of(&Fate::Updated),
                "released": of(&Fate::Released),
                "blocked": blocked,
                "trust": trust.as_ref().map(|trust| trust.document(now)),
            })
        });
        json!({ "bundles": bundles.collect::<Vec<_>>() })
    }
}

impl Prospect {
    fn is_empty(&self) -> bool {
        self.refusal.is_none() && self.fates.is_empty() && self.trust.as_ref().is_none_or(Difference::is_empty)
    }

    /// Whether anything is written or let go.
    fn is_written(&self) -> bool {
        self.fates.keys().any(|(fate, _)| !matches!(fate, Fate::Blocked | Fate::Kept(_)))
    }
}

impl Fate {
    fn of(plan: &Plan, bundle: &str, found: Option<&Target>) -> Option<Self> {
        let need = match plan {
            Plan::Act(need) => need,
            Plan::Leave(obstacle) => {
                return Some(Self::Kept(Trouble::of_others(obstacle, bundle, found.map(|found| &found.look))));
            }
            Plan::Refuse(protected) => return Some(Self::Kept(Trouble::of_name(*protected))),
        };
        match need {
            Need::Create => Some(Self::Created),
            Need::Update(_) | Need::Recreate => Some(Self::Updated),
            Need::Release(_) => Some(Self::Released),
            Need::Yield(_) => Some(Self::Blocked),
            Need::Inspect => None,
        }
    }
}

/// What would be published, each certificate with the places that it comes from.
fn planned(bundle: &str, resolved: &Resolved) -> Collection {
    let Resolved { anchors, origins, .. } = resolved;
    let own: BTreeSet<_> = origins.iter().map(|origin| origin.anchor.fingerprint()).collect();
    let origins = origins.iter().map(found_at);
    let default_cas = anchors.iter().filter(|anchor| !own.contains(&anchor.fingerprint())).zip(1..);
    let default_cas = default_cas.map(|(anchor, number)| Found {
        key: Some(Arc::from("default CAs")),
        at: At::Number(number),
        certificate: Ok(anchor.clone()),
    });
    Collection { certificates: origins.chain(default_cas).collect(), ..Collection::new(bundle) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::bundle::{Content, OutputKeys};
    use crate::inspect::Passwords;
    use crate::survey::fixture::{TRUST_NAMESPACE, corporate, namespace, selecting, snapshot, theirs};

    fn source(text: &str) -> BTreeMap<(ObjectKind, String), SourceObject> {
        let content = Content::Keys([("ca".to_owned(), text.as_bytes().to_vec().into())].into());
        let object =
            SourceObject { labels: BTreeMap::new(), output: OutputKeys::None, content, undecodable: BTreeMap::new() };
        [((ObjectKind::ConfigMap, "corporate".to_owned()), object)].into()
    }

    fn bundles(bundle: api::Bundle) -> Overlay {
        let name = bundle.metadata.name.clone().expect("a name");
        Overlay { bundles: [(name, bundle)].into(), ..Overlay::default() }
    }

    fn told(overlay: Overlay) -> (String, Vec<String>) {
        let mut snapshot = snapshot(&[corporate("one")], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let mut published = Collection::new("target");
        published.read(Some("ca.pem"), pem("rsa").as_bytes(), &Passwords::WellKnown).expect("PEM");
        assert_eq!(snapshot.newest_targets()["one"].1, "ca.pem");
        let concerned = snapshot.lay_over(overlay, TRUST_NAMESPACE).expect("valid Bundles");
        let published = [("one".to_owned(), published)].into();
        let forecast = Forecast::of(&snapshot, &concerned, &published, now());
        (forecast.table(now(), Paint::Plain), forecast.refusals().chain(forecast.findings()).collect())
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
                Overlay { namespaces: [("c".to_owned(), namespace(&[("story", "yes")]))].into(), ..Overlay::default() },
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
            assert_eq!(told(overlay), (expected.to_owned(), Vec::new()), "{case}");
        }
    }

    fn forecast(snapshot: &mut Snapshot, overlay: Overlay) -> Forecast {
        let concerned = snapshot.lay_over(overlay, TRUST_NAMESPACE).expect("valid Bundles");
        Forecast::of(snapshot, &concerned, &BTreeMap::new(), now())
    }

    #[test]
    fn what_stays_as_it_is_since_it_is_of_others_is_named_with_the_cure() {
        let mut snapshot = snapshot(&[], &pem("rsa"));
        snapshot.target("one", "a", theirs(true));
        snapshot.target("one", "b", theirs(false));
        let forecast = forecast(&mut snapshot, bundles(corporate("one")));
        let table = forecast.table(now(), Paint::Plain);
        let told = "\
Bundle one
  updated: 1 ConfigMap in b
  not written: 1 ConfigMap in a: TargetExists: it holds a value of others under key \"ca.pem\", written by field manager \"kubectl\"; it stays as it is, and pods that ask for the Bundle there mount it so
    cure: delete that key, annotate it with rootcast.dev/adopt=one to have the value replaced, or give the Bundle another key or name
";
        assert!(table.starts_with(told), "{table}");
        let blocked = &forecast.document(now())["bundles"][0]["blocked"];
        assert_eq!((&blocked[0]["kind"], &blocked[0]["namespace"]), (&json!("ConfigMap"), &json!("a")));
        assert!(blocked[0]["cause"].as_str().is_some_and(|cause| cause.starts_with("TargetExists: ")), "{blocked}");
    }

    #[test]
    fn under_a_protected_name_nothing_new_is_written_and_what_is_the_bundles_goes_on() {
        let refusal = "InvalidSpec: Bundle is invalid: metadata.name: Forbidden: \"coredns\" is a name that CoreDNS";
        let kept = "  not written: 1 ConfigMap in b: InvalidSpec: \"coredns\" is a name that CoreDNS keeps objects of its own under, so it is not written\n";
        let mut fresh = snapshot(&[], &pem("rsa"));
        let told = forecast(&mut fresh, bundles(corporate("coredns")));
        let table = told.table(now(), Paint::Plain);
        assert!(
            table.starts_with(&format!("Bundle coredns\n{}", kept.replace("1 ConfigMap in b", "2 ConfigMaps in a, b"))),
            "{table}"
        );
        assert!(!table.contains("CN="), "{table}");
        let refusals: Vec<_> = told.refusals().collect();
        let stay = "Bundle coredns: its targets would stay as they are: ";
        assert!(refusals[0].starts_with(&format!("{stay}{refusal}")), "{refusals:?}");

        let mut live = snapshot(&[corporate("coredns")], &pem("rsa"));
        live.write("coredns", &["a"]);
        let told = forecast(&mut live, Overlay { sources: source(&pem("ec")), ..Overlay::default() });
        let table = told.table(now(), Paint::Plain);
        assert!(table.starts_with(&format!("Bundle coredns\n  updated: 1 ConfigMap in a\n{kept}")), "{table}");
        assert!(table.contains("CN="), "{table}");
        let refusals: Vec<_> = told.refusals().collect();
        assert!(refusals[0].starts_with(&format!("Bundle coredns: {refusal}")), "{refusals:?}");

        let mut allowed = snapshot(&[], &pem("rsa"));
        allowed.world.settings.allow_names = ["coredns".to_owned()].into();
        let told = forecast(&mut allowed, bundles(corporate("coredns")));
        assert!(
            told.table(now(), Paint::Plain).contains("  created: 2 ConfigMaps in a, b\n")
                && told.refusals().next().is_none()
        );
    }

    #[test]
    fn what_would_be_refused_changes_nothing_and_says_why() {
        let (table, refusals) = told(Overlay { sources: source("garbage"), ..Overlay::default() });
        assert_eq!(table, "");
        assert!(refusals[0].starts_with("Bundle one: its targets would stay as they are: "), "{refusals:?}");
        let place = "Bundle one: ConfigMap cert-manager/corporate key \"ca\"";
        assert_eq!(refusals[1..], [format!("{place}: holds no PEM certificate")]);
    }
}
