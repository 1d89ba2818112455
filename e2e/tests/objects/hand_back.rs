//! Back to trust-manager.

use std::{collections::BTreeMap, path::Path, process::Output};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use rootcast::api::{BUNDLE_LABEL, Bundle, FIELD_MANAGER, HASH_ANNOTATION};
use rootcast_e2e::{
    ControlPlane, Controller, Entry, Mark, release_binary,
    scenario::{apply, certificate, objects, pem_key},
};
use serde_json::{Value, from_value, json};
use tokio::process::Command;

use crate::{alone::alone, crowd, sight::Sight};

#[tokio::test]
async fn a_key_renamed_after_the_switch_back_is_pruned_if_and_only_if_targets_were_handed_back() -> Result<()> {
    let name = "switched";
    let stage = alone().await?;
    let control_plane = stage.control_plane;
    let sight = Sight::new(control_plane).await?;
    let namespaces: Vec<_> = (0..20).map(|number| format!("{name}-{number:02}")).collect();
    let join = async |namespace: &String| crowd::join(control_plane, name, namespace).await;
    stream::iter(&namespaces).map(join).buffer_unordered(8).try_for_each(async |()| Ok(())).await?;
    let crowds = format!("[{name}]");
    let kubeconfig = control_plane.kubeconfig();

    // The source changes once, so that targets are created and updated.
    let controller = Controller::start(control_plane, &[]).await?;
    for (source, key) in [("p384", "ours.pem"), ("ec", "ours.pem")] {
        apply(&sight.client, &crowd::filled(name, &certificate(source))).await?;
        apply(&sight.client, &crowd::reaching(name, key, &crowds)).await?;
        sight.becomes("a rollout", name, &namespaces, &pem_key(key, &[source])).await;
    }
    sight.is_synced("all is well", name).await;
    controller.stop().await?;
    status_is_applied(&sight.client, name).await?;

    let before = stored(&sight.client, name).await?;
    let mark = control_plane.audit().mark().await?;
    let told = hand_back(kubeconfig, &[]).await?;
    ensure!(told.status.success() && lines(&told.stdout, name) == 20, "{told:?}");
    ensure!(writes(control_plane, mark, name).await?.is_empty(), "a dry run writes nothing");
    let told = hand_back(kubeconfig, &["--write"]).await?;
    ensure!(told.status.success() && lines(&told.stdout, name) == 20, "{told:?}");
    ensure!(writes(control_plane, mark, name).await?.len() == 20, "one write each");
    let mark = control_plane.audit().mark().await?;
    let told = hand_back(kubeconfig, &["--write"]).await?;
    ensure!(told.status.success() && lines(&told.stdout, name) == 0, "{told:?}");
    ensure!(writes(control_plane, mark, name).await?.is_empty(), "nothing is left to do");
    assert_eq!(stored(&sight.client, name).await?, before, "only managedFields change");

    rename(&sight.client, &before, "ours.pem", "theirs.pem").await?;
    sight.becomes("trust-manager renames the key", name, &namespaces, &pem_key("theirs.pem", &["ec"])).await;
    let moved = |mut target: Value| {
        let data = target["data"].as_object_mut().expect("data");
        let value = data.remove("ours.pem").expect("the old key");
        data.insert("theirs.pem".to_owned(), value);
        target
    };
    let expected: BTreeMap<_, _> = before.into_iter().map(|(namespace, target)| (namespace, moved(target))).collect();
    assert_eq!(stored(&sight.client, name).await?, expected, "nothing else changed");

    // The counterproof: the same once more, and nobody hands back.
    let controller = Controller::start(control_plane, &[]).await?;
    apply(&sight.client, &crowd::filled(name, &certificate("p384"))).await?;
    apply(&sight.client, &crowd::reaching(name, "ours.pem", &crowds)).await?;
    sight.becomes("rootcast is back", name, &namespaces, &pem_key("ours.pem", &["p384"])).await;
    sight.is_synced("all is well again", name).await;
    controller.stop().await?;
    rename(&sight.client, &stored(&sight.client, name).await?, "ours.pem", "theirs.pem").await?;
    let both = pem_key("ours.pem", &["p384"]).and("theirs.pem", pem(&["p384"]));
    sight.becomes("the old key stays for ever", name, &namespaces, &both).await;
    ensure!(hand_back(kubeconfig, &["--write"]).await?.status.success(), "handed back late");
    rename(&sight.client, &stored(&sight.client, name).await?, "theirs.pem", "theirs.pem").await?;
    sight.becomes("late is not too late", name, &namespaces, &pem_key("theirs.pem", &["p384"])).await;
    control_plane.kubectl_ok(&["delete", "bundle", name], "")?;
    Ok(())
}

