//! The fields of a pod that injection depends on, borrowed from the request.
//!
//! Fields without a comment are those of the same name in the Kubernetes API.

use std::fmt;

use serde::Deserialize;

use crate::bundle::ObjectKind;
use crate::{limits, text};

use super::environment::Environment;
use super::java_obstacle::JavaArguments;
use super::lenient::{FoldedList, HasElements, LenientList, LenientMap, LenientObject, LenientText};
use super::windows::{self, Affinity, NodeSelector, Os};

/// The annotation of mirror pods (<https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// JSON that is not a pod.
#[derive(Debug, thiserror::Error)]
#[error("{which} is no pod: {cause}")]
pub struct InvalidPodError {
    which: ReviewField,
    cause: String,
}

/// The maximum length of a cause, in characters: serde quotes invalid values in full.
const CAUSE_MAX: usize = 200;

/// The maximum number of containers of one list that are kept: as many as a pod may have.
const CONTAINERS: usize = limits::POD_CONTAINERS.max;

/// The maximum number of mounts of one container that are kept, and of devices.
const MOUNTS: usize = limits::POD_MOUNTS.max;

/// The field of a review that holds a pod.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReviewField {
    /// `object`: the pod as it will be.
    Object,
    /// `oldObject`: the pod as it is.
    OldObject,
}

/// The pod under review.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Pod<'a> {
    #[serde(default, borrow)]
    metadata: LenientObject<Metadata<'a>>,
    #[serde(default, borrow)]
    spec: LenientObject<Spec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata<'a> {
    #[serde(default, borrow)]
    annotations: LenientMap<'a, { limits::POD_ANNOTATIONS.max }>,
}

/// The fields of a pod's `spec` that injection depends on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(default, borrow)]
    pub(super) volumes: LenientList<Volume<'a>, { limits::POD_VOLUMES.max }>,
    #[serde(default, borrow)]
    pub(super) containers: LenientList<Container<'a>, CONTAINERS>,
    #[serde(default, borrow)]
    pub(super) init_containers: LenientList<Container<'a>, CONTAINERS>,
    #[serde(default, borrow)]
    pub(super) ephemeral_containers: LenientList<Container<'a>, CONTAINERS>,
    #[serde(default, borrow)]
    os: LenientObject<Os<'a>>,
    #[serde(default, borrow)]
    node_selector: LenientObject<NodeSelector<'a>>,
    #[serde(default)]
    affinity: LenientObject<Affinity>,
}

/// The names of the ephemeral containers that a pod has before more are added.
#[derive(Debug, Default, Deserialize)]
pub(super) struct OldPod<'a> {
    #[serde(default, borrow)]
    spec: LenientObject<OldSpec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldSpec<'a> {
    #[serde(default, borrow)]
    ephemeral_containers: LenientList<Named<'a>, CONTAINERS>,
}

/// A volume. Sources other than these two are not parsed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume<'a> {
    #[serde(default, borrow)]
    pub(super) name: LenientText<'a>,
    #[serde(default, borrow)]
    config_map: Option<LenientObject<ObjectVolume<'a>>>,
    #[serde(default, borrow)]
    secret: Option<LenientObject<ObjectVolume<'a>>>,
}

/// A volume from a ConfigMap (`name`) or a Secret (`secretName`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectVolume<'a> {
    #[serde(default, borrow)]
    name: LenientText<'a>,
    #[serde(default, borrow)]
    secret_name: LenientText<'a>,
    #[serde(default)]
    items: FoldedList<HasElements>,
    #[serde(default)]
    optional: Option<bool>,
}

/// A container, init container or ephemeral container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(default, borrow)]
    pub(super) name: LenientText<'a>,
    #[serde(default, borrow)]
    pub(super) env: FoldedList<Environment<'a>>,
    #[serde(default)]
    pub(super) env_from: FoldedList<HasElements>,
    #[serde(default)]
    pub(super) command: FoldedList<JavaArguments>,
    #[serde(default)]
    pub(super) args: FoldedList<JavaArguments>,
    #[serde(default, borrow)]
    pub(super) volume_mounts: LenientList<Mount<'a>, MOUNTS>,
    #[serde(default, borrow)]
    pub(super) volume_devices: LenientList<Device<'a>, MOUNTS>,
}

/// An item of a container's `volumeMounts`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount<'a> {
    #[serde(default, borrow)]
    pub(super) name: LenientText<'a>,
    #[serde(default, borrow)]
    pub(super) mount_path: LenientText<'a>,
}

/// An item of a container's `volumeDevices`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device<'a> {
    #[serde(default, borrow)]
    device_path: LenientText<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Named<'a> {
    #[serde(default, borrow)]
    name: LenientText<'a>,
}

impl<'a> Pod<'a> {
    /// Parses the pod in a field of a review.
    pub(super) fn parse(which: ReviewField, text: &'a str) -> Result<Self, InvalidPodError> {
        parse(which, text)
    }

    /// Returns whether the pod is the mirror of a static pod.
    pub(super) fn is_mirror(&self) -> bool {
        self.metadata.annotations.value(MIRROR).is_some()
    }

    /// Returns whether the pod runs on Windows nodes only.
    pub(super) fn is_for_windows(&self) -> bool {
        windows::is_for_windows(&self.spec.os, &self.spec.node_selector, &self.spec.affinity)
    }

    /// Returns the keys and values of the annotations that are kept, and the number of all annotations.
    pub(super) fn annotations(&self) -> (impl Iterator<Item = (&str, &str)>, usize) {
        (self.metadata.annotations.iter(), self.metadata.annotations.len())
    }

