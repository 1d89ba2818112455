//! Sources come, change and go.

use anyhow::{Result, ensure};
use rootcast_e2e::{
    eventually,
    scenario::{SOON, Scenario, Scene, TRUST_NAMESPACE, bundle, certificate, pem_key, source},
};
use serde_json::json;

use crate::stage;

const SYNCED: &str = "Synced";
const NOT_FOUND: &str = "SourceNotFound";

#[tokio::test]
async fn targets_follow_a_configmap_that_comes_changes_goes_and_comes_back() -> Result<()> {
    a_named_source("ConfigMap", "configMap", "named-configmap").await
}

#[tokio::test]
async fn targets_follow_a_secret_that_comes_changes_goes_and_comes_back() -> Result<()> {
    a_named_source("Secret", "secret", "named-secret").await
}

async fn a_named_source(kind: &str, field: &str, name: &str) -> Result<()> {
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let spec = format!(
        "{{sources: [{{{field}: {{name: {name}-source, key: ca.crt}}}}],
           target: {{configMap: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{scenario: {name}}}}}}}}}"
    );
    let holds = |text: &[(&str, &str)]| source(kind, &format!("{name}-source"), &[], text);
    let both = |reason: &str, certificates: &[&str]| Scene {
        reason: reason.to_owned(),
        ..scenario.synced(&["a", "b"], &pem_key("ca.pem", certificates))
    };
    let (ec, rsa) = (&certificate("ec"), &certificate("rsa"));

    scenario.apply(&bundle(name, &spec)).await?;
    let nothing = Scene { reason: NOT_FOUND.to_owned(), ..scenario.synced(&[], &pem_key("ca.pem", &["ec"])) };
    scenario.then("the source is missing", name, 0, &nothing).await?;

    scenario.apply(&holds(&[("ca.crt", ec)])).await?;
    scenario.then("the source comes", name, 2, &both(SYNCED, &["ec"])).await?;

    scenario.apply(&holds(&[("ca.crt", rsa)])).await?;
    scenario.then("the source changes", name, 2, &both(SYNCED, &["rsa"])).await?;

    scenario.apply(&holds(&[("ca.crt", &format!("# the same\n{rsa}\n{rsa}")), ("other", ec)])).await?;
    scenario.then("the source says the same otherwise", name, 0, &both(SYNCED, &["rsa"])).await?;

    scenario.apply(&holds(&[("other", ec)])).await?;
    scenario.then("the source loses its key", name, 0, &both(NOT_FOUND, &["rsa"])).await?;

    scenario.delete(kind, TRUST_NAMESPACE, &format!("{name}-source")).await?;
    scenario.then("the source goes", name, 0, &both(NOT_FOUND, &["rsa"])).await?;

    scenario.apply(&holds(&[("ca.crt", rsa)])).await?;
    scenario.then("the source comes back", name, 0, &both(SYNCED, &["rsa"])).await?;

    scenario.apply(&holds(&[("ca.crt", ec)])).await?;
    scenario.then("it changes again", name, 2, &both(SYNCED, &["ec"])).await?;
    Ok(())
}

