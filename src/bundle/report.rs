//! What the admin is told: conditions and events, from what was done.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api;

use super::intent::{Intent, ObjectKind};
use super::plan::Plan;
use super::problem::Problem;
use super::sources::Finding;
use super::world::{Target, World};

/// How many findings a condition spells out.
const FINDINGS_SHOWN: usize = 10;

/// The longest condition message, in bytes (the CRD's limit is 32768 characters).
const MESSAGE_MAX: usize = 32 * 1024;

/// The longest note of an event, in bytes (the API server's limit).
const NOTE_MAX: usize = 1024;

/// One word for the state of a Bundle, used in conditions, events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All targets are as they should be.
    Synced,
    /// A source is not there, or there is no certificate at all.
    SourceNotFound,
    /// A source is there but cannot be used.
    SourceBuildError,
    /// The Bundle breaks a rule that an older CRD did not know.
    InvalidSpec,
    /// The result is larger than an object may be.
    TargetTooLarge,
    /// The Bundle wants Secrets, which this process may not write.
    SecretTargetsDisabled,
    /// A ConfigMap could not be written.
    SyncConfigMapTargetFailed,
    /// A Secret could not be written.
    SyncSecretTargetFailed,
}

/// A Bundle that cannot be carried out as it stands; its targets stay as they are.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The state.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
    /// What the sources showed, if they could be read.
    pub findings: Option<Vec<Finding>>,
    /// When time alone may change this.
    pub look_again: Option<Timestamp>,
    /// Whether the cause is trouble of the cluster that may pass by itself.
    pub retry: bool,
}

/// What a decision came to, with what the report needs of it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What to write.
    pub plan: Plan,
    /// What the sources showed.
    pub findings: Vec<Finding>,
    /// Version of the default CAs, if the Bundle uses them.
    pub default_ca_version: Option<String>,
    /// When time alone changes this.
    pub look_again: Option<Timestamp>,
}

/// What became of a plan.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many objects were written or let go.
    pub written: usize,
    /// What failed, sorted by target, each with its cause.
    pub failures: Vec<(Target, String)>,
}

/// What to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The Bundle's status.
    pub status: api::BundleStatus,
    /// An event, where there is news.
    pub event: Option<Event>,
}

/// An event about a Bundle (`events.k8s.io/v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it is a `Warning`.
    pub warning: bool,
    /// Its reason.
    pub reason: Reason,
    /// Its note.
    pub note: String,
}

impl Reason {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::SourceNotFound => "SourceNotFound",
            Self::SourceBuildError => "SourceBuildError",
            Self::InvalidSpec => "InvalidSpec",
            Self::TargetTooLarge => "TargetTooLarge",
            Self::SecretTargetsDisabled => "SecretTargetsDisabled",
            Self::SyncConfigMapTargetFailed => "SyncConfigMapTargetFailed",
            Self::SyncSecretTargetFailed => "SyncSecretTargetFailed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// The action that an event of this kind is filed under.
    #[must_use]
    pub fn action(&self) -> &'static str {
        if self.warning { "SyncFailed" } else { "Synced" }
    }
}

impl Refusal {
    pub(super) fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, findings: None, look_again: None, retry: false }
    }

    /// A Bundle that breaks rules.
    #[must_use]
    pub fn invalid_spec(problems: &[Problem]) -> Self {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self::new(Reason::InvalidSpec, format!("Bundle is invalid: {}", list.join("; ")))
    }

    /// A Bundle on which a decision panicked.
    #[must_use]
    pub fn panicked() -> Self {
        let message =
            "Failed to build bundle sources: rootcast itself failed on them: this is a bug, its log has the place";
        Self::new(Reason::SourceBuildError, message.to_owned())
    }

    /// A Bundle that does not even fit the wire types.
    #[must_use]
    pub fn unreadable(cause: &str) -> Self {
        Self::new(Reason::InvalidSpec, format!("Bundle is invalid: it cannot be read: {cause}"))
    }
}

