//! Objects that nobody may update for a while: an admission policy stands in the way.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rootcast_e2e::{ControlPlane, eventually};
use serde_json::json;

use crate::rotating::SOON;

/// What the policy says.
pub(crate) const WORDS: &str = "nobody changes this today";

/// From now on nobody may update this ConfigMap.
pub(crate) async fn freeze(control_plane: &ControlPlane, namespace: &str, name: &str) -> Result<()> {
    let rule = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"],
        "resourceNames": [name],
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy(namespace, name)},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": WORDS}],
        },
    });
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": self::policy(namespace, name)},
        "spec": {
            "policyName": self::policy(namespace, name),
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    });
    for object in [policy, binding] {
        control_plane.kubectl_ok(&["create", "-f", "-"], &object.to_string())?;
    }
    let objects = Api::<ConfigMap>::namespaced(control_plane.client(), namespace);
    let trial = PatchParams { dry_run: true, ..PatchParams::default() };
    eventually("the policy is in force", SOON, async || {
        let change = Patch::Merge(json!({"metadata": {"labels": {"trial": "yes"}}}));
        let answer = objects.patch(name, &trial, &change).await;
        ensure!(answer.is_err_and(|error| error.to_string().contains(WORDS)), "not yet");
        Ok(())
    })
    .await;
    Ok(())
}

/// Ends [`freeze`].
pub(crate) fn thaw(control_plane: &ControlPlane, namespace: &str, name: &str) -> Result<()> {
    let kind = "validatingadmissionpolicybinding,validatingadmissionpolicy";
    control_plane.kubectl_ok(&["delete", kind, &policy(namespace, name)], "")?;
    Ok(())
}

fn policy(namespace: &str, name: &str) -> String {
    format!("{namespace}.{name}")
}
