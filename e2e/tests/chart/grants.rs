//! What the chart grants suffices, and is no more than its values need; its pods
//! are restricted ones.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::{Api, api::DynamicObject};
use rootcast_e2e::{Balancer, CHART, ControlPlane, Controller, Injector, eventually};
use serde_json::{Value, json};

use crate::{
    installs::{arguments, in_sync, with_bundle},
    render::{kind, name, objects, template},
};

const CONTROLLER: &str = "system:serviceaccount:cert-manager:rootcast";
const INJECTOR: &str = "system:serviceaccount:cert-manager:rootcast-injector";

/// Values; then who may do what where, and who may not.
type Grants = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

const GRANTS: &[Grants] = &[
    (
        "{injector: {enabled: true}}",
        &[
            (CONTROLLER, "create configmaps -n default"),
            (CONTROLLER, "list configmaps -A"),
            (CONTROLLER, "list secrets -n cert-manager"),
            (CONTROLLER, "update bundles.trust.cert-manager.io --subresource=finalizers"),
            (CONTROLLER, "patch bundles.trust.cert-manager.io --subresource=status"),
            (CONTROLLER, "watch distrusts.rootcast.dev"),
            (CONTROLLER, "patch distrusts.rootcast.dev --subresource=status"),
            (INJECTOR, "watch bundles.trust.cert-manager.io"),
            (INJECTOR, "patch mutatingwebhookconfigurations/rootcast-injector"),
            (INJECTOR, "update secrets/rootcast-injector-tls -n cert-manager"),
        ],
        &[
            (CONTROLLER, "list secrets -A"),
            (CONTROLLER, "get secrets -n default"),
            (CONTROLLER, "create secrets -n cert-manager"),
            (CONTROLLER, "get mutatingwebhookconfigurations/rootcast-injector"),
            (CONTROLLER, "patch validatingwebhookconfigurations"),
            (CONTROLLER, "update bundles.trust.cert-manager.io"),
            (CONTROLLER, "delete leases/trust-manager-leader-election -n cert-manager"),
            (CONTROLLER, "create distrusts.rootcast.dev"),
            (CONTROLLER, "patch distrusts.rootcast.dev"),
            (CONTROLLER, "list certificaterequests.cert-manager.io -A"),
            (CONTROLLER, "list secrets -n team-a"),
            (INJECTOR, "list distrusts.rootcast.dev"),
            (INJECTOR, "create configmaps -n default"),
            (INJECTOR, "get configmaps -n default"),
            (INJECTOR, "get secrets -n cert-manager"),
            (INJECTOR, "get secrets -n default"),
            (INJECTOR, "patch mutatingwebhookconfigurations"),
            (INJECTOR, "create mutatingwebhookconfigurations"),
            (INJECTOR, "get pods -n default"),
            (INJECTOR, "patch bundles.trust.cert-manager.io --subresource=status"),
        ],
    ),
    (
        "{secretTargets: {enabled: true, authorizedSecretsAll: true}}",
        &[(CONTROLLER, "delete secrets/any -n default"), (CONTROLLER, "create secrets -n default")],
        &[(INJECTOR, "watch bundles.trust.cert-manager.io")],
    ),
    (
        "{secretTargets: {enabled: true, authorizedSecrets: [named]}}",
        &[
            (CONTROLLER, "list secrets -A"),
            (CONTROLLER, "delete secrets/named -n default"),
            (CONTROLLER, "create secrets -n default"),
        ],
        &[(CONTROLLER, "delete secrets/any -n default"), (CONTROLLER, "patch secrets/any -n default")],
    ),
    (
        "{app: {targetNamespaces: [team-a]}, secretTargets: {enabled: true, authorizedSecretsAll: true}}",
        &[(CONTROLLER, "create configmaps -n team-a"), (CONTROLLER, "delete secrets/any -n team-a")],
        &[
            (CONTROLLER, "list configmaps -A"),
            (CONTROLLER, "get configmaps -n default"),
            (CONTROLLER, "list secrets -A"),
            (CONTROLLER, "create configmaps -n cert-manager"),
        ],
    ),
    (
        "{app: {targetNamespaces: [team-a], retain: 0s}}",
        &[
            (CONTROLLER, "create configmaps -n cert-manager"),
            (CONTROLLER, "update configmaps -n cert-manager"),
            (CONTROLLER, "delete configmaps -n cert-manager"),
        ],
        &[
            (CONTROLLER, "patch configmaps -n cert-manager"),
            (CONTROLLER, "get configmaps -n default"),
            (CONTROLLER, "create configmaps -n default"),
        ],
    ),
    (
        "{app: {evidence: certificaterequests, trust: {additionalNamespaces: [team-a]}}}",
        &[
            (CONTROLLER, "list certificaterequests.cert-manager.io -A"),
            (CONTROLLER, "watch certificaterequests.cert-manager.io -A"),
            (CONTROLLER, "list secrets -n team-a"),
        ],
        &[
            (CONTROLLER, "get certificaterequests.cert-manager.io -A"),
            (CONTROLLER, "create secrets -n team-a"),
            (CONTROLLER, "list secrets -A"),
        ],
    ),
    ("{global: {rbac: {create: false}}}", &[], &[(CONTROLLER, "watch bundles.trust.cert-manager.io")]),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_do_what_its_values_need_and_no_more() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    for namespace in ["cert-manager", "team-a"] {
        control_plane.namespace(namespace, &[]).await?;
    }
    // kubectl knows the group of served resources only.
    control_plane.serve_certificate_requests().await?;
    for (values, may, may_not) in GRANTS {
        let install = ["upgrade", "--install", "rootcast", CHART, "--namespace", "cert-manager", "--values", "-"];
        control_plane.helm_ok(&install, values)?;
        for (expected, questions) in [("yes", *may), ("no", *may_not)] {
            for (who, what) in questions {
                // The API server hears of a role a moment after it is written.
                eventually(&format!("{values}: may {who} {what}?"), Duration::from_secs(5), async || {
                    let mut args = vec!["auth", "can-i", "--as", who];
                    args.extend(what.split(' '));
                    let answer = control_plane.kubectl(&args, "")?;
                    let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
                    ensure!(answer == expected, "{answer:?}, and not {expected}");
                    Ok(())
                })
                .await;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_and_injector_work_under_what_the_chart_grants_where_only_restricted_pods_may_be() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
    control_plane.namespace("cert-manager", &restricted).await?;
    control_plane.namespace("shop", &[("inject.rootcast.dev/bundle", "corporate")]).await?;
    let mut values = with_bundle("corporate");
    values["injector"] = json!({"enabled": true});
    values["networkPolicy"] = json!({"enabled": true});
    values["podDisruptionBudget"] = json!({"enabled": true});
    let install = ["install", "rootcast", CHART, "--namespace", "cert-manager", "--values", "-"];
    control_plane.helm_ok(&install, &values.to_string())?;

    let rendered = template("rootcast", &values.to_string())?;
    let deployments = objects(&rendered)?.into_iter().filter(|object| kind(object) == "Deployment");
    for deployment in deployments {
        let pod = pod_of(&deployment);
        let answer = control_plane.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string())?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(answer.status.success() && said.is_empty(), "{}: {said}", name(&deployment));
    }

    let run = arguments("controller", &rendered)?;
    let run: Vec<_> = run.iter().map(String::as_str).collect();
    let controller = Controller::start(&control_plane, &run).await?;
    in_sync(&control_plane.client(), "corporate").await;

    let balancer = Balancer::start()?;
    lead_to(&control_plane, &balancer)?;
    let run = arguments("injector", &rendered)?;
    let run: Vec<_> = run.iter().map(String::as_str).collect();
    let injector = Injector::start(&control_plane, &balancer, &run).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let create = ["create", "--dry-run=server", "--output=json", "-f", "-"];
    eventually("pods are injected", Duration::from_secs(30), async || {
        let created: Value = serde_json::from_str(&control_plane.kubectl_ok(&create, &pod.to_string())?)?;
        let mounts = created["spec"]["containers"][0]["volumeMounts"].to_string();
        ensure!(mounts.contains("/etc/rootcast/corporate"), "{mounts}");
        Ok(())
    })
    .await;

    // What the injector has written stays at an upgrade that knows nothing of it.
    let before = authority(&control_plane).await?;
    ensure!(before.is_string(), "the injector has written no caBundle");
    values["injector"]["timeoutSeconds"] = json!(7);
    let upgrade = ["upgrade", "rootcast", CHART, "--namespace", "cert-manager", "--force-conflicts", "--values", "-"];
    control_plane.helm_ok(&upgrade, &values.to_string())?;
    assert_eq!(before, authority(&control_plane).await?);

    injector.stop().await?;
    controller.stop().await?;
    control_plane.finish().await
}

/// A pod as a Deployment would make it.
fn pod_of(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!("pod");
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Has the injector's Service lead to a balancer, since there are no pods behind it.
fn lead_to(control_plane: &ControlPlane, balancer: &Balancer) -> Result<()> {
    let service = Balancer::service(balancer.address(), "cert-manager", "rootcast-injector");
    control_plane.kubectl_ok(&["replace", "--force", "-f", "-"], &service.to_string())?;
    let ports: Vec<_> = (0..3)
        .map(|entry| {
            let path = format!("/webhooks/{entry}/clientConfig/service/port");
            json!({"op": "replace", "path": path, "value": balancer.port()})
        })
        .collect();
    let patch = json!(ports).to_string();
    let what = ["patch", "mutatingwebhookconfiguration", "rootcast-injector", "--type=json", "--patch"];
    control_plane.kubectl_ok(&[&what[..], &[&patch]].concat(), "")?;
    Ok(())
}

/// The CA that API servers are to trust for the injector.
async fn authority(control_plane: &ControlPlane) -> Result<Value> {
    let resource = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
    ));
    let configurations = Api::<DynamicObject>::all_with(control_plane.client(), &resource);
    let configuration = configurations.get("rootcast-injector").await?;
    configuration.data.pointer("/webhooks/0/clientConfig/caBundle").cloned().context("no caBundle")
}