#[tokio::test]
async fn targets_follow_the_members_of_a_selection() -> Result<()> {
    let name = "selection";
    let scenario = Scenario::begin(stage().await, name, &["a", "b", "c"]).await?;
    let spec = "{sources: [{configMap: {selector: {matchLabels: {from: selection}}, key: ca.crt}}],
                 target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {scenario: selection}}}}";
    let member = |of: &str, labels: &[(&str, &str)]| {
        source("ConfigMap", &format!("selection-{of}"), labels, &[("ca.crt", &certificate(of))])
    };
    let chosen = &[("from", "selection")];
    let all = |certificates: &[&str]| scenario.synced(&["a", "b", "c"], &pem_key("ca.pem", certificates));

    scenario.apply(&member("ec", chosen)).await?;
    scenario.apply(&bundle(name, spec)).await?;
    scenario.then("one member", name, 3, &all(&["ec"])).await?;

    scenario.apply(&member("rsa", chosen)).await?;
    scenario.then("a member is created", name, 3, &all(&["ec", "rsa"])).await?;

    scenario.apply(&member("p384", &[])).await?;
    scenario.then("a stranger is created", name, 0, &all(&["ec", "rsa"])).await?;

    scenario.apply(&member("p384", chosen)).await?;
    scenario.then("the stranger gets the label", name, 3, &all(&["ec", "p384", "rsa"])).await?;

    scenario.apply(&member("ec", &[("from", "elsewhere")])).await?;
    scenario.then("a member loses its label", name, 3, &all(&["p384", "rsa"])).await?;

    scenario.apply(&member("ec", chosen)).await?;
    scenario.then("it gets its label back", name, 3, &all(&["ec", "p384", "rsa"])).await?;

    scenario.delete("ConfigMap", TRUST_NAMESPACE, "selection-p384").await?;
    scenario.then("a member is deleted", name, 3, &all(&["ec", "rsa"])).await?;

    scenario.apply(&member("rsa", &[("from", "selection"), ("more", "labels")])).await?;
    scenario.then("a label that does not matter", name, 0, &all(&["ec", "rsa"])).await?;

    for of in ["ec", "rsa"] {
        scenario.apply(&member(of, &[])).await?;
    }
    // Whether the labels go one by one or together is the watch's choice, but the last certificate stays.
    eventually("nothing is left", SOON, async || {
        let condition = scenario.condition(name, "Synced").await?;
        ensure!(condition.reason == NOT_FOUND, "{condition:?}");
        Ok(())
    })
    .await;
    let scene = scenario.scene(name).await?;
    scenario.count_from_here().await?;
    scenario.then("the last certificates stay", name, 0, &scene).await?;
    assert_eq!(scene.config_maps.len(), 3);
    Ok(())
}

#[tokio::test]
async fn every_key_counts_where_all_keys_are_included() -> Result<()> {
    let name = "all-keys";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let spec = "{sources: [{configMap: {name: all-keys-source, includeAllKeys: true}}],
                 target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {scenario: all-keys}}}}";
    let holds = |of: &[&str]| {
        let texts: Vec<_> = of.iter().map(|of| (*of, certificate(of))).collect();
        let data: Vec<_> = texts.iter().map(|(key, text)| (*key, text.as_str())).collect();
        source("ConfigMap", "all-keys-source", &[], &data)
    };
    let both = |certificates: &[&str]| scenario.synced(&["a", "b"], &pem_key("ca.pem", certificates));

    scenario.apply(&holds(&["ec"])).await?;
    scenario.apply(&bundle(name, spec)).await?;
    scenario.then("one key", name, 2, &both(&["ec"])).await?;
    scenario.apply(&holds(&["ec", "rsa"])).await?;
    scenario.then("a key comes", name, 2, &both(&["ec", "rsa"])).await?;
    scenario.apply(&holds(&["rsa"])).await?;
    scenario.then("a key goes", name, 2, &both(&["rsa"])).await?;
    Ok(())
}

#[tokio::test]
async fn a_bundle_that_is_refused_all_keys_of_a_tls_secret_takes_none_from_one_that_comes_later() -> Result<()> {
    let (all, one) = ("tls-all", "tls-one");
    let scenario = Scenario::begin(stage().await, one, &["a"]).await?;
    let target = "target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {scenario: tls-one}}}";
    let reads = |keys: &str| format!("{{sources: [{{secret: {{name: tls-source, {keys}}}}}], {target}}}");
    let mut secret = source("Secret", "tls-source", &[], &[("tls.crt", &certificate("ec")), ("tls.key", "")]);
    secret["type"] = json!("kubernetes.io/tls");
    scenario.apply(&secret).await?;
    scenario.apply(&bundle(all, &reads("includeAllKeys: true"))).await?;
    eventually("all keys are refused", SOON, async || {
        let condition = scenario.condition(all, "Synced").await?;
        ensure!(condition.status == "False" && condition.message.contains("TLS Secrets"), "{condition:?}");
        Ok(())
    })
    .await;
    scenario.apply(&bundle(one, &reads("key: tls.crt"))).await?;
    scenario.then("one key is read", one, 1, &scenario.synced(&["a"], &pem_key("ca.pem", &["ec"]))).await?;
    scenario.delete("Bundle", "", all).await?;
    Ok(())
}

