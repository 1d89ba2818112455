//! Reports on Bundles: conditions and events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api;
use crate::text;

use super::decision::{Decision, Desired};
use super::field_error::FieldError;
use super::finding::Finding;
use super::id::TargetRef;
use super::last_status::LastStatus;
use super::object_kind::ObjectKind;
use super::policy::DeletionPolicy;
use super::reason::Reason;
use super::refusal::Refusal;
use super::unstable::Unstable;

/// Maximum number of findings in a condition.
const FINDINGS_SHOWN: usize = 10;

/// Maximum number of failing targets in a condition.
const FAILURES_SHOWN: usize = 3;

/// The reason of condition `Reconciling`.
const ROLLING_OUT: &str = "RollingOut";

/// The reason of condition `SourceUnstable`.
const FREQUENT_CHANGES: &str = "FrequentChanges";

/// The reason of condition `Reconciling` while a rollout is held back.
pub const ROLLOUT_HELD: &str = "RolloutHeld";

/// The outcome of a Bundle's rollout.
#[derive(Clone, Debug, Default)]
pub struct RolloutOutcome {
    /// Number of namespaces that the Bundle reaches.
    pub namespaces: usize,
    /// Number of objects that were written or released since the last outcome.
    pub written: usize,
    /// Whether these objects were written since a new decision on content or namespaces; otherwise they were healed.
    pub rolled_out: bool,
    /// Failing targets, sorted, each with its cause.
    pub failures: Vec<(TargetRef, String)>,
    /// Whether every target of the Bundle holds its content. Places where nothing of the Bundle lies, and that take
    /// nothing, are no targets.
    pub placed: bool,
    /// Instability of the content, if it changes too often.
    pub unstable: Option<Unstable>,
}

/// The progress of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutProgress {
    /// Number of namespaces that are in sync.
    pub done: usize,
    /// Number of namespaces that the Bundle reaches.
    pub namespaces: usize,
}

/// What is published about a Bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Status of the Bundle.
    pub status: api::BundleStatus,
    /// Events about what is new: the outcome, then the findings in the sources.
    pub events: Vec<BundleEvent>,
}

/// An event about a Bundle (`events.k8s.io/v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEvent {
    /// Whether the event is a `Warning`.
    pub warning: bool,
    /// Reason of the event.
    pub reason: Reason,
    /// Note of the event.
    pub note: String,
}

impl BundleEvent {
    /// Returns the `action` of the event.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self.reason {
            Reason::Synced => "Synced",
            Reason::TargetContested => "Heal",
            Reason::TargetCompleted => "Complete",
            Reason::CertificateExpired
            | Reason::CertificateExpiresSoon
            | Reason::CertificateNotYetValid
            | Reason::CertificateLeftOut
            | Reason::SourceIgnored
            | Reason::AnnotationIgnored
            | Reason::SourceUnstable => "ReadSources",
            Reason::CertificateLeaving
            | Reason::CertificateReturned
            | Reason::CertificateWithdrawn
            | Reason::CertificateDenied => "Rotate",
            Reason::DistrustLifted => "Trust",
            Reason::LedgerLost | Reason::LedgerDiscarded => "ReadLedger",
            Reason::SourceNotFound
            | Reason::SourceBuildError
            | Reason::InvalidSpec
            | Reason::TargetTooLarge
            | Reason::SecretTargetsDisabled
            | Reason::EverythingDistrusted
            | Reason::SyncConfigMapTargetFailed
            | Reason::SyncSecretTargetFailed
            | Reason::LedgerTooLarge
            | Reason::LedgerNotWritten => "SyncFailed",
        }
    }

    /// Returns the event of a target that another client keeps changing.
    #[must_use]
    pub fn contested(target: &TargetRef, conflicting_manager: Option<(&str, &str)>) -> Self {
        let TargetRef { kind, namespace, name } = target;
        let who = match conflicting_manager {
            Some((manager, key)) => format!("field manager {manager:?} keeps writing its key {key:?}"),
            None => "somebody keeps changing or deleting it".to_owned(),
        };
        let note = format!(
            "{} {namespace}/{name}: {who}; it is healed each time, but ever less often, at least once a minute: find the other writer and stop it, or have it write another object",
            kind.as_str()
        );
        Self { warning: true, reason: Reason::TargetContested, note: text::event_note(&note) }
    }

    /// Returns the event of a foreign object that was completed.
    #[must_use]
    pub fn completed(target: &TargetRef) -> Self {
        let TargetRef { kind, namespace, name } = target;
        let note = format!(
            "{} {namespace}/{name} holds keys of others: the Bundle's keys are written beside them and named in its annotation {}, and the object stays when the Bundle is deleted",
            kind.as_str(),
            api::KEYS_ANNOTATION
        );
        Self { warning: false, reason: Reason::TargetCompleted, note: text::event_note(&note) }
    }
}

