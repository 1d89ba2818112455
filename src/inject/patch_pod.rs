//! The patch that applies an injection to a pod.

use std::collections::{BTreeMap, BTreeSet};

use crate::{limits, text};

use super::blocker::Blocker;
use super::budget;
use super::injection::{self, Injection};
use super::java::{self, JavaEnvChange};
use super::patch::{self, JsonPatch, PatchOperations};
use super::pod::{Container, OldPod, Pod};
use super::runtimes::JAVA_TOOL_OPTIONS;

/// The result of applying an injection to a pod.
#[derive(Debug, Default)]
pub(super) struct PatchedPod {
    /// The changes; empty if nothing is injected.
    pub(super) patch: JsonPatch,
    /// The reasons why the pod, or some of its containers, cannot be injected.
    pub(super) blockers: Vec<Blocker>,
    /// Facts for the user about what is injected.
    pub(super) notes: Vec<String>,
}

/// Applies an injection to all containers of a new pod, or to the ephemeral containers that `old` does not have.
pub(super) fn patch_pod(injection: &Injection<'_>, pod: &Pod<'_>, old: Option<&OldPod<'_>>) -> PatchedPod {
    if pod.is_for_windows() {
        return PatchedPod::blocked(Blocker::of_pod("it is for Windows", format!("annotate it {}", injection.opt_out)));
    }
    let spec = pod.spec();
    let volume = spec.volumes.iter().find(|(_, volume)| *volume.name == *injection.volume).map(|(_, volume)| volume);
    let has_volume = volume.is_some_and(|volume| volume.is_whole(injection.source.kind, &injection.source.name));
    match old {
        None if volume.is_some() && !has_volume => PatchedPod::blocked(Blocker::of_pod(
            format!("its volume {} has another source", text::quote_name(&injection.volume)),
            "rename that volume",
        )),
        None => patch_new_pod(injection, pod, has_volume),
        Some(old) => patch_ephemeral_containers(injection, pod, old, has_volume),
    }
}

impl PatchedPod {
    fn blocked(blocker: Blocker) -> Self {
        Self { blockers: vec![blocker], ..Self::default() }
    }
}

fn patch_new_pod(injection: &Injection<'_>, pod: &Pod<'_>, has_volume: bool) -> PatchedPod {
    let spec = pod.spec();
    let mut patcher = PodPatcher::of(injection);
    let mut needs_volume = false;
    for (field, list) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        for (index, container) in list.iter() {
            patcher.patch_container(container, field, index);
            // The pod is invalid without a volume that a container mounts.
            needs_volume |= mounts(container, &injection.volume);
        }
    }
    needs_volume |= !patcher.operations.is_empty();
    if needs_volume && !has_volume {
        let mut volume = PatchOperations::default();
        volume.append(format_args!("/spec/volumes"), spec.volumes.is_present(), [&*injection.volume()]);
        patcher.operations.prepend(volume);
    }
    patcher.finish()
}

/// Applies an injection to new ephemeral containers.
///
/// The volumes of an existing pod cannot change, so only the ephemeral containers of an injected pod can be injected.
fn patch_ephemeral_containers(
    injection: &Injection<'_>,
    pod: &Pod<'_>,
    old: &OldPod<'_>,
    has_volume: bool,
) -> PatchedPod {
    let before: BTreeSet<&str> = old.ephemeral_containers().collect();
    let new = pod.spec().ephemeral_containers.iter().filter(|(_, container)| !before.contains(&*container.name));
    if has_volume {
        let mut patcher = PodPatcher::of(injection);
        for (index, container) in new {
            patcher.patch_container(container, "ephemeralContainers", index);
        }
        return patcher.finish();
    }
    let names: Vec<_> = new.map(|(_, container)| &*container.name).filter(|name| !injection.excludes(name)).collect();
    if names.is_empty() {
        return PatchedPod::default();
    }
    PatchedPod::blocked(Blocker {
        affected: containers(&names),
        cause: "the pod was not, either, and its volumes are fixed".to_owned(),
        remedy: "make the pod anew".to_owned(),
    })
}

