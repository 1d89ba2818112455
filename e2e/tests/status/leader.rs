//! Who leads, and with which settings.

use anyhow::{Result, ensure};
use rootcast_e2e::scenario::{TRUST_NAMESPACE, apply};
use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
async fn that_nobody_leads_is_said_and_is_a_failure() -> Result<()> {
    let stage = Stage::shared().await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "abandoned", "namespace": TRUST_NAMESPACE},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"},
    });
    stage.control_plane.kubectl_ok(&["apply", "-f", "-"], &lease.to_string())?;
    let told = stage.ask(&["status", "--leader-election-id=abandoned"]).await?;
    assert_eq!(told.code, Some(1));
    let words = "Leader: nobody holds the Lease cert-manager/abandoned, which was renewed ";
    ensure!(told.out.starts_with(words), "{}", told.out);
    let told = stage.ask(&["status", "--leader-election-id=never"]).await?;
    ensure!(told.out.starts_with("Leader: there is no Lease: "), "{}", told.out);
    Ok(())
}

#[tokio::test]
async fn settings_are_those_of_the_controllers_pod_unless_they_are_typed() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "settled";
    let text = rootcast_e2e::scenario::certificate("ec");
    let spec = format!(
        "{{sources: [{{inLine: {text:?}}}], target: {{secret: {{key: k}}, namespaceSelector: {{matchLabels: {{scenario: none}}}}}}}}"
    );
    apply(&stage.control_plane.client(), &rootcast_e2e::scenario::bundle(name, &spec)).await?;
    let offered = async |more: &[&str]| {
        let told = stage.ask(&[&["status", "-n", "cert-manager", "-o", "json"], more].concat()).await?;
        let document = told.document()?;
        let mut bundles = document["bundles"].as_array().into_iter().flatten();
        let found = bundles.find(|bundle| bundle["name"] == name).cloned().unwrap_or_default();
        Ok::<_, anyhow::Error>(found["notOffered"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(offered(&[]).await?, "it does not select this namespace: scenario=none");
    assert_eq!(offered(&["--target-namespaces=a,b"]).await?, "the namespace is not among --target-namespaces");

    let told = stage.ask(&["status", name, "--leader-election-namespace=default"]).await?;
    let words = "Settings: the defaults, since no Pod of a controller is in namespace ";
    ensure!(told.out.contains(words), "{}", told.out);
    Ok(())
}
