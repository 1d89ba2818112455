//! Namespaces and Bundles that go while their targets are being written.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::DeleteParams, core::ObjectMeta};
use rootcast::api::{Bundle, HASH_ANNOTATION};
use rootcast_e2e::{eventually, scenario::apply};

use crate::{crowd, sight::PATIENCE, stage::Stage};

/// Large enough for a rollout of seconds.
const BYTES: usize = 60_000;

#[tokio::test]
async fn namespaces_that_are_replaced_during_a_rollout_end_with_the_new_content() -> Result<()> {
    let name = "replaced";
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    let passing: Vec<_> = (0..6).map(|number| format!("{name}-{number}")).collect();
    for namespace in &passing {
        crowd::join(stage.control_plane, name, namespace).await?;
    }
    let all = [crowd::names(), passing.clone()].concat();
    let [before, after] = [(); 2].map(|()| crowd::certificate_of_size(BYTES));
    apply(&sight.client, &crowd::filled(name, &before)).await?;
    apply(&sight.client, &crowd::reaching_all(name)).await?;
    sight.becomes("a first rollout", name, &all, &crowd::content(&before)).await;
    let old = sight.places(name).await?;
    stage.barrier.sync(&sight.client).await?;

    sight.count_from_here().await?;
    let since = stage.control_plane.revision().await?;
    apply(&sight.client, &crowd::filled(name, &after)).await?;
    let replace = async |namespace: &String| {
        delete(&sight.client, namespace).await?;
        crowd::join(stage.control_plane, name, namespace).await
    };
    stream::iter(&passing).map(replace).buffer_unordered(passing.len()).try_for_each(async |()| Ok(())).await?;
    eventually("the new content is everywhere", PATIENCE, async || {
        let now = sight.places(name).await?;
        let outdated = now.iter().filter(|(namespace, place)| hash(place) == hash(&old[*namespace])).count();
        ensure!(now.len() == all.len() && outdated == 0, "{} targets, {outdated} outdated", now.len());
        Ok(())
    })
    .await;
    stage.barrier.sync(&sight.client).await?;
    sight.becomes("and stays", name, &all, &crowd::content(&after)).await;
    sight.is_synced("so says the condition", name).await;
    let now = sight.places(name).await?;
    for namespace in &passing {
        ensure!(now[namespace].uid != old[namespace].uid, "{namespace} was not replaced");
    }
    let mut renewed = BTreeSet::new();
    for change in stage.control_plane.history(since).await?.into_iter().filter(|change| change.name == name) {
        let is_old = change.hash == hash(&old[&change.namespace]);
        ensure!(!is_old || !renewed.contains(&change.namespace), "old content after new: {change:?}");
        if change.hash.is_some() && !is_old {
            renewed.insert(change.namespace);
        }
    }
    for (namespace, (granted, refused)) in sight.tally(name).await? {
        let most = if passing.contains(&namespace) { 5 } else { 1 };
        ensure!(granted + refused <= most, "{namespace}: {granted} writes granted, {refused} refused");
    }
    Ok(())
}

#[tokio::test]
async fn a_bundle_that_is_deleted_during_its_rollout_is_written_no_more_and_collected() -> Result<()> {
    let name = "doomed";
    let stage = Stage::shared().await;
    let sight = stage.sight().await?;
    apply(&sight.client, &crowd::filled(name, &crowd::certificate_of_size(BYTES))).await?;
    apply(&sight.client, &crowd::reaching_all(name)).await?;
    eventually("a rollout begins", PATIENCE, async || {
        ensure!(!sight.places(name).await?.is_empty(), "no target yet");
        Ok(())
    })
    .await;
    Api::<Bundle>::all(sight.client.clone()).delete(name, &DeleteParams::background()).await?;
    let deleted = Timestamp::now();
    eventually("all are collected", PATIENCE, async || {
        let left = sight.places(name).await?.len();
        ensure!(left == 0, "{left} left");
        Ok(())
    })
    .await;
    stage.barrier.sync(&sight.client).await?;
    ensure!(sight.places(name).await?.is_empty(), "a target came back");

    let writes = sight.writes(name).await?;
    let grace = SignedDuration::from_secs(1);
    let late: Vec<_> = writes.iter().filter(|entry| entry.time > deleted + grace).collect();
    ensure!(late.is_empty(), "{} of {} writes too late: {:?}", late.len(), writes.len(), late[0]);
    ensure!(writes.len() < crowd::SIZE, "the rollout was over before the Bundle was deleted");
    Ok(())
}

fn hash(place: &ObjectMeta) -> Option<String> {
    place.annotations.as_ref()?.get(HASH_ANNOTATION).cloned()
}

/// Deletes a namespace and waits until it has gone.
async fn delete(client: &Client, name: &str) -> Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.delete(name, &DeleteParams::default()).await.with_context(|| format!("deleting {name}"))?;
    eventually(name, PATIENCE, async || {
        ensure!(namespaces.get_metadata_opt(name).await?.is_none(), "still there");
        Ok(())
    })
    .await;
    Ok(())
}
