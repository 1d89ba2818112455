//! Admission webhooks of others that deny writes in one namespace.

use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, api::DeleteParams};
use rootcast_e2e::{
    Denial, DenyingWebhook, eventually,
    scenario::{SOON, apply, bundle, certificate},
};
use serde_json::json;

use crate::stage::{BUNDLE, Stage};

const WEBHOOK: &str = "denies";

#[tokio::test]
async fn a_namespace_whose_writes_are_denied_as_too_many_is_named_and_slows_nobody_else() -> Result<()> {
    let denials = [(429, Some(60)), (429, None), (503, Some(60)), (503, None)];
    for (number, (code, retry_after)) in denials.into_iter().enumerate() {
        // What an earlier one has slowed down must not slow down this one.
        let stage = Stage::shared().await;
        let mut site = stage.site(&[]).await?;
        let namespace = format!("denied-{number}");
        let webhook = DenyingWebhook::start(&stage.control_plane, Denial { code, retry_after })?;
        let configuration = webhook.configuration(WEBHOOK, &namespace).to_string();
        stage.control_plane.kubectl_ok(&["apply", "-f", "-"], &configuration)?;
        stage.control_plane.namespace(&namespace, &[]).await?;
        eventually("the denied namespace is named", SOON, async || {
            let (status, message) = site.synced(BUNDLE).await?;
            ensure!(status == "False" && message.contains(&namespace), "{code}: {status}: {message}");
            Ok(())
        })
        .await;
        for _ in 0..3 {
            site.lives().await?;
        }
        // A change reaches everybody else, too.
        let other = format!("other-{number}");
        let spec = format!("{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: k}}}}}}", certificate("p384"));
        apply(&site.client, &bundle(&other, &spec)).await?;
        let there = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(site.client.clone(), "team-b");
        eventually("another Bundle is everywhere else", SOON, async || there.get(&other).await.map_err(Into::into))
            .await;

        let webhooks = Api::<ValidatingWebhookConfiguration>::all(site.client.clone());
        webhooks.delete(WEBHOOK, &DeleteParams::default()).await?;
        drop(webhook);
        stage
            .control_plane
            .kubectl_ok(&["delete", "namespace", &namespace, "--wait=false"], &json!(null).to_string())?;
        stage.control_plane.kubectl_ok(&["delete", "bundle", &other], "")?;
        site.end(&format!("denials with {code}")).await?;
    }
    Ok(())
}