    /// Returns the value of an annotation; the last one if the key occurs more than once.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.value(key)
    }

    /// Returns the fields of `spec`.
    pub(super) fn spec(&self) -> &Spec<'a> {
        &self.spec
    }
}

impl<'a> OldPod<'a> {
    /// Parses the pod in `oldObject`.
    pub(super) fn parse(text: &'a str) -> Result<Self, InvalidPodError> {
        parse(ReviewField::OldObject, text)
    }

    /// Returns the names of the ephemeral containers.
    pub(super) fn ephemeral_containers(&self) -> impl Iterator<Item = &str> {
        self.spec.ephemeral_containers.iter().map(|(_, container)| &*container.name)
    }
}

fn parse<'a, T: Deserialize<'a> + Default>(which: ReviewField, text: &'a str) -> Result<T, InvalidPodError> {
    let object = serde_json::from_str::<LenientObject<T>>(text).map_err(|error| {
        let position = format!(" at line {} column {}", error.line(), error.column());
        let cause = error.to_string();
        let cause = cause.strip_suffix(&position).unwrap_or(&cause);
        InvalidPodError { which, cause: text::truncate_chars(cause, CAUSE_MAX) + &position }
    })?;
    Ok(object.0)
}

impl Volume<'_> {
    /// Returns whether the volume holds all keys of one object and is not optional.
    pub(super) fn is_whole(&self, kind: ObjectKind, name: &str) -> bool {
        let (expected, other) = match kind {
            ObjectKind::ConfigMap => (self.config_map.as_ref().map(|volume| (volume, &volume.name)), &self.secret),
            ObjectKind::Secret => (self.secret.as_ref().map(|volume| (volume, &volume.secret_name)), &self.config_map),
        };
        other.is_none()
            && expected
                .is_some_and(|(volume, source)| **source == *name && !volume.items.0 && volume.optional != Some(true))
    }
}

impl Container<'_> {
    /// Returns the paths of mounts and devices, which the API server requires to be distinct.
    pub(super) fn taken_paths(&self) -> impl Iterator<Item = &str> {
        let mounts = self.volume_mounts.iter().map(|(_, mount)| &*mount.mount_path);
        mounts.chain(self.volume_devices.iter().map(|(_, device)| &*device.device_path))
    }
}

impl fmt::Display for ReviewField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "the review's object",
            Self::OldObject => "the review's oldObject",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Pod<'_>, String> {
        Pod::parse(ReviewField::Object, text).map_err(|error| error.to_string())
    }

    #[test]
    fn null_equals_absent() {
        let texts = [
            "{}",
            r#"{"metadata": null, "spec": null}"#,
            r#"{"metadata": {"annotations": null}, "spec": {"volumes": null, "containers": null, "os": null, "nodeSelector": null}}"#,
            r#"{"metadata": {"annotations": {"a": null}}, "spec": {"containers": [null], "os": {"name": null}}}"#,
        ];
        for text in texts {
            let pod = parse(text).unwrap();
            assert_eq!(pod.spec().containers.iter().count(), 0, "{text}");
            assert!(!pod.is_mirror() && !pod.is_for_windows(), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_position_of_what_is_no_pod() {
        let table = [
            ("", "the review's object is no pod: EOF while parsing a value at line 1 column 0"),
            ("[]", "the review's object is no pod: invalid type: sequence, expected an object at line 1 column 2"),
            (
                r#"{"spec": []}"#,
                "the review's object is no pod: invalid type: sequence, expected an object at line 1 column 11",
            ),
            (
                r#"{"spec": {"containers": [["a"]]}}"#,
                "the review's object is no pod: invalid type: sequence, expected an object at line 1 column 26",
            ),
            (
                "{\n\"spec\": {\"containers\": [{\"name\": 5}]}}",
                "the review's object is no pod: invalid type: integer `5`, expected text at line 2 column 34",
            ),
            (
                r#"{"metadata": {"annotations": {"a": {}}}}"#,
                "the review's object is no pod: invalid type: map, expected text at line 1 column 37",
            ),
            (
                r#"{"spec": {}, "spec": {}}"#,
                "the review's object is no pod: duplicate field `spec` at line 1 column 19",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn an_error_quotes_what_is_no_pod_in_part_and_its_position_in_full() {
        let long = format!("{{\"spec\": \"{}\"}}", "a".repeat(100_000));
        let error = parse(&long).unwrap_err();
        assert!(error.len() < 300 && error.ends_with("a… at line 1 column 100011"), "{error}");
    }

    #[test]
    fn only_a_volume_of_the_whole_object_that_is_not_optional_is_whole() {
        let table = [
            (r#"{"configMap": {"name": "x"}}"#, true),
            (
                r#"{"configMap": {"name": "x", "defaultMode": 420, "optional": false, "items": []}, "secret": null}"#,
                true,
            ),
            (r#"{"configMap": {"name": "y"}}"#, false),
            (r#"{"configMap": {"secretName": "x"}}"#, false),
            (r#"{"configMap": {"name": "x", "optional": true}}"#, false),
            (r#"{"configMap": {"name": "x", "items": [{"key": "a", "path": "b"}]}}"#, false),
            (r#"{"secret": {"secretName": "x"}}"#, false),
            (r#"{"emptyDir": {}}"#, false),
        ];
        for (text, expected) in table {
            let volume: Volume<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(volume.is_whole(ObjectKind::ConfigMap, "x"), expected, "{text}");
        }
        let volume: Volume<'_> = serde_json::from_str(r#"{"secret": {"secretName": "x"}}"#).unwrap();
        assert!(volume.is_whole(ObjectKind::Secret, "x"));
    }
}
