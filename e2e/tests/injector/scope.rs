//! An injector that is told of the controller's limits, and one whose view of the cluster lags behind.

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{
    Balancer, ControlPlane, Injector, Launch, eventually,
    proxy::{Effect, On, Proxy, Turns},
    scenario::{SOON, apply, bundle, certificate},
};
use serde_json::json;

use crate::{
    pods::{create, pod, pods, trust, trusts},
    stage::{BUNDLE, REQUIRED, create_bundles, in_effect},
};

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "starts an API server of its own")]
async fn what_the_controller_does_not_write_is_not_mounted() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let client = control_plane.client();
    create_bundles(&client).await?;
    let balancer = Balancer::start()?;
    control_plane.install_injector(&balancer, &[])?;
    let args = ["--target-namespaces=inside,late"];
    let proxy = Proxy::start(&control_plane)?;
    let launch = Launch { args: &args, through: Some(&proxy), ..Launch::default() };
    let injector = Injector::start_with(&control_plane, &balancer, launch).await?;
    for namespace in ["inside", "outside"] {
        control_plane.namespace(namespace, &[]).await?;
    }
    in_effect(&client, "inside").await;

    // The controller's flags: `secretive` would need another, `outside` is not among its namespaces.
    for (namespace, bundle, cause) in
        [("outside", "corporate", "--target-namespaces"), ("inside", "secretive", "--secret-targets-enabled")]
    {
        let answer = create(&client, &pods(namespace), &pod(bundle, &[(BUNDLE, bundle)])).await?;
        let [warning] = &answer.warnings[..] else { anyhow::bail!("{bundle}: {:?}", answer.warnings) };
        ensure!(warning.contains(cause), "{warning}");
        assert!(!trusts(&answer.object()?).is_in_part());
        let required = pod("required", &[(BUNDLE, bundle), REQUIRED]);
        let refused = create(&client, &pods(namespace), &required).await?;
        ensure!(refused.code == 403 && refused.refusal()?.contains(cause), "{refused:#?}");
    }

    // A namespace and its pod come faster than the watch, which says nothing at all any more.
    let silence = proxy.inject(On::watches().resource("namespaces"), Turns::Each, Effect::Stall);
    let reads = On::default().verbs(&["get"]).resource("namespaces");
    let before = proxy.count(&reads);
    control_plane.namespace("late", &[(BUNDLE, "corporate")]).await?;
    let created = create(&client, &pods("late"), &pod("early", &[])).await?.object().context("the early pod")?;
    assert_eq!(trusts(&created), trust("corporate", &["app"], &[]));
    assert_eq!(proxy.count(&reads), before + 1, "it was read");

    // So does the label of a namespace that is known: nobody is asked about its pods before the API server has it.
    control_plane.namespace("inside", &[(BUNDLE, "corporate")]).await?;
    eventually("the API server asks because of the label", SOON, async || {
        let mut wanted = pod("", &[]);
        wanted["metadata"]["generateName"] = "labelled-".into();
        let since = control_plane.audit().mark().await?;
        let created = create(&client, &pods("inside"), &wanted).await?.object()?;
        let asked = control_plane.audit().since(since).await?.into_iter().any(|entry| !entry.webhooks.is_empty());
        ensure!(asked, "it does not");
        assert_eq!(trusts(&created), trust("corporate", &["app"], &[]));
        Ok(())
    })
    .await;
    drop(silence);

    // And a Bundle that is as new as its pod.
    let silence = proxy.inject(On::watches().resource("bundles"), Turns::Each, Effect::Stall);
    let spec =
        format!("sources: [{{inLine: {}}}]\ntarget: {{configMap: {{key: ca-bundle.crt}}}}", json!(certificate("ec")));
    apply(&client, &bundle("newborn", &spec)).await?;
    let created = create(&client, &pods("inside"), &pod("with-newborn", &[(BUNDLE, "newborn")])).await?.object()?;
    assert_eq!(trusts(&created), trust("newborn", &["app"], &[]));
    drop(silence);

    injector.stop().await?;
    control_plane.finish().await
}