/// Returns the report on a Bundle that was refused.
#[must_use]
pub fn report_refusal(refusal: &Refusal, last: &LastStatus, now: Timestamp) -> Report {
    let Refusal { reason, message, findings, requeue_at: _, retry: _ } = refusal;
    let mut report =
        last.report(*reason, message, findings.as_deref(), last.status.default_ca_version.clone(), false, now);
    // The sources are as unstable as before, and its certificates as far on their ways.
    let kept =
        [api::SOURCE_UNSTABLE, api::SETTLED, api::RETIRING].into_iter().filter_map(|type_| last.condition(type_));
    let conditions = report.status.conditions.get_or_insert_default();
    conditions.extend(kept.cloned());
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    report
}

/// Returns the report on a Bundle that was carried out, as far as possible.
#[must_use]
pub fn report_outcome(decision: &Decision, outcome: &RolloutOutcome, last: &LastStatus, now: Timestamp) -> Report {
    let Decision { desired, restricted, findings, default_ca_version, rotation, impediment, .. } = decision;
    let (reason, message) = match impediment {
        Some(Refusal { reason, message, .. }) => (*reason, message.clone()),
        None => synced_reason(desired, *restricted, outcome),
    };
    let rolled_out = outcome.rolled_out && outcome.written > 0;
    let mut report = last.report(reason, &message, Some(findings), default_ca_version.clone(), rolled_out, now);
    if let Some(rotation) = rotation {
        let targets = outcome.namespaces * desired.payloads.len();
        report = report.with_rotation(rotation.conditions(targets, &outcome.failures, last, now), last);
    }
    match &outcome.unstable {
        Some(unstable) => report.with_unstable(unstable, last, now),
        None => report,
    }
}

/// Returns the report on a rollout under way: its progress, what becomes of retained certificates by the decision that is
/// rolled out, and all else as before.
#[must_use]
pub fn report_progress(
    progress: RolloutProgress,
    decision: Option<&Decision>,
    last: &LastStatus,
    now: Timestamp,
) -> Report {
    let RolloutProgress { done, namespaces } = progress;
    let message = format!("{done} of {namespaces} namespaces are as they should be, the others follow");
    let reconciling = last.new_condition(api::RECONCILING, "True", ROLLING_OUT, message, now);
    let mut conditions: Vec<_> = last.status.conditions.iter().flatten().cloned().collect();
    conditions.retain(|condition| condition.type_ != api::RECONCILING);
    conditions.push(reconciling);
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    let status =
        api::BundleStatus { conditions: Some(conditions), default_ca_version: last.status.default_ca_version.clone() };
    let report = Report { status, events: Vec::new() };
    match decision.and_then(|decision| Some((decision.rotation.as_ref()?, decision.desired.payloads.len()))) {
        Some((rotation, kinds)) => report.with_rotation(rotation.conditions(namespaces * kinds, &[], last, now), last),
        None => report,
    }
}

/// Returns the report on a rollout that is held back, with all else as before.
#[must_use]
pub fn report_held_rollout(unstable: &Unstable, last: &LastStatus, now: Timestamp) -> Report {
    let mut status = last.status.clone();
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| ![api::SOURCE_UNSTABLE, api::RECONCILING].contains(&condition.type_.as_str()));
    Report { status, events: Vec::new() }.with_unstable(unstable, last, now)
}

fn synced_reason(desired: &Desired, restricted: bool, outcome: &RolloutOutcome) -> (Reason, String) {
    if let Some((first, _)) = outcome.failures.first() {
        let reason = match first.kind {
            ObjectKind::ConfigMap => Reason::SyncConfigMapTargetFailed,
            ObjectKind::Secret => Reason::SyncSecretTargetFailed,
        };
        return (reason, failure_message(outcome));
    }
    if let Some(Refusal { reason, message, .. }) = desired.refusal() {
        return (reason, message);
    }
    let allowed = if restricted { "allowed " } else { "" };
    let orphaned = match desired.deletion {
        DeletionPolicy::Delete => "",
        DeletionPolicy::Orphan => "; its targets have no owner, and stay when the Bundle is deleted",
    };
    let message = if desired.namespaces.is_everything() {
        format!("Successfully synced Bundle to all {allowed}namespaces{orphaned}")
    } else {
        format!(
            "Successfully synced Bundle to {allowed}namespaces that match this label selector: {}{orphaned}",
            desired.namespaces
        )
    };
    (Reason::Synced, message)
}

