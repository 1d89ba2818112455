//! Conditions `Settled` and `Retiring` of a Bundle whose certificates are retained.
//!
//! | `Settled` | Reason | When |
//! |---|---|---|
//! | True | `Settled` | every node can have written every certificate of the sources to files |
//! | False | `Waiting` | every target has them, but nodes may not have rewritten their files yet |
//! | False | `TargetsFailing` | a target has not got one, and targets fail |
//! | False | `RollingOut` | a target has not got one yet |
//!
//! | `Retiring` | Reason | When |
//! |---|---|---|
//! | Unknown | `LedgerLost` | nobody knows what was leaving |
//! | Unknown | `ClockSkew` | certificates are leaving, and nobody knows the time |
//! | True | `TooManyLeaving` | more certificates have left the sources than may leave at a time |
//! | True | `Blocked` | the time of a certificate is over, and something else holds it |
//! | True | `Held` | certificates are leaving |
//! | True | `Withdrawing` | a target may still hold what is no longer published |
//! | False | `NothingLeaving` | none of these |

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;
use crate::bundle::id::TargetRef;
use crate::bundle::last_status::LastStatus;
use crate::bundle::reason::Reason;
use crate::limits;
use crate::text;
use crate::trust::{Anchor, Fingerprint};

use super::facts::later;
use super::ledger::ledger_name;
use super::memory::{MemoryEntry, Phase};
use super::record::RecordedRetention;
use super::rotation::Rotation;
use super::step::{LEAVING_MAX, Wait};

/// Maximum length of what is said of all certificates together, in bytes.
const HEAD_MAX: usize = 4_096;

/// Maximum length of what is said of one certificate, in bytes.
const ITEM_MAX: usize = 1_024;

/// Maximum length of a subject in it, in bytes, so that the fingerprint after it always fits.
const SUBJECT_MAX: usize = 80;

/// Maximum number of names in a list of them.
const NAMES_SHOWN: usize = 3;

impl Rotation {
    /// Returns conditions `Retiring` and `Settled` of a Bundle with this many targets, of which these fail.
    pub(in crate::bundle) fn conditions(
        &self,
        targets: usize,
        failures: &[(TargetRef, String)],
        last: &LastStatus,
        now: Timestamp,
    ) -> [Condition; 2] {
        let (status, reason, message) = self.retiring(failures);
        let retiring = last.new_condition(api::RETIRING, status, reason, message, now);
        let (status, reason, message) = self.settled(targets, failures);
        let message = text::condition_message(&format!("{message}; {}", self.policy_text()));
        [retiring, last.new_condition(api::SETTLED, status, reason, message, now)]
    }

    fn settled(&self, targets: usize, failures: &[(TargetRef, String)]) -> (&'static str, &'static str, String) {
        let present: Vec<_> = self.memory.entries.values().filter(|entry| entry.phase == Phase::Present).collect();
        let missing = present.iter().filter(|entry| entry.everywhere.is_none()).count();
        let (own, has) = match present.len() {
            1 => ("its one certificate".to_owned(), "has"),
            number => (format!("all {number} certificates of its own"), "have"),
        };
        let targets = if targets == 1 { "its one target".to_owned() } else { format!("all {targets} targets") };
        if self.lost.is_some() {
            let message = format!("targets that exist are not written while the ledger is lost: see {}", api::RETIRING);
            return ("False", "RollingOut", message);
        }
        if missing > 0 {
            let message = format!("not yet in {targets}: {missing} of {} of its own", certificates(present.len()));
            return match failures {
                [] => ("False", "RollingOut", message),
                failures => ("False", "TargetsFailing", format!("{message}: {}", failing(failures))),
            };
        }
        if self.left_out > 0 {
            let left_out = certificates(self.left_out);
            let message =
                format!("not published, since it would not fit: {left_out} of its sources: see {}", api::SYNCED);
            return ("False", "RollingOut", message);
        }
        let settle = duration(self.policy.settle);
        match present.iter().filter_map(|entry| entry.everywhere).max() {
            None => ("True", "Settled", "it has no certificates of its own".to_owned()),
            Some(since) if later(since, self.policy.settle) > self.now => (
                "False",
                "Waiting",
                format!(
                    "{own} {has} been in {targets} since {since:.0}; nodes take {settle} to rewrite files, until {:.0}",
                    later(since, self.policy.settle)
                ),
            ),
            Some(since) => (
                "True",
                "Settled",
                format!("{own} {has} been in {targets} since {since:.0}, longer than the {settle} that nodes take"),
            ),
        }
    }

