//! The rules of [cainjector](https://github.com/robertlestak/cainjector).
//!
//! Every pod is injected unless its annotations or a file of options exclude it.

use crate::bundle::ObjectKind;
use crate::text;

use super::blocker::Blocker;
use super::injection::{Injection, InjectionSource};
use super::options::CainjectorOptions;
use super::pod::Pod;
use super::verdict::{Denial, InjectionAction, InjectionRequest};
use super::{ReviewedPod, budget};

/// The default path at which the certificates are mounted.
const MOUNT_PATH: &str = "/cacerts";

/// The default key of the PEM.
const CERT_FILE: &str = "ca.crt";

/// The only variable that is set.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// The name of cainjector in this cluster: its annotations begin with `name.domain/`, its volumes with `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name; `cainjector` by default.
    pub name: String,
    /// The domain; `lestak.sh` by default.
    pub domain: String,
}

impl Operator {
    fn prefix(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// The annotations of a pod, with fallbacks.
struct Annotations<'a, 'p> {
    pod: &'a Pod<'a>,
    prefix: &'p str,
}

impl<'a> Annotations<'a, '_> {
    /// Returns the value of an annotation that is set and not empty.
    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.pod.annotation(&format!("{}/{key}", self.prefix)).filter(|value| !value.is_empty())
    }

    fn text(&self, key: &str, otherwise: &'a str) -> &'a str {
        self.annotation(key).unwrap_or(otherwise)
    }

    /// Returns the list in an annotation, which replaces the one in the options.
    fn list(&self, key: &str, otherwise: &'a [String]) -> impl Iterator<Item = &'a str> {
        let value = self.annotation(key);
        let otherwise = if value.is_some() { &[] } else { otherwise };
        let values = value.into_iter().flat_map(|list| list.split(',').map(str::trim));
        values.chain(otherwise.iter().map(String::as_str))
    }
}

/// Returns the injection that the options and the annotations of a pod request.
pub(super) fn injection_request<'a>(
    review: &'a ReviewedPod<'_>,
    operator: &Operator,
    options: &'a CainjectorOptions,
) -> InjectionRequest<'a> {
    let prefix = operator.prefix();
    let annotations = Annotations { pod: &review.pod, prefix: &prefix };
    let action = choose_action(&annotations, review.namespace, operator, options);
    InjectionRequest { subject: text::name(&prefix), required: false, warnings: Vec::new(), action }
}