/// The first failures with their causes, and the count of the rest.
fn failure_message(RolloutOutcome { namespaces, failures, .. }: &RolloutOutcome) -> String {
    let named = failures.iter().take(FAILURES_SHOWN).map(|(TargetRef { kind, namespace, .. }, cause)| {
        format!("{} to namespace {namespace:?}: {cause}", kind.as_str())
    });
    let others = match failures.len().saturating_sub(FAILURES_SHOWN) {
        0 => String::new(),
        n => format!(" (and {n} more of {namespaces} namespaces' targets)"),
    };
    format!("Failed to sync bundle {}{others}", named.collect::<Vec<_>>().join("; "))
}

impl Desired {
    /// Returns the refusal of a Bundle of which not everything is written: because its name is protected, because
    /// every certificate is denied, or because Secrets are switched off.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        if let Some(protected) = self.protected {
            let problem = FieldError::forbidden(
                "metadata.name",
                format!(
                    "{}, so nothing is written but what is this Bundle's already: {}",
                    protected.cause(),
                    protected.remedy()
                ),
            );
            return Some(Refusal::invalid_spec(&[problem]));
        }
        if self.all_denied {
            let message = "Every certificate of the Bundle is distrusted or excluded, so its targets hold none (condition SourcesComplete says by what): add a CA that is trusted to its sources";
            return Some(Refusal::new(Reason::EverythingDistrusted, message));
        }
        let rest = if self.payloads.is_empty() { "nothing is written" } else { "only its ConfigMaps are written" };
        let message = format!(
            "Bundle has Secret targets but the feature is disabled: {rest}; start rootcast with --secret-targets-enabled and allow it to write Secrets"
        );
        self.secrets_off.then(|| Refusal::new(Reason::SecretTargetsDisabled, &message))
    }
}

impl Report {
    /// Sets the conditions of retained certificates, and adds an event if what was remembered of them is lost anew.
    fn with_rotation(mut self, rotation: [Condition; 2], last: &LastStatus) -> Self {
        let is_lost = |condition: &&Condition| condition.reason == Reason::LedgerLost.as_str();
        if let Some(lost) =
            rotation.iter().find(is_lost).filter(|lost| last.condition(&lost.type_).is_none_or(|old| !is_lost(&old)))
        {
            let note = text::event_note(&lost.message);
            self.events.push(BundleEvent { warning: true, reason: Reason::LedgerLost, note });
        }
        let conditions = self.status.conditions.get_or_insert_default();
        conditions.retain(|old| rotation.iter().all(|new| new.type_ != old.type_));
        conditions.extend(rotation);
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        self
    }

    /// Adds the conditions of an unstable content, and an event if it is new.
    pub(super) fn with_unstable(mut self, unstable: &Unstable, last: &LastStatus, now: Timestamp) -> Self {
        let message = unstable.message(now);
        if last.condition(api::SOURCE_UNSTABLE).is_none() {
            let note = text::event_note(&message);
            self.events.push(BundleEvent { warning: true, reason: Reason::SourceUnstable, note });
        }
        let conditions = self.status.conditions.get_or_insert_default();
        conditions.push(last.new_condition(api::SOURCE_UNSTABLE, "True", FREQUENT_CHANGES, message, now));
        if unstable.wait.is_some() {
            let message = format!("The newest content waits for the next rollout: see {}", api::SOURCE_UNSTABLE);
            conditions.push(last.new_condition(api::RECONCILING, "True", ROLLOUT_HELD, message, now));
        }
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        self
    }
}

impl LastStatus {
    fn report(
        &self,
        reason: Reason,
        message: &str,
        findings: Option<&[Finding]>,
        default_ca_version: Option<String>,
        rolled_out: bool,
        now: Timestamp,
    ) -> Report {
        let message = text::condition_message(message);
        let synced = reason == Reason::Synced;
        let failing = matches!(reason, Reason::SyncConfigMapTargetFailed | Reason::SyncSecretTargetFailed);
        // While targets fail, which of them and why changes with each try: that is no new state.
        let news = self.condition(api::SYNCED).is_none_or(|old| {
            old.status != condition_status(synced)
                || old.reason != reason.as_str()
                || (!failing && old.message != message)
        });
        let synced_event = (news || (synced && rolled_out)).then(|| BundleEvent {
            warning: !synced,
            reason,
            note: text::event_note(&message),
        });
        let events = synced_event.into_iter().chain(self.finding_events(findings.unwrap_or_default())).collect();
        let mut conditions = vec![
            self.new_condition(api::SYNCED, condition_status(synced), reason.as_str(), message, now),
            self.sources_complete(findings, now),
        ];
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        let status = api::BundleStatus { conditions: Some(conditions), default_ca_version };
        Report { status, events }
    }