/// A builder of the patch of a pod, container by container.
///
/// Containers are grouped by cause, so that one note covers all of a group.
struct PodPatcher<'a> {
    injection: &'a Injection<'a>,
    /// The parts of the path that is mounted.
    mount_path: Vec<&'a str>,
    /// The mount that every container gets, as JSON.
    mount: String,
    /// The variables that every container gets, as JSON.
    environment: Vec<(&'static str, String)>,
    /// The variable for Java of containers that do not set it, as JSON.
    java_item: Option<String>,
    operations: PatchOperations,
    /// The limit that the patch exceeds, if any.
    excess: Option<Blocker>,
    /// Variables that were set in any container.
    set: BTreeSet<&'static str>,
    /// Containers that have a mount in the way.
    taken: Vec<&'a str>,
    /// Containers whose variable for Java is left alone, by cause.
    java: BTreeMap<&'static str, Vec<&'a str>>,
    /// Containers whose options for Java are longer than Java 8 reads.
    long: Vec<&'a str>,
}

impl<'a> PodPatcher<'a> {
    fn of(injection: &'a Injection<'a>) -> Self {
        Self {
            injection,
            mount_path: parts(&injection.mount_path),
            mount: injection.mount(),
            environment: injection.environment(),
            java_item: injection.java.as_ref().map(|options| injection::item(JAVA_TOOL_OPTIONS, options)),
            operations: PatchOperations::default(),
            excess: None,
            set: BTreeSet::new(),
            taken: Vec::new(),
            java: BTreeMap::new(),
            long: Vec::new(),
        }
    }

    fn patch_container(&mut self, container: &'a Container<'_>, field: &str, index: usize) {
        let injection = self.injection;
        if self.excess.is_some() || injection.excludes(&container.name) || mounts(container, &injection.volume) {
            return;
        }
        match container.taken_paths().filter_map(|path| collision(&parts(path), &self.mount_path)).min() {
            Some(Collision::Same) if injection.trusts_own_mounts => return,
            Some(_) => return self.taken.push(&container.name),
            None => {}
        }
        let list = format_args!("/spec/{field}/{index}/volumeMounts");
        self.operations.append(list, container.volume_mounts.is_present(), [&*self.mount]);
        self.patch_environment(container, field, index);
        self.excess = budget::excess_of_patch(self.operations.len());
    }

    fn patch_environment(&mut self, container: &'a Container<'_>, field: &str, index: usize) {
        let change =
            self.injection.java.as_ref().map_or(JavaEnvChange::Keep, |options| java::env_change(container, options));
        let length = match &change {
            JavaEnvChange::Add => self.injection.java.as_ref().map_or(0, String::len),
            JavaEnvChange::Set(_, value) => value.len(),
            JavaEnvChange::Keep | JavaEnvChange::LeaveAlone(_) => 0,
        };
        if length > limits::JAVA_OPTIONS.max {
            self.long.push(&container.name);
        }
        let mut java_item = None;
        match change {
            JavaEnvChange::Keep => {}
            JavaEnvChange::Add => {
                self.set.insert(JAVA_TOOL_OPTIONS);
                java_item = self.java_item.as_deref();
            }
            JavaEnvChange::LeaveAlone(cause) => self.java.entry(cause).or_default().push(&container.name),
            JavaEnvChange::Set(variable, value) => {
                self.set.insert(JAVA_TOOL_OPTIONS);
                let value = patch::json(&value);
                self.operations.set(format_args!("/spec/{field}/{index}/env/{variable}/value"), &value);
            }
        }
        let missing = self.environment.iter().filter(|(name, _)| !container.env.sets(name));
        self.set.extend(missing.clone().map(|(name, _)| *name));
        let items = missing.map(|(_, item)| &**item).chain(java_item);
        self.operations.append(format_args!("/spec/{field}/{index}/env"), container.env.is_present(), items);
    }

    fn finish(self) -> PatchedPod {
        let Self { injection, operations, excess, set, taken, java, long, .. } = self;
        if let Some(excess) = excess {
            return PatchedPod::blocked(excess);
        }
        let mut blockers = Vec::new();
        if !taken.is_empty() {
            blockers.push(Blocker {
                affected: containers(&taken),
                cause: format!("something is mounted at, above or below {}", text::quote_name(&injection.mount_path)),
                remedy: "move that mount or exclude the container".to_owned(),
            });
        }
        let mut notes: Vec<_> = java
            .iter()
            .map(|(cause, names)| {
                let remedy = "give it the trust store's options yourself";
                format!("{JAVA_TOOL_OPTIONS} of {} left alone: {cause}; {remedy}", containers(names))
            })
            .collect();
        if !long.is_empty() {
            let (containers, max) = (containers(&long), limits::JAVA_OPTIONS.max);
            notes.push(format!(
                "{JAVA_TOOL_OPTIONS} of {containers} has more than {max} bytes, and Java 8 reads no more; shorten your own \
                 options"
            ));
        }
        let alone: Vec<_> = injection.exclusive.iter().filter(|name| set.contains(**name)).copied().collect();
        if !alone.is_empty() {
            let names = alone.join(", ");
            notes.push(format!(
                "has no default CAs, but {names} replace those of programs; add useDefaultCAs: true to its sources"
            ));
        }
        PatchedPod { patch: operations.finish(), blockers, notes }
    }
}

