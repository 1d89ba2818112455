//! How each Bundle is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;
use crate::bundle::{ObjectKind, Origin, Source};

use super::expectation::Expectation;
use super::snapshot::{Known, Leadership, Snapshot};
use super::trouble::Trouble;

/// How the Bundles of a cluster are.
#[derive(Debug)]
pub struct Overview<'a> {
    /// Who leads.
    pub leadership: &'a Leadership,
    /// What the settings are known from, in words.
    pub settings_from: &'a str,
    /// Each Bundle, by name.
    pub states: Vec<State<'a>>,
}

/// How a Bundle is.
#[derive(Debug)]
pub struct State<'a> {
    /// Its name.
    pub name: &'a str,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// What condition `Synced` says.
    pub synced: Synced<'a>,
    /// All its conditions.
    pub conditions: &'a [Condition],
    /// How many objects it wants; `None` if it is invalid.
    pub wanted: Option<usize>,
    /// How many of them are as they should be, going by their metadata.
    pub in_sync: usize,
    /// What is wrong with the others, and with those that it wants no longer, and where.
    pub troubles: BTreeMap<(ObjectKind, Trouble), Vec<Arc<str>>>,
    /// The certificates of its sources, default CAs apart, or why they are not known.
    pub origins: Result<Vec<Origin>, String>,
    /// Whether it has the default CAs, too.
    pub default_cas: bool,
    /// What the admin should know about the sources.
    pub findings: Vec<String>,
    /// What could not be looked at, and why.
    pub remarks: Vec<String>,
    /// When it, or any target of it, was last changed.
    pub changed: Option<Timestamp>,
}

/// What condition `Synced` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced<'a> {
    /// All targets are as they should be.
    Yes,
    /// They are not, for this reason.
    No(&'a str),
    /// It says nothing about the Bundle as it is now, for this reason.
    NotYet(&'a str),
}

impl<'a> Overview<'a> {
    /// Looks at every Bundle of the snapshot.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let states = snapshot.bundles.iter().map(|(name, known)| State::of(name, known, snapshot, now));
        Self { leadership: &snapshot.leadership, settings_from: &snapshot.settings_from, states: states.collect() }
    }

    /// Whether there is nothing to do for anybody.
    #[must_use]
    pub fn is_well(&self) -> bool {
        !matches!(self.leadership, Leadership::Vacant { .. }) && self.states.iter().all(State::is_well)
    }
}

impl<'a> State<'a> {
    fn of(name: &'a str, known: &'a Known, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let synced = Synced::of(known);
        let targets = snapshot.targets.get(name);
        let written = targets.into_iter().flat_map(BTreeMap::values).filter_map(|target| target.written);
        let transitions = known.conditions.iter().map(|condition| condition.last_transition_time.0);
        let mut state = Self {
            name,
            generation: known.generation,
            synced,
            conditions: &known.conditions,
            wanted: None,
            in_sync: 0,
            troubles: BTreeMap::new(),
            origins: Err("the Bundle is invalid".to_owned()),
            default_cas: false,
            findings: Vec::new(),
            remarks: known.invalid.iter().map(|why| format!("the Bundle is invalid: {why}")).collect(),
            changed: written.chain(transitions).max(),
        };
        let Some(intent) = snapshot.world.intents.get(name) else { return state };
        let expectation = Expectation::of(intent, snapshot, now);
        let mut wanted = 0;
        for (place, is_wanted, found, plan) in expectation.judge(snapshot) {
            wanted += usize::from(is_wanted);
            match plan {
                None => state.in_sync += 1,
                Some(plan) => {
                    let look = found.map(|found| &found.look);
                    let trouble = Trouble::of(&plan, name, &place, look, known, &snapshot.leadership);
                    state.troubles.entry((place.kind, trouble)).or_default().push(place.namespace);
                }
            }
        }
        state.wanted = Some(wanted);
        state.default_cas = intent.sources.iter().any(|source| matches!(source, Source::DefaultCas));
        let Expectation { wanted, origins, findings, hearsay } = expectation;
        // What is refused keeps its targets, and condition Synced has the same words.
        let refused = known.condition(api::SYNCED).map(|condition| &condition.message);
        match hearsay {
            Some(cause) if refused != Some(&cause) => {
                let why = if origins.as_ref().err() == Some(&cause) { "its sources are not known" } else { &cause };
                state.remarks.push(format!("targets are compared with the one that was written last: {why}"));
            }
            _ => {}
        }
        let wants_secrets = intent.output.objects.iter().any(|object| object.kind == ObjectKind::Secret);
        if let Some(cause) = snapshot.unread.secret_targets.as_ref().filter(|_| wants_secrets && !wanted.secrets_off) {
            state.remarks.push(format!("its Secrets are not looked at: {cause}"));
        }
        state.remarks.extend(snapshot.others_unread());
        Self { origins, findings, ..state }
    }

