//! Policy of a Bundle: what its annotations `rootcast.dev/…` say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api;
use crate::trust::Fingerprint;

use super::field_error::{FieldError, FieldErrors};
use super::finding::{Finding, Observation};
use super::retention::RetentionPolicy;
use super::trust_namespaces::TrustNamespaces;

/// What the annotations of a Bundle say; the default is a Bundle without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundlePolicy {
    /// How long certificates stay published at least after the last source has lost them: zero switches retention off,
    /// `None` leaves it to the default of the process.
    pub retain: Option<SignedDuration>,
    /// Certificates that are never published.
    pub exclude: BTreeSet<Fingerprint>,
    /// The first digits of the digest of the lost content whose loss is accepted, in lower case.
    pub ledger_lost: Option<String>,
    /// What becomes of the targets when the Bundle is deleted.
    pub deletion: DeletionPolicy,
    /// The namespace that all object sources are read in, in place of the main one.
    pub trust_namespace: Option<Arc<str>>,
    /// Names of annotations `rootcast.dev/…` that mean nothing.
    pub unknown: BTreeSet<String>,
}

/// What becomes of the targets of a Bundle that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// The Bundle owns them, so that they are deleted with it.
    #[default]
    Delete,
    /// Nobody owns them, so that they stay.
    Orphan,
}

/// How the certificates of Bundles that say nothing of it are retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDefaults {
    /// How long they stay published at least after the last source has lost them; `None` if not at all.
    pub retain: Option<SignedDuration>,
    /// The time after which the nodes have rewritten the files of a target that was written.
    pub settle: SignedDuration,
}

/// The error of a text that is no time of retention.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a duration from 1s to 87600h, or 0s: {}", self.remedy())]
pub struct InvalidRetentionTimeError {
    /// The nearest valid time, if the text is a duration at all.
    nearest: Option<SignedDuration>,
}

/// The prefix of the annotations that are policy.
const PREFIX: &str = "rootcast.dev/";

/// The number of digits of [`api::LEDGER_LOST_ANNOTATION`].
const LEDGER_LOST_DIGITS: usize = 8;

/// The shortest time that certificates are retained.
const RETAIN_MIN: SignedDuration = SignedDuration::from_secs(1);

/// The longest time that certificates are retained: ten years.
const RETAIN_MAX: SignedDuration = SignedDuration::from_hours(87_600);