fn containers(names: &[&str]) -> String {
    format!("container{} {}", if names.len() == 1 { "" } else { "s" }, text::summarize_names(names.iter().copied()))
}

fn mounts(container: &Container<'_>, volume: &str) -> bool {
    container.volume_mounts.iter().any(|(_, mount)| *mount.name == *volume)
}

/// A collision of two mount paths of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Collision {
    /// The paths are equal.
    Same,
    /// One path is below the other: the outer mount needs a folder for the inner one, and an injected volume has none.
    Nested,
}

fn collision(one: &[&str], other: &[&str]) -> Option<Collision> {
    let common = one.len().min(other.len());
    if one[..common] != other[..common] {
        None
    } else if one.len() == other.len() {
        Some(Collision::Same)
    } else {
        Some(Collision::Nested)
    }
}

/// Returns the parts of a path, which Kubernetes takes as absolute even if it does not begin with `/`.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').fold(Vec::new(), |mut parts, part| {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
        parts
    })
}

#[cfg(test)]
mod tests {
    use crate::bundle::DecisionSettings;
    use crate::inject::fixture::{Pairs, bundles, namespace, pod, verdict_lines};
    use crate::inject::{PodReview, Policy};
    use serde_json::{Value, json};

    const VOLUME: &str = r#"{"configMap":{"name":"plain"},"name":"rootcast-plain"}"#;
    const MOUNT: &str = r#"{"mountPath":"/etc/rootcast/plain","name":"rootcast-plain","readOnly":true}"#;
    const VARIABLE: &str = r#"{"name":"SSL_CERT_FILE","value":"/etc/rootcast/plain/ca.pem"}"#;

    /// The verdict for a pod that requests the Bundle `plain` and one variable.
    fn decide(spec: &Value, old: Option<&Value>, more: Pairs<'_>) -> Vec<String> {
        let mut annotations = json!({ "inject.rootcast.dev/bundle": "plain", "inject.rootcast.dev/runtimes": "go" });
        for (key, value) in more {
            annotations[*key] = (*value).into();
        }
        let (namespace, bundles) = (namespace(&[]), bundles(DecisionSettings::default()));
        let (pod, old) = (pod(&annotations, spec), old.map(|spec| pod(&annotations, spec)));
        let review = PodReview { namespace: "team-a", pod: &pod, old: old.as_deref() };
        verdict_lines(&review, &Policy::Native { namespace: &namespace, bundles: &bundles })
    }

    /// The changes of a container that has neither variables nor mounts.
    fn fresh(at: &str) -> [String; 2] {
        [format!("{at}/volumeMounts [{MOUNT}]"), format!("{at}/env [{VARIABLE}]")]
    }

    #[test]
    fn every_container_is_injected_sidecars_and_init_containers_too() {
        let lines = decide(
            &json!({
                "initContainers": [{ "name": "init" }, { "name": "sidecar", "restartPolicy": "Always" }],
                "containers": [{ "name": "a" }, null, { "name": "b" }],
            }),
            None,
            &[],
        );
        let mut expected = vec![format!("/spec/volumes [{VOLUME}]")];
        let paths = ["/spec/initContainers/0", "/spec/initContainers/1", "/spec/containers/0", "/spec/containers/2"];
        expected.extend(paths.into_iter().flat_map(fresh));
        assert_eq!(lines, expected);
    }

    #[test]
    fn existing_lists_are_appended_to_and_others_are_created() {
        let list = json!({ "volumes": [], "containers": [{ "env": [], "volumeMounts": [] }] });
        let null = json!({ "volumes": null, "containers": [{ "env": null, "volumeMounts": null }] });
        let at = "/spec/containers/0";
        let appended = [
            format!("/spec/volumes/- {VOLUME}"),
            format!("{at}/volumeMounts/- {MOUNT}"),
            format!("{at}/env/- {VARIABLE}"),
        ];
        assert_eq!(decide(&list, None, &[]), appended);
        let [mount, env] = fresh(at);
        assert_eq!(decide(&null, None, &[]), [format!("/spec/volumes [{VOLUME}]"), mount, env]);
    }

