//! The harness itself: what it starts is a real control plane, and nothing of
//! it is left behind.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use rootcast::api::HASH_ANNOTATION;
use rootcast_e2e::{ControlPlane, Mark, eventually};
use serde_json::{Value, from_value, json};

const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_server_answers_with_the_version_that_was_built() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let version = control_plane.client().apiserver_version().await?.git_version;
    let kubectl = control_plane.kubectl_ok(&["version", "--output=json"], "")?;
    let kubectl: Value = serde_json::from_str(&kubectl)?;
    assert_eq!(kubectl["serverVersion"]["gitVersion"], version.as_str());
    if env::var_os("KUBEBUILDER_ASSETS").is_none() {
        assert_eq!(version, "v1.36.3");
        assert_eq!(kubectl["clientVersion"]["gitVersion"], "v1.36.3");
    }
    Ok(())
}

#[tokio::test]
async fn a_user_without_a_role_may_read_nothing_and_that_is_on_record() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let stranger = Api::<ConfigMap>::default_namespaced(control_plane.client_as("stranger", &["nobodies"]));
    let error = stranger.get("x").await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 403));
    let denied = control_plane.audit().denied("stranger", Mark::default()).await?;
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0].verb, "get");

    let kubeconfig = control_plane.kubeconfig_for("stranger", &[])?;
    let output = control_plane.kubectl(&["--kubeconfig", text(&kubeconfig)?, "get", "configmaps"], "")?;
    assert!(String::from_utf8(output.stderr)?.contains("Forbidden"));
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_what_is_in_it() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    control_plane.namespace("doomed", &[("team", "a")]).await?;
    config_map(&client, "doomed", json!({"metadata": {"name": "inside"}})).await?;
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete("doomed", &DeleteParams::default()).await?;
    eventually("the namespace goes", SOON, async || {
        ensure!(namespaces.get_opt("doomed").await?.is_none(), "it is still there");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn an_object_goes_with_its_owner() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    let owner = config_map(&client, "default", json!({"metadata": {"name": "owner"}})).await?;
    config_map(
        &client,
        "default",
        json!({"metadata": {"name": "owned", "ownerReferences": [{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(),
        }]}}),
    )
    .await?;
    let config_maps = Api::<ConfigMap>::default_namespaced(client);
    config_maps.delete("owner", &DeleteParams::default()).await?;
    eventually("the owned object goes", SOON, async || {
        ensure!(config_maps.get_opt("owned").await?.is_none(), "it is still there");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn every_namespace_gets_its_service_account_and_ca() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    control_plane.namespace("furnished", &[]).await?;
    eventually("the ServiceAccount and the CA come", SOON, async || {
        Api::<ServiceAccount>::namespaced(client.clone(), "furnished").get("default").await?;
        Api::<ConfigMap>::namespaced(client.clone(), "furnished").get("kube-root-ca.crt").await?;
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn the_audit_log_has_a_write_as_soon_as_it_is_answered() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let audit = control_plane.audit();
    let scribe = control_plane.client_as("scribe", &["system:masters"]);
    let before = audit.mark().await?;
    for number in 0..20 {
        config_map(&scribe, "default", json!({"metadata": {"name": format!("written-{number}")}})).await?;
    }
    let after = audit.mark().await?;
    let writes = audit.writes_by("scribe", before).await?;
    assert_eq!(writes.len(), 20);
    assert_eq!(writes[19].name, "written-19");
    assert_eq!((writes[0].verb.as_str(), writes[0].code), ("create", 201));
    assert_eq!(audit.writes_by("scribe", after).await?, []);
    Ok(())
}

#[tokio::test]
async fn the_store_remembers_every_version_of_a_config_map() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    control_plane.namespace("remembered", &[]).await?;
    let since = control_plane.revision().await?;
    let target = |hash: &str| json!({"metadata": {"name": "x", "annotations": {HASH_ANNOTATION: hash}}});
    config_map(&client, "remembered", target("one")).await?;
    let config_maps = Api::<ConfigMap>::namespaced(client, "remembered");
    config_maps.patch("x", &PatchParams::default(), &Patch::Merge(target("two"))).await?;
    config_maps.delete("x", &DeleteParams::default()).await?;
    let mut history = control_plane.history(since).await?;
    history.retain(|change| change.namespace == "remembered" && change.name == "x");
    let hashes: Vec<_> = history.iter().map(|change| change.hash.as_deref()).collect();
    assert_eq!(hashes, [Some("one"), Some("two"), None]);
    assert!(history.is_sorted_by_key(|change| change.revision) && history[2].deleted);
    Ok(())
}

#[tokio::test]
async fn a_quota_and_an_admission_policy_refuse() -> Result<()> {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client();
    for namespace in ["quota", "policy"] {
        control_plane.namespace(namespace, &[]).await?;
    }
    // Nobody counts here, so what a quota knows is written by hand.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "quota"},
        "spec": {"hard": {"count/configmaps": "0"}}});
    control_plane.kubectl_ok(&["apply", "-f", "-"], &quota.to_string())?;
    let counted = r#"{"status": {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}}}"#;
    let status =
        ["-n", "quota", "patch", "resourcequota", "none", "--subresource=status", "--type=merge", "-p", counted];
    control_plane.kubectl_ok(&status, "")?;
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "none"},
    "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
        "validations": [{"expression": "false", "message": "none may be here"}],
    }});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "none"},
        "spec": {"policyName": "none", "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policy"}}}}});
    for object in [policy, binding] {
        control_plane.kubectl_ok(&["apply", "-f", "-"], &object.to_string())?;
    }
    for (namespace, why) in [("quota", "exceeded quota: none"), ("policy", "none may be here")] {
        eventually(namespace, SOON, async || {
            let Err(error) = config_map(&client, namespace, json!({"metadata": {"generateName": "x-"}})).await else {
                bail!("nobody refuses");
            };
            ensure!(error.to_string().contains(why), "{error}");
            Ok(())
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn two_control_planes_in_one_process_know_nothing_of_each_other() -> Result<()> {
    let (one, other) = tokio::try_join!(ControlPlane::start(), ControlPlane::start())?;
    config_map(&one.client(), "default", json!({"metadata": {"name": "only-here"}})).await?;
    let elsewhere = Api::<ConfigMap>::default_namespaced(other.client());
    assert!(elsewhere.get_opt("only-here").await?.is_none());
    one.finish().await?;
    other.finish().await
}

#[tokio::test]
async fn nothing_is_left_after_drop() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let root = control_plane.logs().parent().context("logs are in a folder")?.to_owned();
    three_programs_run(&root).await;
    drop(control_plane);
    assert!(!root.exists());
    assert_eq!(programs_of(&root)?, [] as [String; 0]);
    Ok(())
}

#[tokio::test]
async fn the_shipped_manifests_build_and_the_server_accepts_them() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    for folder in ["config/secret-targets", "config/manager", "config/default", "config/with-injector"] {
        control_plane.kubectl_ok(&["apply", "--server-side", "-k", folder], "")?;
    }
    for namespace in ["team-a", "team-b"] {
        control_plane.namespace(namespace, &[]).await?;
    }
    control_plane.kubectl_ok(&["apply", "--server-side", "-k", "config/target-namespaces"], "")?;
    control_plane.finish().await
}

#[tokio::test]
async fn a_killed_process_leaves_nothing() -> Result<()> {
    let mut child = child("wait")?;
    let mut output = BufReader::new(child.stdout.take().context("the output is piped")?);
    let root = announced_root(&mut output)?;
    three_programs_run(&root).await;
    child.kill()?;
    child.wait()?;
    eventually("programs and files go", SOON, async || {
        ensure!(programs_of(&root)?.is_empty(), "programs run");
        ensure!(!root.exists(), "files are there");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_static_that_is_never_dropped_leaves_nothing() -> Result<()> {
    let mut child = child("share")?;
    let mut output = BufReader::new(child.stdout.take().context("the output is piped")?);
    let root = announced_root(&mut output)?;
    child.wait()?;
    eventually("programs and files go", SOON, async || {
        ensure!(programs_of(&root)?.is_empty(), "programs run");
        ensure!(!root.exists(), "files are there");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_panic_leaves_the_logs_and_says_where_they_are() -> Result<()> {
    let output = child("panic")?.wait_with_output()?;
    let root = announced_root(&mut output.stdout.as_slice())?;
    let logs = root.join("logs");
    let told = format!("the control plane's logs are kept in {}", logs.display());
    assert!(String::from_utf8(output.stderr)?.contains(&told));
    eventually("programs and data go", SOON, async || {
        ensure!(programs_of(&root)?.is_empty(), "programs run");
        ensure!(!root.join("data").exists() && !root.join("keys").exists(), "data is there");
        Ok(())
    })
    .await;
    assert!(logs.join("kube-apiserver.log").exists());
    fs::remove_dir_all(root)?;
    Ok(())
}

/// What the tests above start this program again for.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn as_a_child() -> Result<()> {
    let announce = |control_plane: &ControlPlane| {
        println!("{ANNOUNCED}{}", control_plane.logs().display());
    };
    match env::var(ROLE).as_deref() {
        Ok("wait") => {
            let control_plane = ControlPlane::start().await?;
            announce(&control_plane);
            std::future::pending::<()>().await;
        }
        Ok("share") => announce(ControlPlane::shared().await),
        Ok("panic") => {
            let control_plane = ControlPlane::start().await?;
            announce(&control_plane);
            panic!("as told");
        }
        _ => {}
    }
    Ok(())
}

const ROLE: &str = "ROOTCAST_E2E_ROLE";
const ANNOUNCED: &str = "logs: ";

fn child(role: &str) -> Result<Child> {
    Command::new(env::current_exe()?)
        .args(["--ignored", "--exact", "as_a_child", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting this program again")
}

fn announced_root(output: &mut impl BufRead) -> Result<PathBuf> {
    for line in output.lines() {
        if let Some((_, logs)) = line?.split_once(ANNOUNCED) {
            return Ok(Path::new(logs).parent().context("logs are in a folder")?.to_owned());
        }
    }
    bail!("the child announced nothing")
}

/// etcd, the API server, the controller manager. A program that was just started
/// is a shell for a moment.
async fn three_programs_run(root: &Path) {
    eventually("three programs run", SOON, async || {
        let programs = programs_of(root)?;
        ensure!(programs.len() == 3, "{programs:?}");
        Ok(())
    })
    .await;
}

/// The programs, but for shells, with this folder on their command line.
fn programs_of(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process: PathBuf = entry?.path();
        // A process that has ended meanwhile cannot be read.
        let Ok(command) = fs::read_to_string(process.join("cmdline")) else {
            continue;
        };
        if command.contains(text(folder)?) && !command.starts_with("sh\0") {
            found.push(command.replace('\0', " "));
        }
    }
    Ok(found)
}

async fn config_map(client: &Client, namespace: &str, object: Value) -> Result<ConfigMap> {
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    Ok(config_maps.create(&PostParams::default(), &from_value(object)?).await?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}
