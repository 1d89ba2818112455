//! Uses of a Bundle's targets by pods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use crate::bundle::{ObjectKind, TargetRef};

/// What a pod uses of a Bundle's targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUse {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// When the pod was started; `None` before that.
    pub started: Option<Timestamp>,
    /// Whether a container has the Bundle in files that change with it.
    pub files: bool,
    /// What never changes while the pod runs.
    pub fixed: Vec<FixedUse>,
}

/// A use of a target that a change of the target never reaches
/// (<https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically>).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixedUse {
    /// Name of the container.
    pub container: String,
    /// How the container has the target.
    pub by: FixedUseKind,
}

/// How a container has a target whose changes it never sees. Displays as in the text about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FixedUseKind {
    /// A mount with `subPath` or `subPathExpr`, at this path.
    SubPath(String),
    /// The environment variable of this name.
    Variable(String),
    /// Environment variables for all keys: `envFrom`.
    AllVariables,
}

/// The fields of a pod by which it can have a target: of all others a pod has so many that reading them would be much of
/// the program.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PodFields {
    metadata: ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    volumes: Vec<Volume>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    start_time: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    name: String,
    config_map: Option<Reference>,
    secret: Option<SecretVolume>,
    projected: Option<Projected>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecretVolume {
    secret_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Projection>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Projection {
    config_map: Option<Reference>,
    secret: Option<Reference>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    volume_mounts: Vec<VolumeMount>,
    env: Vec<Variable>,
    env_from: Vec<EnvFrom>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeMount {
    name: String,
    mount_path: String,
    sub_path: String,
    sub_path_expr: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Variable {
    name: String,
    value_from: Option<ValueFrom>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ValueFrom {
    config_map_key_ref: Option<Reference>,
    secret_key_ref: Option<Reference>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EnvFrom {
    config_map_ref: Option<Reference>,
    secret_ref: Option<Reference>,
}

/// A reference to an object by its name.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    name: String,
}

impl PodUse {
    /// Returns what a pod uses of these targets; `None` if it uses none, has finished, or is being deleted.
    #[must_use]
    pub fn of(pod: &PodFields, targets: &BTreeSet<TargetRef>) -> Option<Self> {
        let PodFields { metadata, spec, status } = pod;
        if metadata.deletion_timestamp.is_some() || ["Succeeded", "Failed"].contains(&&*status.phase) {
            return None;
        }
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let names = TargetNames::of(&namespace, targets);
        let volumes = spec.volumes.iter().filter(|volume| names.are_in(volume));
        let volumes: BTreeSet<_> = volumes.map(|volume| &*volume.name).collect();
        let mut pod_use = Self {
            name: metadata.name.clone().unwrap_or_default(),
            started: status.start_time.as_ref().map(|time| time.0),
            files: false,
            fixed: Vec::new(),
            namespace,
        };
        for container in spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers) {
            pod_use.add_mounts(container, &volumes);
            pod_use.add_variables(container, &names);
        }
        (pod_use.files || !pod_use.fixed.is_empty()).then_some(pod_use)
    }

    fn add_mounts(&mut self, container: &Container, volumes: &BTreeSet<&str>) {
        for mount in container.volume_mounts.iter().filter(|mount| volumes.contains(&*mount.name)) {
            if mount.sub_path.is_empty() && mount.sub_path_expr.is_empty() {
                self.files = true;
            } else {
                self.add_fixed(container, FixedUseKind::SubPath(mount.mount_path.clone()));
            }
        }
    }

    fn add_variables(&mut self, container: &Container, names: &TargetNames<'_>) {
        for Variable { name, value_from } in &container.env {
            let Some(from) = value_from else { continue };
            if names.any(from.config_map_key_ref.as_ref(), from.secret_key_ref.as_ref()) {
                self.add_fixed(container, FixedUseKind::Variable(name.clone()));
            }
        }
        for from in &container.env_from {
            if names.any(from.config_map_ref.as_ref(), from.secret_ref.as_ref()) {
                self.add_fixed(container, FixedUseKind::AllVariables);
            }
        }
    }

    fn add_fixed(&mut self, container: &Container, by: FixedUseKind) {
        self.fixed.push(FixedUse { container: container.name.clone(), by });
    }
}

/// The names of the targets in one namespace, by kind.
struct TargetNames<'a>(BTreeMap<ObjectKind, BTreeSet<&'a str>>);

impl<'a> TargetNames<'a> {
    fn of(namespace: &str, targets: &'a BTreeSet<TargetRef>) -> Self {
        let mut names = BTreeMap::<_, BTreeSet<_>>::new();
        for target in targets.iter().filter(|target| &*target.namespace == namespace) {
            names.entry(target.kind).or_default().insert(&*target.name);
        }
        Self(names)
    }

    fn has(&self, kind: ObjectKind, name: &str) -> bool {
        self.0.get(&kind).is_some_and(|names| names.contains(name))
    }

    /// Returns whether a target is this ConfigMap or this Secret.
    fn any(&self, config_map: Option<&Reference>, secret: Option<&Reference>) -> bool {
        config_map.is_some_and(|object| self.has(ObjectKind::ConfigMap, &object.name))
            || secret.is_some_and(|object| self.has(ObjectKind::Secret, &object.name))
    }

    /// Returns whether a target is a source of this volume.
    fn are_in(&self, volume: &Volume) -> bool {
        let secret = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
        let mut projections = volume.projected.iter().flat_map(|projected| &projected.sources);
        self.any(volume.config_map.as_ref(), None)
            || secret.is_some_and(|name| self.has(ObjectKind::Secret, name))
            || projections.any(|source| self.any(source.config_map.as_ref(), source.secret.as_ref()))
    }
}

impl fmt::Display for FixedUseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubPath(path) => write!(f, "mounts it by subPath at {path}"),
            Self::Variable(name) => write!(f, "has it in environment variable {name}"),
            Self::AllVariables => f.write_str("has it in environment variables (envFrom)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn targets() -> BTreeSet<TargetRef> {
        let target = |kind, namespace: &str| TargetRef { kind, namespace: namespace.into(), name: "corp".into() };
        [target(ObjectKind::ConfigMap, "shop"), target(ObjectKind::Secret, "bank")].into()
    }

    fn used(namespace: &str, spec: Value, more: &Value) -> Option<(bool, Vec<String>)> {
        let mut pod = json!({ "metadata": { "name": "p", "namespace": namespace }, "status": { "phase": "Running" } });
        pod["spec"] = spec;
        json_patch(&mut pod, more);
        let pod: PodFields = serde_json::from_value(pod).expect("a pod");
        let found = PodUse::of(&pod, &targets())?;
        Some((found.files, found.fixed.iter().map(|one| format!("{} {}", one.container, one.by)).collect()))
    }

    fn json_patch(object: &mut Value, patch: &Value) {
        for (key, value) in patch.as_object().into_iter().flatten() {
            for (field, value) in value.as_object().into_iter().flatten() {
                object[key][field] = value.clone();
            }
        }
    }

    #[test]
    fn a_pod_uses_a_target_by_its_volumes_and_variables() {
        let volume = |source: Value| {
            let mut volume = source;
            volume["name"] = json!("v");
            json!({ "volumes": [volume], "containers": [{ "name": "app", "volumeMounts": [{ "name": "v", "mountPath": "/ca" }] }] })
        };
        let container = |fields: Value| {
            let mut container = fields;
            container["name"] = json!("app");
            json!({ "volumes": [{ "name": "v", "configMap": { "name": "corp" } }], "containers": [container] })
        };
        let files = |fixed: &[&str]| Some((true, fixed.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let fixed = |fixed: &[&str]| Some((false, fixed.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let sub_path = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a/ca.pem", "subPath": "ca.pem" }] });
        let by_expression = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/b", "subPathExpr": "$(X)" }] });
        let both = json!({ "volumeMounts": [
            { "name": "v", "mountPath": "/a", "subPath": "ca.pem" }, { "name": "v", "mountPath": "/b" },
        ] });
        let variable =
            json!({ "env": [{ "name": "CA", "valueFrom": { "configMapKeyRef": { "name": "corp", "key": "k" } } }] });
        let variables = json!({ "envFrom": [{ "configMapRef": { "name": "corp" } }] });
        let init = json!({
            "volumes": [{ "name": "v", "configMap": { "name": "corp" } }], "containers": [{ "name": "app" }],
            "initContainers": [{ "name": "init", "volumeMounts": [{ "name": "v", "mountPath": "/ca" }] }],
        });
        let debug = json!({
            "containers": [{ "name": "app" }],
            "ephemeralContainers": [{ "name": "debug", "envFrom": [{ "configMapRef": { "name": "corp" } }] }],
        });
        let projected = |name: &str| volume(json!({ "projected": { "sources": [{ "configMap": { "name": name } }] } }));
        let config_map = || volume(json!({ "configMap": { "name": "corp" } }));
        let secret = || volume(json!({ "secret": { "secretName": "corp" } }));
        let none = json!({});
        let table = [
            ("a ConfigMap", "shop", config_map(), &none, files(&[])),
            ("a projection", "shop", projected("corp"), &none, files(&[])),
            ("another projection", "shop", projected("other"), &none, None),
            ("a Secret", "bank", secret(), &none, files(&[])),
            ("a Secret that is no target", "shop", secret(), &none, None),
            ("an object in another namespace", "else", config_map(), &none, None),
            ("an init container", "shop", init, &none, files(&[])),
            ("a volume that nothing mounts", "shop", container(json!({})), &none, None),
            (
                "a file by subPath",
                "shop",
                container(sub_path),
                &none,
                fixed(&["app mounts it by subPath at /a/ca.pem"]),
            ),
            (
                "a folder by an expression",
                "shop",
                container(by_expression),
                &none,
                fixed(&["app mounts it by subPath at /b"]),
            ),
            ("both", "shop", container(both), &none, files(&["app mounts it by subPath at /a"])),
            ("a variable", "shop", container(variable), &none, fixed(&["app has it in environment variable CA"])),
            (
                "all keys",
                "shop",
                container(variables),
                &none,
                fixed(&["app has it in environment variables (envFrom)"]),
            ),
            ("a debug container", "shop", debug, &none, fixed(&["debug has it in environment variables (envFrom)"])),
            ("a finished pod", "shop", config_map(), &json!({ "status": { "phase": "Succeeded" } }), None),
            (
                "a deleted pod",
                "shop",
                config_map(),
                &json!({ "metadata": { "deletionTimestamp": "2026-11-01T00:00:00Z" } }),
                None,
            ),
        ];
        for (case, namespace, spec, more, expected) in table {
            assert_eq!(used(namespace, spec, more), expected, "{case}");
        }
    }
}
