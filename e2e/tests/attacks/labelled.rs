//! Objects that carry the label of a Bundle's targets, made by a tenant.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use rootcast::api::BUNDLE_LABEL;
use serde_json::{Value, json};

use crate::stage::{Stage, TENANT, send_ok};

/// Each about 0.7 MB, with as many keys as the API server still tells managers of.
const OBJECTS: usize = 34;
const KEYS: usize = 50_000;

/// How many are created at a time.
const IN_FLIGHT: usize = 4;

/// An object with very many empty keys, which no other object has.
fn many_keys(number: usize) -> Value {
    let data: BTreeMap<_, _> = (0..KEYS).map(|key| (format!("{number}.{key}"), "")).collect();
    labelled(&format!("large-{number}"), "x", json!({"data": data}))
}

/// One large field, in each of the places where an object may have one.
fn large_metadata(number: usize) -> Value {
    let text = "x".repeat(250_000);
    let annotations = json!({"annotations": {format!("a{number}"): text}});
    let mut object = labelled(&format!("annotated-{number}"), crate::stage::BUNDLE, json!({}));
    object["metadata"]["annotations"] = annotations["annotations"].clone();
    let many: BTreeMap<_, _> = (0..3_000).map(|label| (format!("l{number}-{label}"), "x".repeat(60))).collect();
    for (label, value) in many {
        object["metadata"]["labels"][label] = value.into();
    }
    object
}

fn labelled(name: &str, bundle: &str, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": TENANT, "labels": {BUNDLE_LABEL: bundle}},
    });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

async fn create(client: &Client, objects: impl Iterator<Item = Value>) -> Result<()> {
    let path = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let creations = objects.map(async |object| send_ok(client, Method::POST, &path, &object).await.map(drop));
    stream::iter(creations).buffer_unordered(IN_FLIGHT).try_collect().await
}

async fn delete_all(client: &Client) -> Result<()> {
    let objects = Api::<ConfigMap>::namespaced(client.clone(), TENANT);
    let labelled = ListParams::default().labels(BUNDLE_LABEL);
    objects.delete_collection(&DeleteParams::default(), &labelled).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_tenant_labels_costs_no_memory_while_it_comes_nor_at_a_start() -> Result<()> {
    let stage = Stage::shared().await;
    let mallory = stage.mallory();
    let mut site = stage.site(&[]).await?;
    let labelled = (0..OBJECTS).map(many_keys).chain((0..OBJECTS).map(large_metadata));
    site.lives_during(create(&mallory, labelled)).await?;
    let mut site = site.restarts().await?;
    site.lives().await?;
    site.end("labelled objects of 50,000 keys").await?;
    delete_all(&mallory).await
}
