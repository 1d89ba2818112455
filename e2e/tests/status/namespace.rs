//! What one namespace is offered.

use anyhow::{Result, ensure};
use rootcast_e2e::scenario::{Scenario, bundle, certificate, pem_key};
use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
async fn a_namespace_is_told_what_reaches_it_and_what_does_not_and_why() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "near";
    let scenario = Scenario::begin(&stage.barrier, name, &["a"]).await?;
    let spec = |selected: &str| {
        format!(
            "{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{scenario: {selected}}}}}}}}}",
            certificate("ec")
        )
    };
    scenario.apply(&bundle(name, &spec(name))).await?;
    scenario.apply(&bundle("far", &spec("elsewhere"))).await?;
    scenario.then("it is synced", name, 1, &scenario.synced(&["a"], &pem_key("ca.pem", &["ec"]))).await?;

    let told = stage.ask(&["status", "--namespace", "near-a"]).await?;
    assert_eq!((told.code, &*told.errors), (Some(0), ""), "{}", told.out);
    let line = |name: &str| {
        let line = told.out.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("near"), "near True ConfigMap ca.pem in sync");
    assert_eq!(line("far"), "far True - - not offered: it does not select this namespace: scenario=elsewhere");
    ensure!(told.out.contains("Pods: no Bundle is injected, unless their annotation inject.rootcast.dev/bundle"));

    let label = |bundle: &str| json!({"metadata": {"labels": {"inject.rootcast.dev/bundle": bundle}}});
    scenario.edit("Namespace", "", "near-a", &label("near")).await?;
    let told = stage.ask(&["status", "-n", "near-a"]).await?;
    assert_eq!(told.code, Some(0));
    ensure!(told.out.contains("Pods: Bundle near is injected when they start"), "{}", told.out);
    scenario.edit("Namespace", "", "near-a", &label("far")).await?;
    let told = stage.ask(&["status", "-n", "near-a"]).await?;
    assert_eq!(told.code, Some(1));
    let cure = "cannot be injected: it does not select namespace \"near-a\": scenario=elsewhere\n  cure: label the namespace or mend";
    ensure!(told.out.contains(cure), "{}", told.out);
    let document = stage.ask(&["status", "-n", "near-a", "-o", "json"]).await?.document()?;
    assert_eq!(document["injected"]["bundle"], "far");

    let told = stage.ask(&["status", "-n", "nowhere"]).await?;
    assert_eq!((told.code, &*told.out), (Some(2), ""));
    ensure!(told.errors.contains("namespaces \"nowhere\" not found"), "{}", told.errors);
    Ok(())
}
