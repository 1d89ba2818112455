//! Permissions: taken away and given back, and trust-manager's in place of ours.

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rootcast_e2e::{
    Controller,
    scenario::{Content, apply, certificate, pem_key},
};

use crate::{
    alone::alone,
    crowd,
    sight::{MEASURED, Sight},
};

/// As many as there may be PUTs in flight before the first of them is denied.
const IN_FLIGHT: usize = 32;

#[tokio::test]
async fn permissions_that_are_taken_away_are_named_and_all_heals_when_they_come_back() -> Result<()> {
    let name = "deprived";
    let stage = alone().await?;
    let mut sight = Sight::new(stage.control_plane).await?;
    let mut namespaces: Vec<_> = ["a", "b", "c"].iter().map(|short| format!("{name}-{short}")).collect();
    for namespace in &namespaces {
        crowd::join(stage.control_plane, name, namespace).await?;
    }
    let mut controller = Controller::start(stage.control_plane, &[]).await?;
    controller.expect_denials();
    let (before, after) = (certificate("ec"), certificate("p384"));
    apply(&sight.client, &crowd::filled(name, &before)).await?;
    apply(&sight.client, &crowd::reaching_few(name)).await?;
    sight.becomes("all is well", name, &namespaces, &crowd::content(&before)).await;
    sight.is_synced("so it says", name).await;

    for binding in ["rootcast-configmap-targets", "rootcast-secret-targets"] {
        stage.control_plane.kubectl_ok(&["delete", "clusterrolebinding", binding], "")?;
    }
    sight.count_from_here().await?;
    apply(&sight.client, &crowd::filled(name, &after)).await?;
    sight.complains("the condition says what is missing", name, &["deprived-", "forbidden", "cannot"]).await;
    namespaces.push(format!("{name}-d"));
    crowd::join(stage.control_plane, name, &namespaces[3]).await?;
    tokio::time::sleep(MEASURED).await;
    let tally = sight.tally(name).await?;
    // Two requests a try at most: the verb that is cheapest, and the one to fall back to.
    ensure!(tally.values().all(|(granted, refused)| *granted == 0 && *refused <= 8), "{tally:?}");

    stage.control_plane.install().await?;
    sight.becomes("they are back", name, &namespaces, &crowd::content(&after)).await;
    sight.is_synced("and so it says", name).await;
    let tally = sight.tally(name).await?;
    ensure!(tally.values().all(|(granted, _)| *granted == 1), "{tally:?}");
    stage.control_plane.kubectl_ok(&["delete", "bundle", name], "")?;
    controller.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_whole_life_goes_by_under_exactly_trust_managers_roles() -> Result<()> {
    let name = "modest";
    let stage = alone().await?;
    let kubectl = |args: &[&str], stdin: &str| stage.control_plane.kubectl_ok(args, stdin);
    kubectl(
        &["delete", "clusterrolebinding", "rootcast", "rootcast-configmap-targets", "rootcast-secret-targets"],
        "",
    )?;
    kubectl(&["-n", "cert-manager", "delete", "rolebinding", "rootcast"], "")?;
    kubectl(&["apply", "-f", "-"], include_str!("peer.yaml"))?;
    let mut sight = Sight::new(stage.control_plane).await?;
    let mut namespaces: Vec<_> = (0..40).map(|number| format!("{name}-{number:02}")).collect();
    let join = async |namespace: &String| crowd::join(stage.control_plane, name, namespace).await;
    stream::iter(&namespaces).map(join).buffer_unordered(8).try_for_each(async |()| Ok(())).await?;
    let mut controller = Controller::start(stage.control_plane, &[]).await?;
    controller.expect_denials();

    sight.count_from_here().await?;
    let crowds = format!("[{name}]");
    let steps: [(&str, &str, &str, Content); 3] = [
        ("the Bundle comes", "ec", "ca.pem", pem_key("ca.pem", &["ec"])),
        ("its source changes", "p384", "ca.pem", pem_key("ca.pem", &["p384"])),
        ("its key is renamed", "p384", "roots.pem", pem_key("roots.pem", &["p384"])),
    ];
    for (when, source, key, content) in steps {
        apply(&sight.client, &crowd::filled(name, &certificate(source))).await?;
        apply(&sight.client, &crowd::reaching(name, key, &crowds)).await?;
        sight.becomes(when, name, &namespaces, &content).await;
        sight.is_synced(when, name).await;
    }
    let left = namespaces.remove(0);
    stage.control_plane.namespace(&left, &[]).await?;
    sight.becomes("a namespace leaves", name, &namespaces, &pem_key("roots.pem", &["p384"])).await;

    let (denied, granted): (Vec<_>, Vec<_>) =
        sight.writes(name).await?.into_iter().partition(|entry| entry.code == 403);
    ensure!(granted.len() == 3 * 40 + 1 && granted.iter().all(|entry| entry.code < 300), "{} writes", granted.len());
    let puts = denied.iter().all(|entry| (entry.verb.as_str(), entry.resource.as_str()) == ("update", "configmaps"));
    ensure!(puts && (1..=IN_FLIGHT).contains(&denied.len()), "{} denied: {:?}", denied.len(), denied.first());
    let log = controller.logs()?;
    let told: Vec<_> = log.lines().filter(|line| line.contains("PUT is not permitted")).collect();
    ensure!(told.len() == 1, "the fallback is to be told in one line: {told:#?}");
    kubectl(&["delete", "bundle", name], "")?;
    controller.stop().await?;
    Ok(())
}