#[tokio::test]
async fn hand_back_takes_in_secrets_leaves_others_alone_and_says_what_it_could_not_do() -> Result<()> {
    let stage = alone().await?;
    let control_plane = stage.control_plane;
    let client = control_plane.client();
    let (name, namespaces) = ("handed", ["handed-a", "handed-b"]);
    for namespace in namespaces {
        control_plane.namespace(namespace, &[]).await?;
        for kind in ["ConfigMap", "Secret"] {
            updated(&client, kind, namespace, name).await?;
        }
    }
    let admin = control_plane.kubeconfig();
    let here = ["--namespace=handed-a", "--namespace=handed-b"];
    let with = |args: &[&'static str]| [&here[..], args].concat();
    let mark = control_plane.audit().mark().await?;

    let lease = hold_lease(&client).await?;
    let told = hand_back(admin, &with(&["--write"])).await?;
    ensure!(told.status.code() == Some(2) && text(&told.stderr).contains("somebody holds the Lease"), "{told:?}");
    let told = hand_back(admin, &with(&[])).await?;
    ensure!(told.status.success() && text(&told.stderr).contains("somebody holds the Lease"), "{told:?}");
    ensure!(writes(control_plane, mark, name).await?.is_empty(), "nothing is written beside a controller");
    Api::<Lease>::namespaced(client.clone(), "cert-manager").delete(&lease, &DeleteParams::default()).await?;

    allow(control_plane, "looker", "[list]", "[configmaps]")?;
    let looker = control_plane.kubeconfig_for("looker", &["system:authenticated"])?;
    let told = hand_back(&looker, &with(&["--write"])).await?;
    ensure!(told.status.code() == Some(1), "{told:?}");
    ensure!(text(&told.stdout).contains("ConfigMap handed-b/handed: configmaps \"handed\" is forbidden"), "{told:?}");
    allow(control_plane, "keeper", "[list, patch]", "[configmaps]")?;
    let keeper = control_plane.kubeconfig_for("keeper", &["system:authenticated"])?;
    let told = hand_back(&keeper, &with(&["--write"])).await?;
    ensure!(told.status.success() && lines(&told.stdout, name) == 2, "{told:?}");
    ensure!(text(&told.stderr).contains("Secret targets, if there are any, are left out"), "{told:?}");
    let told = hand_back(admin, &with(&["--write"])).await?;
    ensure!(told.status.success() && lines(&told.stdout, name) == 2, "{told:?}");
    ensure!(text(&told.stdout).contains("Secret handed-a/handed: handed back"), "{told:?}");

    for namespace in namespaces {
        for kind in ["ConfigMap", "Secret"] {
            let renamed = target(kind, name, &json!({"new": "bmV3"}));
            let target = objects(&client, kind, namespace)?;
            target.patch(name, &as_trust_manager(), &Patch::Apply(renamed)).await?;
            let found = target.get(name).await?;
            ensure!(found.data["data"] == json!({"new": "bmV3", "theirs": "dGhlaXJz"}), "{kind}: {found:?}");
            ensure!(found.labels().contains_key("theirs"), "{kind}: {found:?}");
        }
    }
    Ok(())
}

/// Runs `rootcast hand-back`.
async fn hand_back(kubeconfig: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(release_binary().await?);
    command.arg("hand-back").arg("--kubeconfig").arg(kubeconfig).args(args).env_remove("KUBECONFIG");
    command.output().await.context("running rootcast hand-back")
}

/// How many lines tell of a target of that name.
fn lines(output: &[u8], name: &str) -> usize {
    text(output).lines().filter(|line| line.contains(&format!("/{name}: "))).count()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// What anybody but the control plane has written to ConfigMaps and Secrets of the name.
async fn writes(control_plane: &ControlPlane, mark: Mark, name: &str) -> Result<Vec<Entry>> {
    let mut entries = control_plane.audit().since(mark).await?;
    entries.retain(|entry| entry.is_write() && ["configmaps", "secrets"].contains(&entry.resource.as_str()));
    entries.retain(|entry| entry.name == name && !entry.user.starts_with("system:"));
    Ok(entries)
}

/// Every ConfigMap of the name by namespace, but for what every write changes.
async fn stored(client: &Client, name: &str) -> Result<BTreeMap<String, Value>> {
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    let list = Api::<ConfigMap>::all(client.clone()).list(&named).await?;
    let strip = |mut found: ConfigMap| {
        found.metadata.managed_fields = None;
        found.metadata.resource_version = None;
        (found.namespace().unwrap_or_default(), json!(found))
    };
    Ok(list.into_iter().map(strip).collect())
}

/// Applies every target as trust-manager does, with another key.
async fn rename(client: &Client, targets: &BTreeMap<String, Value>, from: &str, to: &str) -> Result<()> {
    let rename = async |(namespace, target): (&String, &Value)| {
        let metadata = &target["metadata"];
        let name = metadata["name"].as_str().context("a name")?;
        let applied = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "labels": metadata["labels"], "annotations": metadata["annotations"],
                "ownerReferences": metadata["ownerReferences"],
            },
            "data": {to: target["data"][from]},
        });
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        config_maps.patch(name, &as_trust_manager(), &Patch::Apply(applied)).await?;
        Ok(())
    };
    stream::iter(targets).map(rename).buffer_unordered(8).try_collect::<()>().await
}

