//! `helm install` on an empty cluster, again and again, with a Bundle among the
//! chart's own objects: the CRD, the controller's permissions, the controller and
//! the Bundle all come up at the same time.

use std::{thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject},
    core::{ApiResource, GroupVersionKind},
};
use rootcast_e2e::{
    CHART, ControlPlane, Controller, eventually, release_binary,
    scenario::{SOON, certificate},
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    golden::{CASES, values},
    render::{kind, objects, template},
};

/// How many installs.
const ROUNDS: usize = 20;

const CRD: &str = "bundles.trust.cert-manager.io";

#[tokio::test(flavor = "multi_thread")]
async fn installs_in_a_row_converge_while_crd_controller_and_bundle_race() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.namespace("cert-manager", &[]).await?;
    release_binary().await?;
    let args = arguments("controller", &template("rootcast", "")?)?;
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let began = Instant::now();
    for round in 0..ROUNDS {
        let bundle = format!("round-{round}");
        let values = with_bundle(&bundle).to_string();
        let install = ["install", "rootcast", CHART, "--namespace", "cert-manager", "--values", "-"];
        let (installed, controller) =
            beside(|| control_plane.helm_ok(&install, &values), launched(&control_plane, &args));
        installed.with_context(|| bundle.clone())?;
        let mut controller = controller?;
        controller.wait_ready().await?;
        in_sync(&control_plane.client(), &bundle).await;
        ensure!(control_plane.kubectl_ok(&["get", "crd", CRD, "--output=yaml"], "")?.contains("resource-policy: keep"));
        drop(controller);
        uninstall(&control_plane).await?;
    }
    println!("{ROUNDS} installs in {:.1?}", began.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_whatever_the_chart_renders() -> Result<()> {
    // Kinds of others, which are not installed.
    const FOREIGN: [&str; 5] =
        ["Certificate", "Issuer", "CertificateRequestPolicy", "ServiceMonitor", "PrometheusRule"];
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    for namespace in ["trust-system", "trust-sources", "pki", "team-a", "team-b"] {
        control_plane.namespace(namespace, &[]).await?;
    }
    for (release, case) in CASES {
        let mut rendered = objects(&template(release, &values(case)?)?)?;
        rendered.retain(|object| !FOREIGN.contains(&kind(object)));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": rendered}).to_string();
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
        control_plane.kubectl_ok(&apply, &list).with_context(|| case.to_owned())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_came_with_the_crd_belongs_to_the_release_from_its_next_upgrade_on() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.namespace("cert-manager", &[]).await?;
    let helm = |verb: &str, values: &Value| {
        let args = [verb, "rootcast", CHART, "--namespace", "cert-manager", "--values", "-"];
        control_plane.helm_ok(&args, &values.to_string())
    };
    let bundles = Api::<DynamicObject>::all_with(control_plane.client(), &bundle_resource());
    helm("install", &with_bundle("corporate"))?;
    let before = bundles.get("corporate").await?;

    // The upgrade adopts it; nothing deletes and creates it anew, with all its targets.
    helm("upgrade", &with_bundle("corporate"))?;
    let manifest = control_plane.helm_ok(&["get", "manifest", "rootcast", "--namespace", "cert-manager"], "")?;
    ensure!(objects(&manifest)?.iter().any(|object| kind(object) == "Bundle"), "the release has no Bundle");
    let after = bundles.get("corporate").await?;
    assert_eq!(before.metadata.uid, after.metadata.uid);

    // Without values, helm would take those of the release.
    helm("upgrade", &json!({"extraObjects": []}))?;
    eventually("it goes with the upgrade that leaves it out", SOON, async || {
        ensure!(bundles.get_opt("corporate").await?.is_none(), "it is there");
        Ok(())
    })
    .await;

    // A later install finds the CRD, and then a Bundle is an object like any other.
    control_plane.helm_ok(&["uninstall", "rootcast", "--namespace", "cert-manager"], "")?;
    helm("install", &with_bundle("later"))?;
    let manifest = control_plane.helm_ok(&["get", "manifest", "rootcast", "--namespace", "cert-manager"], "")?;
    ensure!(objects(&manifest)?.iter().any(|object| kind(object) == "Bundle"), "the release has no Bundle");
    Ok(())
}

/// The arguments that a Deployment gives the product, without those that the
/// harness has others for.
pub(crate) fn arguments(subcommand: &str, rendered: &str) -> Result<Vec<String>> {
    const OWN: [&str; 4] = ["--readiness-probe-port=", "--metrics-port=", "--leader-elect=", "--port="];
    for deployment in objects(rendered)?.iter().filter(|object| kind(object) == "Deployment") {
        let args: Vec<String> =
            serde_json::from_value(deployment["spec"]["template"]["spec"]["containers"][0]["args"].clone())?;
        if let [first, rest @ ..] = &args[..]
            && first == subcommand
        {
            return Ok(rest.iter().filter(|arg| !OWN.iter().any(|own| arg.starts_with(own))).cloned().collect());
        }
    }
    anyhow::bail!("no Deployment starts `rootcast {subcommand}`")
}

/// Values with a Bundle of this name for all namespaces.
pub(crate) fn with_bundle(name: &str) -> Value {
    json!({"extraObjects": [{
        "apiVersion": "trust.cert-manager.io/v1alpha1",
        "kind": "Bundle",
        "metadata": {"name": name},
        "spec": {
            "sources": [{"inLine": certificate("ec")}],
            "target": {"configMap": {"key": "{{ .Values.app.trust.namespace }}.pem"}},
        },
    }]})
}

/// Waits until a Bundle of [`with_bundle`] is in a namespace.
pub(crate) async fn in_sync(client: &Client, bundle: &str) {
    let bundles = Api::<DynamicObject>::all_with(client.clone(), &bundle_resource());
    let targets = Api::<ConfigMap>::namespaced(client.clone(), "default");
    eventually("the Bundle is in sync", SOON, async || {
        let data = bundles.get(bundle).await?.data;
        let conditions = data["status"]["conditions"].as_array().context("it has no status")?;
        let synced = conditions.iter().any(|one| one["type"] == "Synced" && one["status"] == "True");
        ensure!(synced, "{conditions:?}");
        let target = targets.get(bundle).await?;
        ensure!(target.data.is_some_and(|data| data.contains_key("cert-manager.pem")), "its target is empty");
        Ok(())
    })
    .await;
}

pub(crate) fn bundle_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("trust.cert-manager.io", "v1alpha1", "Bundle"))
}

