//! What `rootcast wait` waits for, and whether it is there.

use std::fmt;

use jiff::Timestamp;

use crate::api;
use crate::bundle::{Phase, RetiringNote, WithdrawalReason};
use crate::trust::Fingerprint;

use super::rotation_snapshot::RotationSnapshot;

/// A certificate of a Bundle, and the state that it is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitedCertificate {
    /// Fingerprint of the certificate.
    pub fingerprint: Fingerprint,
    /// The state.
    pub state: AwaitedState,
}

/// A state that a certificate is to reach. Displays as the word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitedState {
    /// Every target has held it for the settle time.
    Settled,
    /// No target holds it.
    Retired,
}

/// Whether a certificate has reached a state, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitVerdict {
    /// It has, as this says.
    Reached(String),
    /// It has not, and waits for this.
    Waiting(String),
    /// It will not, for this cause.
    Impossible(String),
    /// It cannot be known, for this cause.
    NotAskable(String),
}

impl AwaitedCertificate {
    /// Returns whether the certificate has reached the state.
    #[must_use]
    pub fn verdict(&self, snapshot: &RotationSnapshot) -> WaitVerdict {
        if let Some(cause) = snapshot.retention_off() {
            return WaitVerdict::NotAskable(cause);
        }
        match self.state {
            AwaitedState::Settled => self.settled(snapshot),
            AwaitedState::Retired => self.retired(snapshot),
        }
    }

    fn settled(&self, snapshot: &RotationSnapshot) -> WaitVerdict {
        if let Some(denier) = snapshot.denier(self.fingerprint) {
            return WaitVerdict::Impossible(format!("it is {denier}, and so never published"));
        }
        let cause = match snapshot.ledger.memory().map(|memory| memory.entries.get(&self.fingerprint)) {
            None => snapshot.describe_ledger().unwrap_or_default(),
            Some(None) => "it is in no source that the controller has seen".to_owned(),
            Some(Some(entry)) => match (entry.phase, entry.everywhere, snapshot.settle()) {
                // Without the permission to read Distrusts, the ledger alone tells of them.
                (Phase::Withdrawing { reason: WithdrawalReason::Denied, .. }, ..) if snapshot.denials.is_none() => {
                    return WaitVerdict::Impossible("it is distrusted or excluded, and so never published".to_owned());
                }
                (Phase::Withdrawing { reason, .. }, ..) => format!("it was withdrawn, since {}", reason.cause()),
                (Phase::Leaving { since }, ..) => format!("it has been in no source since {since:.0}"),
                (Phase::Present, None, _) => "it is not in every target".to_owned(),
                (Phase::Present, Some(since), None) => format!(
                    "every target has had it since {since:.0}, and condition {} does not say how long nodes take",
                    api::SETTLED
                ),
                (Phase::Present, Some(since), Some(settle)) => {
                    let held = format!("every target has had it since {since:.0}");
                    let at = since.checked_add(settle).unwrap_or(Timestamp::MAX);
                    if at <= snapshot.now {
                        return WaitVerdict::Reached(format!("{held}, longer than the {settle:#} that nodes take"));
                    }
                    format!("{held}, and nodes take {settle:#} to rewrite files, until {at:.0}")
                }
            },
        };
        waiting(cause, snapshot)
    }

    fn retired(&self, snapshot: &RotationSnapshot) -> WaitVerdict {
        let cause = match snapshot.ledger.memory().map(|memory| memory.entries.get(&self.fingerprint)) {
            None => snapshot.describe_ledger().unwrap_or_default(),
            Some(None) => return WaitVerdict::Reached("it is not in this bundle".to_owned()),
            Some(Some(entry)) => match entry.phase {
                Phase::Present => format!("it is still in a source: {}", entry.origins.join(", ")),
                Phase::Leaving { since } => match snapshot.retiring_note(self.fingerprint) {
                    None => format!("it has been in no source since {since:.0}"),
                    Some(RetiringNote { until, waits_for }) => format!(
                        "it has been in no source since {since:.0}, stays until {until:.0} at least, and waits for {waits_for}"
                    ),
                },
                Phase::Withdrawing { reason, .. } => {
                    format!("it was withdrawn, since {}, and a target may still hold it", reason.cause())
                }
            },
        };
        waiting(cause, snapshot)
    }
}

