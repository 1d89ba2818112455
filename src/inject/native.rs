//! Native mode: a pod's annotation or its namespace's label names a Bundle.

use std::collections::BTreeMap;

use crate::bundle::{BundleId, DecisionSettings, LabelSet, Namespace};
use crate::text;

use super::annotations::{BUNDLE, EXCLUDE_CONTAINERS, PREFIX, REQUIRED, RUNTIMES, SKIP};
use super::blocker::Blocker;
use super::injectable::{Injectability, InjectableBundle};
use super::injection::{Injection, InjectionSource};
use super::java;
use super::pod::Pod;
use super::runtimes::{self, PointsAt};
use super::verdict::{InjectionAction, InjectionRequest};
use super::{ReviewedPod, budget};

/// The prefix of the names of injected volumes.
const OWNER: &str = "rootcast";

/// The folder of the mounts, which has one folder for each Bundle.
const MOUNTS: &str = "/etc/rootcast";

/// The Bundles of the cluster, as pods can mount them.
#[derive(Clone, Debug, Default)]
pub struct InjectableBundles {
    /// The settings of the controller.
    pub settings: DecisionSettings,
    /// The Bundles by key.
    pub by_id: BTreeMap<BundleId, Injectability>,
}

/// The requirement in a pod's annotations for the case that no Bundle is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionRequirement {
    /// The pod opts out of injection.
    Skip,
    /// The pod must not start without its Bundle.
    Required,
    /// The pod starts without its Bundle.
    Optional,
}

impl ReviewedPod<'_> {
    /// Returns the requirement in the pod's annotations for the case that no Bundle is available.
    #[must_use]
    pub fn requirement(&self) -> InjectionRequirement {
        let is_set = |key| self.pod.annotation(key).is_some_and(|value| value.trim() == "true");
        if is_set(SKIP) {
            InjectionRequirement::Skip
        } else if is_set(REQUIRED) && self.old.is_none() {
            // The annotation is about a pod's start: ephemeral containers for a running pod are not denied.
            InjectionRequirement::Required
        } else {
            InjectionRequirement::Optional
        }
    }

    /// Returns the name of the Bundle that the pod's annotation requests, which precedes [`labelled_bundle`].
    #[must_use]
    pub fn annotated_bundle(&self) -> Option<&str> {
        self.pod.annotation(BUNDLE).and_then(non_empty)
    }

    /// Returns the warning about an annotation that should be `"true"` or `"false"`, and is neither.
    fn flag_warning(&self, key: &str) -> Option<String> {
        let value = self.pod.annotation(key).and_then(non_empty).filter(|value| !["true", "false"].contains(value))?;
        let value = text::quote_name(value);
        Some(text::warning(&format!("{key}: {value} is neither \"true\" nor \"false\", and means nothing")))
    }
}

/// Returns the injection that the annotations of a pod and the label of its namespace request.
pub(super) fn injection_request<'a>(
    review: &'a ReviewedPod<'_>,
    namespace: &Namespace,
    bundles: &InjectableBundles,
) -> InjectionRequest<'a> {
    let mut warnings: Vec<_> = [SKIP, REQUIRED].into_iter().filter_map(|key| review.flag_warning(key)).collect();
    let requirement = review.requirement();
    let required = requirement == InjectionRequirement::Required;
    let by_annotation = review.annotated_bundle().map(|name| (name, "annotation"));
    let requested = by_annotation.or_else(|| Some((labelled_bundle(namespace)?, "namespace label")));
    let Some((name, by)) = requested.filter(|_| requirement != InjectionRequirement::Skip) else {
        let action = if required { InjectionAction::Blocked(no_bundle_named()) } else { InjectionAction::Nothing };
        return InjectionRequest { subject: "no Bundle".to_owned(), required, warnings, action };
    };
    let injectable = injectable_bundle(name, by, review.namespace, namespace, bundles);
    let action = match (budget::excess(&review.pod, PREFIX), injectable) {
        (Some(blocker), _) | (None, Err(blocker)) => InjectionAction::Blocked(blocker),
        (None, Ok(bundle)) => InjectionAction::Inject(injection(name, bundle, &review.pod, &mut warnings)),
    };
    InjectionRequest { subject: subject(name), required, warnings, action }
}

