//! The chart and config/ say the same: compared by what they come to, with
//! defaults of Kubernetes and of the program left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::kubectl_without_cluster;
use serde_json::{Value, json};

use crate::render::{kind, name, objects, template};

/// Folders of kustomize, from the workspace's, and values that come to the same.
const PAIRS: [(&str, &str); 4] = [
    ("config/default", "{}"),
    ("config/with-injector", "{injector: {enabled: true}}"),
    (
        "e2e/tests/chart/kustomize",
        "{injector: {enabled: true, cainjector: {enabled: true}}, secretTargets: {enabled: true, authorizedSecretsAll: true},
          networkPolicy: {enabled: true},
          app: {metrics: {service: {servicemonitor: {enabled: true}}, prometheusRule: {enabled: true}, dashboard: {enabled: true}},
                evidence: certificaterequests, trust: {additionalNamespaces: [pki]}}}",
    ),
    ("config/target-namespaces", "{app: {targetNamespaces: [team-a, team-b]}}"),
];

/// The program's defaults of flags that only one of the two names.
const FLAGS: [&str; 15] = [
    "--default-cas=mozilla",
    "--leader-elect=true",
    "--leader-election-lease-duration=15s",
    "--leader-election-renew-deadline=10s",
    "--max-concurrent-writes=32",
    "--max-write-bytes-per-second=0",
    "--max-rollout-pause=60s",
    "--rollout-bytes-per-5m=512Mi",
    "--webhook-configuration=rootcast-injector",
    "--service=rootcast-injector",
    "--tls-secret=rootcast-injector-tls",
    "--certificate-lifetime=2160h",
    "--operator-name=cainjector",
    "--operator-domain=lestak.sh",
    // For people in the chart, as in trust-manager's; for machines in config/.
    "--log-format=json",
];

#[test]
fn the_chart_comes_to_the_same_as_config() -> Result<()> {
    for (folder, values) in PAIRS {
        let kustomized = kubectl_without_cluster(&["kustomize", folder])?;
        let rendered = template("rootcast", &with_json_log(values)?)?;
        let (kustomized, rendered) = (effects(&kustomized)?, effects(&rendered)?);
        for (what, effect) in &kustomized {
            let of_chart = rendered.get(what).with_context(|| format!("{folder}: the chart has no {what}"))?;
            assert_eq!(effect, of_chart, "{folder}: {what}, in config/ and in the chart");
        }
        let more: Vec<_> = rendered.keys().filter(|what| !kustomized.contains_key(*what)).collect();
        assert_eq!(more, Vec::<&String>::new(), "{folder}: only in the chart");
    }
    Ok(())
}

fn with_json_log(values: &str) -> Result<String> {
    let mut values: Value = serde_saphyr::from_str(values)?;
    values["app"]["logFormat"] = json!("json");
    Ok(values.to_string())
}

/// Objects by kind, namespace and name, as what they come to. Left out: the
/// namespace, which helm creates, and what the chart has beyond config/.
fn effects(yaml: &str) -> Result<BTreeMap<String, Value>> {
    let mut effects = BTreeMap::new();
    for object in objects(yaml)? {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let what = format!("{} {namespace}/{}", kind(&object), name(&object));
        let effect = match kind(&object) {
            "Namespace" => continue,
            "Service" if name(&object).ends_with("-metrics") => continue,
            "ClusterRole" if name(&object).ends_with("-cluster-view") => continue,
            "ClusterRole" | "Role" => json!(permissions(&object)?),
            "Deployment" => deployment(&object)?,
            _ => plain(object),
        };
        ensure!(effects.insert(what.clone(), effect).is_none(), "{what} is there twice");
    }
    Ok(effects)
}

/// A role's rules, one permission each.
fn permissions(role: &Value) -> Result<BTreeSet<String>> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let given = rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let given: Vec<_> = given.collect();
        if given.is_empty() { vec!["*".to_owned()] } else { given }
    };
    let mut permissions = BTreeSet::new();
    for rule in role["rules"].as_array().context("a role has rules")? {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for name in words(rule, "resourceNames") {
                    for verb in words(rule, "verbs") {
                        permissions.insert(format!("{verb} {resource}.{group} {name}"));
                    }
                }
            }
        }
    }
    Ok(permissions)
}

/// What runs, and how: one container with its arguments as a set.
fn deployment(object: &Value) -> Result<Value> {
    let mut spec = object["spec"].clone();
    let containers = spec["template"]["spec"]["containers"].as_array().context("a Deployment has containers")?;
    let [container] = &containers[..] else { anyhow::bail!("one container: {containers:?}") };
    let mut container = container.clone();
    let args: BTreeSet<_> = container["args"]
        .as_array()
        .context("it has arguments")?
        .iter()
        .filter_map(Value::as_str)
        .filter(|arg| !FLAGS.contains(arg))
        .map(str::to_owned)
        .collect();
    container["args"] = json!(args);
    // The API server's defaults.
    without(&mut container, "imagePullPolicy", &json!("IfNotPresent"));
    without(&mut spec, "revisionHistoryLimit", &json!(10));
    let labels = spec["template"]["metadata"]["labels"].as_object_mut().context("pods have labels")?;
    labels.retain(|key, _| !key.starts_with("app.kubernetes.io/"));
    let mut pod = spec["template"]["spec"].take();
    without(&mut pod, "automountServiceAccountToken", &json!(true));
    // What is said of a pod holds for its container.
    let mut context = pod["securityContext"].take();
    for (key, value) in container["securityContext"].as_object().into_iter().flatten() {
        context[key] = value.clone();
    }
    let user = image_user()?;
    without(&mut context, "runAsUser", &user);
    without(&mut context, "runAsGroup", &user);
    container["securityContext"] = context;
    let pod = pod.as_object_mut().context("a pod has a spec")?;
    pod.retain(|_, value| !value.is_null());
    pod.insert("containers".to_owned(), container);
    spec["template"]["spec"] = json!(pod);
    Ok(spec)
}

/// Everything but the metadata beside the name.
fn plain(mut object: Value) -> Value {
    without(&mut object["spec"], "type", &json!("ClusterIP"));
    without(&mut object, "automountServiceAccountToken", &json!(true));
    let Some(map) = object.as_object_mut() else { return object };
    map.remove("metadata");
    map.retain(|_, value| !value.is_null());
    object
}

/// Takes out a key that says what is so without it.
fn without(object: &mut Value, key: &str, default: &Value) {
    if let Some(map) = object.as_object_mut()
        && map.get(key) == Some(default)
    {
        map.remove(key);
    }
}

/// The user that the image names, which is the group as well.
fn image_user() -> Result<Value> {
    let dockerfile = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile"))?;
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).context("the image has a user")?;
    let (user, group) = user.split_once(':').context("and a group")?;
    ensure!(user == group, "of the same number");
    Ok(json!(user.parse::<u32>()?))
}
