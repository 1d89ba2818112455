//! What is wrong with a target, why, and what to do about it.

use crate::api;
use crate::bundle::{
    Controller, Drift, Look, Need, Obstacle, TargetRef, Protected, ROLLOUT_HELD, Reason, Release, TARGET_EXISTS,
};

use super::expectation::Plan;
use super::snapshot::{Known, Leadership};
use super::state::Synced;

/// What is wrong with targets, the same in several namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// What.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}

impl Trouble {
    /// Says it of one target of a Bundle.
    pub(super) fn of(
        plan: &Plan,
        bundle: &str,
        place: &TargetRef,
        look: Option<&Look>,
        known: &Known,
        leadership: &Leadership,
    ) -> Self {
        match plan {
            Plan::Act(need) => Self::of_need(need, place, look, known, leadership),
            Plan::Leave(obstacle) => Self::of_others(obstacle, bundle, look),
            Plan::Refuse(protected) => Self::of_name(*protected),
        }
    }

    /// An object of others keeps the target from being written: what condition `Synced` says of it.
    pub(super) fn of_others(obstacle: &Obstacle, bundle: &str, look: Option<&Look>) -> Self {
        let manager = |key: &str| look?.foreign_keys.get(key).map(String::as_str);
        let (fault, cure) = obstacle.fault_and_cure(bundle, manager);
        Self { cause: format!("{TARGET_EXISTS}: it {fault}"), cure }
    }

    /// No Bundle may have the target's name.
    pub(super) fn of_name(protected: Protected) -> Self {
        let cause = format!("{}: {}, so it is not written", Reason::InvalidSpec.as_str(), protected.fault());
        Self { cause, cure: protected.cure() }
    }

    fn of_need(need: &Need, place: &TargetRef, look: Option<&Look>, known: &Known, leadership: &Leadership) -> Self {
        let said = known.condition(api::SYNCED).and_then(|condition| said(&condition.message, place));
        let (cause, cure) = match need {
            Need::Yield(owner) => (
                format!("it is controlled by {}, and not written", owned(owner)),
                "delete that owner, or give the Bundle another name".to_owned(),
            ),
            Need::Create => ("it is not there, or lacks the Bundle's label".to_owned(), mended_by(known, leadership)),
            Need::Recreate => {
                ("another controller took it: it is written anew".to_owned(), mended_by(known, leadership))
            }
            Need::Update(drift) => (differs(*drift, look), mended_by(known, leadership)),
            Need::Inspect => (differs(Drift::Bytes, look), mended_by(known, leadership)),
            Need::Release(Release::Delete) => {
                ("it is no longer wanted here, and still there".to_owned(), mended_by(known, leadership))
            }
            Need::Release(Release::HandOver) => {
                ("our keys are no longer wanted in it, and still there".to_owned(), mended_by(known, leadership))
            }
        };
        match said {
            Some(said) if !matches!(need, Need::Yield(_)) => Self {
                cause: format!("{cause}: {said}"),
                cure: "remove what stands in the way: it is tried again by itself".to_owned(),
            },
            _ => Self { cause, cure },
        }
    }
}

fn owned(owner: &Controller) -> String {
    format!("{} {:?} ({})", owner.kind, owner.name, owner.api_version)
}

fn differs(drift: Drift, look: Option<&Look>) -> String {
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
const CARRIED_OUT: [Reason; 3] =
    [Reason::SyncConfigMapTargetFailed, Reason::SyncSecretTargetFailed, Reason::SecretTargetsDisabled];

fn mended_by(known: &Known, leadership: &Leadership) -> String {
    if let Synced::No(reason) = Synced::of(known)
        && CARRIED_OUT.iter().all(|carried_out| carried_out.as_str() != reason)
    {
        return format!("the Bundle is refused ({reason}), and its targets stay as they are until it is mended");
    }
    if known.condition(api::RECONCILING).is_some_and(|condition| condition.reason == ROLLOUT_HELD) {
        return format!("the rollout of the newest content is held back: see condition {}", api::SOURCE_UNSTABLE);
    }
    match leadership {
        Leadership::Led { holder, .. } => {
            format!("it is mended within seconds; if not, the log of {holder} and the Bundle's events say why")
        }
        Leadership::Vacant { .. } => {
            "nobody leads, so nobody mends it: see why no controller runs (kubectl get pods, kubectl logs)".to_owned()
        }
        Leadership::NoLease | Leadership::Unknown(_) => {
            "a running controller mends it within seconds: see that one runs, and what its log says".to_owned()
        }
    }
}

/// What condition `Synced` says of a target that could not be written: it spells out the first few.
fn said<'a>(message: &'a str, place: &TargetRef) -> Option<&'a str> {
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
    use crate::survey::fixture::{corporate, with_condition};

    #[test]
    fn what_the_api_server_said_of_a_target_is_found_in_the_condition() {
        let place = |namespace: &str| TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into() };
        let message = "Failed to sync bundle ConfigMap to namespace \"a\": exceeded quota: x; y; ConfigMap to namespace \"b\": denied (and 3 more of 9 namespaces' targets)";
        assert_eq!(said(message, &place("a")), Some("exceeded quota: x; y"));
        assert_eq!(said(message, &place("b")), Some("denied"));
        assert_eq!(said(message, &place("c")), None);
        assert_eq!(said(message, &TargetRef { kind: ObjectKind::Secret, ..place("a") }), None);
    }

    #[test]
    fn who_mends_a_target_depends_on_the_bundle_and_on_who_leads() {
        let led = Leadership::Led { lease: "l/l".to_owned(), holder: "pod-1".to_owned(), renewed: now() };
        let vacant = Leadership::Vacant { lease: "l/l".to_owned(), renewed: None };
        let table = [
            (("True", "Synced"), &led, "it is mended within seconds; if not, the log of pod-1 "),
            (("True", "Synced"), &vacant, "nobody leads, so nobody mends it: "),
            (("True", "Synced"), &Leadership::NoLease, "a running controller mends it within seconds: "),
            (
                ("False", "SourceNotFound"),
                &led,
                "the Bundle is refused (SourceNotFound), and its targets stay as they are",
            ),
            (("False", "SyncSecretTargetFailed"), &led, "it is mended within seconds; "),
        ];
        for ((status, reason), leadership, words) in table {
            let known = Known::of(&with_condition(corporate("b"), status, reason, "m"));
            let place = TargetRef { kind: ObjectKind::ConfigMap, namespace: "a".into() };
            let cure = Trouble::of(&Plan::Act(Need::Create), "b", &place, None, &known, leadership).cure;
            assert!(cure.starts_with(words), "{reason}: {cure}");
        }
    }
}