/// The report on a Bundle that was refused.
#[must_use]
pub fn refused(refusal: &Refusal, seen: &Seen, now: Timestamp) -> Report {
    let Refusal { reason, message, findings, look_again: _, retry: _ } = refusal;
    seen.report(*reason, message, findings.as_deref(), seen.status.default_ca_version.clone(), false, now)
}

/// The report on a Bundle that was carried out, as far as it went.
#[must_use]
pub fn carried_out(
    intent: &Intent,
    world: &World,
    decision: &Decision,
    outcome: &Outcome,
    seen: &Seen,
    now: Timestamp,
) -> Report {
    let Decision { plan, findings, default_ca_version, look_again: _ } = decision;
    let (reason, message) = verdict(intent, world, plan, outcome);
    seen.report(reason, &message, Some(findings), default_ca_version.clone(), outcome.written > 0, now)
}

fn verdict(intent: &Intent, world: &World, plan: &Plan, outcome: &Outcome) -> (Reason, String) {
    let Outcome { written: _, failures } = outcome;
    if let Some((target, cause)) = failures.first() {
        let reason = match target.kind {
            ObjectKind::ConfigMap => Reason::SyncConfigMapTargetFailed,
            ObjectKind::Secret => Reason::SyncSecretTargetFailed,
        };
        let others = match failures.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more of {} namespaces' targets)", plan.namespaces),
        };
        let message = format!(
            "Failed to sync bundle {} to namespace {:?}: {cause}{others}",
            target.kind.as_str(),
            target.namespace
        );
        return (reason, message);
    }
    if plan.secrets_off {
        let Refusal { reason, message, .. } = secrets_off(plan);
        return (reason, message);
    }
    let allowed = if world.settings.target_namespaces.is_some() { "allowed " } else { "" };
    let message = if intent.namespaces.is_everything() {
        format!("Successfully synced Bundle to all {allowed}namespaces")
    } else {
        format!(
            "Successfully synced Bundle to {allowed}namespaces that match this label selector: {}",
            intent.namespaces
        )
    };
    (Reason::Synced, message)
}

/// What a plan says that leaves Secrets out because they are switched off; its ConfigMaps are written all the same.
#[must_use]
pub fn secrets_off(plan: &Plan) -> Refusal {
    let rest = if plan.payloads.is_empty() { "nothing is written" } else { "only its ConfigMaps are written" };
    Refusal::new(
        Reason::SecretTargetsDisabled,
        format!(
            "Bundle has Secret targets but the feature is disabled: {rest}; start rootcast with --secret-targets-enabled and allow it to write Secrets"
        ),
    )
}

/// What the Bundle said of itself when it was last seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Its status.
    pub status: api::BundleStatus,
}

impl Seen {
    fn report(
        &self,
        reason: Reason,
        message: &str,
        findings: Option<&[Finding]>,
        default_ca_version: Option<String>,
        wrote: bool,
        now: Timestamp,
    ) -> Report {
        let message = clip(message, MESSAGE_MAX);
        let synced = reason == Reason::Synced;
        let old = self.condition(api::SYNCED);
        let news = old
            .is_none_or(|old| old.status != truth(synced) || old.reason != reason.as_str() || old.message != message);
        let event =
            (news || (synced && wrote)).then(|| Event { warning: !synced, reason, note: clip(&message, NOTE_MAX) });
        let mut conditions = vec![
            self.dated(api::SYNCED, truth(synced), reason.as_str(), message, now),
            self.sources_complete(findings, now),
        ];
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        let status = api::BundleStatus { conditions: Some(conditions), default_ca_version };
        Report { status, event }
    }

    /// False as soon as a source holds something that deserves a look; what could not be read is unknown.
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
                ("False", "NeedsAttention", clip(&format!("{}{rest}", shown.join("; ")), MESSAGE_MAX))
            }
        };
        self.dated(api::SOURCES_COMPLETE, status, reason, message, now)
    }

    /// `lastTransitionTime` moves only with the status
    /// (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md>).
    fn dated(&self, type_: &str, status: &str, reason: &str, message: String, now: Timestamp) -> Condition {
        let since =
            self.condition(type_).filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or_else(|| Time(whole_second(now))),
        }
    }

    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
    }
}

