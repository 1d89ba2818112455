//! All the ways in which a pod comes into being.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use rootcast_e2e::{CallOutcome, WebhookCall, eventually, scenario::SOON};
use serde_json::{Value, json};

use crate::{
    pods::{call, create, pod, pods, send, trust, trusts},
    stage::{BUNDLE, BY_ANNOTATION, Play},
};

const CORPORATE: (&str, &str) = (BUNDLE, "corporate");

#[tokio::test]
async fn a_pod_is_injected_in_all_its_containers_by_one_call() -> Result<()> {
    let play = Play::begin("direct", &[]).await?;
    let mut wanted = pod("whole", &[CORPORATE, ("inject.rootcast.dev/excludeContainers", "loner")]);
    let container = |name: &str| json!({"name": name, "image": "busybox"});
    wanted["spec"]["containers"] = json!([container("app"), container("loner")]);
    let mut sidecar = container("sidecar");
    sidecar["restartPolicy"] = "Always".into();
    wanted["spec"]["initContainers"] = json!([container("init"), sidecar]);
    let answer = play.create(&wanted).await?;
    ensure!(answer.warnings.iter().any(|warning| warning.contains("useDefaultCAs")), "{:?}", answer.warnings);
    let expected = trust("corporate", &["app", "init", "sidecar"], &["loner"]);
    assert_eq!(trusts(&answer.object()?), expected);
    assert_eq!(trusts(&play.read("whole").await?), expected, "what was stored");
    play.called("create", "whole", &[call(BY_ANNOTATION, CallOutcome::Changed)]).await?;
    play.end().await
}

#[tokio::test]
async fn a_dry_run_shows_what_would_come_of_it() -> Result<()> {
    let play = Play::begin("dry", &[]).await?;
    let path = format!("{}?dryRun=All", pods(play.namespace));
    let shown = create(&play.client, &path, &pod("dry", &[CORPORATE])).await?.object()?;
    assert_eq!(trusts(&shown), trust("corporate", &["app"], &[]));
    assert!(play.read("dry").await.is_err(), "it was created");
    let manifest = json!(pod("dry", &[CORPORATE])).to_string();
    let arguments = ["apply", "--dry-run=server", "--output=json", "-n", "dry", "-f", "-"];
    let shown: Value = serde_json::from_str(&play.stage.control_plane.kubectl_ok(&arguments, &manifest)?)?;
    assert_eq!(trusts(&shown), trust("corporate", &["app"], &[]));
    play.end().await
}

#[tokio::test]
async fn server_side_apply_injects_once_and_applying_again_changes_nothing() -> Result<()> {
    let play = Play::begin("applied", &[]).await?;
    let path = format!("{}/applied?fieldManager=somebody", pods(play.namespace));
    let wanted = pod("applied", &[CORPORATE]);
    let mut versions = Vec::new();
    for _ in 0..2 {
        let applied = send(&play.client, Method::PATCH, &path, "application/apply-patch+yaml", &wanted).await?;
        let applied = applied.object()?;
        assert_eq!(trusts(&applied), trust("corporate", &["app"], &[]));
        versions.push(applied["metadata"]["resourceVersion"].clone());
    }
    assert_eq!(versions[0], versions[1]);
    play.end().await
}

#[tokio::test]
async fn replica_sets_and_deployments_get_injected_pods() -> Result<()> {
    let play = Play::begin("replicated", &[]).await?;
    let mut template = pod("", &[CORPORATE]);
    let template = template.as_object_mut().context("a pod is an object")?;
    for field in ["apiVersion", "kind"] {
        template.remove(field);
    }
    for kind in ["ReplicaSet", "Deployment"] {
        let labels = json!({"from": kind});
        let mut template = json!(template);
        template["metadata"] = json!({"annotations": {BUNDLE: "corporate"}, "labels": labels});
        let owner = json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "owner"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        });
        let path = format!("/apis/apps/v1/namespaces/replicated/{}s", kind.to_lowercase());
        create(&play.client, &path, &owner).await?.object()?;
        let path = format!("{}?labelSelector=from%3D{kind}", pods(play.namespace));
        let pods = eventually("its pods come", SOON, async || {
            let list: Value = play.client.request(http::Request::get(&path).body(Vec::new())?).await?;
            let pods = list["items"].as_array().context("a list has items")?.clone();
            ensure!(pods.len() == 2, "{} pods", pods.len());
            Ok(pods)
        })
        .await;
        for pod in pods {
            assert!(pod["metadata"]["generateName"].is_string(), "{pod:#}");
            assert_eq!(trusts(&pod), trust("corporate", &["app"], &[]), "of a {kind}");
        }
    }
    play.end().await
}

/// A policy that, like a webhook after ours, adds a container to pods which the injector has changed already.
const LATECOMER: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: latecomer}
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: again}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          has(object.spec.volumes) && object.spec.volumes.exists(v, v.name == 'rootcast-corporate')
            && !object.spec.containers.exists(c, c.name == 'late')
          ? [JSONPatch{op: "add", path: "/spec/containers/-",
                       value: Object.spec.containers{name: "late", image: "busybox"}}]
          : []
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: latecomer}
spec: {policyName: latecomer}
"#;

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "takes the API server's audit log")]
async fn a_container_that_comes_after_the_first_call_is_injected_by_a_second() -> Result<()> {
    let play = Play::begin("again", &[]).await?;
    play.stage.control_plane.kubectl_ok(&["apply", "-f", "-"], LATECOMER)?;
    let name = eventually("the policy is in effect", SOON, async || {
        let mut wanted = pod("", &[CORPORATE]);
        wanted["metadata"]["generateName"] = "try-".into();
        let created = play.create(&wanted).await?.object()?;
        let count = created["spec"]["containers"].as_array().map_or(0, Vec::len);
        ensure!(count == 2, "{count} containers");
        Ok(created["metadata"]["name"].as_str().context("a pod has a name")?.to_owned())
    })
    .await;
    let created = play.read(&name).await?;
    assert_eq!(trusts(&created), trust("corporate", &["app", "late"], &[]), "each once: {created:#}");

    play.create(&pod("twice", &[CORPORATE])).await?.object()?;
    let again = WebhookCall { again: true, ..call(BY_ANNOTATION, CallOutcome::Changed) };
    play.called("create", "twice", &[call(BY_ANNOTATION, CallOutcome::Changed), again]).await?;
    play.end().await
}
