//! Bundles that read other Bundles' targets.

use anyhow::Result;
use rootcast_e2e::scenario::{Scenario, Scene, bundle, certificate, pem_key, source};

use crate::stage;

const FIRST: &str = "chain-1";
const SECOND: &str = "chain-2";

#[tokio::test]
async fn a_chain_of_bundles_works_and_a_cycle_is_refused_until_it_is_broken() -> Result<()> {
    let scenario = Scenario::begin(stage().await, "chain", &["a"]).await?;
    let holds = |of: &str| source("ConfigMap", "chain-source", &[], &[("k", &certificate(of))]);
    let first = |more: &str| {
        let sources = format!("[{{configMap: {{name: chain-source, key: k}}}}{more}]");
        bundle(FIRST, &spec(&sources, "ca.pem", "[cert-manager]"))
    };
    let second =
        bundle(SECOND, &spec("[{configMap: {name: chain-1, key: ca.pem}}]", "all.pem", "[cert-manager, chain-a]"));
    let scenes = |reason: &str, of: &str| {
        let scene = |namespaces: &[&str], key: &str| {
            let mut scene = Scene { reason: reason.to_owned(), ..scenario.synced(&["a"], &pem_key(key, &[of])) };
            let target = scene.config_maps.remove("chain-a").expect("one namespace");
            scene.config_maps = namespaces.iter().map(|name| ((*name).to_owned(), target.clone())).collect();
            scene
        };
        (scene(&["cert-manager"], "ca.pem"), scene(&["cert-manager", "chain-a"], "all.pem"))
    };
    let step = async |when: &str, reason: &str, of: &str, [ones, twos]: [usize; 2]| {
        let (one, two) = scenes(reason, of);
        scenario.then_all(when, &[(FIRST, ones, &one), (SECOND, twos, &two)]).await
    };

    scenario.apply(&second).await?;
    let nothing = Scene { reason: "SourceNotFound".to_owned(), ..scenario.synced(&[], &pem_key("all.pem", &["ec"])) };
    scenario.then("nothing to read yet", SECOND, 0, &nothing).await?;
    scenario.apply(&holds("ec")).await?;
    scenario.apply(&first("")).await?;
    step("the first comes", "Synced", "ec", [1, 2]).await?;
    scenario.apply(&holds("rsa")).await?;
    step("the source of the first changes", "Synced", "rsa", [1, 2]).await?;

    scenario.apply(&first(", {configMap: {name: chain-2, key: all.pem}}")).await?;
    step("the first reads the second", "SourceBuildError", "rsa", [0, 0]).await?;
    for (name, cycle) in [(FIRST, "chain-1 -> chain-2 -> chain-1"), (SECOND, "chain-2 -> chain-1 -> chain-2")] {
        let message = scenario.condition(name, "Synced").await?.message;
        assert!(message.contains(cycle), "{message}");
    }
    scenario.apply(&holds("p384")).await?;
    step("a source of the cycle changes", "SourceBuildError", "rsa", [0, 0]).await?;
    scenario.apply(&first("")).await?;
    step("the cycle is broken", "Synced", "p384", [1, 2]).await?;

    scenario.edit("ConfigMap", "cert-manager", FIRST, &serde_json::json!({"data": {"ca.pem": "edited"}})).await?;
    let (one, two) = scenes("Synced", "p384");
    scenario.becomes("somebody edits the first one's target", FIRST, &one).await;
    scenario.becomes("and the second is well", SECOND, &two).await;

    scenario.count_from_here().await?;
    scenario.delete("Bundle", "", FIRST).await?;
    let (_, two) = scenes("SourceNotFound", "p384");
    scenario.then("the first goes", SECOND, 0, &two).await?;
    Ok(())
}

fn spec(sources: &str, key: &str, namespaces: &str) -> String {
    format!(
        "{{sources: {sources},
           target: {{configMap: {{key: {key}}}, namespaceSelector: {{matchExpressions: [
             {{key: kubernetes.io/metadata.name, operator: In, values: {namespaces}}}]}}}}}}"
    )
}
