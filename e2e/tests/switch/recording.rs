//! What is kept of each phase: all that decides whether a target would be written.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use rootcast::api::Bundle;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/switch");

/// Writes a phase to its file.
pub(crate) fn write(phase: &str, sources: &[Value], bundles: &[Bundle], targets: &[Value]) -> Result<()> {
    let recorded = json!({
        "sources": sources.iter().map(source).collect::<Vec<_>>(),
        "bundles": bundles.iter().map(|bundle| json!(bundle)).map(|bundle| without_history(&bundle)).collect::<Vec<_>>(),
        "targets": targets.iter().map(target).collect::<Vec<_>>(),
    });
    let file = Path::new(FOLDER).join(phase).with_extension("json");
    fs::write(&file, serde_json::to_string_pretty(&recorded)? + "\n").with_context(|| file.display().to_string())
}

fn source(object: &Value) -> Value {
    let metadata = json!({"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]});
    json!({"kind": object["kind"], "metadata": metadata, "data": object["data"]})
}

fn without_history(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| ["name", "uid", "generation"].contains(&field.as_str()));
    }
    object
}

/// The metadata, and of the content only the keys.
fn target(object: &Value) -> Value {
    let mut metadata = object["metadata"].clone();
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|field, _| !["uid", "resourceVersion", "creationTimestamp"].contains(&field.as_str()));
    }
    let keys = ["data", "binaryData"].iter().filter_map(|field| object[field].as_object());
    let keys: Vec<_> = keys.flat_map(|data| data.keys()).collect();
    json!({"kind": object["kind"], "metadata": metadata, "keys": keys})
}