    /// An event for each kind of finding that the condition did not spell out before, with all that are new.
    fn finding_events(&self, findings: &[Finding]) -> impl Iterator<Item = BundleEvent> {
        let published = self.condition(api::SOURCES_COMPLETE).map(|old| old.message.as_str()).unwrap_or_default();
        let mut news: BTreeMap<Reason, String> = BTreeMap::new();
        for finding in findings.iter().take(FINDINGS_SHOWN) {
            let text = finding.to_string();
            if !published.contains(&text) {
                let note = news.entry(finding.what.reason()).or_default();
                *note = if note.is_empty() { text } else { format!("{note}; {text}") };
            }
        }
        news.into_iter().map(|(reason, note)| BundleEvent { warning: true, reason, note: text::event_note(&note) })
    }

    /// Returns condition `SourcesComplete`: false if there are findings, unknown if the sources were not evaluated.
    fn sources_complete(&self, findings: Option<&[Finding]>, now: Timestamp) -> Condition {
        let (status, reason, message) = match findings {
            None => ("Unknown", "SourcesNotRead", "The sources were not evaluated: see condition Synced".to_owned()),
            Some([]) => ("True", "Complete", "Every certificate of every source is valid and published".to_owned()),
            Some(findings) => {
                let shown: Vec<_> = findings.iter().take(FINDINGS_SHOWN).map(ToString::to_string).collect();
                let rest = match findings.len().saturating_sub(FINDINGS_SHOWN) {
                    0 => String::new(),
                    n => format!("; and {n} more"),
                };
                ("False", "NeedsAttention", text::condition_message(&format!("{}{rest}", shown.join("; "))))
            }
        };
        self.new_condition(api::SOURCES_COMPLETE, status, reason, message, now)
    }
}

