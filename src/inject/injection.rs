//! What a mode wants in every container of a pod.

use std::collections::BTreeSet;

use serde_json::json;

use crate::bundle::ObjectKind;

use super::patch;
use super::volume::volume_name;

/// What every container is to have.
#[derive(Debug)]
pub(super) struct Injection<'a> {
    /// The object that is mounted as a whole.
    pub(super) source: InjectionSource,
    /// The name of its volume.
    pub(super) volume: String,
    /// Where it is mounted.
    pub(super) mount_path: String,
    /// Variables to set where a container does not set them itself; no name comes twice.
    pub(super) variables: Vec<(&'static str, String)>,
    /// Options for Java, as a value of the variable that it reads.
    pub(super) java: Option<String>,
    /// Names of the containers to leave alone.
    pub(super) excluded: BTreeSet<&'a str>,
    /// Variables whose programs will trust these certificates and no others.
    pub(super) exclusive: Vec<&'static str>,
    /// The annotation that opts a pod out, as it is written.
    pub(super) opt_out: String,
    /// Whether a container that mounts something at the very path is taken to have what it needs.
    pub(super) trusts_own_mounts: bool,
}

/// An object in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InjectionSource {
    /// Its kind.
    pub(super) kind: ObjectKind,
    /// Its name.
    pub(super) name: String,
}

impl Injection<'_> {
    /// Only the volume and its mount, for `owner`.
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

    /// Whether the container of this name is to be left alone.
    pub(super) fn excludes(&self, container: &str) -> bool {
        self.excluded.contains(container)
    }

    /// An item of `spec.volumes`, as JSON. It is not optional: better a pod that waits than one with less trust than
    /// asked for.
    pub(super) fn volume(&self) -> String {
        let InjectionSource { kind, name } = &self.source;
        patch::json(&match kind {
            ObjectKind::ConfigMap => json!({ "name": self.volume, "configMap": { "name": name } }),
            ObjectKind::Secret => json!({ "name": self.volume, "secret": { "secretName": name } }),
        })
    }

    /// An item of `volumeMounts`, as JSON.
    pub(super) fn mount(&self) -> String {
        patch::json(&json!({ "name": self.volume, "mountPath": self.mount_path, "readOnly": true }))
    }

    /// Items of `env`, as JSON, each with the name of its variable.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        self.variables.iter().map(|(name, value)| (*name, item(name, value))).collect()
    }
}

/// An item of `env`, as JSON.
pub(super) fn item(name: &str, value: &str) -> String {
    format!(r#"{{"name":{},"value":{}}}"#, patch::json(&name), patch::json(&value))
}
