//! A CA has been gone for long enough, and something still needs it.

use anyhow::Result;
use kube::{
    Api,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use rootcast_e2e::{ControlPlane, Controller, eventually};
use serde_json::{Value, json};

use crate::{
    policy,
    rotating::{Ca, Rotating, SOON},
    stage::{SETTLES, Stage, alone},
};

#[tokio::test]
async fn a_namespace_that_refuses_the_successor_holds_the_old_ca_everywhere_and_is_named() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b] = &Ca::all(["A", "B"])?;
    let held = Rotating::begin(stage.control_plane, "held", 3, "2s", &[a]).await?;
    held.is_settled(&[a]).await;
    let frozen = &held.namespaces[1];
    policy::freeze(stage.control_plane, frozen, "held").await?;

    let since = stage.control_plane.revision().await?;
    held.publish(&[b]).await?;
    held.says("Retiring", "True", "Blocked", &["CN=A", &a.sha256(), frozen]).await;
    held.says("Settled", "False", "TargetsFailing", &[frozen]).await;
    let mut expected = held.each(&["A+B"]);
    expected.remove(frozen);
    assert_eq!(held.contents(since, &[a, b]).await?, expected, "the old one is everywhere");

    policy::thaw(stage.control_plane, frozen, "held")?;
    // It is tried again at once when it changes.
    eventually("the policy is no longer in force", SOON, async || {
        held.edit(frozen, &json!({"metadata": {"labels": {"seen": "yes"}}})).await
    })
    .await;
    held.holds(&[b]).await;
    held.says("Retiring", "False", "NothingLeaving", &[]).await;
    let mut contents = held.contents(since, &[a, b]).await?;
    let thawed = contents.insert(frozen.clone(), vec!["A+B".to_owned(), "B".to_owned()]).unwrap_or_default();
    assert_eq!(contents, held.each(&["A+B", "B"]));
    assert!(thawed.ends_with(&["A+B".to_owned(), "B".to_owned()]), "{thawed:?}");
    assert!(thawed.iter().all(|content| ["A", "A+B", "B"].contains(&content.as_str())), "{thawed:?}");
    Ok(())
}

#[tokio::test]
async fn a_ca_stays_while_a_certificate_verifies_under_it_alone_and_that_is_named() -> Result<()> {
    let control_plane = alone().await?;
    control_plane.read_certificate_requests()?;
    control_plane.serve_certificate_requests().await?;
    let controller = Controller::start(&control_plane, &[SETTLES, "--evidence=certificaterequests"]).await?;
    let [a, b] = &Ca::all(["A", "B"])?;
    control_plane.namespace("payments", &[]).await?;
    issue(&control_plane, "api-1", a).await?;
    let used = Rotating::begin(&control_plane, "used", 3, "2s", &[a]).await?;
    used.is_settled(&[a]).await;
    let since = control_plane.revision().await?;
    used.publish(&[b]).await?;
    used.is_settled(&[b]).await;
    used.says("Retiring", "True", "Blocked", &["CN=A", "Certificate payments/api"]).await;
    assert_eq!(used.contents(since, &[a, b]).await?, used.each(&["A+B"]));

    issue(&control_plane, "api-2", b).await?;
    used.holds(&[b]).await;
    assert_eq!(used.contents(since, &[a, b]).await?, used.each(&["A+B", "B"]));
    used.says("Retiring", "False", "NothingLeaving", &[]).await;
    controller.stop().await?;
    control_plane.finish().await
}

/// A CA issues a certificate for Certificate payments/api, as cert-manager records it.
async fn issue(control_plane: &ControlPlane, name: &str, ca: &Ca) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest"));
    let requests = Api::<DynamicObject>::namespaced_with(control_plane.client(), "payments", &kind);
    let owner = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "name": "api", "uid": "1", "controller": true,
    });
    let mut request: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
        "metadata": {
            "name": name, "namespace": "payments", "ownerReferences": [owner],
            "annotations": {"cert-manager.io/certificate-name": "api"},
        },
        "spec": {"issuerRef": {"name": "ca", "kind": "Issuer"}, "request": ""},
    }))?;
    request = requests.create(&kube::api::PostParams::default(), &request).await?;
    request.data["status"] = status(ca)?;
    requests.replace_status(name, &kube::api::PostParams::default(), &request).await?;
    Ok(())
}

fn status(ca: &Ca) -> Result<Value> {
    let ready = json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let certificate = k8s_openapi::ByteString(ca.authority.issue()?.into_bytes());
    Ok(json!({"conditions": [ready], "certificate": certificate}))
}
