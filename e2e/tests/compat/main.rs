//! A drop-in for trust-manager, on a real API server: the same objects from the same Bundles, and no write where
//! trust-manager's are in place.

mod odd;
mod recorded;
mod take_over;
#[path = "../../../tests/vector/mod.rs"]
mod vector;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Client,
    api::{DynamicObject, PostParams},
};
use rootcast_e2e::{ControlPlane, Entry, IDENTITY, Mark, scenario::objects};
use serde_json::{Value, from_value};

/// Creates objects, in no order.
async fn create(client: &Client, all: Vec<Value>) -> Result<()> {
    let create = async |object: Value| {
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, namespace, name) = (word("/kind"), word("/metadata/namespace"), word("/metadata/name"));
        let api = objects(client, &kind, &namespace)?;
        let object: DynamicObject = from_value(object)?;
        api.create(&PostParams::default(), &object).await.with_context(|| format!("creating {kind} {name}"))
    };
    stream::iter(all).map(create).buffer_unordered(8).try_for_each(async |_| Ok(())).await
}

/// What the controller wrote since `mark`, but for what belongs to the barrier.
async fn writes(control_plane: &ControlPlane, mark: Mark) -> Result<Vec<Entry>> {
    let mut writes = control_plane.audit().writes_by(IDENTITY, mark).await?;
    writes.retain(|entry| !entry.name.starts_with("barrier"));
    Ok(writes)
}

fn is_target(entry: &Entry) -> bool {
    ["configmaps", "secrets"].contains(&entry.resource.as_str())
}

fn is_status(entry: &Entry) -> bool {
    (entry.resource.as_str(), entry.subresource.as_str()) == ("bundles", "status")
}
