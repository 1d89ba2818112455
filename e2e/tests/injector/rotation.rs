//! Certificates that are renewed every few seconds, and replicas that come and go, while pods are created.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use rootcast_e2e::{Balancer, ControlPlane, INJECTOR_IDENTITY, Injector, eventually, scenario::SOON};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    pods::{create, pod, pods, trust, trusts},
    stage::{BUNDLE, create_bundles, in_effect},
};

/// Renewed after two thirds of that.
const LIFETIME: &str = "--certificate-lifetime=9s";

/// Pods a second, for so many seconds.
const RATE: u32 = 200;
const SECONDS: u32 = 30;

/// How many creations may be under way.
const IN_FLIGHT: usize = 32;

/// Creates pods at the given rate, checks each and counts.
async fn load(client: &Client, created: &AtomicU32) -> Result<()> {
    let mut pace = interval(Duration::from_secs(1) / RATE);
    // Who is late makes up for it: the number counts.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let expected = trust("corporate", &["app"], &[]);
    let turns = stream::unfold((0, pace), async |(number, mut pace)| {
        pace.tick().await;
        (number < RATE * SECONDS).then_some((number, (number + 1, pace)))
    });
    let creations = turns.map(async |number| {
        let wanted = pod(&format!("pod-{number}"), &[(BUNDLE, "corporate")]);
        let pod = create(client, &pods("crowded"), &wanted).await?.object()?;
        ensure!(trusts(&pod) == expected, "pod-{number}: {pod:#}");
        created.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    creations.buffer_unordered(IN_FLIGHT).try_collect().await
}

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn every_pod_is_injected_while_certificates_change_every_few_seconds_and_a_replica_is_replaced() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let client = control_plane.client();
    create_bundles(&client).await?;
    control_plane.namespace("crowded", &[]).await?;
    let balancer = Balancer::start()?;
    control_plane.install_injector(&balancer, &[])?;
    let start = || Injector::start(&control_plane, &balancer, &[LIFETIME]);
    let (one, other) = tokio::try_join!(start(), start())?;
    in_effect(&client, "crowded").await;

    let before = control_plane.metrics().await?;
    let mark = control_plane.audit().mark().await?;
    let began = Instant::now();
    let created = AtomicU32::new(0);
    let replacement = async {
        eventually("a third of the pods is there", 10 * SOON, async || {
            let created = created.load(Ordering::Relaxed);
            ensure!(created > RATE * SECONDS / 3, "{created} pods");
            Ok(())
        })
        .await;
        let replacement = start().await?;
        one.stop().await?;
        Ok(replacement)
    };
    let ((), replacement) = tokio::try_join!(load(&client, &created), replacement)?;
    let took = began.elapsed();

    let after = control_plane.metrics().await?;
    let name = [("name", "annotation.inject.rootcast.dev")];
    let grown = |metric: &str| after.sum(metric, &name) - before.sum(metric, &name);
    assert!(grown("apiserver_admission_webhook_fail_open_count").abs() < 0.5, "some calls failed");
    let calls = grown("apiserver_admission_webhook_request_total");
    assert!((calls - f64::from(RATE * SECONDS)).abs() < 0.5, "{calls} calls");

    let writes = control_plane.audit().writes_by(INJECTOR_IDENTITY, mark).await?;
    let announced =
        writes.iter().filter(|entry| entry.resource == "mutatingwebhookconfigurations" && entry.code == 200);
    let rounds = took.as_secs() / 6;
    let announced = announced.count() as u64;
    assert!(announced + 1 >= rounds && announced <= 4 * (rounds + 2), "{announced} writes in {took:?}: {writes:#?}");
    for replica in [replacement, other] {
        assert!(replica.connections() > 0, "it took part");
        replica.stop().await?;
    }
    control_plane.finish().await
}
