//! Objects in the place of a target that another controller owns.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use rootcast_e2e::scenario::{apply, certificate};
use serde_json::json;

use crate::{crowd, sight::MEASURED, stage::Stage};

const NAME: &str = "owned";

/// Where another controller owns the object, and where all is well.
const TAKEN: &str = "owned-taken";
const FREE: &str = "owned-free";

#[tokio::test]
async fn a_target_of_another_controller_is_named_and_not_fought_over_and_adopted_once_it_is_free() -> Result<()> {
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    for namespace in [TAKEN, FREE] {
        crowd::join(stage.control_plane, NAME, namespace).await?;
    }
    let config_map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": TAKEN}});
    let operator = apply(&sight.client, &config_map("the-operator")).await?;
    let mut theirs = config_map(NAME);
    theirs["data"] = json!({"ca.pem": certificate("rsa"), "more": "theirs"});
    theirs["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "controller": true,
        "name": operator.name_any(), "uid": operator.uid().context("a stored object has a uid")?,
    }]);
    let before = apply(&sight.client, &theirs).await?;
    let text = certificate("ec");
    apply(&sight.client, &crowd::filled(NAME, &text)).await?;

    sight.count_from_here().await?;
    apply(&sight.client, &crowd::reaching_few(NAME)).await?;
    sight.complains("it is named", NAME, &[TAKEN, "the-operator"]).await;
    tokio::time::sleep(MEASURED).await;
    let places = sight.places(NAME).await?;
    ensure!(places[TAKEN].resource_version == before.metadata.resource_version, "it was touched: {places:?}");
    let tally = sight.tally(NAME).await?;
    ensure!(tally[FREE] == (1, 0), "{tally:?}");
    // Two requests a try at most: one that finds out what is there, one that is refused for it.
    ensure!(tally[TAKEN].0 == 0 && tally[TAKEN].1 <= 8, "{tally:?}");

    let free = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    Api::<ConfigMap>::namespaced(sight.client.clone(), TAKEN).patch(NAME, &PatchParams::default(), &free).await?;
    sight.is_synced("its owner lets go", NAME).await;
    let found = sight.contents(NAME).await?;
    let ours = crowd::content(&text);
    ensure!(found[FREE] == ours && found[TAKEN] == ours.and("more", "theirs"), "{found:?}");
    ensure!(sight.tally(NAME).await?[FREE] == (1, 0), "the other was written again");
    Ok(())
}
