//! Of two replicas one leads, and only that one tells of Bundles.

use anyhow::{Result, ensure};
use rootcast_e2e::{
    ControlPlane, Controller, Exit, Samples, eventually,
    scenario::{SOON, apply, bundle},
};

const ELECTION: [&str; 4] = [
    "--leader-elect=true",
    "--leader-election-namespace=cert-manager",
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
];

#[tokio::test]
async fn only_the_replica_that_leads_tells_of_bundles() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let spec = "{sources: [{useDefaultCAs: true}], target: {configMap: {key: pem}, namespaceSelector: {matchLabels: {team: ''}}}}";
    apply(&control_plane.client(), &bundle("a", spec)).await?;
    let first = Controller::start(&control_plane, &ELECTION).await?;
    leads(&first).await;
    let second = Controller::start(&control_plane, &ELECTION).await?;
    let standby = Samples::parse(&second.metrics().await?);
    assert!(standby.has("rootcast_leader") && standby.sum("rootcast_leader", &[]) < 0.5);
    assert!(!standby.has("rootcast_bundle_condition"), "a standby tells of Bundles");

    assert_eq!(first.stop().await?, Exit::Code(0));
    leads(&second).await;
    drop(second);
    control_plane.finish().await
}

/// Waits until a replica leads, and tells of the Bundle.
async fn leads(replica: &Controller<'_>) {
    eventually("it leads", SOON, async || {
        let samples = Samples::parse(&replica.metrics().await?);
        ensure!(samples.sum("rootcast_leader", &[]) > 0.5, "it does not");
        let synced = [("bundle", "a"), ("condition", "Synced"), ("status", "True")];
        ensure!(samples.sum("rootcast_bundle_condition", &synced) > 0.5, "it says nothing of the Bundle");
        Ok(())
    })
    .await;
}