/// Runs helm and something else at the same time.
fn beside<T: Send, U>(helm: impl FnOnce() -> T + Send, other: impl Future<Output = U>) -> (T, U) {
    tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            let helm = scope.spawn(helm);
            let other = Handle::current().block_on(other);
            (helm.join().expect("running helm does not panic"), other)
        })
    })
}

/// The controller, started as soon as it can have an identity: before it may do
/// anything, and before there are Bundles.
async fn launched<'a>(control_plane: &'a ControlPlane, args: &[&str]) -> Result<Controller<'a>> {
    let mut controller =
        eventually("it has an account", SOON, async || Controller::launch(control_plane, args).await).await;
    controller.expect_denials();
    Ok(controller)
}

/// Back to an empty cluster, but for the targets.
async fn uninstall(control_plane: &ControlPlane) -> Result<()> {
    control_plane.helm_ok(&["uninstall", "rootcast", "--namespace", "cert-manager"], "")?;
    let crds = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let crds = Api::<DynamicObject>::all_with(control_plane.client(), &crds);
    crds.delete(CRD, &DeleteParams::default()).await.context("the CRD stays when the release goes")?;
    eventually("the CRD is gone", SOON, async || {
        ensure!(crds.get_opt(CRD).await?.is_none(), "it is there");
        Ok(())
    })
    .await;
    Ok(())
}
