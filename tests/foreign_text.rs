//! What others wrote of findings, owners and field managers comes out escaped and bounded, whatever it was.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rootcast::api;
use rootcast::bundle::{
    BundleEvent, Finding, Inputs, Intent, Labels, LastStatus, ObjectKind, Observation, OutputKeys, Report,
    RolloutOutcome, SourceContent, SourceId, SourceObject, TargetRef, decide, report_outcome, report_refusal,
};
use rootcast::{limits, text};
use serde_json::json;

fn now() -> Timestamp {
    Timestamp::now()
}

fn intent(sources: &serde_json::Value) -> Intent {
    let bundle: api::Bundle = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": "corp" },
        "spec": { "sources": sources, "target": { "configMap": { "key": "k" } } },
    }))
    .unwrap();
    Intent::parse(&bundle, &"cert-manager".into()).unwrap()
}

/// A certificate of this subject, for so many days from now.
fn certificate(subject: &str, days: i64) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let end = (now() + SignedDuration::from_hours(24 * days)).to_zoned(jiff::tz::TimeZone::UTC).date();
    let unsigned = |part: i8| part.try_into().unwrap();
    params.not_after = rcgen::date_time_ymd(end.year().into(), unsigned(end.month()), unsigned(end.day()));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn is_clean(said: &str, max: usize) {
    assert_eq!(text::escape(said), said);
    assert!(said.len() <= max, "{} bytes: {said:?}", said.len());
}

/// Everything that a report says is clean.
fn is_said_clean(report: &Report) {
    for condition in report.status.conditions.iter().flatten() {
        is_clean(&condition.message, limits::CONDITION_MESSAGE.max);
    }
    for event in &report.events {
        is_clean(&event.note, limits::EVENT_NOTE.max);
    }
}

/// Text with everything that may be wrong with it, short and very long.
fn foreign() -> impl Strategy<Value = String> {
    ("(.|\\n|\\pC|\\pZ|[\"'\\\\\u{1b}\u{9b}\u{202e}\u{3164}]){0,40}", prop_oneof![9 => Just(1), 1 => Just(2_000)])
        .prop_map(|(text, times): (String, usize)| text.repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn subjects_and_keys_of_sources_are_escaped(subject in foreign(), key in foreign(), broken in any::<bool>()) {
        let pem = certificate(&subject, 3) + if broken { "-----BEGIN CERTIFICATE-----\n" } else { "" };
        let values = [(key.clone(), pem.into_bytes().into()), (key + "2", Vec::new().into())];
        let (labels, content) = (Labels::new(), SourceContent::Keys(values.into()));
        let object = SourceObject { labels, output: OutputKeys::None, content, undecodable: [].into() };
        let sources = [(SourceId { kind: ObjectKind::ConfigMap, namespace: "cert-manager".into(), name: "roots".into() }, object)].into();
        let intent = intent(&json!([{ "configMap": { "name": "roots", "includeAllKeys": true } }]));
        let report = match decide(&intent, &Inputs { sources, ..Inputs::default() }, now()) {
            Ok(decision) => {
                prop_assert!(!decision.findings.is_empty());
                report_outcome(&decision, &RolloutOutcome::default(), &LastStatus::default(), now())
            }
            Err(refusal) => report_refusal(&refusal, &LastStatus::default(), now()),
        };
        prop_assert!(!report.events.is_empty());
        is_said_clean(&report);
    }

    #[test]
    fn findings_causes_owners_and_managers_are_escaped(words in prop::collection::vec(foreign(), 5)) {
        let [title, place, cause, manager, key] = &words[..] else { unreachable!("five words") };
        let intent = intent(&json!([{ "inLine": include_str!("cases/certs/rsa.pem") }]));
        let mut decision = decide(&intent, &Inputs::default(), now()).unwrap();
        decision.findings = vec![Finding { what: Observation::LeftOutNonCa(title.clone()), location: place.clone() }];
        let target = TargetRef { kind: ObjectKind::ConfigMap, namespace: "shop".into(), name: "corp".into() };
        let outcome = RolloutOutcome { failures: vec![(target.clone(), cause.clone())], ..RolloutOutcome::default() };
        let report = report_outcome(&decision, &outcome, &LastStatus::default(), now());
        is_said_clean(&report);
        is_clean(&BundleEvent::contested(&target, Some((manager, key))).note, limits::EVENT_NOTE.max);
    }
}
