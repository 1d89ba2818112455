//! Where trust-manager was before, and where it comes back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use rootcast::api::{API_VERSION, Bundle, FIELD_MANAGER, SOURCES_COMPLETE, SYNCED};
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, Install, eventually,
    scenario::{SOON, objects},
};
use serde_json::{Value, json};

use crate::{create, is_status, is_target, vector::Vector, writes};

/// Recorded cases that between them have every format, both kinds, every kind of source and template metadata.
const TAKEN_OVER: [&str; 9] = [
    "all-formats-both-kinds",
    "cm-and-secret",
    "default-cas",
    "jks-password",
    "metadata",
    "p12-default-profile",
    "secret-only",
    "secret-selector",
    "selector-exists",
];

/// When trust-manager is said to have written its conditions.
const THEN: &str = "2026-01-01T00:00:00Z";

#[tokio::test]
async fn taking_over_fifty_namespaces_from_trust_manager_writes_no_target_and_each_status_once() -> Result<()> {
    let control_plane = prepared().await?;
    let client = control_plane.client();
    let namespaces: Vec<_> = (0..50).map(|number| format!("tenant-{number:02}")).collect();
    let labelled = async |name: &String| control_plane.namespace(name, &[("team", "a"), ("env", "dev")]).await;
    stream::iter(&namespaces).map(labelled).buffer_unordered(8).try_for_each(async |_| Ok(())).await?;
    let barrier = Barrier::start(&control_plane, true).await?;
    let everywhere = Api::<Namespace>::all(client.clone()).list_metadata(&ListParams::default()).await?;
    let everywhere: Vec<_> = everywhere.iter().map(ResourceExt::name_any).collect();

    let cases = cases(&TAKEN_OVER);
    let mut before = BTreeMap::new();
    for case in &cases {
        let selects = !case.bundle()["spec"]["target"]["namespaceSelector"].is_null();
        let reached = if selects { &namespaces } else { &everywhere };
        before.insert(case.name.clone(), leave_behind(&client, case, reached).await?);
    }

    let taken_over = control_plane.audit().mark().await?;
    let package = format!("--default-package-location={}", cases[0].package().display());
    let controller = Controller::start(&control_plane, &["--secret-targets-enabled", &package]).await?;
    for case in &cases {
        our_condition_comes(&client, &case.name).await;
    }
    barrier.sync(&client).await?;
    let (events, written): (Vec<_>, Vec<_>) =
        writes(&control_plane, taken_over).await?.into_iter().partition(|entry| entry.resource == "events");
    let targets: Vec<_> = written.iter().filter(|entry| is_target(entry)).collect();
    ensure!(targets.is_empty(), "{} writes to targets: {:#?}", targets.len(), targets.first());
    let statuses: BTreeSet<_> = written.iter().filter(|entry| is_status(entry)).map(|entry| &entry.name).collect();
    assert_eq!((written.len(), statuses.len()), (cases.len(), cases.len()), "one status each: {written:#?}");
    let told = Api::<Event>::all(client.clone()).list(&ListParams::default()).await?.items;
    let about_sources = told.iter().filter(|event| event.action.as_deref() == Some("ReadSources")).count();
    assert_eq!(events.len(), about_sources, "only what the sources show is news: {told:#?}");
    for case in &cases {
        let synced = synced(&client, &case.name).await?;
        assert_eq!(synced, before[&case.name], "{}: what trust-manager said still holds", case.name);
    }
    controller.stop().await?;
    control_plane.finish().await
}

#[tokio::test]
async fn keystores_with_a_certificate_that_java_refuses_are_mended_once_on_take_over() -> Result<()> {
    let control_plane = prepared().await?;
    let client = control_plane.client();
    let barrier = Barrier::start(&control_plane, true).await?;
    let case = &cases(&["p12-modern2023"])[0];
    let everywhere = Api::<Namespace>::all(client.clone()).list_metadata(&ListParams::default()).await?;
    let everywhere: BTreeSet<_> = everywhere.iter().map(ResourceExt::name_any).collect();
    leave_behind(&client, case, &everywhere.iter().cloned().collect::<Vec<_>>()).await?;

    for (start, expected) in [("the first", everywhere.clone()), ("the next", BTreeSet::new())] {
        let started = control_plane.audit().mark().await?;
        let controller = Controller::start(&control_plane, &["--secret-targets-enabled"]).await?;
        our_condition_comes(&client, &case.name).await;
        barrier.sync(&client).await?;
        let written = writes(&control_plane, started).await?;
        let targets: Vec<_> = written.iter().filter(|entry| is_target(entry)).collect();
        let namespaces: BTreeSet<_> = targets.iter().map(|entry| entry.namespace.clone()).collect();
        assert_eq!((namespaces, targets.len()), (expected.clone(), expected.len()), "{start} start");
        controller.stop().await?;
    }
    control_plane.finish().await
}