/// Returns the annotations of a Bundle that are policy. No others change a decision.
#[must_use]
pub fn policy_annotations(metadata: &ObjectMeta) -> BTreeMap<String, String> {
    let annotations = metadata.annotations.iter().flatten();
    annotations.filter(|(key, _)| key.starts_with(PREFIX)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Parses a time of retention as Go writes durations, such as `90s` or `1h30m`; `0s` is zero.
///
/// # Errors
/// When it is no duration, or neither zero nor between one second and ten years.
pub fn parse_retention_time(text: &str) -> Result<SignedDuration, InvalidRetentionTimeError> {
    let valid = |time: &SignedDuration| time.is_zero() || (RETAIN_MIN..=RETAIN_MAX).contains(time);
    match text.parse::<SignedDuration>() {
        Ok(time) if valid(&time) => Ok(time),
        Ok(time) => Err(InvalidRetentionTimeError { nearest: Some(time.clamp(RETAIN_MIN, RETAIN_MAX)) }),
        Err(_) if text == "0" => Ok(SignedDuration::ZERO),
        Err(_) => {
            let span: Option<Span> = text.parse().ok();
            let time = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
            Err(InvalidRetentionTimeError { nearest: time.map(|time| time.clamp(RETAIN_MIN, RETAIN_MAX)) })
        }
    }
}

impl BundlePolicy {
    /// Parses the annotations of a Bundle.
    pub(super) fn parse(metadata: &ObjectMeta, namespaces: &TrustNamespaces, problems: &mut FieldErrors) -> Self {
        let mut policy = Self::default();
        for (key, value) in metadata.annotations.iter().flatten().filter(|(key, _)| key.starts_with(PREFIX)) {
            let result = match key.as_str() {
                api::RETAIN_ANNOTATION => parse_retention_time(value)
                    .map(|time| policy.retain = Some(time))
                    .map_err(|error| error.to_string().into()),
                api::EXCLUDE_ANNOTATION => parse_fingerprints(value).map(|exclude| policy.exclude = exclude),
                api::LEDGER_LOST_ANNOTATION => parse_digits(value).map(|digits| policy.ledger_lost = Some(digits)),
                api::DELETION_POLICY_ANNOTATION => parse_deletion(value).map(|deletion| policy.deletion = deletion),
                api::TRUST_NAMESPACE_ANNOTATION => {
                    parse_trust_namespace(value, namespaces).map(|namespace| policy.trust_namespace = Some(namespace))
                }
                unknown => {
                    policy.unknown.insert(unknown.to_owned());
                    Ok(())
                }
            };
            if let Err(InvalidValue(detail)) = result {
                problems.push(FieldError::invalid(path(key), value, detail));
            }
        }
        policy
    }

    /// Returns how the certificates of the Bundle are retained.
    #[must_use]
    pub fn retention(&self, defaults: &RetentionDefaults) -> RetentionPolicy {
        let retain = self.retain.or(defaults.retain).filter(|time| !time.is_zero());
        RetentionPolicy { retain, settle: defaults.settle }
    }

    /// Returns a finding for each annotation that means nothing.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.unknown.iter().map(|key| Finding { location: path(key), what: Observation::UnknownAnnotation })
    }
}

/// Why the value of an annotation is invalid, and what to do about it.
struct InvalidValue(String);

impl From<String> for InvalidValue {
    fn from(detail: String) -> Self {
        Self(detail)
    }
}

fn path(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

fn parse_fingerprints(value: &str) -> Result<BTreeSet<Fingerprint>, InvalidValue> {
    let items: Vec<_> = value.split(',').map(str::trim).collect();
    let parse = |(index, item): (usize, &&str)| {
        item.parse().map_err(|error| {
            InvalidValue(format!(
                "fingerprint {} of {}: {error}: give the SHA-256 fingerprints of certificates, separated by commas",
                index + 1,
                items.len()
            ))
        })
    };
    items.iter().enumerate().map(parse).collect()
}

fn parse_digits(value: &str) -> Result<String, InvalidValue> {
    let valid = value.len() == LEDGER_LOST_DIGITS && value.bytes().all(|octet| octet.is_ascii_hexdigit());
    valid.then(|| value.to_ascii_lowercase()).ok_or_else(|| {
        InvalidValue("must be the 8 hexadecimal digits that condition Retiring names with reason LedgerLost".to_owned())
    })
}

fn parse_deletion(value: &str) -> Result<DeletionPolicy, InvalidValue> {
    DeletionPolicy::parse(value).ok_or_else(|| InvalidValue("supported values: \"Delete\", \"Orphan\"".to_owned()))
}

fn parse_trust_namespace(value: &str, namespaces: &TrustNamespaces) -> Result<Arc<str>, InvalidValue> {
    namespaces.find(value).ok_or_else(|| {
        InvalidValue(
            "rootcast reads no sources in this namespace: name one of --additional-trust-namespaces, or have it added there (chart app.trust.additionalNamespaces)"
                .to_owned(),
        )
    })
}

impl DeletionPolicy {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "Delete" => Some(Self::Delete),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }

    /// Returns the policy of a Bundle of which only the metadata is known, valid or not.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let annotation = metadata.annotations.as_ref().and_then(|all| all.get(api::DELETION_POLICY_ANNOTATION));
        annotation.and_then(|value| Self::parse(value)).unwrap_or_default()
    }
}

impl Default for RetentionDefaults {
    fn default() -> Self {
        Self { retain: None, settle: SignedDuration::from_mins(3) }
    }
}