/// Kubernetes keeps times in whole seconds: a finer one would never equal what comes back.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("a second of a valid time is valid")
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn clip(message: &str, max: usize) -> String {
    if message.len() <= max {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(max - 3);
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{now, plain};
    use crate::bundle::{Observation, decide};

    fn after(failures: &[(&str, &str)], seen: &Seen, at: Timestamp) -> Report {
        let (intent, world) = (plain("b"), World::default().with_namespace("one", &[]).with_namespace("two", &[]));
        let decision = decide(&intent, &world, at).expect("a decision");
        let target = |namespace: &str| Target {
            kind: ObjectKind::ConfigMap,
            name: "b".to_owned(),
            namespace: namespace.to_owned(),
        };
        let failures = failures.iter().map(|(namespace, cause)| (target(namespace), (*cause).to_owned())).collect();
        carried_out(&intent, &world, &decision, &Outcome { written: 0, failures }, seen, at)
    }

    fn condition<'a>(report: &'a Report, type_: &str) -> &'a Condition {
        report.status.conditions.iter().flatten().find(|condition| condition.type_ == type_).expect("the condition")
    }

    #[test]
    fn a_state_that_stays_keeps_its_date_and_makes_no_event() {
        let first = after(&[], &Seen::default(), now());
        assert!(first.event.is_some());
        let seen = Seen { generation: None, status: first.status.clone() };
        let later = after(&[], &seen, now() + jiff::SignedDuration::from_hours(1));
        assert_eq!(later, Report { status: first.status, event: None });
    }

    #[test]
    fn a_new_state_has_a_new_date_and_one_event() {
        let seen = Seen { generation: None, status: after(&[], &Seen::default(), now()).status };
        let later = now() + jiff::SignedDuration::from_hours(1);
        let failed = after(&[("one", "no")], &seen, later);
        assert_eq!(condition(&failed, api::SYNCED).last_transition_time.0, later);
        assert_eq!(condition(&failed, api::SOURCES_COMPLETE).last_transition_time.0, now(), "this one did not change");
        assert!(failed.event.expect("an event").warning);
    }

    #[test]
    fn failures_are_named_by_the_first_with_the_count_of_the_rest() {
        let report = after(&[("one", "no"), ("two", "never")], &Seen::default(), now());
        let synced = condition(&report, api::SYNCED);
        assert_eq!((synced.status.as_str(), synced.reason.as_str()), ("False", "SyncConfigMapTargetFailed"));
        assert_eq!(
            synced.message,
            "Failed to sync bundle ConfigMap to namespace \"one\": no (and 1 more of 2 namespaces' targets)"
        );
    }

    #[test]
    fn many_findings_are_counted_and_long_texts_fit_their_limits() {
        let finding =
            |n: usize| Finding { place: format!("{n:02}"), what: Observation::LeftOutNonCa("x".repeat(5000)) };
        let findings: Vec<_> = (0..FINDINGS_SHOWN + 3).map(finding).collect();
        let refusal = Refusal { findings: Some(findings), ..Refusal::new(Reason::SourceNotFound, "m".repeat(40_000)) };
        let report = refused(&refusal, &Seen::default(), now());
        assert!(report.status.conditions.iter().flatten().all(|condition| condition.message.len() <= MESSAGE_MAX));
        assert!(report.event.expect("an event").note.len() <= NOTE_MAX);
        let short = |n: usize| Finding { place: format!("{n:02}"), what: Observation::NoPem };
        let refusal = Refusal { findings: Some((0..12).map(short).collect()), ..refusal };
        let report = refused(&refusal, &Seen::default(), now());
        assert!(condition(&report, api::SOURCES_COMPLETE).message.ends_with("; and 2 more"));
    }
}
