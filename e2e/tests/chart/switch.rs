//! `helm upgrade` from trust-manager's chart, as its objects are named there.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{CHART, ControlPlane, Controller};
use serde_json::{Value, json};

use crate::installs::{in_sync, with_bundle};

const PEER: &str = "e2e/tests/chart/peer";

/// What must be the same object afterwards.
const KEPT: [(&str, &str); 6] = [
    ("crd", "bundles.trust.cert-manager.io"),
    ("deployment", "trust-manager"),
    ("service", "trust-manager-metrics"),
    ("serviceaccount", "trust-manager"),
    ("clusterrolebinding", "trust-manager"),
    ("bundle", "corporate"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_trust_manager_keeps_names_selector_crd_and_bundles() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.namespace("cert-manager", &[]).await?;
    control_plane.helm_ok(&["install", "trust-manager", PEER, "--namespace", "cert-manager"], "")?;
    let bundle = with_bundle("corporate")["extraObjects"][0].to_string();
    let bundle = bundle.replace("{{ .Values.app.trust.namespace }}", "cert-manager");
    control_plane.kubectl_ok(&["create", "-f", "-"], &bundle)?;
    let before = identities(&control_plane)?;

    let upgrade = |how| {
        let to =
            ["upgrade", "trust-manager", CHART, "--namespace", "cert-manager", "--set", "nameOverride=trust-manager"];
        control_plane.helm_ok(&[&to[..], &[how]].concat(), "")
    };
    let refused = upgrade("--reuse-values").unwrap_err().to_string();
    ensure!(refused.contains("--reset-then-reuse-values"), "values below which ours are missing: {refused}");
    upgrade("--reset-then-reuse-values")?;
    assert_eq!(before, identities(&control_plane)?);
    let deployment: Value = read(&control_plane, "deployment", "trust-manager")?;
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], json!({"app": "trust-manager"}));
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    assert_eq!(pod["containers"][0]["image"], "rootcast:0.1.0");
    assert_eq!(pod["initContainers"], Value::Null, "no package was asked for");
    assert_eq!(pod["volumes"], Value::Null, "nothing mounts the webhook's certificate");
    for (kind, name) in [("validatingwebhookconfiguration", "trust-manager"), ("service", "trust-manager")] {
        let gone = control_plane.kubectl(&["get", kind, name, "--namespace", "cert-manager"], "")?;
        ensure!(!gone.status.success(), "{kind} {name} is left, and nobody answers for it");
    }

    // And back, without harm to Bundles.
    control_plane.helm_ok(&["rollback", "trust-manager", "--namespace", "cert-manager"], "")?;
    assert_eq!(before, identities(&control_plane)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_its_own_name_the_chart_takes_the_place_of_trust_manager_and_bundles_go_on() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.namespace("cert-manager", &[]).await?;
    control_plane.helm_ok(&["install", "trust-manager", PEER, "--namespace", "cert-manager"], "")?;
    let upgrade = ["upgrade", "trust-manager", CHART, "--namespace", "cert-manager", "--values", "-"];
    control_plane.helm_ok(&upgrade, &with_bundle("corporate").to_string())?;
    let controller = Controller::start(&control_plane, &[]).await?;
    in_sync(&control_plane.client(), "corporate").await;
    controller.stop().await?;
    control_plane.finish().await
}

/// The uids of what must stay.
fn identities(control_plane: &ControlPlane) -> Result<BTreeMap<String, String>> {
    KEPT.iter()
        .map(|(kind, name)| {
            let object = read(control_plane, kind, name)?;
            let uid = object["metadata"]["uid"].as_str().context("an object has a uid")?;
            Ok((format!("{kind}/{name}"), uid.to_owned()))
        })
        .collect()
}

fn read(control_plane: &ControlPlane, kind: &str, name: &str) -> Result<Value> {
    let text = control_plane.kubectl_ok(&["get", kind, name, "--namespace", "cert-manager", "--output=json"], "")?;
    Ok(serde_json::from_str(&text)?)
}
