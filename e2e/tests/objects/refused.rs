//! Namespaces that refuse every write.

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use rootcast_e2e::{
    ControlPlane, eventually,
    scenario::{apply, certificate},
};
use serde_json::{Value, from_value, json};

use crate::{crowd, sight::PATIENCE, stage::Stage};

const NAME: &str = "refused";

/// Refused by a policy, by a quota, and terminating for as long as somebody's finalizer holds it.
const POLICED: &str = "refused-policed";
const RATIONED: &str = "refused-rationed";
const DOOMED: &str = "refused-doomed";

#[tokio::test]
async fn a_namespace_that_refuses_every_write_is_named_holds_up_nobody_and_recovers_when_the_cause_goes() -> Result<()>
{
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    let client = &sight.client;
    for name in [POLICED, RATIONED, DOOMED] {
        crowd::join(stage.control_plane, NAME, name).await?;
    }
    police(stage.control_plane, client).await?;
    ration(client).await?;
    doom(client).await?;
    let text = certificate("ec");
    let content = crowd::content(&text);

    sight.count_from_here().await?;
    apply(&sight.client, &crowd::filled(NAME, &text)).await?;
    apply(&sight.client, &crowd::reaching_all(NAME)).await?;
    let mut reached = crowd::names();
    sight.becomes("all others have theirs", NAME, &reached, &content).await;
    let words = [POLICED, "no trust here", RATIONED, "exceeded quota"];
    sight.complains("the condition names who refuses, and why", NAME, &words).await;
    ensure!(!sight.synced(NAME).await?.message.contains(DOOMED), "a terminating namespace is no target");

    stage.control_plane.kubectl_ok(&["delete", "validatingadmissionpolicy", NAME], "")?;
    stage.control_plane.kubectl_ok(&["-n", RATIONED, "delete", "resourcequota", "none"], "")?;
    reached.extend([POLICED.to_owned(), RATIONED.to_owned()]);
    sight.becomes("both recover", NAME, &reached, &content).await;
    sight.is_synced("the condition follows", NAME).await;

    release(&sight.client).await?;
    crowd::join(stage.control_plane, NAME, DOOMED).await?;
    reached.push(DOOMED.to_owned());
    sight.becomes("the namespace is there again", NAME, &reached, &content).await;
    stage.barrier.sync(&sight.client).await?;
    for (namespace, (granted, refused)) in sight.tally(NAME).await? {
        let most = if [POLICED, RATIONED].contains(&namespace.as_str()) { 12 } else { 0 };
        ensure!(granted == 1 && refused <= most, "{namespace}: {granted} writes granted, {refused} refused");
    }
    Ok(())
}

async fn police(control_plane: &ControlPlane, client: &Client) -> Result<()> {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no trust here"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {
            "policyName": NAME, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": POLICED}}},
        },
    });
    for object in [policy, binding] {
        control_plane.kubectl_ok(&["create", "-f", "-"], &object.to_string())?;
    }
    is_refused(client, POLICED, "no trust here").await;
    Ok(())
}

/// A quota of none. No controller counts here, so this says itself what is used.
async fn ration(client: &Client) -> Result<()> {
    let none = json!({"count/configmaps": "0"});
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), RATIONED);
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": none}});
    quotas.create(&PostParams::default(), &from_value(quota)?).await?;
    let status = json!({"status": {"hard": none, "used": none}});
    quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(status)).await?;
    is_refused(client, RATIONED, "exceeded quota").await;
    Ok(())
}

async fn doom(client: &Client) -> Result<()> {
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), DOOMED);
    config_maps.create(&PostParams::default(), &from_value(held)?).await?;
    Api::<Namespace>::all(client.clone()).delete(DOOMED, &DeleteParams::default()).await?;
    is_refused(client, DOOMED, "because it is being terminated").await;
    Ok(())
}

/// Lets the doomed namespace go, and waits until it has gone.
async fn release(client: &Client) -> Result<()> {
    let free = json!({"metadata": {"finalizers": null}});
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), DOOMED);
    config_maps.patch("held", &PatchParams::default(), &Patch::Merge(free)).await?;
    eventually("the namespace ends", PATIENCE, async || {
        ensure!(Api::<Namespace>::all(client.clone()).get_opt(DOOMED).await?.is_none(), "still there");
        Ok(())
    })
    .await;
    Ok(())
}

/// Waits until a ConfigMap would be refused with these words.
async fn is_refused(client: &Client, namespace: &str, words: &str) {
    let trial: Value = json!({"metadata": {"name": "trial"}});
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually(words, PATIENCE, async || match config_maps.create(&dry_run, &from_value(trial.clone())?).await {
        Err(error) if error.to_string().contains(words) => Ok(()),
        other => bail!("{other:?}"),
    })
    .await;
}
