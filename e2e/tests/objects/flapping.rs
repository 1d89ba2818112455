//! A source that keeps changing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    api::{
        core::v1::ConfigMap,
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use rootcast::api::{Bundle, RECONCILING, SOURCE_UNSTABLE};
use rootcast_e2e::{
    eventually,
    story::{TRUST_NAMESPACE, apply, certificate},
};
use serde_json::json;

use crate::{crowd, sight::PATIENCE, stage::Stage};

const NAME: &str = "flapping";

/// Who may write the source, and nothing else.
const USER: &str = "flapper";

/// The field managers that write it in turn.
const MANAGERS: [&str; 2] = ["flapper-one", "flapper-two"];

const FLAPPING: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_source_that_flaps_rewrites_its_targets_a_few_times_and_its_last_content_is_everywhere_soon() -> Result<()> {
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    let [first, last] = ["rsa", "ec"].map(certificate);
    apply(&sight.client, &crowd::filled(NAME, &first)).await?;
    apply(&sight.client, &crowd::reaching_all(NAME)).await?;
    sight.becomes("a first rollout", NAME, &crowd::names(), &crowd::content(&first)).await;
    sight.is_synced("a first rollout", NAME).await;
    stage.fence.pass(&sight.client).await?;

    sight.count_from_here().await?;
    let flapper = flapper(stage).await?;
    let began = Instant::now();
    let (mut edits, mut told) = (0, None);
    while told.is_none() || edits % 2 == 0 {
        ensure!(began.elapsed() < PATIENCE, "it is not told that the source flaps");
        let text = [&last, &first][edits % 2];
        let edit = Patch::Merge(json!({ "data": { "k": text } }));
        let manager = PatchParams { field_manager: Some(MANAGERS[edits % 2].to_owned()), ..PatchParams::default() };
        flapper.patch(&format!("{NAME}-source"), &manager, &edit).await?;
        edits += 1;
        if began.elapsed() > FLAPPING {
            let unstable = condition(&sight.client, SOURCE_UNSTABLE).await?;
            told = unstable.filter(|unstable| unstable.message.contains("the next rollout starts at "));
        }
    }
    let newest = crowd::content(&last);
    let source = format!("source ConfigMap {TRUST_NAMESPACE}/{NAME}-source changed by field manager \"flapper-");
    ensure!(told.as_ref().is_some_and(|told| told.status == "True" && told.message.contains(&source)), "{told:?}");
    let reconciling = condition(&sight.client, RECONCILING).await?;
    ensure!(reconciling.is_some_and(|reconciling| reconciling.reason == "RolloutHeld"), "it is not told that it waits");

    // The next rollout starts eight seconds after the last one.
    crowd::join(stage.control_plane, NAME, NAME).await?;
    eventually("a new namespace has the newest content", PATIENCE, async || {
        let found = sight.contents(NAME).await?;
        ensure!(found.get(NAME) == Some(&newest), "{:?}", found.get(NAME));
        Ok(())
    })
    .await;
    let all = [crowd::names(), vec![NAME.to_owned()]].concat();
    sight.becomes("the last content is everywhere", NAME, &all, &newest).await;
    sight.is_synced("and so it says", NAME).await;
    stage.fence.pass(&sight.client).await?;

    for (namespace, (granted, refused)) in sight.tally(NAME).await? {
        ensure!(
            granted + refused <= 8,
            "{namespace}: {granted} writes granted, {refused} refused, for {edits} changes"
        );
    }
    let events = sight.events(NAME, "SourceUnstable").await?;
    ensure!(events.len() == 1 && events[0].type_.as_deref() == Some("Warning"), "{events:#?}");
    let unstable = condition(&sight.client, SOURCE_UNSTABLE).await?.context("it is not told for ten minutes")?;
    ensure!(unstable.message.contains("further changes are held back"), "{unstable:?}");
    ensure!(condition(&sight.client, RECONCILING).await?.is_none(), "nothing waits any more");
    Ok(())
}

/// The source as somebody sees it who may write that one object.
async fn flapper(stage: &Stage) -> Result<Api<ConfigMap>> {
    let metadata = ObjectMeta { name: Some(USER.to_owned()), ..ObjectMeta::default() };
    let rule = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".to_owned()]),
        resource_names: Some(vec![format!("{NAME}-source")]),
        verbs: vec!["patch".to_owned()],
        ..PolicyRule::default()
    };
    let client = stage.control_plane.client();
    let role = Role { metadata: metadata.clone(), rules: Some(vec![rule]) };
    Api::namespaced(client.clone(), TRUST_NAMESPACE).create(&PostParams::default(), &role).await?;
    let [group, kind, name] = ["rbac.authorization.k8s.io", "Role", USER].map(str::to_owned);
    let subject =
        Subject { kind: "User".to_owned(), name: USER.to_owned(), api_group: Some(group.clone()), namespace: None };
    let role_ref = RoleRef { api_group: Some(group), kind, name };
    let binding = RoleBinding { metadata, role_ref, subjects: Some(vec![subject]) };
    Api::namespaced(client, TRUST_NAMESPACE).create(&PostParams::default(), &binding).await?;
    Ok(Api::namespaced(stage.control_plane.client_as(USER, &[]), TRUST_NAMESPACE))
}

async fn condition(client: &Client, type_: &str) -> Result<Option<Condition>> {
    let bundle = Api::<Bundle>::all(client.clone()).get(NAME).await?;
    let conditions = bundle.status.and_then(|status| status.conditions).unwrap_or_default();
    Ok(conditions.into_iter().find(|condition| condition.type_ == type_))
}
