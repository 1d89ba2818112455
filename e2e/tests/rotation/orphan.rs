//! Targets that stay when their Bundle goes.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use rootcast::api::Bundle;
use rootcast_e2e::{Barrier, Controller, eventually};
use serde_json::json;

use crate::{
    rotating::{Ca, Rotating, SOON, ledger_name},
    stage::{SETTLES, alone},
};

#[tokio::test]
async fn orphans_stay_without_their_bundle_and_its_definition_and_are_adopted_by_the_next_without_a_write() -> Result<()>
{
    let control_plane = alone().await?;
    let barrier = Barrier::start(&control_plane, false).await?;
    let mut controller = Controller::start(&control_plane, &[SETTLES]).await?;
    let [a, b] = &Ca::all(["A", "B"])?;
    let policy = json!({"rootcast.dev/deletion-policy": "Orphan"});
    let mut orphaned = Rotating::prepare(&control_plane, "orphaned", 3, &[a]).await?;
    orphaned.annotate(&json!({})).await?;
    orphaned.holds(&[a]).await;
    let since = control_plane.revision().await?;
    orphaned.annotate(&policy).await?;
    eventually("no target has an owner", SOON, async || {
        let owners: Vec<_> =
            metadata(&orphaned).await?.into_values().flat_map(|target| target.owner_references().to_vec()).collect();
        ensure!(owners.is_empty(), "{owners:?}");
        Ok(())
    })
    .await;
    barrier.sync(&orphaned.client).await?;
    assert_eq!(orphaned.contents(since, &[a]).await?, orphaned.each(&["A"]), "one write each");

    let bundles = Api::<Bundle>::all(orphaned.client.clone());
    let since = control_plane.revision().await?;
    bundles.delete("orphaned", &DeleteParams::foreground()).await?;
    eventually("the Bundle is gone", SOON, async || {
        ensure!(bundles.get_opt("orphaned").await?.is_none(), "not yet");
        Ok(())
    })
    .await;
    barrier.sync(&orphaned.client).await?;
    orphaned.annotate(&policy).await?;
    orphaned.says("Synced", "True", "Synced", &[]).await;
    barrier.sync(&orphaned.client).await?;
    assert_eq!(orphaned.contents(since, &[a]).await?, BTreeMap::new(), "it adopts them as they are");

    let left = orphaned.namespaces.remove(2);
    control_plane.namespace(&left, &[]).await?;
    orphaned.holds(&[a]).await;
    orphaned.publish(&[b]).await?;
    orphaned.holds(&[b]).await;

    // Retention goes on over both.
    let retained = Rotating::prepare(&control_plane, "retained", 2, &[a]).await?;
    let annotations = json!({"rootcast.dev/deletion-policy": "Orphan", "rootcast.dev/retain": "1h"});
    retained.annotate(&annotations).await?;
    retained.is_settled(&[a]).await;
    retained.publish(&[b]).await?;
    retained.holds(&[a, b]).await;
    let owners = retained.ledgers().get(&ledger_name("retained")).await?.owner_references().to_vec();
    ensure!(owners.is_empty(), "the ledger is an orphan, too: {owners:?}");
    controller.expect_denials();
    let since = control_plane.revision().await?;
    let definitions = Api::<CustomResourceDefinition>::all(orphaned.client.clone());
    definitions.delete("bundles.trust.cert-manager.io", &DeleteParams::default()).await?;
    eventually("the definition is gone", SOON, async || {
        ensure!(definitions.get_opt("bundles.trust.cert-manager.io").await?.is_none(), "not yet");
        Ok(())
    })
    .await;
    control_plane.install().await?;
    retained.annotate(&annotations).await?;
    retained.says("Synced", "True", "Synced", &[]).await;
    orphaned.holds(&[b]).await;
    assert_eq!(orphaned.contents(since, &[a, b]).await?, BTreeMap::new());
    retained.holds(&[a, b]).await;
    assert_eq!(retained.contents(since, &[a, b]).await?, BTreeMap::new(), "A is remembered");
    controller.stop().await?;
    Ok(())
}

/// The metadata of each target, by namespace.
async fn metadata(bundle: &Rotating<'_>) -> Result<BTreeMap<String, ConfigMap>> {
    let named = ListParams::default().fields(&format!("metadata.name={}", bundle.name));
    let targets = Api::<ConfigMap>::all(bundle.client.clone()).list(&named).await?;
    Ok(targets.into_iter().map(|target| (target.namespace().unwrap_or_default(), target)).collect())
}
