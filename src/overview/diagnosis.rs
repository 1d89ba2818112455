//! Diagnoses of targets that are not in sync.

use crate::api;
use crate::bundle::{
    Diff, Drift, ObservedMetadata, Obstacle, OwnerRef, ProtectedName, ROLLOUT_HELD, Reason, Release, TARGET_EXISTS,
    TargetRef,
};

use super::desired::TargetDiff;
use super::snapshot::{LeaderStatus, SnapshotBundle};
use super::synced::Synced;

/// The cause and the remedy of a target that is not in sync; equal in several namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnosis {
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

impl Diagnosis {
    /// Returns the diagnosis of one target of a Bundle.
    pub(super) fn of(
        diff: &TargetDiff,
        bundle: &str,
        place: &TargetRef,
        metadata: Option<&ObservedMetadata>,
        snapshot_bundle: &SnapshotBundle,
        leadership: &LeaderStatus,
    ) -> Self {
        match diff {
            TargetDiff::Act(diff) => Self::of_diff(diff, place, metadata, snapshot_bundle, leadership),
            TargetDiff::Leave(obstacle) => Self::of_foreign_object(obstacle, bundle, metadata),
            TargetDiff::Refuse(protected) => Self::of_protected_name(*protected),
        }
    }

    /// Returns the diagnosis of a foreign object in place of a target, as condition `Synced` has it.
    pub(super) fn of_foreign_object(obstacle: &Obstacle, bundle: &str, look: Option<&ObservedMetadata>) -> Self {
        let manager = |key: &str| look?.foreign_keys.get(key).map(String::as_str);
        let (fault, remedy) = obstacle.cause_and_remedy(bundle, manager);
        Self { cause: format!("{TARGET_EXISTS}: it {fault}"), remedy }
    }

    /// Returns the diagnosis of a target under a protected name.
    pub(super) fn of_protected_name(protected: ProtectedName) -> Self {
        let cause = format!("{}: {}, so it is not written", Reason::InvalidSpec.as_str(), protected.cause());
        Self { cause, remedy: protected.remedy() }
    }

    fn of_diff(
        diff: &Diff,
        place: &TargetRef,
        metadata: Option<&ObservedMetadata>,
        snapshot_bundle: &SnapshotBundle,
        leadership: &LeaderStatus,
    ) -> Self {
        let detail = snapshot_bundle
            .condition(api::SYNCED)
            .and_then(|condition| failure_in_condition(&condition.message, place));
        let (cause, remedy) = match diff {
            Diff::Blocked(owner) => (
                format!("it is controlled by {}, and not written", describe_owner(owner)),
                "delete that owner, or give the Bundle another name".to_owned(),
            ),
            Diff::Create => (
                "it is not there, or lacks the Bundle's label".to_owned(),
                controller_remedy(snapshot_bundle, leadership),
            ),
            Diff::Recreate => (
                "another controller took it: it is written anew".to_owned(),
                controller_remedy(snapshot_bundle, leadership),
            ),
            Diff::Update(drift) => (describe_drift(*drift, metadata), controller_remedy(snapshot_bundle, leadership)),
            Diff::VerifyBytes => {
                (describe_drift(Drift::Bytes, metadata), controller_remedy(snapshot_bundle, leadership))
            }
            Diff::Release(Release::Delete) => (
                "it is no longer wanted here, and still there".to_owned(),
                controller_remedy(snapshot_bundle, leadership),
            ),
            Diff::Release(Release::HandOver) => (
                "our keys are no longer wanted in it, and still there".to_owned(),
                controller_remedy(snapshot_bundle, leadership),
            ),
        };
        match detail {
            Some(detail) if !matches!(diff, Diff::Blocked(_)) => Self {
                cause: format!("{cause}: {detail}"),
                remedy: "remove what stands in the way: it is tried again by itself".to_owned(),
            },
            _ => Self { cause, remedy },
        }
    }
}

fn describe_owner(owner: &OwnerRef) -> String {
    format!("{} {:?} ({})", owner.kind, owner.name, owner.api_version)
}

fn describe_drift(drift: Drift, look: Option<&ObservedMetadata>) -> String {
    match drift {
        Drift::Owner => "its controlling owner is not this Bundle as it is now".to_owned(),
        Drift::Content => "it holds what was published earlier, or elsewhere".to_owned(),
        Drift::Keys => match look.and_then(|look| look.foreign_keys.iter().next()) {
            Some((key, manager)) => {
                format!("its keys are not as written: field manager {manager:?} has written key {key:?}")
            }
            None => "its keys are not as written".to_owned(),
        },
        Drift::Metadata => "a label or annotation differs".to_owned(),
        Drift::Bytes => "its bytes may have been changed".to_owned(),
    }
}

