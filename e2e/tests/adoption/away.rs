//! What happens while there is no controller, to a namespace that goes, and under a controller that asks for no consent.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::api::{DeleteParams, DynamicObject};
use rootcast::api::{BUNDLE_LABEL, KEYS_ANNOTATION};
use rootcast_e2e::{
    ControlPlane, eventually,
    scenario::{anchors, certificate},
};
use serde_json::{Value, json};

use crate::stage::{KEY, PATIENCE, Stage};

/// An object in the namespace of the same name, with further fields.
fn object(kind: &str, name: &str, fields: &Value) -> Value {
    let mut object = fields.clone();
    object["apiVersion"] = json!("v1");
    object["kind"] = json!(kind);
    object["metadata"] = json!({ "name": name, "namespace": name });
    object
}

async fn there(stage: &Stage<'_>, kind: &str, name: &str) -> Result<DynamicObject> {
    stage.object(kind, name, name).await?.with_context(|| format!("{kind} {name} is gone"))
}

#[tokio::test]
async fn what_was_completed_outlives_a_bundle_that_is_deleted_while_there_is_no_controller() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let mut stage = Stage::set(&control_plane).await?;
    stage.start(&[]).await?;
    let name = "unseen";
    stage.namespace(name).await?;
    stage.put(&object("ConfigMap", name, &json!({ "data": { "database": "postgres" } }))).await?;
    stage.write_bundle(name, name, "ConfigMap", KEY).await?;
    stage.says(name, "Synced", &[]).await?;

    stage.stop().await?;
    stage.delete_bundle(name, &DeleteParams::background()).await?;
    let left = eventually("the garbage collector takes off the Bundle alone", PATIENCE, async || {
        let found = there(&stage, "ConfigMap", name).await?;
        let owners: Vec<_> = found.metadata.owner_references.iter().flatten().collect();
        ensure!(owners.len() == 1 && owners[0].kind == "Namespace", "{owners:?}");
        Ok(found)
    })
    .await;
    let both = json!({ KEY: anchors(&["ec"]).to_pem(), "database": "postgres" });
    ensure!(left.data["data"] == both, "{left:?}");

    // At a start it cannot be told from one that was left on purpose.
    stage.start(&[]).await?;
    let other = "other";
    stage.namespace(other).await?;
    stage.write_bundle(other, other, "ConfigMap", KEY).await?;
    stage.says(other, "Synced", &[]).await?;
    ensure!(there(&stage, "ConfigMap", name).await? == left, "it was touched");

    stage.write_bundle(name, name, "ConfigMap", KEY).await?;
    stage.says(name, "Synced", &[]).await?;
    stage.delete_bundle(name, &DeleteParams::background()).await?;
    eventually("what is ours is taken out", PATIENCE, async || {
        let found = there(&stage, "ConfigMap", name).await?;
        let labels = found.metadata.labels.clone().unwrap_or_default();
        let annotations = found.metadata.annotations.clone().unwrap_or_default();
        ensure!(found.data["data"] == json!({ "database": "postgres" }), "{found:?}");
        ensure!(!labels.contains_key(BUNDLE_LABEL) && !annotations.contains_key(KEYS_ANNOTATION), "{found:?}");
        Ok(())
    })
    .await;
    stage.end().await?;
    control_plane.finish().await
}

#[tokio::test]
async fn a_namespace_that_goes_takes_completed_objects_with_it_and_holds_nobody_up() -> Result<()> {
    let stage = Stage::shared().await;
    let (name, bundle) = ("going", "going");
    stage.namespace(name).await?;
    stage.put(&object("ConfigMap", name, &json!({ "data": { "database": "postgres" } }))).await?;
    stage.write_bundle(bundle, name, "ConfigMap", KEY).await?;
    stage.says(bundle, "Synced", &[]).await?;
    stage.control_plane.kubectl_ok(&["delete", "namespace", name, "--wait=false"], "")?;
    // Its content changes meanwhile.
    stage.write_bundle(bundle, name, "ConfigMap", "other.crt").await?;
    stage.says(bundle, "Synced", &[]).await?;
    stage.delete_bundle(bundle, &DeleteParams::background()).await?;
    stage.garbage_is_collected(name).await
}

#[tokio::test]
async fn without_consent_every_value_is_written_over_but_in_secrets_of_other_types() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let mut stage = Stage::set(&control_plane).await?;
    stage.start(&["--adopt=always"]).await?;
    let pem = anchors(&["ec"]).to_pem();
    let encoded = STANDARD.encode(&pem);
    let secret = |type_: &str| json!({ "type": type_, "data": { KEY: "eA==" } });
    let rows = [
        ("ConfigMap", "text", json!({ "data": { KEY: "text", "database": "postgres" } }), Some(&pem)),
        ("Secret", "secret", secret("Opaque"), Some(&encoded)),
        ("Secret", "typed", secret("example.com/own"), None),
    ];
    for (kind, name, fields, expected) in &rows {
        stage.namespace(name).await?;
        let before = stage.put(&object(kind, name, fields)).await?;
        stage.write_bundle(name, name, kind, KEY).await?;
        let Some(expected) = expected else {
            stage.says(name, "SyncSecretTargetFailed", &["TargetExists", "example.com/own"]).await?;
            ensure!(there(&stage, kind, name).await? == before, "{name} was touched");
            continue;
        };
        stage.says(name, "Synced", &[]).await?;
        let found = there(&stage, kind, name).await?;
        ensure!(found.data["data"][KEY] == json!(expected), "{name}: {found:?}");
        // As by trust-manager it goes with its Bundle.
        stage.delete_bundle(name, &DeleteParams::background()).await?;
        eventually(&format!("{name} is gone"), PATIENCE, async || {
            ensure!(stage.object(kind, name, name).await?.is_none(), "it is there");
            Ok(())
        })
        .await;
    }
    let protected = "coredns";
    stage.namespace(protected).await?;
    let theirs = stage.put(&object("ConfigMap", protected, &json!({ "data": { KEY: certificate("rsa") } }))).await?;
    stage.write_bundle(protected, protected, "ConfigMap", KEY).await?;
    stage.says(protected, "InvalidSpec", &["CoreDNS"]).await?;
    ensure!(there(&stage, "ConfigMap", protected).await? == theirs, "it was touched");
    stage.end().await?;
    control_plane.finish().await
}
