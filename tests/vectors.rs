//! What trust-manager made of the same Bundles: every recorded case, decided here.

mod vector;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rootcast::api;
use rootcast::bundle::{
    DecisionSettings, DefaultCas, Inputs, Intent, LastStatus, Namespace, ObjectKind, OutputKeys, Refusal, Report,
    RolloutOutcome, SourceContent, SourceId, SourceObject, decide, report_outcome, report_refusal,
};
use rootcast::default_cas::{self, DefaultCasProvider};
use serde_json::{Value, json};
use vector::Vector;

/// The uid that stands for the Bundle's in the recordings.
const UID: &str = "UID";

#[test]
fn every_recorded_case_is_decided_as_trust_manager_did() {
    let cases = Vector::all();
    assert_eq!(cases.len(), 65, "recorded cases");
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(case: &Vector) -> Result<(), String> {
    let (report, objects) = decide_case(case);
    case.check_status(&json!(report.status))?;
    case.check_event(
        report
            .events
            .first()
            .map(|event| (event.warning, event.reason.to_string(), event.action().to_owned(), event.note.clone())),
    )?;
    for kind in ObjectKind::ALL {
        case.check_object(kind.as_str(), objects.get(&kind))?;
    }
    Ok(())
}

fn decide_case(case: &Vector) -> (Report, BTreeMap<ObjectKind, Value>) {
    let mut bundle: api::Bundle = serde_json::from_value(case.bundle().clone()).expect("a Bundle");
    bundle.metadata.uid = Some(UID.to_owned());
    let intent = Intent::parse(&bundle, &"cert-manager".into()).expect("recorded Bundles are valid");
    let world = world(case);
    let seen = LastStatus { generation: Some(1), status: api::BundleStatus::default() };
    let now: Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
    match decide(&intent, &world, now) {
        Err(refusal) => (report_refusal(&refusal, &seen, now), BTreeMap::new()),
        Ok(decision) => {
            let wanted = &decision.desired;
            let labels = [("team", "a"), ("env", "dev")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            let namespace = Namespace { labels: (&BTreeMap::from(labels)).into(), terminating: false, uid: "".into() };
            let reached = wanted.reaches(&world.settings, "team-a", &namespace);
            let manifests = wanted.payloads.keys().copied().zip(wanted.manifests());
            let objects: BTreeMap<_, _> =
                manifests.filter(|_| reached).map(|(kind, manifest)| (kind, json!(manifest))).collect();
            let outcome = RolloutOutcome { written: objects.len(), rolled_out: true, ..RolloutOutcome::default() };
            (report_outcome(&decision, &outcome, &seen, now), objects)
        }
    }
}

fn world(case: &Vector) -> Inputs {
    let settings = DecisionSettings {
        secret_targets: true,
        filter_expired: case.is_filtered(),
        filter_non_ca: case.is_filtered(),
        ..DecisionSettings::default()
    };
    Inputs {
        settings,
        default_cas: package(case),
        sources: case.sources().into_iter().map(source).collect(),
        ..Inputs::default()
    }
}

fn package(case: &Vector) -> Option<DefaultCas> {
    default_cas::load(&DefaultCasProvider::Package(case.package())).expect("the recorded package loads").0
}

fn source(object: &Value) -> (SourceId, SourceObject) {
    let kind = if object["kind"] == "Secret" { ObjectKind::Secret } else { ObjectKind::ConfigMap };
    let mut keys = BTreeMap::new();
    for (field, plain) in [("binaryData", false), ("data", kind == ObjectKind::ConfigMap)] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let text = value.as_str().expect("values are text");
            let bytes = if plain { text.as_bytes().to_vec() } else { vector::base64(text) };
            keys.insert(key.clone(), bytes.into());
        }
    }
    let content =
        if object["type"] == "kubernetes.io/tls" { SourceContent::TlsKeys(keys) } else { SourceContent::Keys(keys) };
    let labels = serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
    let name = object["metadata"]["name"].as_str().expect("a name").into();
    let id = SourceId { kind, namespace: "cert-manager".into(), name };
    (id, SourceObject { labels, output: OutputKeys::None, content, undecodable: BTreeMap::new() })
}

#[test]
fn a_refused_bundle_says_so_in_one_event_however_often_it_is_looked_at() {
    let refusal = Refusal::unreadable("x");
    let now: Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
    let first = report_refusal(&refusal, &LastStatus::default(), now);
    let seen = LastStatus { generation: None, status: first.status.clone() };
    let second = report_refusal(&refusal, &seen, now);
    assert!(first.events.len() == 1 && second.events.is_empty());
    assert_eq!(first.status, second.status);
}