#[tokio::test]
async fn a_selection_skips_the_output_of_bundles_and_says_so() -> Result<()> {
    let name = "no-output";
    let scenario = Scenario::begin(stage().await, name, &["a"]).await?;
    let spec = "{sources: [{configMap: {selector: {matchLabels: {from: no-output}}, key: ca.crt}}],
                 target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {scenario: no-output}}}}";
    let data: &[(&str, &str)] = &[("ca.crt", &certificate("ec"))];
    let output =
        |labels: &[(&str, &str)]| source("ConfigMap", "no-output-copied", labels, &[("ca.crt", &certificate("rsa"))]);
    let complete = async |status: &str, words: &str| {
        eventually("SourcesComplete tells", SOON, async || {
            let condition = scenario.condition(name, "SourcesComplete").await?;
            ensure!(condition.status == status && condition.message.contains(words), "{condition:?}");
            Ok(())
        })
        .await;
    };
    let chosen = ("from", "no-output");

    scenario.apply(&source("ConfigMap", "no-output-source", &[chosen], data)).await?;
    scenario.apply(&bundle(name, spec)).await?;
    let ec = scenario.synced(&["a"], &pem_key("ca.pem", &["ec"]));
    scenario.then("a source", name, 1, &ec).await?;
    complete("True", "").await;

    scenario.apply(&output(&[chosen, ("trust.cert-manager.io/bundle", "somewhere")])).await?;
    complete("False", "ConfigMap cert-manager/no-output-copied").await;
    scenario.then("a copy of a target", name, 0, &ec).await?;

    scenario.apply(&output(&[chosen])).await?;
    let both = scenario.synced(&["a"], &pem_key("ca.pem", &["ec", "rsa"]));
    scenario.then("the copy loses the label of Bundles", name, 1, &both).await?;
    complete("True", "").await;

    scenario.apply(&output(&[chosen, ("trust.cert-manager.io/bundle", "somewhere")])).await?;
    scenario.then("the copy gets the label of Bundles", name, 1, &ec).await?;
    complete("False", "ConfigMap cert-manager/no-output-copied").await;
    Ok(())
}

#[tokio::test]
async fn bundles_that_share_a_source_each_follow_it() -> Result<()> {
    let scenario = Scenario::begin(stage().await, "shared", &["a", "b"]).await?;
    let spec = |key: &str| {
        format!(
            "{{sources: [{{secret: {{name: shared-source, key: {key}}}}}],
               target: {{configMap: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{scenario: shared}}}}}}}}"
        )
    };
    let holds = |one: &str, other: &str| {
        let (one, other) = (certificate(one), certificate(other));
        source("Secret", "shared-source", &[], &[("one", &one), ("other", &other)])
    };
    let both = |certificate: &str| scenario.synced(&["a", "b"], &pem_key("ca.pem", &[certificate]));

    scenario.apply(&holds("ec", "rsa")).await?;
    for (name, key) in [("shared-1", "one"), ("shared-2", "one"), ("shared-3", "other")] {
        scenario.apply(&bundle(name, &spec(key))).await?;
    }
    let step = async |when: &str, expected: &[(&str, usize, &str)]| {
        let scenes: Vec<_> = expected.iter().map(|(_, _, certificate)| both(certificate)).collect();
        let expected: Vec<_> =
            expected.iter().zip(&scenes).map(|((name, writes, _), scene)| (*name, *writes, scene)).collect();
        scenario.then_all(when, &expected).await
    };
    step("three Bundles", &[("shared-1", 2, "ec"), ("shared-2", 2, "ec"), ("shared-3", 2, "rsa")]).await?;
    scenario.apply(&holds("p384", "rsa")).await?;
    step("a shared key changes", &[("shared-1", 2, "p384"), ("shared-2", 2, "p384"), ("shared-3", 0, "rsa")]).await?;
    scenario.apply(&holds("p384", "ec")).await?;
    step("the other key changes", &[("shared-1", 0, "p384"), ("shared-2", 0, "p384"), ("shared-3", 2, "ec")]).await?;

    scenario.delete("Bundle", "", "shared-1").await?;
    scenario.apply(&bundle("shared-2", &spec("other"))).await?;
    step("one goes, one reads elsewhere", &[("shared-2", 2, "ec"), ("shared-3", 0, "ec")]).await?;
    scenario.edit("Secret", TRUST_NAMESPACE, "shared-source", &json!({"data": {"one": null}})).await?;
    step("a key goes that nobody reads", &[("shared-2", 0, "ec"), ("shared-3", 0, "ec")]).await?;
    Ok(())
}