    #[test]
    fn a_containers_own_mounts_and_variables_are_kept() {
        let mounting = |path: &str| json!({ "name": "a", "volumeMounts": [{ "name": "own", "mountPath": path }] });
        let device = json!({ "name": "a", "volumeDevices": [{ "name": "d", "devicePath": "/etc/rootcast/plain" }] });
        let taken = vec![
            "! Bundle \"plain\": container \"a\" not injected: something is mounted at, above or below \
             \"/etc/rootcast/plain\"; move that mount or exclude the container"
                .to_owned(),
        ];
        let at = "/spec/containers/0";
        let injected = |changes: &[String]| [&[format!("/spec/volumes [{VOLUME}]")], changes].concat();
        let beside = injected(&[format!("{at}/volumeMounts/- {MOUNT}"), format!("{at}/env [{VARIABLE}]")]);
        let table = [
            (mounting("/etc/rootcast/plain"), taken.clone()),
            (mounting("/etc//rootcast/./x/../plain/"), taken.clone()),
            (mounting("etc/rootcast/plain"), taken.clone()),
            (mounting("/etc"), taken.clone()),
            (mounting("/"), taken.clone()),
            (mounting("/etc/rootcast/plain/sub"), taken.clone()),
            (device, taken),
            (mounting("/etc/rootcast/plainer"), beside.clone()),
            (mounting("/etc/rootcast/other"), beside),
            (
                json!({ "env": [{ "name": "SSL_CERT_FILE", "value": "/own" }] }),
                injected(&[format!("{at}/volumeMounts [{MOUNT}]")]),
            ),
            (
                json!({ "env": [{ "name": "SSL_CERT_FILE", "valueFrom": {} }] }),
                injected(&[format!("{at}/volumeMounts [{MOUNT}]")]),
            ),
            (json!({ "envFrom": [{ "configMapRef": { "name": "x" } }] }), injected(&fresh(at))),
        ];
        for (container, expected) in table {
            assert_eq!(decide(&json!({ "containers": [container] }), None, &[]), expected, "{container}");
        }
    }

