//! Policies that change what is written.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _, api::PostParams};
use rootcast_e2e::{
    eventually,
    scenario::{apply, certificate},
};
use serde_json::{from_value, json};

use crate::{crowd, sight::PATIENCE, stage::Stage};

const NAME: &str = "relabelled";
const LABEL: &str = "policy.example.com/seen";

#[tokio::test]
async fn a_policy_that_labels_every_config_map_costs_no_second_write() -> Result<()> {
    let stage = Stage::shared().await;
    let mut sight = stage.sight().await?;
    let namespaces = ["a", "b", "c"].map(|short| format!("{NAME}-{short}"));
    for namespace in &namespaces {
        crowd::join(stage.control_plane, NAME, namespace).await?;
    }
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]});
    let label = format!("Object{{metadata: Object.metadata{{labels: {{{LABEL:?}: \"yes\"}}}}}}");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {"resourceRules": [rule]},
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": label}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {
            "policyName": NAME,
            "matchResources": {"namespaceSelector": {"matchLabels": {"crowd": NAME}}},
        },
    });
    for object in [policy, binding] {
        stage.control_plane.kubectl_ok(&["create", "-f", "-"], &object.to_string())?;
    }
    let first = Api::<ConfigMap>::namespaced(sight.client.clone(), &namespaces[0]);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy is in force", PATIENCE, async || {
        let trial = first.create(&dry_run, &from_value(json!({"metadata": {"name": "trial"}}))?).await?;
        ensure!(trial.labels().contains_key(LABEL), "not yet");
        Ok(())
    })
    .await;

    for (when, name) in [("the Bundle comes", "ec"), ("its source changes", "p384")] {
        let text = certificate(name);
        sight.count_from_here().await?;
        apply(&sight.client, &crowd::filled(NAME, &text)).await?;
        apply(&sight.client, &crowd::reaching_few(NAME)).await?;
        sight.becomes(when, NAME, &namespaces, &crowd::content(&text)).await;
        stage.barrier.sync(&sight.client).await?;
        let tally = sight.tally(NAME).await?;
        ensure!(tally.len() == 3 && tally.values().all(|writes| *writes == (1, 0)), "{when}: {tally:?}");
    }
    for (namespace, place) in sight.places(NAME).await? {
        let labels = place.labels.with_context(|| format!("no labels in {namespace}"))?;
        ensure!(labels.contains_key(LABEL), "{namespace}: {labels:?}");
    }
    sight.is_synced("nothing is amiss", NAME).await;
    Ok(())
}
