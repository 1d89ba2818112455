//! Targets that nobody may change.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rootcast_e2e::scenario::{Content, apply, certificate};
use serde_json::json;

use crate::{
    crowd,
    sight::{MEASURED, Sight},
    stage::Stage,
};

const NAME: &str = "immutable";

/// Where the immutable target is, and where all is well.
const STONE: &str = "immutable-stone";
const SOFT: &str = "immutable-soft";

#[tokio::test]
async fn an_immutable_object_of_others_is_named_with_its_cure_and_not_retried_in_a_loop_and_one_of_ours_is_replaced()
-> Result<()> {
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    for namespace in [STONE, SOFT] {
        crowd::join(stage.control_plane, NAME, namespace).await?;
    }
    let both = [STONE.to_owned(), SOFT.to_owned()];
    let (first, second) = (certificate("ec"), certificate("p384"));
    let metadata = json!({"name": NAME, "namespace": STONE});
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": true, "data": {"ca.pem": "stone"}});
    apply(&sight.client, &theirs).await?;
    apply(&sight.client, &crowd::filled(NAME, &first)).await?;

    sight.count_from_here().await?;
    apply(&sight.client, &crowd::reaching_few(NAME)).await?;
    is_named_and_left_in_peace(&sight, &first, &Content::key("ca.pem", "stone")).await?;
    let config_maps = Api::<ConfigMap>::namespaced(sight.client.clone(), STONE);
    config_maps.delete(NAME, &DeleteParams::default()).await?;
    sight.becomes("their object is deleted", NAME, &both, &crowd::content(&first)).await;
    sight.is_synced("the condition follows", NAME).await;

    let stone = Patch::Merge(json!({"immutable": true}));
    config_maps.patch(NAME, &PatchParams::default(), &stone).await?;
    stage.barrier.sync(&sight.client).await?;
    sight.count_from_here().await?;
    apply(&sight.client, &crowd::filled(NAME, &second)).await?;
    sight.becomes("ours is created anew", NAME, &both, &crowd::content(&second)).await;
    sight.is_synced("the condition follows again", NAME).await;
    let tally = sight.tally(NAME).await?;
    // One that is refused, a deletion and a creation.
    ensure!(tally[SOFT] == (1, 0) && tally[STONE] == (2, 1), "{tally:?}");
    Ok(())
}

async fn is_named_and_left_in_peace(sight: &Sight<'_>, wanted: &str, stone: &Content) -> Result<()> {
    sight.complains("it is named with its cure", NAME, &[STONE, "immutable", "delete"]).await;
    tokio::time::sleep(MEASURED).await;
    let found = sight.contents(NAME).await?;
    ensure!(found[STONE] == *stone && found[SOFT] == crowd::content(wanted), "{found:?}");
    let tally = sight.tally(NAME).await?;
    ensure!(tally[SOFT] == (1, 0), "{tally:?}");
    let (granted, refused) = tally[STONE];
    // Two requests a try at most: one that finds out what is there, one that is refused for it.
    ensure!(granted == 0 && (1..=8).contains(&refused), "{tally:?}");
    Ok(())
}