fn choose_action<'a>(
    annotations: &Annotations<'a, '_>,
    namespace: &str,
    operator: &Operator,
    options: &'a CainjectorOptions,
) -> InjectionAction<'a> {
    let prefix = annotations.prefix;
    let is_it = |name: &str| name.eq_ignore_ascii_case(namespace);
    let mut included = annotations.list("includeNamespaces", &options.include_namespaces).peekable();
    let off = annotations.text("inject", &options.inject) == "false"
        || included.peek().is_some() && !included.any(is_it)
        || annotations.list("excludeNamespaces", &options.exclude_namespaces).any(is_it);
    if off {
        return InjectionAction::Nothing;
    }
    if let Some(blocker) = budget::excess(annotations.pod, prefix) {
        return InjectionAction::Blocked(blocker);
    }
    let (secret, config_map) = match (annotations.annotation("secret"), annotations.annotation("configMap")) {
        (None, None) => (options.secret.as_str(), options.config_map.as_str()),
        (Some(secret), None) => (secret, ""),
        (None, Some(config_map)) => ("", config_map),
        (Some(_), Some(_)) => {
            let message =
                format!("both secret and configMap specified: drop annotation {prefix}/secret or {prefix}/configMap");
            return InjectionAction::Deny(Denial { code: 400, message });
        }
    };
    // Among the options, the Secret takes precedence.
    let (kind, name) =
        if secret.is_empty() { (ObjectKind::ConfigMap, config_map) } else { (ObjectKind::Secret, secret) };
    if name.is_empty() {
        let remedy = format!("set configMap in the options or annotation {prefix}/configMap");
        return InjectionAction::Blocked(Blocker::of_pod("neither secret nor configMap is set", remedy));
    }
    let source = InjectionSource { kind, name: name.to_owned() };
    let mount_path = or(annotations.text("mountPath", &options.mount_path), MOUNT_PATH);
    let cert_file = or(annotations.text("certFile", &options.cert_file), CERT_FILE);
    let mut injection =
        Injection::of(&operator.name, source, mount_path.to_owned(), format!("{prefix}/inject: \"false\""));
    injection.excluded = annotations.list("excludeContainers", &options.exclude_containers).collect();
    injection.trusts_own_mounts = true;
    if annotations.text("setEnvVar", &options.set_env_var) != "false" {
        let file = annotations
            .annotation("sslCertFile")
            .map_or_else(|| format!("{mount_path}/{cert_file}"), ToOwned::to_owned);
        injection.variables.push((SSL_CERT_FILE, file));
    }
    InjectionAction::Inject(injection)
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::Policy;
    use crate::inject::fixture::{Pairs, new_pod_lines, pod};
    use serde_json::{Value, json};

    /// The verdict for a pod in the namespace `team-a`.
    fn decide(options: &str, annotations: Pairs<'_>, spec: &Value) -> Vec<String> {
        let annotations: Value = annotations
            .iter()
            .map(|(key, value)| (format!("cainjector.lestak.sh/{key}"), Value::from(*value)))
            .collect();
        let operator = Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() };
        let options = CainjectorOptions::parse(options).unwrap();
        new_pod_lines(&pod(&annotations, spec), &Policy::Cainjector { operator: &operator, options: &options })
    }

    fn app() -> Value {
        json!({ "containers": [{ "name": "app" }] })
    }

    /// The mounted object, its path, and the value of the variable.
    fn injected(options: &str, annotations: Pairs<'_>) -> String {
        let lines = decide(options, annotations, &app());
        let value = |start: &str| -> Value {
            let line = lines.iter().find_map(|line| line.strip_prefix(start));
            line.map_or(Value::Null, |line| serde_json::from_str(line).unwrap())
        };
        let (volume, mount, env) =
            (value("/spec/volumes "), value("/spec/containers/0/volumeMounts "), value("/spec/containers/0/env "));
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let source = match &volume[0]["secret"]["secretName"] {
            Value::Null => format!("configMap {}", text(&volume[0]["configMap"]["name"])),
            name => format!("secret {}", text(name)),
        };
        assert_eq!(volume[0]["name"], mount[0]["name"]);
        format!("{source} at {} {}", text(&mount[0]["mountPath"]), text(&env[0]["value"]))
    }

    #[test]
    fn annotations_override_options_and_those_override_defaults() {
        let all = "{configMap: corp, mountPath: /certs, certFile: ca.pem}";
        let table: &[(&str, Pairs<'_>, &str)] = &[
            ("configMap: corp", &[], "configMap corp at /cacerts /cacerts/ca.crt"),
            (all, &[], "configMap corp at /certs /certs/ca.pem"),
            (all, &[("mountPath", "/m"), ("certFile", "c")], "configMap corp at /m /m/c"),
            (all, &[("mountPath", ""), ("certFile", "")], "configMap corp at /certs /certs/ca.pem"),
            (all, &[("configMap", "mine")], "configMap mine at /certs /certs/ca.pem"),
            (all, &[("secret", "mine")], "secret mine at /certs /certs/ca.pem"),
            (all, &[("secret", "mine"), ("configMap", "")], "secret mine at /certs /certs/ca.pem"),
            ("{secret: s, configMap: c}", &[], "secret s at /cacerts /cacerts/ca.crt"),
            ("{secret: s, configMap: c}", &[("configMap", "mine")], "configMap mine at /cacerts /cacerts/ca.crt"),
            (all, &[("setEnvVar", "false")], "configMap corp at /certs -"),
            (all, &[("setEnvVar", "False")], "configMap corp at /certs /certs/ca.pem"),
            ("{configMap: corp, setEnvVar: false}", &[], "configMap corp at /cacerts -"),
            (
                "{configMap: corp, setEnvVar: false}",
                &[("setEnvVar", "true")],
                "configMap corp at /cacerts /cacerts/ca.crt",
            ),
            (all, &[("sslCertFile", "/etc/own.pem")], "configMap corp at /certs /etc/own.pem"),
            (all, &[("sslCertFile", "/etc/own.pem"), ("setEnvVar", "false")], "configMap corp at /certs -"),
        ];
        for (options, annotations, expected) in table {
            assert_eq!(injected(options, annotations), *expected, "{options} {annotations:?}");
        }
    }

    #[test]
    fn pods_are_injected_unless_something_excludes_them() {
        let rows: &[(&str, Pairs<'_>, bool)] = &[
            ("", &[], true),
            ("inject: false", &[], false),
            ("inject: 'false'", &[], false),
            ("inject: False", &[], true),
            ("inject: false", &[("inject", "true")], true),
            ("inject: false", &[("inject", "")], false),
            ("", &[("inject", "false")], false),
            ("", &[("inject", "FALSE")], true),
            ("includeNamespaces: [Team-A]", &[], true),
            ("includeNamespaces: [team-b]", &[], false),
            ("includeNamespaces: [team-b]", &[("includeNamespaces", "x, TEAM-A")], true),
            ("", &[("includeNamespaces", ",")], false),
            ("excludeNamespaces: [TEAM-A]", &[], false),
            ("excludeNamespaces: [team-a]", &[("excludeNamespaces", "other")], true),
            ("excludeNamespaces: [team-a]", &[("excludeNamespaces", "")], false),
            ("{includeNamespaces: [team-a], excludeNamespaces: [team-a]}", &[], false),
            ("excludeContainers: [app]", &[], false),
            ("excludeContainers: [App]", &[], true),
            ("excludeContainers: [app]", &[("excludeContainers", "other")], true),
            ("", &[("excludeContainers", "other , app")], false),
        ];
        for (options, annotations, expected) in rows {
            let options = match options.strip_prefix('{') {
                Some(rest) => format!("{{configMap: corp, {rest}"),
                None => format!("configMap: corp\n{options}"),
            };
            let lines = decide(&options, annotations, &app());
            assert_eq!(lines.len(), if *expected { 3 } else { 0 }, "{options} {annotations:?}: {lines:?}");
        }
    }

    #[test]
    fn a_pod_that_names_both_sources_is_denied_unless_it_is_excluded() {
        let both = [("secret", "s"), ("configMap", "c")];
        let denied = "400 both secret and configMap specified: drop annotation cainjector.lestak.sh/secret or cainjector.lestak.sh/configMap";
        assert_eq!(decide("", &both, &app()), [denied]);
        assert_eq!(decide("excludeNamespaces: [team-a]", &both, &app()), [""; 0]);
        assert_eq!(decide("includeNamespaces: [team-b]", &both, &app()), [""; 0]);
        assert_eq!(decide("inject: false", &both, &app()), [""; 0]);
    }

    #[test]
    fn a_pod_that_cannot_be_injected_is_left_alone_with_a_warning() {
        let windows = json!({ "containers": [{ "name": "app" }], "nodeSelector": { "kubernetes.io/os": "windows" } });
        let foreign =
            json!({ "containers": [{ "name": "app" }], "volumes": [{ "name": "cainjector-c", "emptyDir": {} }] });
        let table = [
            (
                "",
                app(),
                "neither secret nor configMap is set; set configMap in the options or annotation cainjector.lestak.sh/configMap",
            ),
            ("configMap: c", windows, "it is for Windows; annotate it cainjector.lestak.sh/inject: \"false\""),
            ("configMap: c", foreign, "its volume \"cainjector-c\" has another source; rename that volume"),
        ];
        for (options, spec, cause) in table {
            assert_eq!(decide(options, &[], &spec), [format!("! cainjector.lestak.sh: pod not injected: {cause}")]);
        }
    }

    #[test]
    fn a_container_with_a_mount_at_the_path_is_left_alone_silently_but_not_one_with_a_mount_below() {
        let mounting = |path: &str| json!({ "containers": [{ "name": "app", "volumeMounts": [{ "name": "own", "mountPath": path }] }] });
        assert_eq!(decide("configMap: c", &[], &mounting("/cacerts")), [""; 0]);
        let lines = decide("configMap: c", &[], &mounting("/cacerts/x"));
        assert!(lines.len() == 1 && lines[0].contains("container \"app\" not injected"), "{lines:?}");
    }
}
