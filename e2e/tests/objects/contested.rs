//! A target that somebody else keeps changing back.

use std::time::Instant;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rootcast_e2e::{
    eventually,
    scenario::{apply, certificate},
};
use serde_json::json;

use crate::{
    crowd,
    sight::{MEASURED, PATIENCE},
    stage::Stage,
};

const NAME: &str = "contested";

/// Where the fight is, and where there is none.
const LOUD: &str = "contested-loud";
const QUIET: &str = "contested-quiet";

/// The field manager that we fight with.
const RIVAL: &str = "rival";

#[tokio::test]
async fn a_fight_over_a_key_is_fought_at_a_bounded_rate_named_in_an_event_and_won_when_the_other_gives_up() -> Result<()>
{
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    for namespace in [LOUD, QUIET] {
        crowd::join(stage.control_plane, NAME, namespace).await?;
    }
    let both = [LOUD.to_owned(), QUIET.to_owned()];
    let text = certificate("ec");
    apply(&sight.client, &crowd::filled(NAME, &text)).await?;
    apply(&sight.client, &crowd::reaching_few(NAME)).await?;
    sight.becomes("peace", NAME, &both, &crowd::content(&text)).await;
    stage.barrier.sync(&sight.client).await?;

    sight.count_from_here().await?;
    let config_maps = Api::<ConfigMap>::namespaced(sight.client.clone(), LOUD);
    let as_rival = PatchParams { field_manager: Some(RIVAL.to_owned()), ..PatchParams::default() };
    let began = Instant::now();
    let mut edits = 0;
    while began.elapsed() < MEASURED {
        edits += 1;
        let edit = Patch::Merge(json!({"data": {"ca.pem": format!("edit {edits}")}}));
        config_maps.patch(NAME, &as_rival, &edit).await?;
    }
    let (granted, refused) = sight.tally(NAME).await?.remove(LOUD).unwrap_or_default();
    ensure!(granted + refused <= 20, "{granted} writes granted, {refused} refused, against {edits} edits");

    sight.becomes("the rival gives up", NAME, &both, &crowd::content(&text)).await;
    eventually("the fight is told", PATIENCE, async || {
        let events = sight.events(NAME, "TargetContested").await?;
        let words = [&format!("ConfigMap {LOUD}/{NAME}"), "ca.pem", RIVAL];
        let tells = |note: &str| words.iter().all(|words| note.contains(words));
        let told = events.iter().find(|event| event.note.as_deref().is_some_and(tells));
        ensure!(told.is_some_and(|event| event.type_.as_deref() == Some("Warning")), "{events:#?}");
        Ok(())
    })
    .await;
    stage.barrier.sync(&sight.client).await?;
    sight.is_synced("peace again", NAME).await;
    ensure!(!sight.tally(NAME).await?.contains_key(QUIET), "there was nothing to fight over");
    Ok(())
}
