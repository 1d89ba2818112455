//! A Bundle that cannot be carried out leaves its targets as they are, says why, and goes on once it is mended.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _, api::ListParams};
use rootcast::api::SYNCED;
use rootcast_e2e::{
    eventually,
    scenario::{SOON, Scenario, Scene, TRUST_NAMESPACE, bundle, certificate, pem_key, source},
};
use serde_json::{Value, json};

use crate::{hostile::certificate_of_size, stage::Stage};

/// One way to break a Bundle that worked.
struct Case {
    name: &'static str,
    /// What happens to `<name>-source`, of which the Bundle reads key `k`.
    break_it: Vec<Change>,
    /// What makes it whole again.
    mend_it: Vec<Change>,
    reason: &'static str,
    /// What the message must name.
    says: Vec<&'static str>,
}

enum Change {
    Apply(Value),
    Delete(&'static str),
}
use Change::{Apply, Delete};

fn cases() -> Vec<Case> {
    let broken = |name: &str, text: &str| Apply(source("ConfigMap", &format!("{name}-source"), &[], &[("k", text)]));
    let sound = |name| broken(name, &certificate("ec"));
    let whole = certificate("ec");
    let truncated = whole.trim_end().trim_end_matches("-----END CERTIFICATE-----");
    let mut tls = source("Secret", "tls-source", &[], &[("tls.crt", &certificate("ec")), ("tls.key", "")]);
    tls["type"] = "kubernetes.io/tls".into();
    vec![
        Case {
            name: "no-source",
            break_it: vec![Delete("ConfigMap")],
            mend_it: vec![sound("no-source")],
            reason: "SourceNotFound",
            says: vec!["Bundle source was not found: failed to get ConfigMap cert-manager/no-source-source: "],
        },
        Case {
            name: "no-key",
            break_it: vec![Apply(source("ConfigMap", "no-key-source", &[], &[("other", &certificate("ec"))]))],
            mend_it: vec![sound("no-key")],
            reason: "SourceNotFound",
            says: vec![
                "Bundle source was not found: no data found in ConfigMap cert-manager/no-key-source at key \"k\"",
            ],
        },
        Case {
            name: "bad-pem",
            break_it: vec![broken("bad-pem", &format!("{whole}\n{truncated}"))],
            mend_it: vec![sound("bad-pem")],
            reason: "SourceBuildError",
            says: vec![
                "invalid PEM data in ConfigMap cert-manager/bad-pem-source at key \"k\": ",
                "no END line",
                "block 2, line ",
            ],
        },
        Case {
            name: "tls",
            break_it: vec![Delete("Secret"), Apply(tls)],
            mend_it: vec![Delete("Secret"), Apply(source("Secret", "tls-source", &[], &[("k", &certificate("ec"))]))],
            reason: "SourceBuildError",
            says: vec!["includeAllKeys is not supported for TLS Secrets such as cert-manager/tls-source"],
        },
        Case {
            name: "nothing-valid",
            break_it: vec![broken("nothing-valid", "# to be filled in")],
            mend_it: vec![sound("nothing-valid")],
            reason: "SourceNotFound",
            says: vec!["couldn't find any valid certificates in bundle"],
        },
        Case {
            name: "too-large",
            break_it: vec![broken("too-large", &certificate_of_size(740_000))],
            mend_it: vec![sound("too-large")],
            reason: "TargetTooLarge",
            says: vec![
                "does not fit into a ConfigMap: ",
                " are over the limit of 1048576",
                "drop an additional format",
            ],
        },
    ]
}

/// The Bundle of a case.
fn bundle_of(case: &Case, scenario: &str) -> Value {
    let (from, formats) = match case.name {
        "tls" => ("secret: {name: tls-source, includeAllKeys: true}".to_owned(), ""),
        "too-large" => {
            (format!("configMap: {{name: {}-source, key: k}}", case.name), "additionalFormats: {jks: {key: jks}}, ")
        }
        _ => (format!("configMap: {{name: {}-source, key: k}}", case.name), ""),
    };
    let selector = format!("namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}");
    bundle(
        case.name,
        &format!("{{sources: [{{{from}}}], target: {{configMap: {{key: ca.pem}}, {formats}{selector}}}}}"),
    )
}

#[tokio::test]
async fn a_refused_bundle_keeps_its_targets_says_why_and_goes_on_once_it_is_mended() -> Result<()> {
    let stage = Stage::shared().await;
    let scenario = Scenario::begin(&stage.barrier, "refused", &["a", "b"]).await?;
    let cases = cases();
    for case in &cases {
        change(&scenario, case.name, &case.mend_it[case.mend_it.len() - 1..]).await?;
        scenario.apply(&bundle_of(case, "refused")).await?;
    }
    let mut scenes = BTreeMap::new();
    for case in &cases {
        scenes.insert(case.name, settled(&scenario, case.name, SYNCED).await);
    }
    stage.barrier.sync(&scenario.client).await?;
    let before = versions(&scenario, &cases).await?;
    scenario.count_from_here().await?;

    for case in &cases {
        change(&scenario, case.name, &case.break_it).await?;
    }
    for case in &cases {
        let refused = settled(&scenario, case.name, case.reason).await;
        assert_eq!(refused.config_maps, scenes[case.name].config_maps, "{}", case.name);
    }
    stage.barrier.sync(&scenario.client).await?;
    for case in &cases {
        let condition = scenario.condition(case.name, SYNCED).await?;
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", case.reason), "{}", case.name);
        for words in &case.says {
            assert!(condition.message.contains(words), "{}: {:?} lacks {words:?}", case.name, condition.message);
        }
        assert_eq!(scenario.written(case.name).await?, [], "{}", case.name);
    }
    assert_eq!(versions(&scenario, &cases).await?, before, "no target changed");

    for case in &cases {
        change(&scenario, case.name, &case.mend_it).await?;
    }
    for case in &cases {
        scenario.becomes(case.name, case.name, &scenes[case.name]).await;
    }
    stage.barrier.sync(&scenario.client).await?;
    assert_eq!(versions(&scenario, &cases).await?, before, "the targets were right all the time");
    stage.is_in_order().await
}

/// The ConfigMap is written all the same, and the condition says what is missing.
#[tokio::test]
async fn a_secret_target_that_is_switched_off_does_not_hold_up_the_config_map() -> Result<()> {
    let stage = Stage::shared().await;
    let scenario = Scenario::begin(&stage.barrier, "off", &["a", "b"]).await?;
    let spec = |more: &str| {
        format!(
            "{{sources: [{{configMap: {{name: off-source, key: k}}}}], target: {{configMap: {{key: ca.pem}}, {more}\
             namespaceSelector: {{matchLabels: {{scenario: 'off'}}}}}}}}"
        )
    };
    let fill = async |name| scenario.apply(&source("ConfigMap", "off-source", &[], &[("k", &certificate(name))])).await;
    fill("ec").await?;
    scenario.apply(&bundle("off", &spec(""))).await?;
    let synced = scenario.synced(&["a", "b"], &pem_key("ca.pem", &["ec"]));
    scenario.then("a ConfigMap target", "off", 2, &synced).await?;

    scenario.apply(&bundle("off", &spec("secret: {key: ca.pem}, "))).await?;
    let off = Scene { reason: "SecretTargetsDisabled".to_owned(), ..synced };
    scenario.then("a Secret target as well", "off", 0, &off).await?;
    let message = scenario.condition("off", SYNCED).await?.message;
    assert!(message.contains("--secret-targets-enabled"), "{message}");

    fill("p384").await?;
    let changed = scenario.synced(&["a", "b"], &pem_key("ca.pem", &["p384"]));
    let off = Scene { reason: "SecretTargetsDisabled".to_owned(), ..changed.clone() };
    scenario.then("another certificate", "off", 2, &off).await?;

    scenario.apply(&bundle("off", &spec(""))).await?;
    scenario.then("no Secret target", "off", 0, &changed).await?;
    stage.is_in_order().await
}

#[tokio::test]
async fn the_log_has_one_line_for_each_change_with_bundle_namespaces_and_cause() -> Result<()> {
    let stage = Stage::shared().await;
    let scenario = Scenario::begin(&stage.barrier, "told", &["a", "b"]).await?;
    let spec = "{sources: [{configMap: {name: told-source, key: k}}], \
                target: {configMap: {key: k}, namespaceSelector: {matchLabels: {scenario: told}}}}";
    let fill = async |text: &str| scenario.apply(&source("ConfigMap", "told-source", &[], &[("k", text)])).await;
    let said = || stage.controller.logs().map(|log| log.len());
    let synced = |name| scenario.synced(&["a", "b"], &pem_key("k", &[name]));

    fill(&certificate("ec")).await?;
    let start = said()?;
    scenario.apply(&bundle("told", spec)).await?;
    scenario.then("the Bundle comes", "told", 2, &synced("ec")).await?;
    let lines = stage.lines_about("told", start, 1).await;
    assert!(lines[0].contains("namespaces=2") && lines[0].contains("cause=\"Bundle told seen\""), "{lines:#?}");

    let start = said()?;
    fill(&certificate("p384")).await?;
    scenario.then("the source changes", "told", 2, &synced("p384")).await?;
    let lines = stage.lines_about("told", start, 1).await;
    let cause = format!("cause=\"source ConfigMap {TRUST_NAMESPACE}/told-source changed by field manager");
    assert!(lines[0].contains("namespaces=2") && lines[0].contains(&cause), "{lines:#?}");

    let start = said()?;
    scenario.delete("ConfigMap", TRUST_NAMESPACE, "told-source").await?;
    let refused = Scene { reason: "SourceNotFound".to_owned(), ..synced("p384") };
    scenario.then("the source goes", "told", 0, &refused).await?;
    let lines = stage.lines_about("told", start, 1).await;
    let cause = format!("cause=\"source ConfigMap {TRUST_NAMESPACE}/told-source deleted\"");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("SourceNotFound") && lines[0].contains(&cause),
        "{lines:#?}"
    );
    stage.is_in_order().await
}

