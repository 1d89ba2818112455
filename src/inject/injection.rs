//! The volume, mount and variables that a mode adds to every container of a pod.

use std::collections::BTreeSet;

use serde_json::json;

use crate::bundle::ObjectKind;

use super::patch;
use super::volume::volume_name;

/// The volume, mount and variables that are added to every container.
#[derive(Debug)]
pub(super) struct Injection<'a> {
    /// The object that is mounted, with all of its keys.
    pub(super) source: InjectionSource,
    /// The name of the volume.
    pub(super) volume: String,
    /// The path at which the volume is mounted.
    pub(super) mount_path: String,
    /// Variables with their values, for containers that do not set them themselves; no name occurs twice.
    pub(super) variables: Vec<(&'static str, String)>,
    /// Options of the trust store for Java, as a value of `JAVA_TOOL_OPTIONS`.
    pub(super) java: Option<String>,
    /// Names of the containers that are not injected.
    pub(super) excluded: BTreeSet<&'a str>,
    /// Variables whose programs trust these certificates and no others.
    pub(super) exclusive: Vec<&'static str>,
    /// The annotation that opts a pod out, as the user writes it.
    pub(super) opt_out: String,
    /// Whether a container that mounts something at `mount_path` itself is skipped without a warning.
    pub(super) trusts_own_mounts: bool,
}

/// The ConfigMap or Secret in the pod's namespace that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InjectionSource {
    /// The kind of the object.
    pub(super) kind: ObjectKind,
    /// The name of the object.
    pub(super) name: String,
}

impl Injection<'_> {
    /// An injection of a volume and its mount, without variables; `owner` is the prefix of the volume's name.
    pub(super) fn of(owner: &str, source: InjectionSource, mount_path: String, opt_out: String) -> Self {
        Self {
            volume: volume_name(owner, &source.name),
            source,
            mount_path,
            variables: Vec::new(),
            java: None,
            excluded: BTreeSet::new(),
            exclusive: Vec::new(),
            opt_out,
            trusts_own_mounts: false,
        }
    }

    /// Returns whether the container of this name is not injected.
    pub(super) fn excludes(&self, container: &str) -> bool {
        self.excluded.contains(container)
    }

    /// Returns the item of `spec.volumes`, as JSON.
    ///
    /// The volume is not optional: a pod that waits is better than one that trusts less than was requested.
    pub(super) fn volume(&self) -> String {
        let InjectionSource { kind, name } = &self.source;
        patch::json(&match kind {
            ObjectKind::ConfigMap => json!({ "name": self.volume, "configMap": { "name": name } }),
            ObjectKind::Secret => json!({ "name": self.volume, "secret": { "secretName": name } }),
        })
    }

    /// Returns the item of `volumeMounts`, as JSON.
    pub(super) fn mount(&self) -> String {
        patch::json(&json!({ "name": self.volume, "mountPath": self.mount_path, "readOnly": true }))
    }

    /// Returns the items of `env`, as JSON, each with the name of its variable.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        self.variables.iter().map(|(name, value)| (*name, item(name, value))).collect()
    }
}

/// Returns an item of `env`, as JSON.
pub(super) fn item(name: &str, value: &str) -> String {
    format!(r#"{{"name":{},"value":{}}}"#, patch::json(&name), patch::json(&value))
}
