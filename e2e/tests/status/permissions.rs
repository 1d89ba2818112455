//! What may not be read is named with the cure, and the rest is shown.

use anyhow::{Result, ensure};
use rootcast_e2e::scenario::{Scenario, bundle, certificate, pem_key, source};
use serde_json::{Value, json};

use crate::stage::{Stage, rootcast};

#[tokio::test]
async fn who_may_do_nothing_is_told_what_to_ask_for() -> Result<()> {
    let stage = Stage::shared().await;
    let nobody = stage.control_plane.kubeconfig_for("nobody", &["system:authenticated"])?;
    let table: [(&[&str], &str); 3] = [
        (&["status"], "read namespaces: "),
        (&["status", "-n", "default"], "; have somebody grant you the verb get on namespaces"),
        (&["status", "some"], "; have somebody grant you the verb list on namespaces"),
    ];
    for (arguments, words) in table {
        let told = rootcast(&nobody, arguments, "").await?;
        assert_eq!((told.code, &*told.out), (Some(2), ""));
        ensure!(told.errors.contains(words), "no {words:?} in {}", told.errors);
    }
    Ok(())
}

#[tokio::test]
async fn who_may_not_read_sources_secrets_or_the_lease_sees_the_rest() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "guarded";
    let scenario = Scenario::begin(&stage.barrier, name, &["a"]).await?;
    scenario.apply(&source("Secret", "guarded-source", &[], &[("ca.crt", &certificate("ec"))])).await?;
    let spec = "{sources: [{secret: {name: guarded-source, key: ca.crt}}],
                  target: {configMap: {key: k}, secret: {key: k}, namespaceSelector: {matchLabels: {scenario: guarded}}}}";
    scenario.apply(&bundle(name, spec)).await?;
    let mut expected = scenario.synced(&["a"], &pem_key("k", &["ec"]));
    expected.secrets = scenario.everywhere(&["a"], &pem_key("k", &["ec"]));
    scenario.then("it is synced", name, 2, &expected).await?;

    for object in role() {
        stage.control_plane.kubectl_ok(&["apply", "-f", "-"], &object.to_string())?;
    }
    let looker = stage.control_plane.kubeconfig_for("looker", &["system:authenticated"])?;
    let told = rootcast(&looker, &["status", name, "--secret-targets-enabled"], "").await?;
    let unread = "what Distrusts deny is not known, and counts as trusted: distrusts.rootcast.dev is forbidden: ";
    let cure = "; have somebody grant you the verb list on distrusts.rootcast.dev\n";
    ensure!(told.code == Some(0) && told.errors.lines().count() == 1, "{told:?}");
    ensure!(told.errors.starts_with(unread) && told.errors.ends_with(cure), "{told:?}");
    for words in [
        "Leader: not known: leases.coordination.k8s.io \"trust-manager-leader-election\" is forbidden",
        "grant you the verb list on leases.coordination.k8s.io; for its own namespace alone",
        "Settings: the defaults and the given flags, since the controller's Pod cannot be looked for",
        "Targets: 1 of 1 in sync\n",
        "Certificates: not known: source Secret cert-manager/guarded-source cannot be read",
        "have somebody grant you the verb get on secrets",
        "Note: targets are compared with the one that was written last: its sources are not known\n",
        "Note: its Secrets are not looked at: ",
    ] {
        ensure!(told.out.contains(words), "no {words:?} in\n{}", told.out);
    }
    Ok(())
}

/// May list Bundles, namespaces and ConfigMaps.
fn role() -> [Value; 2] {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "looker"},
        "rules": [
            {"apiGroups": ["trust.cert-manager.io"], "resources": ["bundles"], "verbs": ["list"]},
            {"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["list"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "looker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looker"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "looker"}],
    });
    [role, binding]
}