/// Returns the name of the Bundle that the label of a namespace requests for its pods.
#[must_use]
pub fn labelled_bundle(namespace: &Namespace) -> Option<&str> {
    namespace.labels.value(BUNDLE).and_then(non_empty)
}

/// Returns the Bundle that a namespace's label names for all of its pods.
///
/// If its pods cannot mount the Bundle, the cause and the remedy are returned, too.
#[must_use]
pub fn bundle_of_namespace_label<'a>(
    name: &str,
    namespace: &'a Namespace,
    bundles: &InjectableBundles,
) -> Option<(&'a str, Option<(String, String)>)> {
    let bundle = labelled_bundle(namespace)?;
    let injectable = injectable_bundle(bundle, "namespace label", name, namespace, bundles);
    Some((bundle, injectable.err().map(|Blocker { cause, remedy, .. }| (cause, remedy))))
}

/// Returns the trimmed value unless it is empty.
fn non_empty(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty())
}

fn subject(bundle: &str) -> String {
    format!("Bundle {}", text::quote_name(bundle))
}

fn no_bundle_named() -> Blocker {
    Blocker::of_pod("neither it nor its namespace names a Bundle", format!("name one by annotation {BUNDLE}"))
}

/// Returns the Bundle of this name, or why pods of the namespace `name` cannot mount it.
fn injectable_bundle<'a>(
    bundle: &str,
    by: &str,
    name: &str,
    namespace: &Namespace,
    bundles: &'a InjectableBundles,
) -> Result<&'a InjectableBundle, Blocker> {
    let InjectableBundles { settings, by_id } = bundles;
    match by_id.get(&bundle.into()) {
        None => Err(Blocker::of_pod("there is no such Bundle", format!("create it or mend {by} {BUNDLE}"))),
        Some(Injectability::Unusable { cause, remedy }) => Err(Blocker::of_pod(cause, remedy)),
        Some(Injectability::Usable(injectable)) => {
            injectable.check_reach(settings, name, namespace).map(|()| injectable)
        }
    }
}

