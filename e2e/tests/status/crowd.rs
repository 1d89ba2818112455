//! A thousand namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rootcast::api::SYNCED;
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, eventually,
    scenario::{SOON, Scenario, bundle, certificate, source},
};
use serde_json::json;

use crate::stage::rootcast;

const NAMESPACES: usize = 1_000;

/// What a look at the cluster may take.
const BOUND: Duration = Duration::from_secs(1);

/// Others may be busy on this machine.
const TRIES: usize = 3;

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn a_thousand_namespaces_are_looked_at_in_a_second() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let barrier = Barrier::start(&control_plane, false).await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    let scenario = Scenario::begin(&barrier, "crowd", &[]).await?;
    let names: Vec<String> = (0..NAMESPACES).map(|number| format!("{number:04}")).collect();
    stream::iter(&names).map(|name| scenario.join(name)).buffer_unordered(16).try_for_each(async |_| Ok(())).await?;
    let corporate = |text: &str| source("ConfigMap", "crowd-corporate", &[], &[("ca.crt", text)]);
    scenario.apply(&corporate(&certificate("ec"))).await?;
    let spec = "{sources: [{useDefaultCAs: true}, {configMap: {name: crowd-corporate, key: ca.crt}}],
                  target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {scenario: crowd}}}}";
    scenario.apply(&bundle("crowd", spec)).await?;
    eventually("it is everywhere", 4 * SOON, async || {
        let synced = scenario.condition("crowd", SYNCED).await?;
        ensure!(synced.status == "True", "{synced:?}");
        Ok(())
    })
    .await;

    let folder = tempfile::tempdir().context("a folder for a file")?;
    let file = folder.path().join("source.json");
    std::fs::write(&file, corporate(&["ec", "rsa"].map(certificate).concat()).to_string())?;
    let file = file.to_str().context("a path of letters")?;
    let table: [(&[&str], i32, &str); 5] = [
        (&["status"], 0, "1000/1000"),
        (&["status", "crowd"], 0, "Targets: 1000 of 1000 in sync"),
        (&["status", "-n", "crowd-0007"], 0, "in sync"),
        (&["diff", "-f", file], 1, "updated: 1000 ConfigMaps in crowd-0000, "),
        (&["inspect", "bundle/crowd"], 0, "CN="),
    ];
    for (arguments, code, words) in table {
        let mut took = Vec::new();
        for _ in 0..TRIES {
            let began = Instant::now();
            let told = rootcast(control_plane.kubeconfig(), arguments, "").await?;
            took.push(began.elapsed());
            assert_eq!(told.code, Some(code), "{arguments:?}: {}{}", told.out, told.errors);
            ensure!(told.out.contains(words), "no {words:?} in {}", told.out);
        }
        println!("{}: {took:.0?}", arguments[..arguments.len().min(2)].join(" "));
        ensure!(took.iter().any(|took| *took < BOUND), "{arguments:?} took {took:?} at {NAMESPACES} namespaces");
    }

    // The controller's package may be a file that only its Pod has.
    let told = rootcast(control_plane.kubeconfig(), &["diff", "-f", file, "--default-package-location=/none.json"], "")
        .await?;
    ensure!(told.out.contains("1 added, 0 removed, "), "{}{}", told.out, told.errors);
    ensure!(told.errors.contains("; default CAs as Bundle crowd publishes them"), "{}", told.errors);

    let told = rootcast(control_plane.kubeconfig(), &["status", "crowd", "-o", "json"], "").await?;
    assert_eq!(told.document()?["bundles"][0]["targets"], json!({"wanted": 1000, "inSync": 1000, "failing": []}));
    controller.stop().await?;
    control_plane.finish().await
}
