//! The state of each Bundle.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;
use crate::bundle::{AnchorOrigin, BundleId, CertificateSource, ObjectKind};

use super::desired::{DesiredTargets, UnknownSourcesError};
use super::diagnosis::Diagnosis;
use super::snapshot::{LeaderStatus, Snapshot, SnapshotBundle};
use super::synced::Synced;

/// The state of the Bundles of a cluster.
#[derive(Debug)]
pub struct Overview<'a> {
    /// Leader of the controllers.
    pub leadership: &'a LeaderStatus,
    /// Where the settings are known from, in words.
    pub settings_from: &'a str,
    /// State of each Bundle, ordered by name.
    pub bundles: Vec<BundleOverview<'a>>,
}

/// The state of a Bundle.
#[derive(Debug)]
pub struct BundleOverview<'a> {
    /// Identifier of the Bundle.
    pub id: &'a BundleId,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// State by condition `Synced`.
    pub synced: Synced<'a>,
    /// All conditions of the Bundle.
    pub conditions: &'a [Condition],
    /// Number of desired targets; `None` if the Bundle is invalid.
    pub desired: Option<usize>,
    /// Number of desired targets that are in sync, by their metadata.
    pub in_sync: usize,
    /// Diagnoses of the other targets and of those that are no longer desired, each with its namespaces.
    pub diagnoses: BTreeMap<(ObjectKind, Diagnosis), Vec<Arc<str>>>,
    /// Certificates of the sources without the default CAs, or why they are not known.
    pub origins: Result<Vec<AnchorOrigin>, UnknownSourcesError>,
    /// Whether the Bundle has the default CAs, too.
    pub default_cas: bool,
    /// Findings in the sources.
    pub findings: Vec<String>,
    /// What could not be read, and why.
    pub remarks: Vec<String>,
    /// When the Bundle or any of its targets was last changed.
    pub changed: Option<Timestamp>,
}

impl<'a> Overview<'a> {
    /// Evaluates every Bundle of the snapshot.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let bundles =
            snapshot.bundles.iter().map(|(id, snapshot_bundle)| BundleOverview::of(id, snapshot_bundle, snapshot, now));
        Self { leadership: &snapshot.leadership, settings_from: &snapshot.settings_from, bundles: bundles.collect() }
    }

    /// Whether nothing needs attention.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !matches!(self.leadership, LeaderStatus::Vacant { .. }) && self.bundles.iter().all(BundleOverview::is_healthy)
    }
}

impl<'a> BundleOverview<'a> {
    fn of(id: &'a BundleId, snapshot_bundle: &'a SnapshotBundle, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let synced = Synced::of(snapshot_bundle);
        let targets = snapshot.targets.get(id);
        let written = targets.into_iter().flat_map(BTreeMap::values).filter_map(|target| target.written);
        let transitions = snapshot_bundle.conditions.iter().map(|condition| condition.last_transition_time.0);
        let mut overview = Self {
            id,
            generation: snapshot_bundle.generation,
            synced,
            conditions: &snapshot_bundle.conditions,
            desired: None,
            in_sync: 0,
            diagnoses: BTreeMap::new(),
            origins: Err(UnknownSourcesError::InvalidBundle),
            default_cas: false,
            findings: Vec::new(),
            remarks: snapshot_bundle.invalid.iter().map(|why| format!("the Bundle is invalid: {why}")).collect(),
            changed: written.chain(transitions).max(),
        };
        let Some(intent) = snapshot.inputs.intents.get(id) else { return overview };
        let desired_targets = DesiredTargets::of(intent, snapshot, now);
        let mut desired_count = 0;
        for (place, is_desired, found, diff) in desired_targets.diff(snapshot) {
            desired_count += usize::from(is_desired);
            match diff {
                None => overview.in_sync += 1,
                Some(diff) => {
                    let metadata = found.map(|found| &found.metadata);
                    let diagnosis =
                        Diagnosis::of(&diff, id.name(), &place, metadata, snapshot_bundle, &snapshot.leadership);
                    overview.diagnoses.entry((place.kind, diagnosis)).or_default().push(place.namespace);
                }
            }
        }
        overview.desired = Some(desired_count);
        overview.default_cas = intent.sources.iter().any(|source| matches!(source, CertificateSource::DefaultCas));
        let DesiredTargets { desired, origins, findings, unverified_reason, .. } = desired_targets;
        // What is refused keeps its targets, and condition Synced has the same words.
        let refused = snapshot_bundle.condition(api::SYNCED).map(|condition| &condition.message);
        match unverified_reason {
            Some(cause) if refused != Some(&cause) => {
                let unknown = origins.as_ref().is_err_and(|error| error.to_string() == cause);
                let why = if unknown { "its sources are not known" } else { &cause };
                overview.remarks.push(format!("targets are compared with the one that was written last: {why}"));
            }
            _ => {}
        }
        let has_secret_targets = intent.output.objects.iter().any(|object| object.kind == ObjectKind::Secret);
        if let Some(cause) =
            snapshot.unread.secret_targets.as_ref().filter(|_| has_secret_targets && !desired.secrets_off)
        {
            overview.remarks.push(format!("its Secrets are not looked at: {cause}"));
        }
        overview.remarks.extend(snapshot.foreign_objects_unread());
        overview.remarks.extend(snapshot.memories_unread(&[id.clone()].into()));
        Self { origins, findings, ..overview }
    }