    #[test]
    fn a_pod_has_the_volume_once_if_anything_mounts_it() {
        let own = json!({ "name": "rootcast-plain", "configMap": { "name": "plain" } });
        let mounting = json!({ "name": "a", "volumeMounts": [{ "name": "rootcast-plain", "mountPath": "/own" }] });
        let at = "/spec/containers/0";
        let exclude = [("inject.rootcast.dev/excludeContainers", "b, a")];
        let table: &[(Value, Pairs<'_>, Vec<String>)] = &[
            (json!({ "volumes": [own], "containers": [{ "name": "a" }] }), &[], fresh(at).to_vec()),
            (json!({ "volumes": [own], "containers": [mounting] }), &[], vec![]),
            (json!({ "containers": [mounting] }), &[], vec![format!("/spec/volumes [{VOLUME}]")]),
            (json!({ "containers": [{ "name": "a" }] }), &exclude, vec![]),
            (json!({ "containers": [mounting] }), &exclude, vec![format!("/spec/volumes [{VOLUME}]")]),
            (json!({ "containers": [] }), &[], vec![]),
        ];
        for (spec, more, expected) in table {
            assert_eq!(decide(spec, None, more), *expected, "{spec}");
        }
    }

    #[test]
    fn a_pod_that_cannot_be_injected_is_left_alone_or_denied_where_injection_is_required() {
        let containers = json!([{ "name": "a" }]);
        let foreign = json!({ "name": "rootcast-plain", "emptyDir": {} });
        let taken = json!([{ "name": "a", "volumeMounts": [{ "name": "own", "mountPath": "/etc/rootcast/plain" }] }, { "name": "b" }]);
        let table = [
            (
                json!({ "volumes": [foreign], "containers": containers }),
                "pod",
                "its volume \"rootcast-plain\" has another source; rename that volume",
                1,
            ),
            (
                json!({ "os": { "name": "windows" }, "containers": containers }),
                "pod",
                "it is for Windows; annotate it inject.rootcast.dev/skip: \"true\"",
                1,
            ),
            (
                json!({ "containers": taken }),
                "container \"a\"",
                "something is mounted at, above or below \"/etc/rootcast/plain\"; move that mount or exclude the container",
                4,
            ),
        ];
        for (spec, affected, cause, lines) in table {
            let output = decide(&spec, None, &[]);
            assert_eq!(output.len(), lines, "{output:?}");
            assert_eq!(output[lines - 1], format!("! Bundle \"plain\": {affected} not injected: {cause}"));
            let denied = format!(
                "403 Bundle \"plain\": {affected} cannot be injected, and annotation inject.rootcast.dev/required lets no pod in \
                 without: {cause}"
            );
            assert_eq!(decide(&spec, None, &[("inject.rootcast.dev/required", "true")]), [denied]);
        }
    }

    #[test]
    fn mirror_pods_are_left_alone_silently() {
        let spec = json!({ "containers": [{ "name": "a" }] });
        let more = [("kubernetes.io/config.mirror", "x"), ("inject.rootcast.dev/required", "true")];
        assert_eq!(decide(&spec, None, &more), [""; 0]);
    }

    #[test]
    fn of_ephemeral_containers_only_new_ones_of_an_injected_pod_can_be_injected() {
        let debug = json!([{ "name": "one" }, { "name": "two", "targetContainerName": "a" }]);
        let own = json!([{ "name": "rootcast-plain", "configMap": { "name": "plain" } }]);
        let foreign = json!([{ "name": "rootcast-plain", "secret": { "secretName": "plain" } }]);
        let pod = |volumes: &Value| json!({ "volumes": volumes, "containers": [{ "name": "a" }], "ephemeralContainers": debug });
        let old = json!({ "ephemeralContainers": [{ "name": "one" }] });
        let warned = |affected: &str| {
            vec![format!(
                "! Bundle \"plain\": {affected} not injected: the pod was not, either, and its volumes are fixed; make the pod anew"
            )]
        };
        let [one, two] = [0, 1].map(|index| fresh(&format!("/spec/ephemeralContainers/{index}")));
        let exclude = ("inject.rootcast.dev/excludeContainers", "two");
        let table: &[(Value, Value, Pairs<'_>, Vec<String>)] = &[
            (pod(&own), old.clone(), &[], two.to_vec()),
            (pod(&own), json!({}), &[], [one, two].concat()),
            (pod(&own), pod(&own), &[], vec![]),
            (pod(&own), old.clone(), &[exclude], vec![]),
            (pod(&Value::Null), old.clone(), &[], warned("container \"two\"")),
            (pod(&foreign), json!({}), &[], warned("containers \"one\", \"two\"")),
            (pod(&Value::Null), pod(&Value::Null), &[], vec![]),
            (pod(&Value::Null), old, &[exclude], vec![]),
        ];
        for (new, old, more, expected) in table {
            assert_eq!(decide(new, Some(old), more), *expected, "{new}");
        }
    }

    #[test]
    fn javas_own_options_are_extended_and_containers_left_alone_are_reported_together() {
        let java = |env: Value| json!({ "name": "a", "env": [env] });
        let mut annotations = json!({ "inject.rootcast.dev/bundle": "pkcs12", "inject.rootcast.dev/runtimes": "java" });
        annotations["other"] = "x".into();
        let spec = json!({ "containers": [
            java(json!({ "name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g" })),
            java(json!({ "name": "JAVA_TOOL_OPTIONS", "valueFrom": {} })),
            java(json!({ "name": "JAVA_TOOL_OPTIONS", "valueFrom": {} })),
            java(json!({ "name": "JAVA_TOOL_OPTIONS", "value": "-Djavax.net.ssl.trustStore=/own" })),
        ]});
        let (namespace, bundles) = (namespace(&[]), bundles(DecisionSettings::default()));
        let pod = pod(&annotations, &spec);
        let review = PodReview { namespace: "team-a", pod: &pod, old: None };
        let lines = verdict_lines(&review, &Policy::Native { namespace: &namespace, bundles: &bundles });
        let options = "-Djavax.net.ssl.trustStore=/etc/rootcast/pkcs12/k.p12 -Djavax.net.ssl.trustStoreType=PKCS12";
        assert_eq!(lines[2], format!("/spec/containers/0/env/0/value \"-Xmx1g {options}\""));
        let rest: Vec<_> = lines[3..].iter().filter(|line| !line.contains("/volumeMounts ")).collect();
        let left = |of: &str, cause: &str| {
            format!(
                "! Bundle \"pkcs12\": JAVA_TOOL_OPTIONS of {of} left alone: {cause}; give it the trust store's options yourself"
            )
        };
        assert_eq!(
            rest,
            [
                &left("containers \"a\", \"a\"", "it has valueFrom"),
                &left("container \"a\"", "it names a trust store already"),
            ]
        );
    }
}