    /// The policy in force: annotations do not move the generation.
    fn policy_text(&self) -> String {
        let retain = match self.policy.retain {
            Some(retain) => format!("retain {}", duration(retain)),
            None => "retention is off, and ends when nothing is leaving".to_owned(),
        };
        let settle = duration(self.policy.settle);
        format!("{retain}, settle {settle}, {} excluded", certificates(self.excluded))
    }

    fn retiring(&self, failures: &[(TargetRef, String)]) -> (&'static str, &'static str, String) {
        let mut leaving: Vec<_> = self.leaving().collect();
        leaving.sort_by_key(|(since, fingerprint, _)| (*since, *fingerprint));
        let number = certificates(leaving.len());
        let items = || -> Vec<_> {
            leaving.iter().map(|(since, _, entry)| self.leaving_text(*since, entry, failures)).collect()
        };
        let record = || RecordedRetention {
            content: self.memory.content,
            leaving: leaving.iter().map(|(_, fingerprint, _)| *fingerprint).collect(),
        };
        if let Some(lost) = &self.lost {
            return ("Unknown", Reason::LedgerLost.as_str(), message(&self.lost_text(lost), &[], lost));
        }
        let (status, reason, head) = if leaving.is_empty() {
            let withdrawing = self.withdrawing();
            if withdrawing.is_empty() {
                return ("False", "NothingLeaving", message("no certificate is leaving", &[], &record()));
            }
            let failing = if failures.is_empty() { String::new() } else { format!(" ({})", failing(failures)) };
            let number = certificates(withdrawing.len());
            let head = format!("{number} no longer published, but targets may still hold them{failing}: ");
            return ("True", "Withdrawing", message(&head, &withdrawing, &record()));
        } else if self.skewed {
            let head = format!(
                "{number} leaving, still published, since the clocks of rootcast and of the API server differ by more than 5m: set the one that is wrong: "
            );
            ("Unknown", "ClockSkew", head)
        } else if !self.held.is_empty() {
            let over = self.held.iter().filter_map(|fingerprint| self.memory.entries.get(fingerprint));
            let names = list(over.map(|entry| title(&entry.anchor)));
            let head = format!(
                "{number} leaving, as many as may at a time; {} more that no source holds count as if one did until others have gone ({names}): exclude what nothing needs with annotation {}, or wait: ",
                self.held.len(),
                api::EXCLUDE_ANNOTATION
            );
            ("True", "TooManyLeaving", head)
        } else if leaving.iter().any(|(_, fingerprint, _)| self.is_blocked(fingerprint, failures)) {
            let head = format!(
                "{number} leaving, still published beyond the time to retain: mend what each waits for, or take it away at once with annotation {}: ",
                api::EXCLUDE_ANNOTATION
            );
            ("True", "Blocked", head)
        } else {
            ("True", "Held", format!("{number} leaving, still published: "))
        };
        (status, reason, message(&head, &items(), &record()))
    }

    fn lost_text(&self, lost: &RecordedRetention) -> String {
        let missing: Vec<_> =
            lost.leaving.iter().filter(|fingerprint| !self.memory.entries.contains_key(fingerprint)).collect();
        let missing = match missing.len() {
            0 => "certificates that have left the sources are unknown".to_owned(),
            _ => format!("what was leaving is in no target: SHA-256 {}", list(missing.iter().map(ToString::to_string))),
        };
        let digits = lost.content.map(|content| content.short()).unwrap_or_default();
        format!(
            "ConfigMap {} is lost, and {missing}; targets that exist stay as they are, new ones get what the sources hold: restore the ConfigMap from a backup, or accept the loss with annotation {}: {digits:?}",
            ledger_name(&self.id),
            api::LEDGER_LOST_ANNOTATION
        )
    }

    fn leaving(&self) -> impl Iterator<Item = (Timestamp, Fingerprint, &MemoryEntry)> {
        let entries = self.memory.entries.iter();
        entries.filter_map(|(fingerprint, entry)| Some((entry.phase.leaving_since()?, *fingerprint, entry)))
    }

