//! `--target-namespaces`, under Roles in these namespaces and no permission on ConfigMaps elsewhere.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use rootcast::api::SYNCED;
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, IDENTITY, Install, Mark, TargetScope,
    scenario::{Scenario, bundle, certificate, pem_key},
};

use crate::log;

/// Where targets may be: two of the scenario's namespaces and those of the barrier.
const ALLOWED: [&str; 4] = ["few-a", "few-b", "barrier", "barrier-sometimes"];

#[tokio::test]
async fn with_target_namespaces_nothing_is_written_or_watched_elsewhere() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let scope = TargetScope::Only(ALLOWED.map(str::to_owned).into());
    control_plane.install_with(&Install { scope, secret_targets: false }).await?;
    let barrier = Barrier::start(&control_plane, false).await?;
    let flag = format!("--target-namespaces={}", ALLOWED.join(","));
    let controller = Controller::start(&control_plane, &[&flag]).await?;
    let scenario = Scenario::begin(&barrier, "few", &["a", "b", "outside"]).await?;
    let message = async |name: &str| Ok::<_, anyhow::Error>(scenario.condition(name, SYNCED).await?.message);

    let spec = |selector: &str| {
        format!("{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: k}}{selector}}}}}", certificate("ec"))
    };
    scenario.apply(&bundle("selective", &spec(", namespaceSelector: {matchLabels: {scenario: few}}"))).await?;
    let inside = scenario.synced(&["a", "b"], &pem_key("k", &["ec"]));
    scenario.then("a Bundle for the scenario's namespaces", "selective", 2, &inside).await?;
    let said = message("selective").await?;
    assert_eq!(said, "Successfully synced Bundle to allowed namespaces that match this label selector: scenario=few");

    scenario.apply(&bundle("general", &spec(""))).await?;
    let mut everywhere = inside.clone();
    for namespace in ["barrier", "barrier-sometimes"] {
        everywhere.config_maps.insert(namespace.to_owned(), inside.config_maps["few-a"].clone());
    }
    scenario.then("a Bundle for all namespaces", "general", 4, &everywhere).await?;
    assert_eq!(message("general").await?, "Successfully synced Bundle to all allowed namespaces");

    scenario.join("late").await?;
    scenario.then("a namespace that is not allowed comes", "selective", 0, &inside).await?;
    scenario.leave("b").await?;
    let one = scenario.synced(&["a"], &pem_key("k", &["ec"]));
    scenario.then("an allowed one is no longer selected", "selective", 1, &one).await?;

    let requests = control_plane.audit().since(Mark::default()).await?;
    let requests = requests.into_iter().filter(|request| request.user == IDENTITY);
    let (objects, _): (Vec<_>, Vec<_>) =
        requests.partition(|request| ["configmaps", "secrets"].contains(&request.resource.as_str()));
    for request in &objects {
        let sources = request.namespace == "cert-manager" && !request.is_write();
        let target = request.resource == "configmaps" && ALLOWED.contains(&request.namespace.as_str());
        ensure!(sources || target, "a request for what is none of its business: {request:#?}");
    }
    let watched: BTreeSet<_> =
        objects.iter().filter(|request| request.verb == "list").map(|request| request.namespace.as_str()).collect();
    assert_eq!(watched, ALLOWED.into_iter().chain(["cert-manager"]).collect());
    log::betrays_nothing(&controller.logs()?);
    controller.stop().await?;
    control_plane.finish().await
}
