//! Objects that carry the label of a Bundle's targets, made by a tenant.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use kube::Client;
use rootcast::api::BUNDLE_LABEL;
use rootcast_e2e::attack::many_keys;
use serde_json::{Value, json};

use crate::stage::{BUNDLE, Stage, TENANT, send_ok};

/// Each about 0.7 MB, with as many keys as the API server still tells managers of.
const OBJECTS: usize = 34;

/// How many are created at a time.
const IN_FLIGHT: usize = 4;

/// As large in labels and annotations, in the name of a Bundle that there is.
fn large_metadata(number: usize) -> Value {
    let mut labels: BTreeMap<_, _> = (0..3_000).map(|label| (format!("l{number}-{label}"), "x".repeat(60))).collect();
    labels.insert(BUNDLE_LABEL.to_owned(), BUNDLE.to_owned());
    let annotations = json!({format!("a{number}"): "x".repeat(250_000)});
    json!({"metadata": {"name": format!("annotated-{number}"), "labels": labels, "annotations": annotations}})
}

async fn create(client: &Client, objects: impl Iterator<Item = Value>) -> Result<()> {
    let path = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let creations = objects.map(async |object| send_ok(client, Method::POST, &path, &object).await.map(drop));
    stream::iter(creations).buffer_unordered(IN_FLIGHT).try_collect().await
}

#[tokio::test]
async fn what_a_tenant_labels_costs_no_memory_while_it_comes_nor_at_a_start() -> Result<()> {
    let stage = Stage::set().await?;
    let mallory = stage.mallory();
    let mut site = stage.site(&[]).await?;
    let labelled = (0..OBJECTS).map(|number| many_keys(number, true)).chain((0..OBJECTS).map(large_metadata));
    site.lives_during(create(&mallory, labelled)).await?;
    let mut site = site.restarts().await?;
    site.lives().await?;
    site.end("labelled objects of 50,000 keys").await
}
