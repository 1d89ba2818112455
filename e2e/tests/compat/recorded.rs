//! Every recorded case through the live controller.

use anyhow::{Context as _, Result, anyhow, ensure};
use k8s_openapi::{api::events::v1::Event, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry};
use kube::{Api, Client, Resource as _, ResourceExt as _, api::ListParams};
use rootcast::{api::Bundle, bundle::upgrade_managed_fields};
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, Entry, Install, eventually,
    scenario::{SOON, objects},
};
use serde_json::{Value, json};

use crate::{create, is_target, vector::Vector, writes};

/// The namespace that was recorded.
const RECORDED: &str = "team-a";

#[tokio::test]
async fn every_recorded_bundle_ends_as_trust_manager_left_it_and_a_restart_writes_nothing() -> Result<()> {
    replay(|case| !case.is_filtered(), &[]).await
}

#[tokio::test]
async fn with_filters_every_recorded_bundle_ends_as_trust_manager_left_it_and_a_restart_writes_nothing() -> Result<()> {
    replay(Vector::is_filtered, &["--filter-expired-certificates", "--filter-non-ca-certs"]).await
}

async fn replay(which: impl Fn(&Vector) -> bool, filters: &[&str]) -> Result<()> {
    let cases: Vec<_> = Vector::all().into_iter().filter(which).collect();
    let control_plane = ControlPlane::start().await?;
    control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
    control_plane.namespace(RECORDED, &[("team", "a"), ("env", "dev")]).await?;
    let barrier = Barrier::start(&control_plane, true).await?;
    let client = control_plane.client();
    let objects = cases.iter().flat_map(|case| case.sources()).chain(cases.iter().map(Vector::bundle));
    // All of it before anything runs that could see one without the other.
    create(&client, objects.cloned().collect()).await?;

    let package = cases.first().context("there are cases")?.package();
    let package = format!("--default-package-location={}", package.display());
    let args = [&["--secret-targets-enabled", &package], filters].concat();
    let controller = Controller::start(&control_plane, &args).await?;
    let began = control_plane.audit().mark().await?;
    for case in &cases {
        eventually(&case.name, SOON, async || case.check_status(&status(&client, case).await?).map_err(faulty)).await;
    }
    barrier.sync(&client).await?;
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(check(&client, case).await.err());
    }
    ensure!(wrong.is_empty(), "{} of {} cases differ: {wrong:#?}", wrong.len(), cases.len());
    let mut written: Vec<_> = writes(&control_plane, began).await?.into_iter().filter(is_target).collect();
    let all = written.len();
    let target = |entry: &Entry| (entry.resource.clone(), entry.namespace.clone(), entry.name.clone());
    written.sort_by_key(target);
    written.dedup_by_key(|entry| target(entry));
    ensure!(written.len() == all, "{} targets were written {all} times", written.len());

    controller.stop().await?;
    let restarted = control_plane.audit().mark().await?;
    let controller = Controller::start(&control_plane, &args).await?;
    barrier.sync(&client).await?;
    assert_eq!(writes(&control_plane, restarted).await?, [], "writes of any kind after a restart");
    controller.stop().await?;
    control_plane.finish().await
}

fn bundle_name(case: &Vector) -> &str {
    case.bundle()["metadata"]["name"].as_str().expect("a name")
}

async fn status(client: &Client, case: &Vector) -> Result<Value> {
    let bundle = Api::<Bundle>::all(client.clone()).get(bundle_name(case)).await?;
    let status = json!(bundle.status);
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let generation = &case.recorded("status")["conditions"][0]["observedGeneration"];
        ensure!(condition["observedGeneration"] == *generation, "{}: {condition}", case.name);
    }
    Ok(status)
}

fn faulty(cause: String) -> anyhow::Error {
    anyhow!(cause)
}

async fn check(client: &Client, case: &Vector) -> Result<()> {
    case.check_status(&status(client, case).await?).map_err(faulty)?;
    let bundle = Api::<Bundle>::all(client.clone()).get_metadata(bundle_name(case)).await?;
    let uid = bundle.uid().context("a stored Bundle has a uid")?;

    let events = Api::<Event>::all(client.clone()).list(&ListParams::default()).await?;
    let about = |event: &Event| {
        let regarding = event.regarding.as_ref()?;
        Some(regarding.uid.as_ref()? == &uid && regarding.kind.as_deref() == Some(&Bundle::kind(&())))
    };
    // What the sources show is told beside what trust-manager tells.
    let is_theirs = |event: &Event| event.action.as_deref() != Some("ReadSources");
    let events = events.into_iter().filter(|event| about(event) == Some(true));
    let events: Vec<_> = events.filter(is_theirs).collect();
    ensure!(events.len() == 1 && events[0].series.is_none(), "{}: {} events", case.name, events.len());
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let Event { type_, reason, action, note, .. } = &events[0];
    let event = (word(type_) == "Warning", word(reason), word(action), word(note));
    case.check_event(Some(event)).map_err(faulty)?;

    for kind in ["ConfigMap", "Secret"] {
        let found = objects(client, kind, RECORDED)?.get_opt(bundle_name(case)).await?;
        let found = found.map(|found| anonymous(json!(found), &uid));
        case.check_object(kind, found.as_ref()).map_err(faulty)?;
        let Some(found) = found else { continue };
        let recorded = case.recorded(&kind.to_lowercase());
        ensure!(found["type"] == recorded["type"], "{}: {kind} of type {}", case.name, found["type"]);
        let (ours, theirs) = (managed_fields(&found)?, managed_fields(recorded)?);
        ensure!(ours == theirs, "{}: {kind} has managed fields {ours:#?}, recorded {theirs:#?}", case.name);
    }
    Ok(())
}

/// The object as it was recorded: with a word for the uid of its Bundle.
fn anonymous(mut object: Value, uid: &str) -> Value {
    for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        if owner["uid"] == uid {
            owner["uid"] = "UID".into();
        }
    }
    object
}

/// Who manages which fields, once they are handed back to trust-manager: without times, uids, and what is owned by the way
/// with an object that was created whole (`.` and a Secret's type).
fn managed_fields(object: &Value) -> Result<Vec<Value>> {
    let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(object["metadata"]["managedFields"].clone())?;
    let entries = json!(upgrade_managed_fields(&entries).unwrap_or(entries));
    let mut entries = entries.as_array().context("no managed fields")?.clone();
    for entry in &mut entries {
        entry.as_object_mut().context("an entry is an object")?.remove("time");
        if let Some(owners) = entry.pointer_mut("/fieldsV1/f:metadata/f:ownerReferences") {
            strip(owners);
            *owners = owners.as_object().context("owners are by uid")?.values().cloned().collect();
        }
        if let Some(fields) = entry["fieldsV1"].as_object_mut() {
            fields.remove("f:type");
        }
        strip(&mut entry["fieldsV1"]);
    }
    Ok(entries)
}

/// Takes out what says that a field itself is owned.
fn strip(fields: &mut Value) {
    if let Some(fields) = fields.as_object_mut() {
        fields.remove(".");
        fields.values_mut().for_each(strip);
    }
}
