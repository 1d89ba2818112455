//! The injector's account.

use anyhow::Result;
use base64::Engine as _;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use rootcast_e2e::scenario::{certificate, objects};
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, guarded};

#[tokio::test(flavor = "multi_thread")]
async fn the_injectors_account_writes_ca_bundle_and_its_own_secret() -> Result<()> {
    let control_plane = guarded().await?;
    // With more rights than it is granted, so that it is the policy that refuses.
    let grant = [
        "create",
        "clusterrole",
        "much",
        "--verb=*",
        "--resource=secrets,mutatingwebhookconfigurations.admissionregistration.k8s.io",
    ];
    control_plane.kubectl_ok(&grant, "")?;
    let bind = [
        "create",
        "clusterrolebinding",
        "much",
        "--clusterrole=much",
        "--serviceaccount=cert-manager:rootcast-injector",
    ];
    control_plane.kubectl_ok(&bind, "")?;
    let account = control_plane.account_client("rootcast-injector").await?;
    let configurations: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration> =
        Api::all(account.clone());
    let patch = async |patch: Value| {
        let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
        anyhow::Ok(configurations.patch("rootcast-injector", &PatchParams::default(), &patch).await)
    };
    let bundle = base64::engine::general_purpose::STANDARD.encode(certificate("rsa"));
    let written = patch(json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}])).await?;
    assert!(written.is_ok(), "{written:?}");
    let refused = [
        json!({"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["*"]}),
        json!({"op": "replace", "path": "/webhooks/0/rules/0/apiGroups", "value": ["*"]}),
        json!({"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}),
        json!({"op": "remove", "path": "/webhooks/0/matchConditions"}),
        json!({"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {}}),
        json!({"op": "replace", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"a": "b"}}}),
        json!({"op": "replace", "path": "/webhooks/0/clientConfig/service/path", "value": "/other"}),
        json!({"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 1}),
        json!({"op": "replace", "path": "/webhooks/0/name", "value": "other.example.com"}),
        json!({"op": "remove", "path": "/webhooks/0"}),
        json!({"op": "copy", "from": "/webhooks/0", "path": "/webhooks/1"}),
        json!({"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}),
        json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}),
        json!({"op": "add", "path": "/metadata/finalizers", "value": ["example.com/stay"]}),
        json!({"op": "add", "path": "/metadata/ownerReferences", "value": [{"apiVersion": "v1", "kind": "Namespace", "name": "shop", "uid": "1"}]}),
    ];
    for operation in refused {
        let answer = patch(json!([operation])).await?;
        assert!(answer.is_err(), "{operation}");
    }
    let deleted = configurations.delete("rootcast-injector", &DeleteParams::default()).await;
    assert!(deleted.is_err(), "deleted");

    let secret = |name: &str, namespace: &str, type_: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": type_, "stringData": {"a": "b"},
            "metadata": {"name": name, "namespace": namespace,
                "annotations": {"kubernetes.io/service-account.name": "default"}},
        })
    };
    let own = "rootcast-injector-tls";
    let rows = [
        (own, "cert-manager", "kubernetes.io/service-account-token", false),
        (own, NAMESPACE, "Opaque", false),
        ("other", "cert-manager", "Opaque", false),
        (own, "cert-manager", "Opaque", true),
    ];
    for (name, namespace, type_, permitted) in rows {
        let secrets: Api<DynamicObject> = objects(&account, "Secret", namespace)?;
        let object = serde_json::from_value(secret(name, namespace, type_))?;
        let answer = secrets.create(&PostParams::default(), &object).await;
        assert_eq!(answer.is_ok(), permitted, "{namespace}/{name} of type {type_}: {answer:?}");
    }
    let secrets: Api<DynamicObject> = objects(&account, "Secret", "cert-manager")?;
    assert!(secrets.delete(own, &DeleteParams::default()).await.is_err(), "its Secret was deleted");
    control_plane.finish().await
}