async fn change(scenario: &Scenario<'_>, name: &str, changes: &[Change]) -> Result<()> {
    for change in changes {
        match change {
            Apply(object) => drop(scenario.apply(object).await?),
            Delete(kind) => scenario.delete(kind, TRUST_NAMESPACE, &format!("{name}-source")).await?,
        }
    }
    Ok(())
}

/// The scene once the Bundle says so.
async fn settled(scenario: &Scenario<'_>, bundle: &str, reason: &str) -> Scene {
    eventually(bundle, SOON, async || {
        let scene = scenario.scene(bundle).await?;
        ensure!(scene.reason == reason, "{scene:#?} is not {reason}");
        ensure!(scene.config_maps.len() == 2, "targets in {:?}", scene.config_maps.keys());
        Ok(scene)
    })
    .await
}

/// Uid and resource version of every target of these cases.
async fn versions(scenario: &Scenario<'_>, cases: &[Case]) -> Result<BTreeMap<String, Value>> {
    let mut versions = BTreeMap::new();
    for case in cases {
        let named = ListParams::default().fields(&format!("metadata.name={}", case.name));
        for target in Api::<ConfigMap>::all(scenario.client.clone()).list_metadata(&named).await? {
            let namespace = target.namespace().context("a target is in a namespace")?;
            versions.insert(format!("{namespace}/{}", case.name), json!([target.uid(), target.resource_version()]));
        }
    }
    Ok(versions)
}