fn injection<'a>(
    bundle: &str,
    injectable: &InjectableBundle,
    pod: &'a Pod<'_>,
    warnings: &mut Vec<String>,
) -> Injection<'a> {
    let InjectableBundle { kind, pem_key, keystore, default_cas, .. } = injectable;
    let mount_path = format!("{MOUNTS}/{bundle}");
    let pem = format!("{mount_path}/{pem_key}");
    let source = InjectionSource { kind: *kind, name: bundle.to_owned() };
    let mut injection = Injection::of(OWNER, source, mount_path, format!("{SKIP}: \"true\""));

    let excluded = pod.annotation(EXCLUDE_CONTAINERS).into_iter().flat_map(|names| names.split(','));
    injection.excluded = excluded.filter_map(non_empty).collect();

    let choice = runtimes::choose(pod.annotation(RUNTIMES).and_then(non_empty));
    if !choice.unknown.is_empty() {
        let (unknown, known) = (text::summarize_names(choice.unknown), runtimes::runtime_names().join(", "));
        warnings.push(text::warning(&format!("{RUNTIMES}: {unknown} unknown; there are {known}")));
    }
    for runtime in choice.variables {
        match (runtime.points_at, keystore) {
            (PointsAt::Pem, _) => injection.variables.push((runtime.variable, pem.clone())),
            (PointsAt::Keystore, Some(keystore)) => {
                injection.java = Some(java::options(keystore, &injection.mount_path));
            }
            (PointsAt::Keystore, None) => warnings.push(text::warning(&format!(
                "{}: {} left alone: it has no keystore; give it spec.target.additionalFormats.jks",
                subject(bundle),
                runtime.variable,
            ))),
        }
        if runtime.is_exclusive() && !default_cas {
            injection.exclusive.push(runtime.variable);
        }
    }
    injection
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::fixture::{Pairs, bundles, namespace, new_pod_lines, pod, verdict_lines};
    use crate::inject::{PodReview, Policy};
    use serde_json::{Value, json};

    const MOUNT: &str = r#"/spec/containers/0/volumeMounts [{"mountPath":"/etc/rootcast/plain","name":"rootcast-plain","readOnly":true}]"#;
    const VOLUME: &str = r#"/spec/volumes [{"configMap":{"name":"plain"},"name":"rootcast-plain"}]"#;

    fn annotations(pairs: Pairs<'_>) -> Value {
        pairs.iter().map(|(key, value)| (format!("inject.rootcast.dev/{key}"), Value::from(*value))).collect()
    }

    /// The verdict for a pod with one container, with `runtimes` set so that no variables are added.
    fn decide(pairs: Pairs<'_>, labels: Pairs<'_>, settings: DecisionSettings) -> Vec<String> {
        let mut annotations = annotations(pairs);
        annotations["inject.rootcast.dev/runtimes"] = ",".into();
        let pod = pod(&annotations, &json!({ "containers": [{ "name": "app" }] }));
        new_pod_lines(&pod, &Policy::Native { namespace: &namespace(labels), bundles: &bundles(settings) })
    }

    #[test]
    fn the_pod_chooses_before_its_namespace_and_skip_before_both() {
        let label = [(BUNDLE, "plain")];
        let injected: &[&str] = &[VOLUME, MOUNT];
        let table: &[(Pairs<'_>, Pairs<'_>, &[&str])] = &[
            (&[], &[], &[]),
            (&[], &label, injected),
            (&[("bundle", "plain")], &[], injected),
            (&[("bundle", " plain ")], &[], injected),
            (&[("bundle", "plain")], &[(BUNDLE, "absent")], injected),
            (&[("bundle", "")], &label, injected),
            (&[("bundle", " ")], &[], &[]),
            (&[("skip", "true")], &label, &[]),
            (&[("skip", "true"), ("bundle", "plain"), ("required", "true")], &label, &[]),
            (&[("skip", "true"), ("required", "true")], &[], &[]),
            (&[("skip", "false")], &label, injected),
            (&[("skip", "")], &label, injected),
            (&[("required", "true")], &label, injected),
            (
                &[("required", "yes")],
                &[],
                &[r#"! inject.rootcast.dev/required: "yes" is neither "true" nor "false", and means nothing"#],
            ),
            (
                &[("skip", "1")],
                &label,
                &[VOLUME, MOUNT, r#"! inject.rootcast.dev/skip: "1" is neither "true" nor "false", and means nothing"#],
            ),
        ];
        for (pairs, labels, expected) in table {
            assert_eq!(decide(pairs, labels, DecisionSettings::default()), *expected, "{pairs:?} {labels:?}");
        }
    }

    #[test]
    fn a_blocker_is_reported_with_its_remedy_or_denies_a_pod_that_requires_injection() {
        let only = |names: &[&str]| DecisionSettings {
            target_namespaces: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..DecisionSettings::default()
        };
        let table = [
            (
                "absent",
                DecisionSettings::default(),
                "there is no such Bundle; create it or mend annotation inject.rootcast.dev/bundle",
            ),
            ("homeless", DecisionSettings::default(), "it has no target; give it spec.target.configMap.key"),
            (
                "broken",
                DecisionSettings::default(),
                "it is invalid: spec.sources: Forbidden: must define at least one source; mend it",
            ),
            (
                "secret",
                DecisionSettings::default(),
                "its target is a Secret; give controller and injector --secret-targets-enabled",
            ),
            (
                "coredns",
                DecisionSettings { allow_names: ["kube-proxy".to_owned()].into(), ..DecisionSettings::default() },
                "\"coredns\" is a name that CoreDNS keeps objects of its own under; give the Bundle another name, or controller and injector --allow-names=coredns",
            ),
            (
                "picky",
                DecisionSettings::default(),
                "it does not select namespace \"team-a\": env=prod; label the namespace or mend spec.target.namespaceSelector",
            ),
            (
                "plain",
                only(&["team-b"]),
                "namespace \"team-a\" receives no targets; add it to --target-namespaces of controller and injector",
            ),
        ];
        for (bundle, settings, cause) in table {
            let optional = decide(&[("bundle", bundle)], &[], settings.clone());
            assert_eq!(optional, [format!("! Bundle {bundle:?}: pod not injected: {cause}")]);
            let required = decide(&[("bundle", bundle), ("required", "true")], &[], settings);
            let without = "pod cannot be injected, and annotation inject.rootcast.dev/required lets no pod in without";
            assert_eq!(required, [format!("403 Bundle {bundle:?}: {without}: {cause}")]);
        }
        assert_eq!(decide(&[("bundle", "picky")], &[("env", "prod")], DecisionSettings::default()).len(), 2);
        assert_eq!(decide(&[("bundle", "plain")], &[], only(&["team-a"])).len(), 2);
        let allowing = DecisionSettings { allow_names: ["coredns".to_owned()].into(), ..DecisionSettings::default() };
        assert_eq!(decide(&[("bundle", "coredns")], &[], allowing).len(), 2, "a protected name that is allowed");
        let by_label = decide(&[], &[(BUNDLE, "absent")], DecisionSettings::default());
        assert!(by_label[0].ends_with("create it or mend namespace label inject.rootcast.dev/bundle"), "{by_label:?}");
        let unnamed = decide(&[("required", "true")], &[], DecisionSettings::default());
        assert!(unnamed[0].starts_with("403 no Bundle: pod cannot be injected"), "{unnamed:?}");
    }

    #[test]
    fn a_running_pod_is_not_denied_for_what_it_required_at_its_start() {
        let pod = pod(
            &annotations(&[("bundle", "absent"), ("required", "true")]),
            &json!({ "containers": [{ "name": "app" }], "ephemeralContainers": [{ "name": "debug" }] }),
        );
        let (namespace, bundles) = (namespace(&[]), bundles(DecisionSettings::default()));
        let review = PodReview { namespace: "team-a", pod: &pod, old: Some("{}") };
        let lines = verdict_lines(&review, &Policy::Native { namespace: &namespace, bundles: &bundles });
        assert!(lines.len() == 1 && lines[0].starts_with("! Bundle \"absent\": pod not injected"), "{lines:?}");
    }

    #[test]
    fn a_secret_is_mounted_where_secrets_are_written_and_there_is_no_config_map() {
        let settings = DecisionSettings { secret_targets: true, ..DecisionSettings::default() };
        let volume = |bundle| decide(&[("bundle", bundle)], &[], settings.clone())[0].clone();
        assert_eq!(volume("secret"), r#"/spec/volumes [{"name":"rootcast-secret","secret":{"secretName":"secret"}}]"#);
        assert_eq!(volume("either"), r#"/spec/volumes [{"configMap":{"name":"either"},"name":"rootcast-either"}]"#);
        let dotted = volume("my-org.com");
        assert!(dotted.contains(r#"{"name":"my-org.com"},"name":"rootcast-my-org-com-"#), "{dotted}");
    }

    /// The variables of the one container, and the warnings.
    fn environment(bundle: &str, runtimes: Option<&str>) -> (Vec<(String, String)>, Vec<String>) {
        let mut pairs = vec![("bundle", bundle)];
        pairs.extend(runtimes.map(|runtimes| ("runtimes", runtimes)));
        let pod = pod(&annotations(&pairs), &json!({ "containers": [{ "name": "app" }] }));
        let (namespace, bundles) = (namespace(&[]), bundles(DecisionSettings::default()));
        let mut lines = new_pod_lines(&pod, &Policy::Native { namespace: &namespace, bundles: &bundles });
        let warnings = lines.split_off(lines.iter().position(|line| line.starts_with('!')).unwrap_or(lines.len()));
        let env = lines.iter().find_map(|line| line.strip_prefix("/spec/containers/0/env "));
        let env: Vec<Value> = env.map_or_else(Vec::new, |env| serde_json::from_str(env).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (env.iter().map(|item| (text(&item["name"]), text(&item["value"]))).collect(), warnings)
    }

    #[test]
    fn runtimes_choose_variables_and_without_them_the_default_ones_are_set() {
        let pem = |names: &[&str]| -> Vec<(String, String)> {
            names.iter().map(|name| ((*name).to_owned(), "/etc/rootcast/plain/ca.pem".to_owned())).collect()
        };
        let all = [
            "SSL_CERT_FILE",
            "CURL_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "PIP_CERT",
            "GIT_SSL_CAINFO",
            "NODE_EXTRA_CA_CERTS",
            "DENO_CERT",
            "CARGO_HTTP_CAINFO",
        ];
        assert_eq!(environment("plain", None), (pem(&all), vec![]));
        assert_eq!(environment("plain", Some(" ")), (pem(&all), vec![]));
        assert_eq!(environment("plain", Some("node, git")), (pem(&["GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"]), vec![]));
        let known = "openssl, go, ruby, dotnet, curl, python, aws, grpc, git, node, deno, cargo, java";
        let warning = format!("! inject.rootcast.dev/runtimes: \"php\" unknown; there are {known}");
        assert_eq!(environment("plain", Some("go,php")), (pem(&["SSL_CERT_FILE"]), vec![warning]));
    }

    #[test]
    fn java_gets_the_jks_if_there_are_two_keystores() {
        let options = |bundle, store: &str| format!("-Djavax.net.ssl.trustStore=/etc/rootcast/{bundle}/{store}");
        let jks = format!(
            "{} -Djavax.net.ssl.trustStorePassword=changeit",
            options("stores", "k.jks -Djavax.net.ssl.trustStoreType=JKS")
        );
        let p12 = options("pkcs12", "k.p12 -Djavax.net.ssl.trustStoreType=PKCS12");
        let java = |value| vec![("JAVA_TOOL_OPTIONS".to_owned(), value)];
        assert_eq!(environment("stores", Some("java")), (java(jks), vec![]));
        assert_eq!(environment("pkcs12", Some("java")), (java(p12), vec![]));
        let warning = "! Bundle \"plain\": JAVA_TOOL_OPTIONS left alone: it has no keystore; give it spec.target.additionalFormats.jks";
        assert_eq!(environment("plain", Some("java")), (vec![], vec![warning.to_owned()]));
    }

    #[test]
    fn a_bundle_without_default_cas_that_replaces_them_causes_a_warning() {
        let warning = |names| {
            vec![format!(
                "! Bundle \"private\": has no default CAs, but {names} replace those of programs; add useDefaultCAs: true to its sources"
            )]
        };
        assert_eq!(environment("private", Some("node,deno,go")).1, [""; 0]);
        assert_eq!(environment("private", Some("git,node")).1, warning("GIT_SSL_CAINFO"));
        assert_eq!(environment("private", Some("java,aws")).1, warning("AWS_CA_BUNDLE, JAVA_TOOL_OPTIONS"));
        let all = "CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE, PIP_CERT, GIT_SSL_CAINFO, CARGO_HTTP_CAINFO";
        assert_eq!(environment("private", None).1, warning(all));
    }
}