/// The reasons with which targets are written, as far as it goes.
const REASONS_WITH_WRITES: [Reason; 4] = [
    Reason::SyncConfigMapTargetFailed,
    Reason::SyncSecretTargetFailed,
    Reason::SecretTargetsDisabled,
    Reason::EverythingDistrusted,
];

fn controller_remedy(snapshot_bundle: &SnapshotBundle, leadership: &LeaderStatus) -> String {
    if let Synced::No(reason) = Synced::of(snapshot_bundle)
        && REASONS_WITH_WRITES.iter().all(|written| written.as_str() != reason)
    {
        return format!("the Bundle is refused ({reason}), and its targets stay as they are until it is mended");
    }
    if snapshot_bundle.condition(api::RECONCILING).is_some_and(|condition| condition.reason == ROLLOUT_HELD) {
        return format!("the rollout of the newest content is held back: see condition {}", api::SOURCE_UNSTABLE);
    }
    match leadership {
        LeaderStatus::Led { holder, .. } => {
            format!("it is mended within seconds; if not, the log of {holder} and the Bundle's events say why")
        }
        LeaderStatus::Vacant { .. } => {
            "nobody leads, so nobody mends it: see why no controller runs (kubectl get pods, kubectl logs)".to_owned()
        }
        LeaderStatus::NoLease | LeaderStatus::Unknown(_) => {
            "a running controller mends it within seconds: see that one runs, and what its log says".to_owned()
        }
    }
}

/// Returns the failure of a target in the message of condition `Synced`, which has the first few.
fn failure_in_condition<'a>(message: &'a str, place: &TargetRef) -> Option<&'a str> {
    let of = |kind: &str, rest: &str| format!("{kind} to namespace {rest}");
    let opening = of(place.kind.as_str(), &format!("{:?}: ", &*place.namespace));
    let rest = &message[message.find(&opening)? + opening.len()..];
    let ends = [of("; ConfigMap", ""), of("; Secret", ""), " (and ".to_owned()];
    let end = ends.iter().filter_map(|end| rest.find(end.as_str())).min().unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::ObjectKind;
    use crate::bundle::fixture::now;
    use crate::overview::fixture::{corporate, with_condition};

    #[test]
    fn the_api_servers_message_about_a_target_is_found_in_the_condition() {
        let place =
            |namespace: &str| TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "b".into() };
        let message = "Failed to sync bundle ConfigMap to namespace \"a\": exceeded quota: x; y; ConfigMap to namespace \"b\": denied (and 3 more of 9 namespaces' targets)";
        assert_eq!(failure_in_condition(message, &place("a")), Some("exceeded quota: x; y"));
        assert_eq!(failure_in_condition(message, &place("b")), Some("denied"));
        assert_eq!(failure_in_condition(message, &place("c")), None);
        assert_eq!(failure_in_condition(message, &TargetRef { kind: ObjectKind::Secret, ..place("a") }), None);
    }

    #[test]
    fn the_remedy_depends_on_the_bundle_and_on_the_leader() {
        let led = LeaderStatus::Led { lease: "l/l".to_owned(), holder: "pod-1".to_owned(), renewed: now() };
        let vacant = LeaderStatus::Vacant { lease: "l/l".to_owned(), renewed: None };
        let table = [
            (("True", "Synced"), &led, "it is mended within seconds; if not, the log of pod-1 "),
            (("True", "Synced"), &vacant, "nobody leads, so nobody mends it: "),
            (("True", "Synced"), &LeaderStatus::NoLease, "a running controller mends it within seconds: "),
            (
                ("False", "SourceNotFound"),
                &led,
                "the Bundle is refused (SourceNotFound), and its targets stay as they are",
            ),
            (("False", "SyncSecretTargetFailed"), &led, "it is mended within seconds; "),
        ];
        for ((status, reason), leadership, words) in table {
            let snapshot_bundle = SnapshotBundle::of(&with_condition(corporate("b"), status, reason, "m"));
            let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into(), name: "b".into() };
            let remedy =
                Diagnosis::of(&TargetDiff::Act(Diff::Create), "b", &place, None, &snapshot_bundle, leadership).remedy;
            assert!(remedy.starts_with(words), "{reason}: {remedy}");
        }
    }
}