    /// Whether there is nothing to do for anybody.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.synced == Synced::Yes && self.troubles.is_empty()
    }

    /// The certificate of its sources that ends first.
    #[must_use]
    pub fn next_end(&self) -> Option<&Origin> {
        self.origins.iter().flatten().min_by_key(|origin| origin.anchor.not_after())
    }
}

impl<'a> Synced<'a> {
    pub(super) fn of(known: &'a Known) -> Self {
        let current = |condition: &&Condition| condition.observed_generation == known.generation;
        match known.condition(api::SYNCED).filter(current) {
            Some(condition) if condition.status == "True" => Self::Yes,
            Some(condition) => Self::No(&condition.reason),
            None => {
                let begun = known.condition(api::RECONCILING).filter(current);
                Self::NotYet(begun.map_or("NotYetSeen", |condition| &condition.reason))
            }
        }
    }

    /// The word for the status, and the reason.
    #[must_use]
    pub fn words(self) -> (&'static str, &'a str) {
        match self {
            Self::Yes => ("True", "Synced"),
            Self::No(reason) => ("False", reason),
            Self::NotYet(reason) => ("Unknown", reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem};
    use crate::inspect::Paint;
    use crate::survey::fixture::{corporate, owner, snapshot, theirs, with_condition};
    use crate::survey::snapshot::Target;

    fn synced() -> api::Bundle {
        with_condition(corporate("one"), "True", "Synced", "well")
    }

    /// `in sync/wanted`, then each trouble with its namespaces.
    fn seen(snapshot: &Snapshot) -> (String, Vec<String>) {
        let overview = Overview::of(snapshot, now());
        let [State { in_sync, wanted, troubles, .. }] = &overview.states[..] else { panic!("{overview:?}") };
        let troubles =
            troubles.iter().map(|((_, trouble), places)| format!("{} in {}", trouble.cause, places.join(",")));
        (format!("{in_sync}/{}", wanted.expect("it is valid")), troubles.collect())
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table")]
    fn targets_are_judged_as_the_controller_judges_them() {
        type Change = fn(&mut Snapshot);
        let table: [(&str, Change, &str, &[&str]); 12] = [
            ("all is well", |_| {}, "2/2", &[]),
            (
                "one is missing",
                |snapshot| snapshot.targets.clear(),
                "0/2",
                &["it is not there, or lacks the Bundle's label in a,b"],
            ),
            (
                "one is too many",
                |snapshot| snapshot.write("one", &["c"]),
                "2/2",
                &["it is no longer wanted here, and still there in c"],
            ),
            (
                "the sources have changed since",
                |snapshot| {
                    let source = snapshot.world.sources.values_mut().next().expect("the source");
                    source.content =
                        crate::bundle::Content::Keys([("ca".to_owned(), pem("ec").into_bytes().into())].into());
                },
                "0/2",
                &["it holds what was published earlier, or elsewhere in a,b"],
            ),
            (
                "another controller took one that holds nothing but ours",
                |snapshot| {
                    let mut look = target(snapshot, "a").look;
                    look.controller = Some(owner("Other", "o", "u"));
                    snapshot.target("one", "a", Target { look, ..Target::default() });
                },
                "1/2",
                &["another controller took it: it is written anew in a"],
            ),
            (
                "another controller owns one",
                |snapshot| {
                    let mut look = target(snapshot, "a").look;
                    look.controller = Some(owner("Other", "o", "u"));
                    look.foreign_keys.insert("theirs".to_owned(), "other".to_owned());
                    snapshot.target("one", "a", Target { look, ..Target::default() });
                },
                "1/2",
                &["it is controlled by Other \"o\" (trust.cert-manager.io/v1alpha1), and not written in a"],
            ),
            (
                "somebody has taken a key",
                |snapshot| {
                    let mut look = target(snapshot, "b").look;
                    look.own_keys.clear();
                    look.foreign_keys.insert("ca.pem".to_owned(), "kubectl".to_owned());
                    snapshot.target("one", "b", Target { look, ..Target::default() });
                },
                "1/2",
                &["its keys are not as written: field manager \"kubectl\" has written key \"ca.pem\" in b"],
            ),
            (
                "a value of others is in the way",
                |snapshot| snapshot.target("one", "b", theirs(true)),
                "1/2",
                &[
                    "TargetExists: it holds a value of others under key \"ca.pem\", written by field manager \"kubectl\"; it stays as it is, and pods that ask for the Bundle there mount it so in b",
                ],
            ),
            (
                "a value of others is in the way, and any is replaced",
                |snapshot| {
                    snapshot.target("one", "b", theirs(true));
                    snapshot.world.settings.adopt = crate::bundle::Adopt::Always;
                },
                "1/2",
                &["its controlling owner is not this Bundle as it is now in b"],
            ),
            (
                "certificates of others are there",
                |snapshot| snapshot.target("one", "b", theirs(false)),
                "1/2",
                &["its controlling owner is not this Bundle as it is now in b"],
            ),
            (
                "an object of others holds what nobody has looked at",
                |snapshot| snapshot.target("one", "b", Target { holdings: None, ..theirs(true) }),
                "1/2",
                &["its controlling owner is not this Bundle as it is now in b"],
            ),
            (
                "a namespace is on its way out",
                |snapshot| {
                    snapshot.targets.clear();
                    snapshot.namespaces.values_mut().for_each(|namespace| namespace.terminating = true);
                },
                "0/0",
                &[],
            ),
        ];
        for (case, change, count, troubles) in table {
            let mut snapshot = snapshot(&[synced()], &pem("rsa"));
            snapshot.write("one", &["a", "b"]);
            change(&mut snapshot);
            let (told, causes) = seen(&snapshot);
            assert_eq!((told.as_str(), causes), (count, troubles.iter().map(ToString::to_string).collect()), "{case}");
            assert_eq!(Overview::of(&snapshot, now()).is_well(), troubles.is_empty(), "{case}");
        }
    }

    #[test]
    fn under_a_protected_name_only_what_is_the_bundles_already_is_in_sync() {
        let mut snapshot = snapshot(&[corporate("coredns")], &pem("rsa"));
        snapshot.write("coredns", &["a"]);
        let refused =
            "InvalidSpec: \"coredns\" is a name that CoreDNS keeps objects of its own under, so it is not written in b";
        assert_eq!(seen(&snapshot), ("1/2".to_owned(), vec![refused.to_owned()]));
        let overview = Overview::of(&snapshot, now());
        let cures: Vec<_> = overview.states[0].troubles.keys().map(|(_, trouble)| trouble.cure.clone()).collect();
        assert_eq!(cures, ["give the Bundle another name, or start rootcast with --allow-names=coredns"]);
        snapshot.world.settings.allow_names = ["coredns".to_owned()].into();
        let missing = "it is not there, or lacks the Bundle's label in b";
        assert_eq!(seen(&snapshot), ("1/2".to_owned(), vec![missing.to_owned()]));
    }

    fn target(snapshot: &Snapshot, namespace: &str) -> Target {
        let mut targets = snapshot.targets["one"].iter();
        targets.find(|(place, _)| &*place.namespace == namespace).expect("a target").1.clone()
    }

    #[test]
    fn without_its_sources_a_bundle_is_judged_by_what_was_written_last() {
        let mut snapshot = snapshot(&[synced()], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let older = target(&snapshot, "a");
        let mut look = older.look.clone();
        look.annotations.insert(api::HASH_ANNOTATION.to_owned(), "newer".to_owned());
        let written = older.written.map(|time| time + jiff::SignedDuration::from_secs(1));
        snapshot.target("one", "b", Target { look, written, ..Target::default() });
        snapshot.unread.sources.insert((ObjectKind::ConfigMap, "corporate".to_owned()), "forbidden".to_owned());
        let (count, troubles) = seen(&snapshot);
        assert_eq!(
            (&*count, &troubles[..]),
            ("1/2", &["it holds what was published earlier, or elsewhere in a".to_owned()][..])
        );
        let overview = Overview::of(&snapshot, now());
        assert_eq!(overview.states[0].origins.as_ref().err().map(String::as_str), Some("forbidden"));
        assert_eq!(
            overview.states[0].remarks,
            ["targets are compared with the one that was written last: its sources are not known"]
        );
    }

    #[test]
    fn the_glance_has_a_line_for_each_bundle_whatever_is_wrong_with_it() {
        let mut invalid = corporate("bad");
        invalid.spec.sources.clear();
        let fresh = corporate("fresh");
        let outdated = {
            let mut bundle = with_condition(corporate("older"), "True", "Synced", "well");
            bundle.metadata.generation = Some(2);
            bundle
        };
        let refused = with_condition(corporate("refused"), "False", "SourceNotFound", "gone");
        let mut snapshot = snapshot(&[synced(), invalid, fresh, outdated, refused], &(pem("expired") + &pem("rsa")));
        snapshot.write("one", &["a", "b"]);
        snapshot.leadership = Leadership::NoLease;
        let overview = Overview::of(&snapshot, now());
        assert_eq!(
            overview.table(now(), Paint::Plain),
            "\
Leader: there is no Lease: no controller runs, or a single one with --leader-elect=false

BUNDLE   SYNCED   REASON          IN SYNC  ENDS NEXT            CHANGED
bad      Unknown  NotYetSeen      -        not known            -
fresh    Unknown  NotYetSeen      0/2      2015-01-01, expired  -
older    Unknown  NotYetSeen      0/2      2015-01-01, expired  24h ago
one      True     Synced          2/2      2015-01-01, expired  0s ago
refused  False    SourceNotFound  0/2      2015-01-01, expired  24h ago
"
        );
        assert!(!overview.is_well());
    }

    #[test]
    fn that_nobody_leads_is_not_well_even_if_all_targets_are() {
        let mut snapshot = snapshot(&[synced()], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        assert!(Overview::of(&snapshot, now()).is_well());
        snapshot.leadership = Leadership::Vacant { lease: "l/l".to_owned(), renewed: None };
        assert!(!Overview::of(&snapshot, now()).is_well());
    }
}