fn as_trust_manager() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

fn target(kind: &str, name: &str, data: &Value) -> Value {
    let metadata = json!({"name": name, "labels": {BUNDLE_LABEL: name}, "annotations": {HASH_ANNOTATION: "h"}});
    json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data})
}

/// A target as we write it, with a key and a label of somebody else's.
async fn updated(client: &Client, kind: &str, namespace: &str, name: &str) -> Result<()> {
    let objects = objects(client, kind, namespace)?;
    let target: DynamicObject = from_value(target(kind, name, &json!({"old": "b2xk"})))?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    objects.create(&params, &target).await?;
    let theirs = json!({"metadata": {"labels": {"theirs": ""}}, "data": {"theirs": "dGhlaXJz"}});
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    objects.patch(name, &params, &Patch::Merge(theirs)).await?;
    Ok(())
}

/// What trust-manager applies later prunes what we say in a status without a hand-back.
async fn status_is_applied(client: &Client, name: &str) -> Result<()> {
    let bundle = Api::<Bundle>::all(client.clone()).get_metadata(name).await?;
    let entries = bundle.managed_fields().iter().filter(|entry| entry.subresource.as_deref() == Some("status"));
    let operations: Vec<_> = entries.map(|entry| entry.operation.as_deref().unwrap_or_default()).collect();
    ensure!(operations == ["Apply"], "the status is written by {operations:?}");
    Ok(())
}

/// The Lease of a controller that is running; returns its name.
async fn hold_lease(client: &Client) -> Result<String> {
    let name = "trust-manager-leader-election";
    let renewed = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let lease = json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 600, "renewTime": renewed},
    });
    Api::<Lease>::namespaced(client.clone(), "cert-manager")
        .create(&PostParams::default(), &from_value(lease)?)
        .await?;
    Ok(name.to_owned())
}

/// Lets a user do this, and nothing else.
fn allow(control_plane: &ControlPlane, user: &str, verbs: &str, resources: &str) -> Result<()> {
    let rules = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {user}}}\n\
         rules: [{{apiGroups: [''], resources: {resources}, verbs: {verbs}}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {user}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {user}}}\n\
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]\n"
    );
    control_plane.kubectl_ok(&["apply", "-f", "-"], &rules)?;
    Ok(())
}

fn pem(certificates: &[&str]) -> String {
    rootcast_e2e::scenario::anchors(certificates).to_pem()
}
