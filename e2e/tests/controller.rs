//! The product as the harness runs it: the release binary, under the identity
//! and the permissions that config/ ships.

use std::time::Duration;

use anyhow::{Result, ensure};
use rootcast_e2e::{
    ControlPlane, Controller, Exit, IDENTITY, Install, Mark, TargetScope, eventually, http_get,
    proxy::{On, Proxy},
};

#[tokio::test]
async fn a_controller_with_nothing_to_do_is_ready_small_and_silent() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    assert_eq!(http_get(controller.probe_port(), "/healthz").await?.status, 200);
    assert!(!controller.metrics().await?.is_empty());
    assert!(controller.rss()? < 32 << 20, "{} bytes", controller.rss()?);

    let audit = control_plane.audit();
    let requests = audit.since(Mark::default()).await?;
    assert!(requests.iter().any(|entry| entry.user == IDENTITY), "it comes as itself");
    assert_eq!(audit.writes_by(IDENTITY, Mark::default()).await?, []);

    assert_eq!(controller.stop().await?, Exit::Code(0));
    control_plane.finish().await
}

#[tokio::test]
async fn listed_namespaces_are_all_that_it_may_touch_and_all_that_it_needs() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let install =
        Install { scope: TargetScope::Only(vec!["team-a".to_owned(), "team-b".to_owned()]), secret_targets: true };
    control_plane.install_with(&install).await?;
    let flags = ["--target-namespaces=team-a,team-b", "--secret-targets-enabled=true"];
    let controller = Controller::start(&control_plane, &flags).await?;
    assert_eq!(controller.kill().await?, Exit::Signal(9));
    control_plane.finish().await
}

#[tokio::test]
async fn several_controllers_are_told_apart_by_their_proxies() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let proxies = [Proxy::start(&control_plane)?, Proxy::start(&control_plane)?];
    let [one, other] = &proxies;
    let controllers = tokio::try_join!(
        Controller::start_through(&control_plane, one, &[]),
        Controller::start_through(&control_plane, other, &[]),
    )?;
    for proxy in &proxies {
        assert!(proxy.count(&On::watches().resource("bundles")) > 0);
        assert_eq!(proxy.count(&On::writes()), 0);
    }
    drop(controllers);
    control_plane.finish().await
}

#[tokio::test]
async fn a_missing_permission_fails_the_run() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    control_plane.kubectl_ok(&["delete", "clusterrolebinding", "rootcast-configmap-targets"], "")?;
    let mut controller = Controller::launch(&control_plane, &[]).await?;
    eventually("it is denied", Duration::from_mins(1), async || {
        let denied = control_plane.audit().denied(IDENTITY, Mark::default()).await?;
        ensure!(!denied.is_empty(), "it is not");
        Ok(())
    })
    .await;
    controller.expect_denials();
    drop(controller);
    let error = control_plane.finish().await.unwrap_err().to_string();
    assert!(error.contains("configmaps"), "{error}");
    Ok(())
}
