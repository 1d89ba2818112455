//! The rules of [cainjector](https://github.com/robertlestak/cainjector): every pod is injected but for what its
//! annotations and a file of options exclude.

use std::borrow::Cow;

use crate::bundle::ObjectKind;

use super::injection::{Injection, Source};
use super::options::Options;
use super::pod::Pod;
use super::verdict::{Hindrance, Refusal, What, Wish};
use super::{Review, words};

/// Where the certificates are mounted if nobody says.
const MOUNT_PATH: &str = "/cacerts";

/// The key of the PEM if nobody says.
const CERT_FILE: &str = "ca.crt";

/// The one variable that is set.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// By what name it goes in this cluster: its annotations begin with `name.domain/`, its volumes with the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// `cainjector`, unless it was renamed.
    pub name: String,
    /// `lestak.sh`, unless it was renamed.
    pub domain: String,
}

impl Operator {
    fn prefix(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// What a pod says, and what holds where it does not.
struct Say<'a> {
    pod: &'a Pod<'a>,
    prefix: &'a str,
}

impl<'a> Say<'a> {
    /// The value of an annotation; an empty one says nothing.
    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.pod.annotation(&format!("{}/{key}", self.prefix)).filter(|value| !value.is_empty())
    }

    fn text(&self, key: &str, otherwise: &'a str) -> &'a str {
        self.annotation(key).unwrap_or(otherwise)
    }

    /// A list in an annotation takes the place of the one in the options.
    fn list(&self, key: &str, otherwise: &'a [String]) -> Cow<'a, [String]> {
        match self.annotation(key) {
            Some(list) => list.split(',').map(|item| item.trim().to_owned()).collect(),
            None => otherwise.into(),
        }
    }
}

pub(super) fn wish(pod: &Pod<'_>, review: &Review<'_>, operator: &Operator, options: &Options) -> Wish {
    let prefix = operator.prefix();
    let what = what(&Say { pod, prefix: &prefix }, review.namespace, operator, options);
    Wish { subject: words::shorten(&prefix, words::NAME_MAX), required: false, warnings: Vec::new(), what }
}

fn what(say: &Say<'_>, namespace: &str, operator: &Operator, options: &Options) -> What {
    let prefix = say.prefix;
    let listed = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case(namespace));
    let included = say.list("includeNamespaces", &options.include_namespaces);
    let off = say.text("inject", &options.inject) == "false"
        || !included.is_empty() && !listed(&included)
        || listed(&say.list("excludeNamespaces", &options.exclude_namespaces));
    if off {
        return What::Nothing;
    }
    let (secret, config_map) = match (say.annotation("secret"), say.annotation("configMap")) {
        (None, None) => (options.secret.as_str(), options.config_map.as_str()),
        (Some(secret), None) => (secret, ""),
        (None, Some(config_map)) => ("", config_map),
        (Some(_), Some(_)) => {
            let message =
                format!("both secret and configMap specified: drop annotation {prefix}/secret or {prefix}/configMap");
            return What::Refuse(Refusal { code: 400, message });
        }
    };
    // Among the options, the Secret wins.
    let (kind, name) =
        if secret.is_empty() { (ObjectKind::ConfigMap, config_map) } else { (ObjectKind::Secret, secret) };
    if name.is_empty() {
        let cure = format!("set configMap in the options or annotation {prefix}/configMap");
        return What::Hindered(Hindrance::of_pod("neither secret nor configMap is set", cure));
    }
    let source = Source { kind, name: name.to_owned() };
    let mount_path = or(say.text("mountPath", &options.mount_path), MOUNT_PATH);
    let cert_file = or(say.text("certFile", &options.cert_file), CERT_FILE);
    let mut injection =
        Injection::of(&operator.name, source, mount_path.to_owned(), format!("{prefix}/inject: \"false\""));
    injection.excluded = say.list("excludeContainers", &options.exclude_containers).into_owned();
    injection.trusts_own_mounts = true;
    if say.text("setEnvVar", &options.set_env_var) != "false" {
        let file = say.annotation("sslCertFile").map_or_else(|| format!("{mount_path}/{cert_file}"), ToOwned::to_owned);
        injection.variables.push((SSL_CERT_FILE, file));
    }
    What::Inject(injection)
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
