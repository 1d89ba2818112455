//! Nobody asks for retention, and nobody can distrust: everything is as it was before there was either.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, Entry, IDENTITY, Mark, eventually, http_get, scenario::TRUST_NAMESPACE,
};
use serde_json::json;

use crate::{
    distrust::{distrust, distrusts},
    rotating::{Ca, Rotating, SOON},
    stage::alone,
};

const DISTRUSTS: &str = "distrusts.rootcast.dev";

/// Longer than the minute after which the controller asks again for what is not served.
const ASKED_AGAIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn without_the_definition_of_distrust_all_is_as_it_was_and_one_that_comes_later_is_obeyed() -> Result<()> {
    let control_plane = alone().await?;
    let definitions = Api::<CustomResourceDefinition>::all(control_plane.client());
    let definition = definitions.get(DISTRUSTS).await?;
    definitions.delete(DISTRUSTS, &DeleteParams::default()).await?;
    eventually("the definition is gone", SOON, async || {
        ensure!(definitions.get_opt(DISTRUSTS).await?.is_none(), "not yet");
        Ok(())
    })
    .await;
    let barrier = Barrier::start(&control_plane, false).await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    let [a, b] = &Ca::all(["A", "B"])?;
    let plain = Rotating::prepare(&control_plane, "plain", 3, &[a]).await?;
    plain.annotate(&json!({})).await?;
    plain.holds(&[a]).await;
    barrier.sync(&plain.client).await?;
    let since = control_plane.revision().await?;
    plain.publish(&[b]).await?;
    plain.holds(&[b]).await;
    barrier.sync(&plain.client).await?;
    assert_eq!(plain.contents(since, &[a, b]).await?, plain.each(&["B"]), "what leaves is gone in one write");
    asked_for_nothing_new(&control_plane).await?;
    plain.says_nothing_of_retention().await;
    let labelled = ListParams::default().labels("rootcast.dev/ledger");
    ensure!(plain.ledgers().list(&labelled).await?.items.is_empty(), "nothing is to be remembered");

    let mut again = definition;
    again.metadata = kube::core::ObjectMeta {
        name: again.metadata.name,
        annotations: again.metadata.annotations,
        ..Default::default()
    };
    again.status = None;
    definitions.create(&PostParams::default(), &again).await?;
    eventually("the definition is served", SOON, async || {
        distrusts(&plain.client).list(&ListParams::default()).await?;
        Ok(())
    })
    .await;
    plain.publish(&[a, b]).await?;
    plain.holds(&[a, b]).await;
    distrust(&plain.client, "incident", &[json!({"sha256": a.sha256()})]).await?;
    eventually("it is obeyed", ASKED_AGAIN, async || {
        let targets = plain.targets().await?;
        ensure!(targets.values().all(|target| *target == b.pem()), "not yet");
        Ok(())
    })
    .await;
    ensure!(http_get(controller.probe_port(), "/readyz").await?.status == 200);
    controller.stop().await?;
    control_plane.finish().await
}

/// Fails when the controller has asked for anything but what it asks for without retention, and for `Distrust`s.
async fn asked_for_nothing_new(control_plane: &ControlPlane) -> Result<()> {
    let entries = control_plane.audit().since(Mark::default()).await?;
    let ours = entries.iter().filter(|entry| entry.user == IDENTITY);
    let (about_distrusts, asked): (Vec<_>, Vec<_>) = ours.partition(|entry| entry.resource == "distrusts");
    let new: BTreeSet<_> = asked.into_iter().map(words).filter(|words| !KNOWN.contains(&words.as_str())).collect();
    ensure!(new.is_empty(), "the controller has asked for {new:?}");
    let verbs: Vec<_> = about_distrusts.iter().map(|entry| (&*entry.verb, entry.code)).collect();
    // Once at the start, and once a minute.
    ensure!(verbs.iter().all(|verb| *verb == ("list", 404)) && (1..=2).contains(&verbs.len()), "{verbs:?}");
    Ok(())
}

/// What a request is about, in words.
fn words(entry: &Entry) -> String {
    let subresource = if entry.subresource.is_empty() { String::new() } else { format!("/{}", entry.subresource) };
    let place = if entry.namespace == TRUST_NAMESPACE { " in the trust namespace" } else { "" };
    format!("{} {}{subresource}{place}", entry.verb, entry.resource)
}

/// What the controller asks for where nothing retains.
const KNOWN: &[&str] = &[
    "create configmaps",
    "create events",
    "delete configmaps",
    "get configmaps in the trust namespace",
    "get secrets in the trust namespace",
    "list bundles",
    "list configmaps",
    "list configmaps in the trust namespace",
    "list namespaces",
    "list secrets in the trust namespace",
    "patch bundles/status",
    "patch events",
    "update configmaps",
    "watch bundles",
    "watch configmaps",
    "watch configmaps in the trust namespace",
    "watch namespaces",
    "watch secrets in the trust namespace",
];
