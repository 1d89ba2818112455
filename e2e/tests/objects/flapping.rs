//! A source that keeps changing.

use std::{
    collections::BTreeSet,
    env,
    time::{Duration, Instant},
};

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
    scenario::{TRUST_NAMESPACE, apply, certificate},
};
use serde_json::json;

use crate::{crowd, sight::PATIENCE, stage::Stage};

const NAME: &str = "flapping";

/// Who may write the source, and nothing else.
const USER: &str = "flapper";

/// How long after its last change a source is everywhere: the longest pause, and a rollout.
const SETTLED: Duration = Duration::from_secs(70);

/// The field managers that write it in turn.
const MANAGERS: [&str; 2] = ["flapper-one", "flapper-two"];

/// How many seconds it flaps; `make nightly` has more by this variable, and then more to write.
const SOME: u64 = 5;
const MORE: &str = "FLAPPING_SECONDS";

/// The time between two changes of much: what the source itself writes must not fill etcd.
const PAUSE: Duration = Duration::from_millis(650);

/// As much as Mozilla's roots, and how many namespaces there are then beside the crowd.
const BYTES: usize = 134_000;
const COUNT: usize = 105;

#[tokio::test]
async fn a_source_that_flaps_rewrites_its_targets_a_few_times_and_its_last_content_is_everywhere_soon() -> Result<()> {
    let seconds = match env::var(MORE) {
        Ok(seconds) => seconds.parse().with_context(|| format!("{MORE} is a number"))?,
        Err(_) => SOME,
    };
    let (texts, pause) = if seconds == SOME {
        (["rsa", "p384", "ec"].map(certificate), Duration::ZERO)
    } else {
        ([(); 3].map(|()| crowd::certificate_of_size(BYTES)), PAUSE)
    };
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    let mut all = crowd::names();
    for number in 0..if seconds == SOME { 0 } else { COUNT } {
        all.push(format!("{NAME}-{number}"));
        crowd::join(stage.control_plane, NAME, &all[all.len() - 1]).await?;
    }
    let [first, .., last] = &texts;
    apply(&sight.client, &crowd::filled(NAME, first)).await?;
    apply(&sight.client, &crowd::reaching_all(NAME)).await?;
    sight.becomes("a first rollout", NAME, &all, &crowd::content(first)).await;
    sight.is_synced("a first rollout", NAME).await;
    stage.barrier.sync(&sight.client).await?;

    sight.count_from_here().await?;
    let flapper = flapper(stage).await?;
    let began = Instant::now();
    let (mut edits, mut told, mut waits) = (0, None, false);
    while told.is_none() || !waits || edits % texts.len() != 0 {
        ensure!(began.elapsed() < Duration::from_secs(seconds) + PATIENCE, "it is not told that the source flaps");
        let text = &texts[edits % texts.len()];
        let edit = Patch::Merge(json!({ "data": { "k": text } }));
        let manager = PatchParams { field_manager: Some(MANAGERS[edits % 2].to_owned()), ..PatchParams::default() };
        flapper.patch(&format!("{NAME}-source"), &manager, &edit).await?;
        edits += 1;
        tokio::time::sleep(pause).await;
        if began.elapsed().as_secs() >= seconds {
            let status = conditions(&sight.client).await?;
            let of = |type_| status.iter().find(|condition| condition.type_ == type_);
            // Of one status: a moment later the rollout may have started.
            waits |= of(RECONCILING).is_some_and(|reconciling| reconciling.reason == "RolloutHeld");
            let unstable = of(SOURCE_UNSTABLE).cloned();
            told = unstable.filter(|found| found.message.contains("the next rollout starts at "));
        }
    }
    let newest = crowd::content(last);
    let source = format!("source ConfigMap {TRUST_NAMESPACE}/{NAME}-source changed by field manager \"flapper-");
    ensure!(told.as_ref().is_some_and(|told| told.status == "True" && told.message.contains(&source)), "{told:?}");

    all.push(NAME.to_owned());
    crowd::join(stage.control_plane, NAME, NAME).await?;
    eventually("a new namespace has the newest content", PATIENCE, async || {
        let found = sight.contents(NAME).await?;
        ensure!(found.get(NAME) == Some(&newest), "{:?}", found.get(NAME));
        Ok(())
    })
    .await;
    eventually("the last content is everywhere", SETTLED, async || {
        let found = sight.contents(NAME).await?;
        let outdated = found.values().filter(|found| **found != newest).count();
        ensure!(found.keys().eq(&BTreeSet::from_iter(all.clone())) && outdated == 0, "{outdated} outdated");
        Ok(())
    })
    .await;
    let most = rollouts(began.elapsed());
    sight.is_synced("and so it says", NAME).await;
    stage.barrier.sync(&sight.client).await?;

    for (namespace, (granted, refused)) in sight.tally(NAME).await? {
        let writes = granted + refused;
        ensure!(writes <= most, "{namespace}: {granted} writes granted, {refused} refused, for {edits} changes");
    }
    let events = sight.events(NAME, "SourceUnstable").await?;
    ensure!(events.len() == 1 && events[0].type_.as_deref() == Some("Warning"), "{events:#?}");
    let unstable = condition(&sight.client, SOURCE_UNSTABLE).await?.context("it is not told for ten minutes")?;
    ensure!(unstable.message.contains("further changes are held back"), "{unstable:?}");
    ensure!(condition(&sight.client, RECONCILING).await?.is_none(), "nothing waits any more");
    Ok(())
}

/// How many rollouts there are at most in such a time: three at once, and each further one after a longer pause.
fn rollouts(time: Duration) -> usize {
    let pauses = (0..).map(|doublings: u32| 2_u64.pow(doublings.min(6)).min(60));
    let starts = pauses.scan(0, |start, pause| {
        *start += pause;
        Some(*start)
    });
    3 + starts.take_while(|start| *start <= time.as_secs()).count()
}

/// The source as somebody sees it who may write that one object.
async fn flapper(stage: &Stage) -> Result<Api<ConfigMap>> {
    let metadata = ObjectMeta { name: Some(USER.to_owned()), ..ObjectMeta::default() };
    let patch = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".to_owned()]),
        resource_names: Some(vec![format!("{NAME}-source")]),
        verbs: vec!["patch".to_owned()],
        ..PolicyRule::default()
    };
    let client = stage.control_plane.client();
    let role = Role { metadata: metadata.clone(), rules: Some(vec![patch]) };
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
    Ok(conditions(client).await?.into_iter().find(|condition| condition.type_ == type_))
}

async fn conditions(client: &Client) -> Result<Vec<Condition>> {
    let bundle = Api::<Bundle>::all(client.clone()).get(NAME).await?;
    Ok(bundle.status.and_then(|status| status.conditions).unwrap_or_default())
}
