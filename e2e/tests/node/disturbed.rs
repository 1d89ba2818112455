//! What runs is killed, the node is restarted, the program is replaced: no target is
//! lost, and none is written that need not be.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use rootcast_e2e::{
    Node, eventually,
    image::Dockerfile,
    scenario::{TRUST_NAMESPACE, anchors},
};
use serde_json::json;

use crate::{
    crowd::{Crowd, NEW},
    stage::{DEPLOYMENTS, SOON, helm, installed, is_in_order, is_ready, pods},
};

#[tokio::test]
async fn a_controller_whose_pod_is_deleted_is_followed_by_one_that_finds_nothing_to_do() -> Result<()> {
    let node = installed().await?;
    let mut crowd = Crowd::gather(node, "orphans", 50).await?;
    let (before, mark) = (crowd.versions().await?, node.audit().mark().await?);
    let (leader, began) = (leader(node).await?, Instant::now());
    for pod in pods(&node.client(), DEPLOYMENTS[0]).await? {
        let pods = Api::<Pod>::namespaced(node.client(), TRUST_NAMESPACE);
        pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    followed(node, &leader).await;
    println!("a new controller leads {:.1?} after the pod was deleted", began.elapsed());
    crowd.join().await?;
    crowd.was_left_alone(&before, mark).await?;
    is_in_order(node).await
}

#[tokio::test]
async fn a_node_that_restarts_brings_everything_back_and_writes_nothing_anew() -> Result<()> {
    let node = installed().await?;
    let mut crowd = Crowd::gather(node, "sleepers", 50).await?;
    let (before, mark) = (crowd.versions().await?, node.audit().mark().await?);
    let began = Instant::now();
    node.restart().await?;
    crowd.join().await?;
    println!("a new namespace has its target {:.1?} after the node went down", began.elapsed());
    crowd.was_left_alone(&before, mark).await?;
    for (deployment, replicas) in DEPLOYMENTS.into_iter().zip([1, 2]) {
        eventually(&format!("{deployment} is ready"), SOON, async || {
            let ready = pods(&node.client(), deployment).await?.iter().filter(|pod| is_ready(pod)).count();
            ensure!(ready == replicas, "{ready} of {replicas} are");
            Ok(())
        })
        .await;
    }
    is_in_order(node).await
}

#[tokio::test]
async fn an_upgrade_in_the_middle_of_a_rollout_finishes_it_and_writes_each_target_once() -> Result<()> {
    const COUNT: usize = 100;
    const NEXT: &str = "next";
    let node = installed().await?;
    let archive = tempfile::NamedTempFile::new()?;
    next_image()?.write(&format!("rootcast:{NEXT}"), archive.path())?;
    node.import(archive.path())?;
    // So slow that the rollout lasts longer than the upgrade.
    let slow = json!({"maxBytesPerSecond": anchors(&[NEW]).to_pem().len() * COUNT / 25});
    helm(node, "upgrade", json!({"writes": slow}))?;
    let crowd = Crowd::gather(node, "movers", COUNT).await?;
    let (before, mark) = (crowd.versions().await?, node.audit().mark().await?);

    let (leader, began) = (leader(node).await?, Instant::now());
    crowd.change(NEW).await?;
    eventually("the rollout is under way", SOON, async || {
        ensure!(!crowd.writes(mark).await?.is_empty(), "nothing is written");
        Ok(())
    })
    .await;
    let upgrade =
        tokio::task::spawn_blocking(move || helm(node, "upgrade", json!({"writes": slow, "image": {"tag": NEXT}})));
    followed(node, &leader).await;
    let by_then = crowd.writes(mark).await?.len();
    println!("a new controller leads {:.1?} after the change; {by_then} of {COUNT} were written", began.elapsed());
    ensure!(by_then < COUNT, "the rollout was over before the upgrade was");
    upgrade.await??;
    crowd.holds(NEW).await;
    println!("all is in sync {:.1?} after the change", began.elapsed());

    let mut writes = BTreeMap::<String, Vec<_>>::new();
    for entry in crowd.writes(mark).await? {
        writes.entry(entry.namespace).or_default().push((entry.verb, entry.code));
    }
    let once =
        writes.values().all(|of_one| matches!(&of_one[..], [(verb, 200)] if verb == "update" || verb == "patch"));
    ensure!(once && writes.len() == COUNT, "not written once each: {writes:#?}");
    let now = crowd.versions().await?;
    ensure!(now.iter().all(|(namespace, (uid, _))| before[namespace].0 == *uid), "some were made anew");

    helm(node, "upgrade", json!({}))?;
    is_in_order(node).await
}

/// Another build of the program, as far as Kubernetes can tell.
fn next_image() -> Result<rootcast_e2e::image::Image> {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dockerfile = std::fs::read_to_string(workspace.join("Dockerfile"))?;
    let mut image = Dockerfile::parse(&dockerfile)?.image(&workspace)?;
    image.config.labels.insert("org.opencontainers.image.version".to_owned(), "next".to_owned());
    Ok(image)
}

/// Who holds the Lease.
async fn leader(node: &Node) -> Result<String> {
    let leases = Api::<Lease>::namespaced(node.client(), TRUST_NAMESPACE);
    let spec = leases.get("trust-manager-leader-election").await?.spec.context("a Lease has a spec")?;
    spec.holder_identity.filter(|holder| !holder.is_empty()).context("nobody leads")
}

/// Waits until somebody else holds the Lease.
async fn followed(node: &Node, earlier: &str) {
    eventually("another one leads", SOON + Duration::from_secs(30), async || {
        ensure!(leader(node).await? != earlier, "it is still the same");
        Ok(())
    })
    .await;
}