    /// The first of what is no longer published, each with the cause.
    fn withdrawing(&self) -> Vec<String> {
        let text = |entry: &MemoryEntry| match entry.phase {
            Phase::Withdrawing { since, reason } => {
                Some(format!("{} since {since:.0}, as {}", title(&entry.anchor), reason.cause()))
            }
            Phase::Present | Phase::Leaving { .. } => None,
        };
        self.memory.entries.values().filter_map(text).take(LEAVING_MAX).collect()
    }

    fn leaving_text(&self, since: Timestamp, entry: &MemoryEntry, failures: &[(TargetRef, String)]) -> String {
        let MemoryEntry { anchor, origins, .. } = entry;
        let waits = self.waits.get(&anchor.fingerprint()).into_iter().flatten();
        let waits = waits.map(|wait| self.wait_text(wait, failures)).collect::<Vec<_>>().join(", ");
        let origins = if origins.is_empty() { "a source that was lost".to_owned() } else { list(origins) };
        let until = self.until(since);
        format!(
            "{} leaving since {since:.0}, until {until:.0} at least, waits for {waits}, was in {origins}",
            title(anchor)
        )
    }

    /// When a certificate that has been leaving since then may be withdrawn at the earliest.
    pub(super) fn until(&self, since: Timestamp) -> Timestamp {
        self.policy.leaves_at(since)
    }

    fn wait_text(&self, wait: &Wait, failures: &[(TargetRef, String)]) -> String {
        match wait {
            Wait::Until(_) => "time".to_owned(),
            Wait::Unsettled(_) if self.is_failing(wait, failures) => failing(failures),
            Wait::Unsettled(fingerprints) => {
                let entries = fingerprints.iter().filter_map(|fingerprint| self.memory.entries.get(fingerprint));
                let names = list(entries.map(|entry| text::truncate_bytes(entry.anchor.subject(), SUBJECT_MAX)));
                format!("nodes to have written {names} to files")
            }
            Wait::Successor => "another certificate, since it is the only one".to_owned(),
            Wait::Uses(objects) => list(objects),
            Wait::Evidence(cause) => format!("evidence of its use ({})", text::cause(cause)),
            Wait::Clock => "the time".to_owned(),
        }
    }

    /// Whether the time of a certificate is over, and more than time is needed.
    fn is_blocked(&self, fingerprint: &Fingerprint, failures: &[(TargetRef, String)]) -> bool {
        let waits = self.waits.get(fingerprint).map(Vec::as_slice).unwrap_or_default();
        let blocks = |wait: &Wait| match wait {
            Wait::Until(_) | Wait::Clock => false,
            Wait::Unsettled(_) => self.is_failing(wait, failures),
            Wait::Successor | Wait::Uses(_) | Wait::Evidence(_) => true,
        };
        !waits.iter().any(|wait| matches!(wait, Wait::Until(_))) && waits.iter().any(blocks)
    }

    /// Whether a certificate waits for others that have not reached every target, and targets fail.
    fn is_failing(&self, wait: &Wait, failures: &[(TargetRef, String)]) -> bool {
        let Wait::Unsettled(fingerprints) = wait else { return false };
        let is_everywhere =
            |fingerprint| self.memory.entries.get(fingerprint).is_some_and(|entry| entry.everywhere.is_some());
        !failures.is_empty() && !fingerprints.iter().all(is_everywhere)
    }
}

/// The message of condition `Retiring`: texts may be cut, what is recorded never is.
fn message(head: &str, items: &[String], record: &RecordedRetention) -> String {
    let (head, record) = (text::truncate_bytes(head, HEAD_MAX), record.to_string());
    let free = limits::CONDITION_MESSAGE.max.saturating_sub(head.len() + record.len());
    let each = (free / items.len().max(1)).saturating_sub(2).min(ITEM_MAX);
    let items: Vec<_> = items.iter().map(|item| text::truncate_bytes(item, each)).collect();
    format!("{head}{}{record}", items.join("; "))
}

/// The subject and the whole fingerprint of a certificate.
pub(super) fn title(anchor: &Anchor) -> String {
    format!("{} (SHA-256 {})", text::truncate_bytes(anchor.subject(), SUBJECT_MAX), anchor.fingerprint())
}

