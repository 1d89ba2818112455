//! One Bundle, and all of them at a glance.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use rootcast_e2e::{
    eventually,
    scenario::{SOON, Scenario, bundle, certificate, pem_key, source},
};
use serde_json::{Value, json};

use crate::stage::Stage;

fn spec(name: &str) -> String {
    format!(
        "{{sources: [{{configMap: {{name: {name}-corporate, key: ca.crt}}}}, {{inLine: {:?}}}],
           target: {{configMap: {{key: ca.pem}}, secret: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{scenario: {name}}}}}}}}}",
        certificate("rsa")
    )
}

#[tokio::test]
async fn a_bundle_is_shown_with_its_targets_and_where_each_certificate_comes_from() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "shown";
    let scenario = Scenario::begin(&stage.barrier, name, &["a", "b"]).await?;
    let texts = ["expired", "ec"].map(certificate).concat();
    scenario.apply(&source("ConfigMap", "shown-corporate", &[], &[("ca.crt", &texts)])).await?;
    scenario.apply(&bundle(name, &spec(name))).await?;
    let content = pem_key("ca.pem", &["rsa", "ec", "expired"]);
    let mut expected = scenario.synced(&["a", "b"], &content);
    expected.secrets = scenario.everywhere(&["a", "b"], &content);
    scenario.then("it is synced", name, 4, &expected).await?;

    let told = stage.ask(&["status", name]).await?;
    assert_eq!((told.code, &*told.errors), (Some(0), ""), "{}", told.out);
    for words in [
        "Bundle shown, generation 1, last change ",
        "(Lease cert-manager/trust-manager-leader-election, renewed ",
        "Settings: those of Pod cert-manager/",
        "Synced           True    Synced",
        "SourcesComplete  False   NeedsAttention",
        "Targets: 4 of 4 in sync\n",
        "ConfigMap cert-manager/shown-corporate key \"ca.crt\" line 1\n",
        "ConfigMap cert-manager/shown-corporate key \"ca.crt\" line 11\n",
        "inline source line 1\n",
    ] {
        ensure!(told.out.contains(words), "no {words:?} in\n{}", told.out);
    }
    ensure!(!told.out.contains('\u{1b}'), "no colour away from a terminal: {}", told.out);

    let document = stage.ask(&["status", name, "-o", "json"]).await?.document()?;
    let seen = &document["bundles"][0];
    assert_eq!(seen["targets"], json!({"wanted": 4, "inSync": 4, "failing": []}));
    assert_eq!((&seen["synced"], &seen["well"], &seen["defaultCAs"]), (&json!("True"), &json!(true), &json!(false)));
    let certificates = seen["certificates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let places: Vec<_> = certificates.iter().map(|found| (found["source"].as_str(), found["line"].as_u64())).collect();
    let corporate = Some("ConfigMap cert-manager/shown-corporate key \"ca.crt\"");
    assert_eq!(places, [(corporate, Some(1)), (corporate, Some(11)), (Some("inline source"), Some(1))]);
    ensure!(seen["nextEnd"].as_str().is_some_and(|end| end.starts_with("2015-")), "{seen}");
    let changed: Timestamp = seen["changed"].as_str().unwrap_or_default().parse()?;
    ensure!(Timestamp::now().duration_since(changed).as_secs() < 300, "{changed}");
    assert_eq!(document["leader"]["state"], "Led");

    let all = stage.ask(&["status"]).await?;
    let line = all.out.lines().find(|line| line.starts_with("shown ")).unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words.get(1..6), Some(&["True", "Synced", "4/4", "2015-01-01,", "expired"][..]), "{}", all.out);
    Ok(())
}

#[tokio::test]
async fn what_fails_is_named_with_cause_and_cure() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "failing";
    let scenario = Scenario::begin(&stage.barrier, name, &["a", "b", "c"]).await?;
    let owner = scenario
        .apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "owner", "namespace": scenario.namespace("b")},
        }))
        .await?;
    let references = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "controller": true,
        "uid": owner.metadata.uid,
    }]);
    let metadata = json!({
        "name": name, "namespace": scenario.namespace("b"), "ownerReferences": references,
        "labels": {"trust.cert-manager.io/bundle": name},
    });
    scenario.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await?;
    scenario.apply(&source("ConfigMap", "failing-corporate", &[], &[("ca.crt", &certificate("ec"))])).await?;
    let spec = spec(name).replace("secret: {key: ca.pem}, ", "");
    scenario.apply(&bundle(name, &spec)).await?;
    let failing = async |reason: &str| {
        eventually(reason, SOON, async || {
            let told = stage.ask(&["status", name, "-o", "json"]).await?;
            let seen = told.document()?["bundles"][0].take();
            ensure!(seen["reason"] == reason && seen["targets"]["inSync"] != 0, "{seen}");
            ensure!(seen["targets"]["failing"].as_array().is_none_or(|failing| failing.len() < 2), "{seen}");
            Ok::<Value, _>(seen)
        })
        .await
    };
    let seen = failing("SyncConfigMapTargetFailed").await;
    assert_eq!((&seen["targets"]["wanted"], &seen["targets"]["inSync"]), (&json!(3), &json!(2)));
    let trouble = &seen["targets"]["failing"][0];
    assert_eq!(trouble["namespaces"], json!(["failing-b"]));
    assert_eq!(trouble["cause"], "it is controlled by ConfigMap \"owner\" (v1), and not written");
    let told = stage.ask(&["status", name]).await?;
    assert_eq!(told.code, Some(1));
    let cure = "  1 ConfigMap in failing-b: it is controlled by ConfigMap \"owner\" (v1), and not written\n    cure: delete that owner, or give the Bundle another name\n";
    ensure!(told.out.contains(cure), "{}", told.out);

    scenario.delete("ConfigMap", &scenario.namespace("b"), name).await?;
    let healed = failing("Synced").await;
    assert_eq!(healed["targets"], json!({"wanted": 3, "inSync": 3, "failing": []}));

    // What is refused keeps its targets: they are judged by what was written last.
    scenario.delete("ConfigMap", "cert-manager", "failing-corporate").await?;
    let refused = failing("SourceNotFound").await;
    assert_eq!(refused["targets"], json!({"wanted": 3, "inSync": 3, "failing": []}));
    let told = stage.ask(&["status", name]).await?;
    assert_eq!(told.code, Some(1));
    ensure!(told.out.contains("Certificates: not known: "), "{}", told.out);
    ensure!(told.out.contains("ConfigMap \"failing-corporate\" not found"), "{}", told.out);

    let told = stage.ask(&["status", "nobody"]).await?;
    assert_eq!((told.code, &*told.out), (Some(2), ""));
    ensure!(told.errors.starts_with("rootcast: there is no Bundle nobody; there are: "), "{}", told.errors);
    Ok(())
}