/// Returns the verdict of a certificate that waits for this, and for what the conditions of its Bundle say.
fn waiting(cause: String, snapshot: &RotationSnapshot) -> WaitVerdict {
    WaitVerdict::Waiting(std::iter::once(cause).chain(snapshot.troubles()).collect::<Vec<_>>().join("; "))
}

impl fmt::Display for AwaitedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settled => "settled",
            Self::Retired => "retired",
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::bundle::Memory;
    use crate::bundle::fixture::{anchor, denying, now};
    use crate::overview::fixture::{memory, rotation};

    const RETAINED: &[(&str, &str)] = &[(api::RETAIN_ANNOTATION, "24h")];
    const SYNCED: (&str, &str, &str, &str) = (api::SYNCED, "True", "Synced", "synced");
    const SETTLED: (&str, &str, &str, &str) =
        (api::SETTLED, "True", "Settled", "well; retain 24h, settle 3m, 0 excluded");

    fn verdict(snapshot: &RotationSnapshot, state: AwaitedState) -> (&'static str, String) {
        let awaited = AwaitedCertificate { fingerprint: anchor("rsa").fingerprint(), state };
        match awaited.verdict(snapshot) {
            WaitVerdict::Reached(words) => ("reached", words),
            WaitVerdict::Waiting(words) => ("waiting", words),
            WaitVerdict::Impossible(words) => ("impossible", words),
            WaitVerdict::NotAskable(words) => ("not askable", words),
        }
    }

    fn ago(seconds: i64) -> Timestamp {
        now() - SignedDuration::from_secs(seconds)
    }

    fn of_rsa(everywhere: Option<Timestamp>, phase: Phase) -> Memory {
        memory(&[("rsa", everywhere, phase), ("ec", Some(ago(600)), Phase::Present)])
    }

    fn without_rsa() -> Memory {
        memory(&[("ec", Some(ago(600)), Phase::Present)])
    }

    fn withdrawing(reason: WithdrawalReason) -> Memory {
        of_rsa(Some(ago(600)), Phase::Withdrawing { since: ago(10), reason })
    }

    #[test]
    fn a_certificate_is_settled_once_all_targets_have_had_it_for_the_settle_time_of_the_controller() {
        let leaving = Phase::Leaving { since: ago(60) };
        let table = [
            (
                "settled",
                Some(of_rsa(Some(ago(180)), Phase::Present)),
                "reached",
                "every target has had it since 2026-10-31T23:57:00Z, longer than the 3m that nodes take",
            ),
            (
                "a second before",
                Some(of_rsa(Some(ago(179)), Phase::Present)),
                "waiting",
                "every target has had it since 2026-10-31T23:57:01Z, and nodes take 3m to rewrite files, until 2026-11-01T00:00:01Z",
            ),
            ("rolling out", Some(of_rsa(None, Phase::Present)), "waiting", "it is not in every target"),
            ("not seen", Some(without_rsa()), "waiting", "it is in no source that the controller has seen"),
            (
                "leaving",
                Some(of_rsa(Some(ago(600)), leaving)),
                "waiting",
                "it has been in no source since 2026-10-31T23:59:00Z",
            ),
            (
                "withdrawn",
                Some(withdrawing(WithdrawalReason::Young)),
                "waiting",
                "it was withdrawn, since it was taken back before",
            ),
            ("denied", Some(withdrawing(WithdrawalReason::Denied)), "impossible", "it is distrusted or excluded"),
            (
                "no ledger",
                None,
                "waiting",
                "there is no ledger ConfigMap cert-manager/rootcast-ledger.bundle.corp yet; ",
            ),
        ];
        for (case, memory, verdict_word, words) in table {
            let found = verdict(&rotation(RETAINED, &[SYNCED, SETTLED], memory), AwaitedState::Settled);
            assert!(found.0 == verdict_word && found.1.starts_with(words), "{case}: {found:?}");
        }
        let settled = || Some(of_rsa(Some(ago(600)), Phase::Present));
        let unsaid = verdict(&rotation(RETAINED, &[SYNCED], settled()), AwaitedState::Settled);
        let words = "every target has had it since 2026-10-31T23:50:00Z, and condition Settled does not say how long nodes take";
        assert_eq!(unsaid, ("waiting", words.to_owned()));
        for memory in [settled(), Some(without_rsa())] {
            let mut distrusted = rotation(RETAINED, &[SYNCED, SETTLED], memory);
            distrusted.denials = Some(denying("incident", &["rsa"]));
            let words = "it is distrusted by Distrust incident, and so never published";
            assert_eq!(verdict(&distrusted, AwaitedState::Settled), ("impossible", words.to_owned()));
        }
        let exclude = [RETAINED[0], (api::EXCLUDE_ANNOTATION, &*anchor("rsa").fingerprint().to_string())];
        for memory in [settled(), Some(without_rsa()), None] {
            let found = verdict(&rotation(&exclude, &[SYNCED, SETTLED], memory), AwaitedState::Settled);
            let words = "it is excluded by annotation rootcast.dev/exclude, and so never published";
            assert_eq!(found, ("impossible", words.to_owned()));
        }
    }

    #[test]
    fn a_certificate_is_retired_once_the_ledger_lacks_it() {
        let fingerprint = anchor("rsa").fingerprint();
        let note = format!(
            "1 certificate leaving: CN=A (SHA-256 {fingerprint}) leaving since 2026-10-31T23:59:00Z, until 2026-11-02T00:00:00Z at least, waits for time, Certificate a/b, was in x [content SHA-256 y]"
        );
        let held = (api::RETIRING, "True", "Held", &*note);
        let leaving = || Some(of_rsa(Some(ago(600)), Phase::Leaving { since: ago(60) }));
        let table = [
            ("gone", &[SYNCED, SETTLED][..], Some(without_rsa()), "reached", "it is not in this bundle"),
            (
                "in a source",
                &[SYNCED, SETTLED],
                Some(of_rsa(None, Phase::Present)),
                "waiting",
                "it is still in a source: ConfigMap cert-manager/corporate key \"rsa\"",
            ),
            (
                "leaving",
                &[SYNCED, held],
                leaving(),
                "waiting",
                "it has been in no source since 2026-10-31T23:59:00Z, stays until 2026-11-02T00:00:00Z at least, and waits for time, Certificate a/b",
            ),
            (
                "leaving, not reported",
                &[SYNCED],
                leaving(),
                "waiting",
                "it has been in no source since 2026-10-31T23:59:00Z",
            ),
            (
                "withdrawn",
                &[SYNCED, SETTLED],
                Some(withdrawing(WithdrawalReason::Denied)),
                "waiting",
                "it was withdrawn, since it is distrusted or excluded, and a target may still hold it",
            ),
        ];
        for (case, conditions, memory, verdict_word, words) in table {
            let found = verdict(&rotation(RETAINED, conditions, memory), AwaitedState::Retired);
            assert_eq!(found, (verdict_word, words.to_owned()), "{case}");
        }
        let unknown = verdict(&rotation(RETAINED, &[SYNCED], None), AwaitedState::Retired);
        assert_eq!(unknown.0, "waiting", "{unknown:?}");
    }

    #[test]
    fn what_fails_is_named_and_without_retention_nothing_is_known() {
        let failing = (api::SETTLED, "False", "TargetsFailing", "not yet in all 2 targets: namespace shop: quota");
        let refused = (api::SYNCED, "False", "SourceNotFound", "gone");
        let found = verdict(&rotation(RETAINED, &[failing, refused], Some(without_rsa())), AwaitedState::Settled);
        let words = "it is in no source that the controller has seen; Synced is False, SourceNotFound: gone; Settled is False, TargetsFailing: not yet in all 2 targets: namespace shop: quota";
        assert_eq!(found, ("waiting", words.to_owned()));
        let invalid = verdict(&rotation(&[(api::RETAIN_ANNOTATION, "3 days")], &[], None), AwaitedState::Settled);
        assert!(invalid.0 == "waiting" && invalid.1.contains("; the Bundle is invalid: "), "{invalid:?}");

        let off: &[(&str, &str)] = &[(api::RETAIN_ANNOTATION, "0s")];
        for (annotations, conditions, expected) in [
            (off, &[SYNCED, SETTLED][..], "not askable"),
            (&[], &[SYNCED], "not askable"),
            (&[], &[SYNCED, SETTLED], "reached"),
            (&[], &[], "reached"),
        ] {
            for state in [AwaitedState::Settled, AwaitedState::Retired] {
                let found = verdict(&rotation(annotations, conditions, Some(without_rsa())), state);
                let waits = state == AwaitedState::Settled && expected == "reached";
                assert_eq!(
                    found.0,
                    if waits { "waiting" } else { expected },
                    "{annotations:?} {conditions:?}: {found:?}"
                );
            }
        }
    }
}