/// The targets that fail, as `namespace shop: cause`.
fn failing(failures: &[(TargetRef, String)]) -> String {
    list(
        failures
            .iter()
            .map(|(target, cause)| format!("namespace {}: {}", target.namespace, text::truncate_bytes(cause, 200))),
    )
}

/// The first of some names, and the number of the rest.
fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut names = names.into_iter();
    let first: Vec<_> = names.by_ref().take(NAMES_SHOWN).map(|name| name.as_ref().to_owned()).collect();
    match names.count() {
        0 => first.join(", "),
        rest => format!("{} and {rest} more", first.join(", ")),
    }
}

fn certificates(number: usize) -> String {
    format!("{number} certificate{}", if number == 1 { "" } else { "s" })
}

/// A duration as flags have it: `1h30m`.
pub(super) fn duration(duration: SignedDuration) -> String {
    format!("{duration:#}").replace(' ', "")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::bundle::fixture::{now, pem, plain};
    use crate::bundle::retention::{
        Clock, ContentDigest, Evidence, Facts, Memory, OwnCertificate, OwnCertificates, Retained, RetentionInput,
        RetentionPolicy, RetiringNote, WithdrawalReason, retain, settle_time,
    };
    use crate::bundle::{
        Decision, Inputs, ObjectKind, Refusal, Report, RolloutOutcome, RolloutProgress, decide, report_outcome,
        report_progress, report_refusal,
    };
    use crate::trust::{self, Anchors};

    const RETAIN: SignedDuration = SignedDuration::from_hours(24);
    const SETTLE: SignedDuration = SignedDuration::from_mins(3);
    const POLICY: RetentionPolicy = RetentionPolicy { retain: Some(RETAIN), settle: SETTLE };

    fn anchor(name: &str) -> Anchor {
        let blocks = trust::pem::read(pem(name).as_bytes()).expect("PEM");
        blocks[0].certificate.clone().expect("a certificate")
    }

    fn entry(name: &str, everywhere: Option<Timestamp>, phase: Phase) -> (Fingerprint, MemoryEntry) {
        let anchor = anchor(name);
        let origins = vec![format!("ConfigMap cert-manager/{name} key \"ca.crt\"")];
        let entry = MemoryEntry { origins, everywhere, phase, ..MemoryEntry::new(anchor.clone(), Some(now())) };
        (anchor.fingerprint(), entry)
    }

    fn rotation(entries: impl IntoIterator<Item = (Fingerprint, MemoryEntry)>) -> Rotation {
        Rotation {
            id: "b".into(),
            policy: POLICY,
            excluded: 0,
            memory: Memory {
                entries: entries.into_iter().collect(),
                content: Some(ContentDigest::of_pem("content")),
                ..Memory::default()
            },
            waits: BTreeMap::new(),
            held: Vec::new(),
            left_out: 0,
            now: now(),
            skewed: false,
            lost: None,
        }
    }

    fn failure() -> (TargetRef, String) {
        let target = TargetRef { kind: ObjectKind::ConfigMap, namespace: "shop".into(), name: "b".into() };
        (target, "exceeded quota".to_owned())
    }

    #[test]
    fn settled_says_how_far_the_certificates_of_the_sources_have_come() {
        let long_ago = now() - SETTLE;
        let lately = now() - SETTLE / 3;
        for (everywhere, failures, status, reason, message) in [
            (
                Some(long_ago),
                vec![failure()],
                "True",
                "Settled",
                "has been in all 16 targets since 2026-10-31T23:57:00Z, longer than the 3m that nodes take; retain 24h, settle 3m, 0 certificates excluded",
            ),
            (
                Some(lately),
                vec![],
                "False",
                "Waiting",
                "has been in all 16 targets since 2026-10-31T23:59:00Z; nodes take 3m to rewrite files, until 2026-11-01T00:02:00Z; retain 24h, settle 3m, 0 certificates excluded",
            ),
            (
                None,
                vec![],
                "False",
                "RollingOut",
                "not yet in all 16 targets: 1 of 1 certificate of its own; retain 24h, settle 3m, 0 certificates excluded",
            ),
            (
                None,
                vec![failure()],
                "False",
                "TargetsFailing",
                "not yet in all 16 targets: 1 of 1 certificate of its own: namespace shop: exceeded quota; retain 24h, settle 3m, 0 certificates excluded",
            ),
        ] {
            // What is leaving is not asked about.
            let leaving = entry("ec", None, Phase::Leaving { since: now() });
            let rotation = rotation([entry("rsa", everywhere, Phase::Present), leaving]);
            let [_, settled] = rotation.conditions(16, &failures, &LastStatus::default(), now());
            assert_eq!((settled.status.as_str(), settled.reason.as_str()), (status, reason));
            assert_eq!(settled.message.strip_prefix("its one certificate ").unwrap_or(&settled.message), message);
            assert_eq!(settle_time(&[settled]), Some(SETTLE));
        }
        let [_, none] = rotation([]).conditions(16, &[], &LastStatus::default(), now());
        assert_eq!((none.status.as_str(), none.reason.as_str()), ("True", "Settled"));
        let left_out = Rotation { left_out: 1, excluded: 1, ..rotation([]) };
        let [_, left_out] = left_out.conditions(16, &[], &LastStatus::default(), now());
        let message = "not published, since it would not fit: 1 certificate of its sources: see Synced; retain 24h, settle 3m, 1 certificate excluded";
        assert_eq!((left_out.status.as_str(), left_out.message.as_str()), ("False", message));
    }

    #[test]
    fn retiring_says_what_each_leaving_certificate_waits_for() {
        let rsa = entry("rsa", Some(now()), Phase::Leaving { since: now() });
        let ec = entry("ec", None, Phase::Present);
        let unsettled = Wait::Unsettled(vec![ec.0]);
        let until = Wait::Until(now() + RETAIN);
        let uses = Wait::Uses(["a", "b", "c", "d"].map(|name| format!("Certificate shop/{name}")).into());
        let evidence = Wait::Evidence("no permission".to_owned());
        for (waits, failing, reason, text) in [
            (vec![until.clone(), unsettled.clone()], false, "Held", "time, nodes to have written "),
            (
                vec![until.clone(), uses.clone()],
                true,
                "Held",
                "time, Certificate shop/a, Certificate shop/b, Certificate shop/c and 1 more, was",
            ),
            (vec![unsettled.clone()], false, "Held", "nodes to have written "),
            (vec![unsettled], true, "Blocked", "namespace shop: exceeded quota, was"),
            (vec![uses], false, "Blocked", "Certificate shop/a, "),
            (vec![Wait::Successor], false, "Blocked", "another certificate, since it is the only one, was"),
            (vec![evidence], false, "Blocked", "evidence of its use (no permission), was"),
        ] {
            let failures: Vec<_> = failing.then(failure).into_iter().collect();
            let rotation = Rotation { waits: [(rsa.0, waits)].into(), ..rotation([rsa.clone(), ec.clone()]) };
            let [retiring, _] = rotation.conditions(16, &failures, &LastStatus::default(), now());
            assert_eq!((retiring.status.as_str(), retiring.reason.as_str()), ("True", reason), "{text}");
            let message = &retiring.message;
            assert!(message.contains(&format!("waits for {text}")), "{message}");
            assert!(
                message.contains(&format!(
                    "{} leaving since 2026-11-01T00:00:00Z, until 2026-11-02T00:00:00Z at least",
                    title(&rsa.1.anchor)
                )),
                "{message}"
            );
            assert!(message.contains("was in ConfigMap cert-manager/rsa key \"ca.crt\" [content"), "{message}");
            let note = RetiringNote::read(message, rsa.0).expect("a note");
            assert_eq!(note.until, now() + RETAIN);
            let (text, _) = text.split_once(", was").unwrap_or((text, ""));
            assert!(note.waits_for.starts_with(text) && !note.waits_for.contains(", was in"), "{note:?}");
            assert_eq!(RetiringNote::read(message, ec.0), None);
        }
        assert_eq!(rotation([rsa.clone(), ec.clone()]).retiring_since(), Some(now()));
    }

    #[test]
    fn retiring_names_what_is_out_of_the_ordinary() {
        let leaving = || entry("rsa", Some(now()), Phase::Leaving { since: now() });
        let reason = WithdrawalReason::Young;
        let withdrawing = entry("ec", None, Phase::Withdrawing { since: now(), reason });
        let lost = RecordedRetention { content: Some(ContentDigest::of_pem("lost")), leaving: [leaving().0].into() };
        let digits = ContentDigest::of_pem("lost").short();
        let held = entry("ec", None, Phase::Present);
        for (rotation, status, reason, text) in [
            (rotation([]), "False", "NothingLeaving", "no certificate is leaving [content".to_owned()),
            (rotation([withdrawing]), "True", "Withdrawing", "as it was taken back before any program".to_owned()),
            (
                Rotation { skewed: true, ..rotation([leaving()]) },
                "Unknown",
                "ClockSkew",
                "set the one that is wrong".to_owned(),
            ),
            (
                Rotation { held: vec![held.0], ..rotation([leaving(), held]) },
                "True",
                "TooManyLeaving",
                "1 more that no source holds".to_owned(),
            ),
            (
                Rotation { lost: Some(lost.clone()), ..rotation([]) },
                "Unknown",
                "LedgerLost",
                format!("rootcast.dev/ledger-lost: \"{digits}\""),
            ),
        ] {
            let [retiring, _] = rotation.conditions(16, &[], &LastStatus::default(), now());
            assert_eq!((retiring.status.as_str(), retiring.reason.as_str()), (status, reason));
            assert!(retiring.message.contains(&text), "{}", retiring.message);
            let status = api::BundleStatus { conditions: Some(vec![retiring]), ..Default::default() };
            let expected = match &rotation.lost {
                // What is lost stays recorded, so that it is known to be lost after another restart.
                Some(lost) => lost.clone(),
                None => RecordedRetention {
                    content: rotation.memory.content,
                    leaving: rotation.leaving().map(|(_, fingerprint, _)| fingerprint).collect(),
                },
            };
            assert_eq!(RecordedRetention::read(&status), expected, "{reason}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_loses_texts_and_no_fingerprint() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaving = |number: usize| {
            let mut parameters = rcgen::CertificateParams::default();
            let name = format!("{number} [content SHA-256 {}", "x".repeat(400));
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let certificate = parameters.self_signed(&key).expect("a certificate");
            let anchor = Anchor::from_der(certificate.der().to_vec()).expect("an anchor");
            let phase = Phase::Leaving { since: now() };
            (anchor.fingerprint(), MemoryEntry { phase, ..MemoryEntry::new(anchor, None) })
        };
        let entries: BTreeMap<_, _> = (0..LEAVING_MAX).map(leaving).collect();
        let waits = |fingerprint: &Fingerprint| (*fingerprint, vec![Wait::Evidence("y".repeat(5_000))]);
        let rotation = Rotation { waits: entries.keys().map(waits).collect(), ..rotation(entries.clone()) };
        let [retiring, _] = rotation.conditions(16, &[failure()], &LastStatus::default(), now());
        assert!(retiring.message.len() <= limits::CONDITION_MESSAGE.max, "{}", retiring.message.len());
        let twice = |fingerprint: &Fingerprint| retiring.message.matches(&fingerprint.to_string()).count() == 2;
        assert!(entries.keys().all(twice), "each is shown, and recorded");
        let status = api::BundleStatus { conditions: Some(vec![retiring]), ..Default::default() };
        assert_eq!(RecordedRetention::read(&status).leaving, entries.into_keys().collect());
    }

    #[test]
    fn what_one_sees_follows_the_steps() {
        let own = |name: &str| -> OwnCertificates {
            [(anchor(name).fingerprint(), OwnCertificate { anchor: anchor(name), origins: Vec::new() })].into()
        };
        let facts = Facts {
            placed: None,
            evidence: Evidence::Complete(Vec::new()),
            clock: Clock { local: now(), server: now() },
        };
        let (first, second, default_cas) = (own("rsa"), own("ec"), BTreeMap::new());
        let input = |own, policy| RetentionInput {
            policy,
            own: Some(own),
            admit: true,
            default_cas: &default_cas,
            denied: &|_: &Anchor| false,
            facts: &facts,
        };
        let see =
            |retained: &Retained, input: &RetentionInput<'_>| Rotation::new(&"b".into(), retained, input, 0, None);
        let reasons = |rotation: &Rotation, before: &Memory| {
            rotation.events(before).into_iter().map(|event| event.reason).collect::<Vec<_>>()
        };
        let mut begun = Memory::begin([anchor("rsa")], now() - RETAIN);
        begun.content = Some(ContentDigest::of(Anchors::collect([anchor("rsa")]).as_ref()));
        let swap = input(&second, POLICY);
        let swapped = retain(&begun, &swap);
        let rotation = see(&swapped, &swap).expect("retention is on");
        assert_eq!(reasons(&rotation, &begun), [Reason::CertificateLeaving]);
        let counts: Vec<_> = rotation.count_by_phase().into_iter().map(|(phase, n)| (phase.as_str(), n)).collect();
        assert_eq!(counts, [("announced", 1), ("everywhere", 0), ("settled", 0), ("leaving", 1), ("withdrawing", 0)]);

        let back = input(&first, POLICY);
        let returned = retain(&swapped.memory, &back);
        let rotation = see(&returned, &back).expect("retention is on");
        let expected = [Reason::CertificateReturned, Reason::CertificateWithdrawn];
        assert_eq!(reasons(&rotation, &swapped.memory), expected, "the other one was there for no time at all");
        let denies = RetentionInput { denied: &|_: &Anchor| true, ..input(&second, POLICY) };
        let withdrawn = retain(&swapped.memory, &denies);
        let rotation = see(&withdrawn, &denies).expect("retention is on");
        let events = rotation.events(&swapped.memory);
        assert_eq!(events.len(), 1, "both in one");
        assert_eq!((events[0].reason, events[0].warning), (Reason::CertificateDenied, true));

        let off = input(&first, RetentionPolicy { retain: None, ..POLICY });
        assert_eq!(see(&retain(&Memory::default(), &off), &off), None);
    }

    #[test]
    fn reports_have_the_conditions_of_retained_certificates_and_keep_them() {
        let decision = decide(&plain("b"), &Inputs::default(), now()).expect("a decision");
        let record = RecordedRetention { content: Some(ContentDigest::of_pem("lost")), leaving: BTreeSet::new() };
        let decision = Decision { rotation: Some(Rotation { lost: Some(record), ..rotation([]) }), ..decision };
        let outcome = RolloutOutcome::default();
        let first = report_outcome(&decision, &outcome, &LastStatus::default(), now());
        let types = |report: &Report| {
            let conditions = report.status.conditions.iter().flatten();
            conditions.map(|condition| condition.type_.clone()).collect::<Vec<_>>()
        };
        assert_eq!(types(&first), [api::RETIRING, api::SETTLED, api::SOURCES_COMPLETE, api::SYNCED]);
        let losses = |report: &Report| report.events.iter().filter(|event| event.reason == Reason::LedgerLost).count();
        assert_eq!(losses(&first), 1);
        let last = LastStatus { generation: None, status: first.status.clone() };
        assert_eq!(losses(&report_outcome(&decision, &outcome, &last, now())), 0, "it is no news");

        let refused = report_refusal(&Refusal::panicked(), &last, now());
        assert_eq!(types(&refused), types(&first));
        let progress = RolloutProgress { done: 0, namespaces: 1 };
        let settled = |report: &Report| {
            let mut conditions = report.status.conditions.iter().flatten();
            conditions.find(|condition| condition.type_ == api::SETTLED).map(|condition| condition.status.clone())
        };
        assert_eq!(settled(&first).as_deref(), Some("False"), "its targets are not written");
        let calm = Decision { rotation: Some(rotation([])), ..decision.clone() };
        let last = LastStatus { generation: None, status: report_outcome(&calm, &outcome, &last, now()).status };
        let news = Decision { rotation: Some(rotation([entry("rsa", None, Phase::Present)])), ..decision.clone() };
        for (decision, expected) in [(None, "True"), (Some(&news), "False")] {
            let report = report_progress(progress, decision, &last, now());
            assert_eq!(types(&report), [&[api::RECONCILING.to_owned()], &types(&first)[..]].concat());
            assert_eq!(settled(&report).as_deref(), Some(expected));
        }
        let off = report_outcome(&Decision { rotation: None, ..decision }, &outcome, &last, now());
        assert_eq!(types(&off), [api::SOURCES_COMPLETE, api::SYNCED], "retention is off");
    }
}