fn condition_status(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, plain};
    use crate::bundle::{Inputs, Observation, decide};
    use crate::limits;

    fn after(failures: &[(&str, &str)], last: &LastStatus, at: Timestamp) -> Report {
        let decision = decide(&plain("b"), &Inputs::default(), at).expect("a decision");
        let target =
            |namespace: &str| TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "b".into() };
        let failures = failures.iter().map(|(namespace, cause)| (target(namespace), (*cause).to_owned())).collect();
        report_outcome(&decision, &RolloutOutcome { namespaces: 9, failures, ..RolloutOutcome::default() }, last, at)
    }

    fn condition<'a>(report: &'a Report, type_: &str) -> &'a Condition {
        report.status.conditions.iter().flatten().find(|condition| condition.type_ == type_).expect("the condition")
    }

    #[test]
    fn a_state_that_stays_keeps_its_date_and_makes_no_event() {
        let first = after(&[], &LastStatus::default(), now());
        assert_eq!(first.events.len(), 1);
        let last = LastStatus { generation: None, status: first.status.clone() };
        let later = after(&[], &last, now() + jiff::SignedDuration::from_hours(1));
        assert_eq!(later, Report { status: first.status, events: Vec::new() });
    }

    #[test]
    fn a_new_state_has_a_new_date_and_one_event() {
        let last = LastStatus { generation: None, status: after(&[], &LastStatus::default(), now()).status };
        let later = now() + jiff::SignedDuration::from_hours(1);
        let failed = after(&[("one", "no")], &last, later);
        assert_eq!(condition(&failed, api::SYNCED).last_transition_time.0, later);
        assert_eq!(condition(&failed, api::SOURCES_COMPLETE).last_transition_time.0, now(), "this one did not change");
        assert!(failed.events[0].warning);
    }

    #[test]
    fn the_first_failures_are_named_with_their_causes_and_the_rest_is_counted() {
        let report = after(&[("one", "no"), ("two", "never")], &LastStatus::default(), now());
        let synced = condition(&report, api::SYNCED);
        assert_eq!((synced.status.as_str(), synced.reason.as_str()), ("False", "SyncConfigMapTargetFailed"));
        let both = "Failed to sync bundle ConfigMap to namespace \"one\": no; ConfigMap to namespace \"two\": never";
        assert_eq!(synced.message, both);
        let five = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")];
        let report = after(&five, &LastStatus::default(), now());
        let message = &condition(&report, api::SYNCED).message;
        assert!(message.ends_with("\"c\": 3 (and 2 more of 9 namespaces' targets)"), "{message}");
    }

    #[test]
    fn a_rollout_reports_its_progress_until_its_outcome_is_known() {
        let last = |report: &Report| LastStatus { generation: None, status: report.status.clone() };
        let before = after(&[], &LastStatus::default(), now());
        let later = now() + jiff::SignedDuration::from_secs(5);
        let first = report_progress(RolloutProgress { done: 4, namespaces: 10 }, None, &last(&before), now());
        let second = report_progress(RolloutProgress { done: 9, namespaces: 10 }, None, &last(&first), later);
        let reconciling = condition(&second, api::RECONCILING);
        assert_eq!((reconciling.status.as_str(), &reconciling.last_transition_time.0), ("True", &now()));
        assert!(reconciling.message.starts_with("9 of 10 namespaces "), "{}", reconciling.message);
        assert_eq!(condition(&second, api::SYNCED), condition(&before, api::SYNCED), "the last outcome stands");
        assert_eq!(after(&[], &last(&second), later).status, before.status, "when it is over it is not mentioned");
    }

    #[test]
    fn a_failure_that_goes_on_with_other_words_is_no_new_state() {
        let first = after(&[("one", "no")], &LastStatus::default(), now());
        let last = LastStatus { generation: None, status: first.status };
        let second = after(&[("two", "never")], &last, now());
        assert!(second.events.is_empty() && second.status != last.status);
    }

    #[test]
    fn what_the_sources_show_makes_an_event_of_its_own_when_it_is_new() {
        let end: Timestamp = "2026-11-20T00:00:00Z".parse().expect("a time");
        let soon = |within| Finding {
            what: Observation::ExpiresSoon { within, title: "CN=a (01)".to_owned(), end },
            location: "inline source line 1".to_owned(),
        };
        let left_out =
            Finding { what: Observation::LeftOutNonCa("CN=b (02)".to_owned()), location: "there".to_owned() };
        let report = |findings: Vec<Finding>, last: &LastStatus| {
            let decision = decide(&plain("b"), &Inputs::default(), now()).expect("a decision");
            report_outcome(&Decision { findings, ..decision }, &RolloutOutcome::default(), last, now())
        };
        let last = |report: &Report| LastStatus { generation: None, status: report.status.clone() };
        let events = |report: &Report| report.events.iter().map(|e| (e.reason, e.note.clone())).collect::<Vec<_>>();

        let healthy = report(vec![], &LastStatus::default());
        let first = report(vec![soon(30)], &last(&healthy));
        let note = "inline source line 1: CN=a (01) expires on 2026-11-20, within 30 days";
        assert_eq!(events(&first), [(Reason::CertificateExpiresSoon, note.to_owned())]);
        let both = report(vec![soon(30), left_out.clone()], &last(&first));
        let note = "there: CN=b (02) left out: not a CA certificate";
        assert_eq!(events(&both), [(Reason::CertificateLeftOut, note.to_owned())]);
        assert!(report(vec![soon(30), left_out], &last(&both)).events.is_empty());
        assert_eq!(events(&report(vec![soon(7)], &last(&both))).len(), 1, "it is said again when it comes nearer");
    }

    #[test]
    fn many_findings_are_counted_and_long_texts_fit_their_limits() {
        let finding =
            |n: usize| Finding { location: format!("{n:02}"), what: Observation::LeftOutNonCa("x".repeat(5000)) };
        let findings: Vec<_> = (0..FINDINGS_SHOWN + 3).map(finding).collect();
        let refusal = Refusal { findings: Some(findings), ..Refusal::new(Reason::SourceNotFound, &"m".repeat(40_000)) };
        let report = report_refusal(&refusal, &LastStatus::default(), now());
        assert!(
            report
                .status
                .conditions
                .iter()
                .flatten()
                .all(|condition| condition.message.len() <= limits::CONDITION_MESSAGE.max)
        );
        assert!(report.events.iter().all(|event| event.note.len() <= limits::EVENT_NOTE.max));
        let short = |n: usize| Finding { location: format!("{n:02}"), what: Observation::NoPem(None) };
        let refusal = Refusal { findings: Some((0..12).map(short).collect()), ..refusal };
        let report = report_refusal(&refusal, &LastStatus::default(), now());
        assert!(condition(&report, api::SOURCES_COMPLETE).message.ends_with("; and 2 more"));
    }
}