#[tokio::test]
async fn a_condition_that_trust_manager_prunes_when_it_comes_back_is_put_back_by_one_write() -> Result<()> {
    let control_plane = prepared().await?;
    let client = control_plane.client();
    let barrier = Barrier::start(&control_plane, true).await?;
    let case = &cases(&["inline-one"])[0];
    create(&client, vec![case.bundle().clone()]).await?;
    let controller = Controller::start(&control_plane, &["--secret-targets-enabled"]).await?;
    our_condition_comes(&client, &case.name).await;
    barrier.sync(&client).await?;
    let ours = synced(&client, &case.name).await?;

    let returned = control_plane.audit().mark().await?;
    let status = say(&client, case, ours["lastTransitionTime"].as_str().context("a time")?).await?;
    let types: Vec<_> = status["conditions"].as_array().into_iter().flatten().map(|one| &one["type"]).collect();
    assert_eq!(types, [SYNCED], "our condition is gone");
    our_condition_comes(&client, &case.name).await;
    barrier.sync(&client).await?;
    let written = writes(&control_plane, returned).await?;
    ensure!(written.len() == 1 && is_status(&written[0]), "not one status: {written:#?}");
    assert_eq!(synced(&client, &case.name).await?, ours);
    controller.stop().await?;
    control_plane.finish().await
}

async fn prepared() -> Result<ControlPlane> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
    Ok(control_plane)
}

fn cases(names: &[&str]) -> Vec<Vector> {
    let cases: Vec<_> = Vector::all().into_iter().filter(|case| names.contains(&case.name.as_str())).collect();
    assert_eq!(cases.len(), names.len(), "recorded cases");
    cases
}

/// Sources, Bundle, status and targets as trust-manager leaves them behind; returns its condition `Synced`.
async fn leave_behind(client: &Client, case: &Vector, namespaces: &[String]) -> Result<Value> {
    create(client, case.sources().into_iter().chain([case.bundle()]).cloned().collect()).await?;
    let uid = Api::<Bundle>::all(client.clone()).get(&case.name).await?.uid().context("a stored Bundle has a uid")?;
    for kind in ["ConfigMap", "Secret"] {
        let recorded = case.recorded(&kind.to_lowercase());
        if recorded.is_null() {
            continue;
        }
        let target = target(kind, recorded, &uid);
        let leave = async |namespace: &String| {
            let objects = objects(client, kind, namespace)?;
            let written = objects.patch(&case.name, &as_trust_manager(), &Patch::Apply(&target)).await?;
            ensure!(written.data["data"] == recorded["data"], "{}: left behind in {namespace}", case.name);
            Ok(())
        };
        stream::iter(namespaces).map(leave).buffer_unordered(8).try_collect::<()>().await?;
    }
    let status = say(client, case, THEN).await?;
    Ok(status["conditions"][0].clone())
}

/// What trust-manager applies: the recorded fields that it manages, for a Bundle of this uid.
fn target(kind: &str, recorded: &Value, uid: &str) -> Value {
    let metadata = &recorded["metadata"];
    let mut owners = metadata["ownerReferences"].clone();
    owners[0]["uid"] = uid.into();
    let mut target = json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {
            "name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"],
            "ownerReferences": owners,
        },
    });
    for field in ["data", "binaryData"] {
        if !recorded[field].is_null() {
            target[field] = recorded[field].clone();
        }
    }
    target
}

/// Applies the recorded status as trust-manager does; returns what became of it.
async fn say(client: &Client, case: &Vector, since: &str) -> Result<Value> {
    let mut status = case.recorded("status").clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = since.into();
    }
    let patch = json!({"apiVersion": API_VERSION, "kind": "Bundle", "status": status});
    let bundles = Api::<Bundle>::all(client.clone());
    let said = bundles.patch_status(&case.name, &as_trust_manager(), &Patch::Apply(patch)).await?;
    Ok(json!(said.status))
}

fn as_trust_manager() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

async fn our_condition_comes(client: &Client, bundle: &str) {
    let bundles = Api::<Bundle>::all(client.clone());
    eventually(bundle, SOON, async || {
        let status = bundles.get(bundle).await?.status.unwrap_or_default();
        let complete = status.conditions.iter().flatten().any(|condition| condition.type_ == SOURCES_COMPLETE);
        ensure!(complete, "no {SOURCES_COMPLETE} in {status:?}");
        Ok(())
    })
    .await;
}

async fn synced(client: &Client, bundle: &str) -> Result<Value> {
    let status = Api::<Bundle>::all(client.clone()).get(bundle).await?.status.unwrap_or_default();
    let synced = status.conditions.iter().flatten().find(|condition| condition.type_ == SYNCED);
    Ok(json!(synced.context("no condition Synced")?))
}
