//! Pods that cannot have what they ask for: they hear why, and start as they are or not at all.

use anyhow::{Context as _, Result, ensure};
use kube::api::DeleteParams;
use rootcast_e2e::{
    CallOutcome, eventually,
    scenario::{SOON, apply, bundle, certificate, objects},
};
use serde_json::json;

use crate::{
    pods::{call, pod, trusts},
    stage::{BUNDLE, BY_ANNOTATION, BY_REQUIREMENT, Play, REQUIRED},
};

/// Bundles that a pod of the scenario's namespace cannot have, and words of the cause.
const HINDERED: [(&str, &str); 4] = [
    ("ghost", "no such Bundle"),
    ("aimless", "no target"),
    ("payments-only", "team=payments"),
    ("coredns", "CoreDNS keeps objects of its own"),
];

#[tokio::test]
async fn a_bundle_that_cannot_be_had_is_a_warning_or_where_required_a_refusal() -> Result<()> {
    let play = Play::begin("hindered", &[]).await?;
    for (bundle, cause) in HINDERED {
        let answer = play.create(&pod(bundle, &[(BUNDLE, bundle)])).await?;
        let [warning] = &answer.warnings[..] else { anyhow::bail!("{bundle}: {:?}", answer.warnings) };
        ensure!(warning.contains(bundle) && warning.contains(cause), "{bundle}: {warning}");
        ensure!(warning.chars().count() <= 256, "{bundle}: {warning}");
        assert!(!trusts(&answer.object()?).is_in_part(), "{bundle}");
        play.called("create", bundle, &[call(BY_ANNOTATION, CallOutcome::Unchanged)]).await?;

        let name = format!("required-{bundle}");
        let answer = play.create(&pod(&name, &[(BUNDLE, bundle), REQUIRED])).await?;
        assert_eq!(answer.code, 403, "{answer:?}");
        let why = answer.refusal()?;
        ensure!(why.contains(bundle) && why.contains(cause), "{bundle}: {why}");
        play.called("create", &name, &[call(BY_REQUIREMENT, CallOutcome::Unchanged)]).await?;
    }
    play.end().await
}

#[tokio::test]
async fn kubectl_shows_the_warning() -> Result<()> {
    let play = Play::begin("shown", &[]).await?;
    let manifest = pod("shown", &[(BUNDLE, "ghost")]).to_string();
    let output = play.stage.control_plane.kubectl(&["create", "-n", "shown", "-f", "-"], &manifest)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && said.starts_with("Warning: ") && said.contains("ghost"), "{said}");
    play.end().await
}

#[tokio::test]
async fn a_bundle_that_changes_is_known_to_the_next_pod() -> Result<()> {
    let play = Play::begin("changing", &[]).await?;
    let said = async |name: &str| -> Result<String> {
        let mut wanted = pod("", &[(BUNDLE, name)]);
        wanted["metadata"]["generateName"] = "next-".into();
        let answer = play.create(&wanted).await?;
        let warnings = answer.warnings.join(" ");
        Ok(if trusts(&answer.object()?).is_in_part() { "injected".to_owned() } else { warnings })
    };
    let becomes = async |words: &str| {
        eventually(words, SOON, async || {
            let said = said("changing").await?;
            ensure!(said.contains(words), "{said}");
            Ok(())
        })
        .await;
    };
    let source = json!(certificate("ec"));
    let define = async |rest: &str| {
        let spec = format!("sources: [{{inLine: {source}}}]\n{rest}");
        apply(&play.client, &bundle("changing", &spec)).await
    };
    becomes("no such Bundle").await;
    define("").await?;
    becomes("no target").await;
    define("target: {configMap: {key: k}}").await.context("a target")?;
    becomes("injected").await;
    objects(&play.client, "Bundle", "")?.delete("changing", &DeleteParams::default()).await?;
    becomes("no such Bundle").await;
    play.end().await
}