impl InvalidRetentionTimeError {
    fn remedy(&self) -> String {
        let Some(nearest) = self.nearest else { return "write 24h for a day, 720h for thirty".to_owned() };
        let seconds = nearest.as_secs();
        let (count, unit) = [(3600, "h"), (60, "m")]
            .into_iter()
            .find(|(length, _)| seconds % length == 0)
            .map_or((seconds, "s"), |(length, unit)| (seconds / length, unit));
        format!("write {count}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{TRUST_NAMESPACE, anchor, intent, now, pem, plain};
    use crate::bundle::{Inputs, Intent, ObjectKind, decide, resolve};
    use crate::trust::Anchors;

    fn parse(annotations: &Value) -> Result<BundlePolicy, Vec<String>> {
        let bundle = serde_json::from_value(json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": "b", "annotations": annotations },
            "spec": { "sources": [{ "inLine": pem("rsa") }], "target": { "configMap": { "key": "k" } } },
        }))
        .expect("a Bundle");
        let namespaces = TrustNamespaces::new(TRUST_NAMESPACE, &["team".to_owned()]);
        match Intent::parse(&bundle, &namespaces) {
            Ok(intent) => Ok(intent.policy),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn each_annotation_is_read() {
        let (fingerprint, colons) = ("ab".repeat(32), ["CD"; 32].join(":"));
        let exclude: BTreeSet<Fingerprint> = [&fingerprint, &colons].map(|text| text.parse().expect("digits")).into();
        let none = BundlePolicy::default;
        let retained = |time| BundlePolicy { retain: Some(time), ..none() };
        let table = [
            (json!({}), none()),
            (json!({ "inject.rootcast.dev/retain": "x", "team.example/retain": "x" }), none()),
            (json!({ "rootcast.dev/retain": "90s" }), retained(SignedDuration::from_secs(90))),
            (json!({ "rootcast.dev/retain": "1h30m" }), retained(SignedDuration::from_mins(90))),
            (json!({ "rootcast.dev/retain": "720h" }), retained(SignedDuration::from_hours(720))),
            (json!({ "rootcast.dev/retain": "0s" }), retained(SignedDuration::ZERO)),
            (json!({ "rootcast.dev/retain": "0" }), retained(SignedDuration::ZERO)),
            (json!({ "rootcast.dev/exclude": format!("{fingerprint}, {colons}") }), BundlePolicy { exclude, ..none() }),
            (
                json!({ "rootcast.dev/ledger-lost": "00C0FFEE" }),
                BundlePolicy { ledger_lost: Some("00c0ffee".to_owned()), ..none() },
            ),
            (json!({ "rootcast.dev/deletion-policy": "Delete" }), none()),
            (
                json!({ "rootcast.dev/deletion-policy": "Orphan" }),
                BundlePolicy { deletion: DeletionPolicy::Orphan, ..none() },
            ),
            (
                json!({ "rootcast.dev/trust-namespace": "team" }),
                BundlePolicy { trust_namespace: Some("team".into()), ..none() },
            ),
            (
                json!({ "rootcast.dev/retian": "1h" }),
                BundlePolicy { unknown: ["rootcast.dev/retian".to_owned()].into(), ..none() },
            ),
        ];
        for (annotations, expected) in table {
            assert_eq!(parse(&annotations), Ok(expected), "{annotations}");
        }
    }

    #[test]
    fn an_invalid_value_is_named_with_its_cure() {
        let (short, whole) = ("a".repeat(63), "a".repeat(64));
        let list = format!("{whole},{short}");
        let range = "must be a duration from 1s to 87600h, or 0s";
        let commas = "give the SHA-256 fingerprints of certificates, separated by commas";
        let digits = "must be the 8 hexadecimal digits that condition Retiring names with reason LedgerLost";
        let table: &[(&str, &str, &str)] = &[
            ("retain", "3 days", &format!("{range}: write 72h")),
            ("retain", "2w", &format!("{range}: write 336h")),
            ("retain", "500ms", &format!("{range}: write 1s")),
            ("retain", "-90s", &format!("{range}: write 1s")),
            ("retain", "90000h", &format!("{range}: write 87600h")),
            ("retain", "", &format!("{range}: write 24h for a day, 720h for thirty")),
            ("retain", "for ever", &format!("{range}: write 24h for a day, 720h for thirty")),
            ("retain", "1 month", &format!("{range}: write 24h for a day, 720h for thirty")),
            (
                "exclude",
                &list,
                &format!("fingerprint 2 of 2: a SHA-256 fingerprint has 64 hexadecimal digits, not 63: {commas}"),
            ),
            (
                "exclude",
                "",
                &format!("fingerprint 1 of 1: a SHA-256 fingerprint has 64 hexadecimal digits, not 0: {commas}"),
            ),
            ("ledger-lost", "00c0ffe", digits),
            ("ledger-lost", "00coffee", digits),
            ("deletion-policy", "orphan", "supported values: \"Delete\", \"Orphan\""),
            (
                "trust-namespace",
                "other",
                "rootcast reads no sources in this namespace: name one of --additional-trust-namespaces, or have it added there (chart app.trust.additionalNamespaces)",
            ),
        ];
        for (key, value, detail) in table {
            let problems = parse(&json!({ format!("rootcast.dev/{key}"): value })).expect_err("an invalid value");
            let [problem] = &problems[..] else { panic!("{key}={value}: {problems:?}") };
            let start = format!("metadata.annotations[rootcast.dev/{key}]: Invalid value: \"");
            assert!(problem.starts_with(&start) && problem.ends_with(&format!("\": {detail}")), "{problem}");
        }
    }

    #[test]
    fn the_default_holds_for_a_bundle_that_says_nothing() {
        let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        for (default, said, effective) in [
            (None, None, None),
            (None, Some(hour), Some(hour)),
            (None, Some(SignedDuration::ZERO), None),
            (Some(day), None, Some(day)),
            (Some(day), Some(hour), Some(hour)),
            (Some(day), Some(SignedDuration::ZERO), None),
            (Some(SignedDuration::ZERO), None, None),
        ] {
            let defaults = RetentionDefaults { retain: default, ..RetentionDefaults::default() };
            let policy = BundlePolicy { retain: said, ..BundlePolicy::default() };
            assert_eq!(policy.retention(&defaults).retain, effective, "{default:?} {said:?}");
        }
    }

    #[test]
    fn an_excluded_certificate_is_not_published_and_named() {
        let (rsa, ec) = (anchor("rsa"), anchor("ec"));
        let sources = json!([{ "inLine": pem("rsa") + &pem("ec") }]);
        let intent = intent("b", &json!({ "sources": sources, "target": { "configMap": { "key": "k" } } }));
        let policy = BundlePolicy { exclude: [rsa.fingerprint()].into(), ..BundlePolicy::default() };
        let decision = decide(&Intent { policy, ..intent }, &Inputs::default(), now()).expect("a decision");
        let published = decision.desired.payloads[&ObjectKind::ConfigMap].values["k"].bytes();
        assert_eq!(published, Anchors::collect([ec]).expect("one").to_pem().as_bytes());
        assert_eq!(decision.findings.len(), 1, "{:?}", decision.findings);
    }

    #[test]
    fn an_unknown_annotation_is_a_finding_and_changes_nothing_else() {
        let intent = Intent {
            policy: BundlePolicy { unknown: ["rootcast.dev/retian".to_owned()].into(), ..BundlePolicy::default() },
            ..plain("b")
        };
        let resolved = resolve(&intent, &Inputs::default(), now()).expect("resolved");
        assert_eq!(resolved.origins.len(), 1);
        let findings: Vec<_> = resolved.findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            findings,
            [
                "metadata.annotations[rootcast.dev/retian]: not known, so it changes nothing: known are retain, exclude, ledger-lost, deletion-policy and trust-namespace"
            ]
        );
    }
}
