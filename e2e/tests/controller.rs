//! The product as the harness runs it: the release binary, under the identity
//! and the permissions that config/ ships.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rootcast_e2e::{
    ControlPlane, Controller, Exit, IDENTITY, Install, Launch, Mark, TargetScope, Tunnel, eventually, http_get,
    proxy::{On, Proxy},
    release_binary,
    scenario::{SOON, apply, bundle, certificate, source},
};
use serde_json::Value;
use tokio::process::Command;

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

/// The server's name leads nowhere but from the proxy on.
#[tokio::test]
async fn behind_a_proxy_it_watches_and_writes_and_status_reads() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let tunnel = Tunnel::start(&control_plane)?;
    let launch = Launch { tunnel: Some(&tunnel), ..Launch::default() };
    let controller = Controller::start_with(&control_plane, launch).await?;
    assert!(tunnel.connections() > 0);

    let client = control_plane.client();
    control_plane.namespace("team-a", &[("team", "")]).await?;
    let spec = "{sources: [{configMap: {name: roots, key: k}}],
                 target: {configMap: {key: pem}, namespaceSelector: {matchLabels: {team: ''}}}}";
    apply(&client, &bundle("tunnelled", spec)).await?;
    let targets = Api::<ConfigMap>::namespaced(client.clone(), "team-a");
    for name in ["ec", "rsa"] {
        apply(&client, &source("ConfigMap", "roots", &[], &[("k", &certificate(name))])).await?;
        eventually("it is published", SOON, async || {
            let data = targets.get("tunnelled").await?.data.unwrap_or_default();
            ensure!(data.get("pem").is_some_and(|pem| pem.trim() == certificate(name).trim()), "{data:?}");
            Ok(())
        })
        .await;
    }

    let plain = tunnel.kubeconfig()?;
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&plain)?)?;
    config["clusters"][0]["cluster"]["proxy-url"] = tunnel.url().into();
    let named = plain.with_extension("proxy.yaml");
    fs::write(&named, config.to_string())?;
    for (kubeconfig, variable) in [(&named, None), (&plain, Some(("HTTPS_PROXY", tunnel.url())))] {
        let before = tunnel.connections();
        let mut status = Command::new(release_binary().await?);
        status.args(["status", "tunnelled", "-o", "json", "--kubeconfig"]).arg(kubeconfig).envs(variable);
        let told = status.output().await?;
        let document: Value =
            serde_json::from_slice(&told.stdout).with_context(|| String::from_utf8_lossy(&told.stderr).into_owned())?;
        assert_eq!(document["bundles"][0]["name"], "tunnelled", "{document}");
        assert!(tunnel.connections() > before);
    }
    assert_eq!(controller.stop().await?, Exit::Code(0));
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