    /// Whether nothing needs attention.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.synced == Synced::Yes && self.diagnoses.is_empty()
    }

    /// Returns the certificate of the sources that expires first.
    #[must_use]
    pub fn next_expiry(&self) -> Option<&AnchorOrigin> {
        self.origins.iter().flatten().min_by_key(|origin| origin.anchor.not_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, pem, source_id};
    use crate::overview::fixture::{corporate, foreign_target, owner, plain, snapshot, with_condition};
    use crate::overview::snapshot::{SnapshotTarget, SourceQuery};

    fn synced() -> api::Bundle {
        with_condition(corporate("one"), "True", "Synced", "well")
    }

    /// `in sync/desired`, then each diagnosis with its namespaces.
    fn sync_summary(snapshot: &Snapshot) -> (String, Vec<String>) {
        let overview = Overview::of(snapshot, now());
        let [BundleOverview { in_sync, desired, diagnoses, .. }] = &overview.bundles[..] else {
            panic!("{overview:?}")
        };
        let causes =
            diagnoses.iter().map(|((_, diagnosis), places)| format!("{} in {}", diagnosis.cause, places.join(",")));
        (format!("{in_sync}/{}", desired.expect("it is valid")), causes.collect())
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table")]
    fn targets_are_compared_as_the_controller_compares_them() {
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
                    let source = snapshot.inputs.sources.values_mut().next().expect("the source");
                    source.content =
                        crate::bundle::SourceContent::Keys([("ca".to_owned(), pem("ec").into_bytes().into())].into());
                },
                "0/2",
                &["it holds what was published earlier, or elsewhere in a,b"],
            ),
            (
                "another controller took one that holds nothing but ours",
                |snapshot| {
                    let mut metadata = target(snapshot, "a").metadata;
                    metadata.owner = Some(owner("Other", "o", "u"));
                    snapshot.target("one", "a", SnapshotTarget { metadata, ..SnapshotTarget::default() });
                },
                "1/2",
                &["another controller took it: it is written anew in a"],
            ),
            (
                "another controller owns one",
                |snapshot| {
                    let mut metadata = target(snapshot, "a").metadata;
                    metadata.owner = Some(owner("Other", "o", "u"));
                    metadata.foreign_keys.insert("theirs".to_owned(), "other".to_owned());
                    snapshot.target("one", "a", SnapshotTarget { metadata, ..SnapshotTarget::default() });
                },
                "1/2",
                &["it is controlled by Other \"o\" (trust.cert-manager.io/v1alpha1), and not written in a"],
            ),
            (
                "somebody has taken a key",
                |snapshot| {
                    let mut metadata = target(snapshot, "b").metadata;
                    metadata.own_keys.clear();
                    metadata.foreign_keys.insert("ca.pem".to_owned(), "kubectl".to_owned());
                    snapshot.target("one", "b", SnapshotTarget { metadata, ..SnapshotTarget::default() });
                },
                "1/2",
                &["its keys are not as written: field manager \"kubectl\" has written key \"ca.pem\" in b"],
            ),
            (
                "a value of others is in the way",
                |snapshot| snapshot.target("one", "b", foreign_target(true)),
                "1/2",
                &[
                    "TargetExists: it holds a value of others under key \"ca.pem\", written by field manager \"kubectl\"; it stays as it is, and pods that ask for the Bundle there mount it so in b",
                ],
            ),
            (
                "a value of others is in the way, and any is replaced",
                |snapshot| {
                    snapshot.target("one", "b", foreign_target(true));
                    snapshot.inputs.settings.adopt = crate::bundle::AdoptionPolicy::Always;
                },
                "1/2",
                &["its controlling owner is not this Bundle as it is now in b"],
            ),
            (
                "certificates of others are there",
                |snapshot| snapshot.target("one", "b", foreign_target(false)),
                "1/2",
                &["its controlling owner is not this Bundle as it is now in b"],
            ),
            (
                "an object of others holds what nobody has looked at",
                |snapshot| snapshot.target("one", "b", SnapshotTarget { holdings: None, ..foreign_target(true) }),
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
        for (case, change, count, expected) in table {
            let mut snapshot = snapshot(&[synced()], &pem("rsa"));
            snapshot.write("one", &["a", "b"]);
            change(&mut snapshot);
            let (found, causes) = sync_summary(&snapshot);
            assert_eq!((found.as_str(), causes), (count, expected.iter().map(ToString::to_string).collect()), "{case}");
            assert_eq!(Overview::of(&snapshot, now()).is_healthy(), expected.is_empty(), "{case}");
        }
    }

    #[test]
    fn under_a_protected_name_only_what_is_the_bundles_already_is_in_sync() {
        let mut snapshot = snapshot(&[corporate("coredns")], &pem("rsa"));
        snapshot.write("coredns", &["a"]);
        let refused =
            "InvalidSpec: \"coredns\" is a name that CoreDNS keeps objects of its own under, so it is not written in b";
        assert_eq!(sync_summary(&snapshot), ("1/2".to_owned(), vec![refused.to_owned()]));
        let overview = Overview::of(&snapshot, now());
        let remedies: Vec<_> =
            overview.bundles[0].diagnoses.keys().map(|(_, diagnosis)| diagnosis.remedy.clone()).collect();
        assert_eq!(remedies, ["give the Bundle another name, or start rootcast with --allow-names=coredns"]);
        snapshot.inputs.settings.allow_names = ["coredns".to_owned()].into();
        let missing = "it is not there, or lacks the Bundle's label in b";
        assert_eq!(sync_summary(&snapshot), ("1/2".to_owned(), vec![missing.to_owned()]));
    }

    fn target(snapshot: &Snapshot, namespace: &str) -> SnapshotTarget {
        let mut targets = snapshot.targets[&"one".into()].iter();
        targets.find(|(place, _)| &*place.namespace == namespace).expect("a target").1.clone()
    }

    #[test]
    fn without_its_sources_a_bundle_is_compared_with_what_was_written_last() {
        let mut snapshot = snapshot(&[synced()], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        let older = target(&snapshot, "a");
        let mut metadata = older.metadata.clone();
        metadata.annotations.insert(api::HASH_ANNOTATION.to_owned(), "newer".to_owned());
        let written = older.written.map(|time| time + jiff::SignedDuration::from_secs(1));
        snapshot.target("one", "b", SnapshotTarget { metadata, written, ..SnapshotTarget::default() });
        snapshot
            .unread
            .sources
            .insert(SourceQuery::Object(source_id(ObjectKind::ConfigMap, "corporate")), "forbidden".to_owned());
        let (count, causes) = sync_summary(&snapshot);
        assert_eq!(
            (&*count, &causes[..]),
            ("1/2", &["it holds what was published earlier, or elsewhere in a".to_owned()][..])
        );
        let overview = Overview::of(&snapshot, now());
        assert_eq!(overview.bundles[0].origins.as_ref().err().map(ToString::to_string).as_deref(), Some("forbidden"));
        assert_eq!(
            overview.bundles[0].remarks,
            ["targets are compared with the one that was written last: its sources are not known"]
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_bundle_whatever_is_wrong_with_it() {
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
        snapshot.leadership = LeaderStatus::NoLease;
        let overview = Overview::of(&snapshot, now());
        assert_eq!(
            plain(&overview.table(now())),
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
        assert!(!overview.is_healthy());
    }

    #[test]
    fn without_a_leader_the_overview_is_unhealthy_even_if_all_targets_are_in_sync() {
        let mut snapshot = snapshot(&[synced()], &pem("rsa"));
        snapshot.write("one", &["a", "b"]);
        assert!(Overview::of(&snapshot, now()).is_healthy());
        snapshot.leadership = LeaderStatus::Vacant { lease: "l/l".to_owned(), renewed: None };
        assert!(!Overview::of(&snapshot, now()).is_healthy());
    }

    #[test]
    fn a_ledger_that_is_not_read_is_a_remark_of_its_bundle() {
        let mut snapshot = snapshot(&[synced()], &pem("rsa"));
        snapshot.unread.memories = [("one".into(), "it is no ledger".to_owned()), ("two".into(), String::new())].into();
        let overview = Overview::of(&snapshot, now());
        let expected = "Bundle one: how long its certificates are retained is not known, so not shown: it is no ledger";
        assert_eq!(overview.bundles[0].remarks, [expected]);
    }
}
