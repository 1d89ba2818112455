//! A live trust-manager was replaced by rootcast and came back: what was recorded of it, judged here.
//!
//! One namespace's targets, with their managed fields, after each phase. `make switch` records them anew.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use rootcast::api;
use rootcast::bundle::{
    DecisionSettings, Inputs, Intent, ObjectKind, ObservedMetadata, OutputKeys, SourceContent, SourceId, SourceObject,
    decide, upgrade_managed_fields,
};
use rootcast::default_cas::{self, DefaultCasProvider};
use serde_json::Value;

/// In the order of the switch: written by trust-manager, taken over, given back, written by rootcast, handed back, and a key
/// renamed by trust-manager.
const PHASES: [&str; 6] =
    ["trust-manager", "rootcast", "trust-manager-again", "rootcast-wrote", "handed-back", "renamed"];

/// How many Bundles, each with a target in the namespace.
const BUNDLES: usize = 3;

fn phase(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/switch").join(name).with_extension("json");
    serde_json::from_slice(&std::fs::read(&file).expect("a recording")).expect("JSON")
}

fn objects<'a>(phase: &'a Value, what: &str) -> &'a Vec<Value> {
    phase[what].as_array().expect("a list")
}

/// The target of a Bundle.
fn target<'a>(phase: &'a Value, bundle: &str) -> (ObjectKind, ObjectMeta, &'a Value) {
    let named = |target: &&Value| target["metadata"]["name"] == bundle;
    let found = objects(phase, "targets").iter().find(named).expect("each Bundle has a target");
    let metadata = serde_json::from_value(found["metadata"].clone()).expect("metadata");
    (kind(found), metadata, found)
}

fn kind(object: &Value) -> ObjectKind {
    if object["kind"] == "Secret" { ObjectKind::Secret } else { ObjectKind::ConfigMap }
}

fn world(phase: &Value) -> Inputs {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/package.json");
    Inputs {
        settings: DecisionSettings { secret_targets: true, ..DecisionSettings::default() },
        default_cas: default_cas::load(&DefaultCasProvider::Package(package)).expect("the package loads").0,
        sources: objects(phase, "sources").iter().map(source).collect(),
        ..Inputs::default()
    }
}

fn source(object: &Value) -> (SourceId, SourceObject) {
    let kind = kind(object);
    let text = |value: &Value| value.as_str().expect("values are text").to_owned();
    let keys = object["data"].as_object().expect("data").iter().map(|(key, value)| {
        let bytes = match kind {
            ObjectKind::ConfigMap => text(value).into_bytes(),
            ObjectKind::Secret => serde_json::from_value::<k8s_openapi::ByteString>(value.clone()).expect("base64").0,
        };
        (key.clone(), bytes.into())
    });
    let content = SourceContent::Keys(keys.collect());
    (
        SourceId { kind, namespace: "cert-manager".into(), name: text(&object["metadata"]["name"]).into() },
        SourceObject { labels: BTreeMap::new(), output: OutputKeys::None, content, undecodable: BTreeMap::new() },
    )
}

#[test]
fn in_every_phase_of_the_switch_there_is_nothing_to_write() {
    let now = "2026-11-24T00:00:00Z".parse().expect("a time");
    for name in PHASES {
        let phase = phase(name);
        let world = world(&phase);
        assert_eq!(objects(&phase, "bundles").len(), BUNDLES);
        for bundle in objects(&phase, "bundles") {
            let bundle: api::Bundle = serde_json::from_value(bundle.clone()).expect("a Bundle");
            let intent = Intent::parse(&bundle, &"cert-manager".into()).expect("a valid Bundle");
            let decision = decide(&intent, &world, now).expect("a decision");
            let (kind, metadata, recorded) = target(&phase, intent.id.name());
            let need =
                decision.desired.diff(kind, true, Some(&ObservedMetadata::from_metadata(&metadata, |_, _| true)));
            assert_eq!(need, None, "{name}: {}", intent.id.name());
            let wanted: Vec<_> = decision.desired.payloads[&kind].values.keys().map(String::as_str).collect();
            let mut keys: Vec<_> =
                recorded["keys"].as_array().expect("keys").iter().filter_map(Value::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, wanted, "{name}: {}", intent.id.name());
        }
    }
}

#[test]
fn bundles_are_synced_in_every_phase() {
    for name in PHASES {
        for bundle in objects(&phase(name), "bundles") {
            let conditions = bundle["status"]["conditions"].as_array().expect("conditions");
            let synced = conditions.iter().find(|condition| condition["type"] == api::SYNCED).expect("Synced");
            assert_eq!(synced["status"], "True", "{name}");
        }
    }
}

#[test]
fn what_was_handed_back_is_what_the_api_server_made_of_it_and_nothing_else_had_to_be() {
    let entries = |phase: &Value, bundle: &str| target(phase, bundle).1.managed_fields.expect("managed fields");
    let timeless = |mut entries: Vec<ManagedFieldsEntry>| {
        for entry in &mut entries {
            entry.time = None;
        }
        entries
    };
    for name in PHASES {
        let phase = phase(name);
        for bundle in ["corporate", "public", "sealed"] {
            let handed_back = upgrade_managed_fields(&entries(&phase, bundle));
            if (name, bundle) == ("rootcast-wrote", "corporate") {
                let recorded = entries(&self::phase("handed-back"), bundle);
                assert_eq!(handed_back.map(timeless), Some(timeless(recorded)));
            } else {
                assert_eq!(handed_back, None, "{name}: {bundle}");
            }
        }
    }
}
