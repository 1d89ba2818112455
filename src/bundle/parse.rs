//! Parser of the wire form of a Bundle, which reports every broken rule with its field.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api;
use crate::trust::{Password, Profile};

use super::field_error::{FieldError, FieldErrors};
use super::intent::{
    CertificateSource, Intent, JksOutput, Keys, ObjectOutput, ObjectSource, Output, Pkcs12Output, Select,
};
use super::object_kind::ObjectKind;
use super::policy::BundlePolicy;
use super::retention::ledger_of;
use super::selector::{Labels, Selector};
use super::size;
use super::syntax;
use super::trust_namespaces::TrustNamespaces;

impl Intent {
    /// Parses the wire form.
    ///
    /// # Errors
    /// The errors of the Bundle, each with its field path, in the order of the fields: at most 20, and
    /// then how many more there are.
    pub fn parse(bundle: &api::Bundle, namespaces: &TrustNamespaces) -> Result<Self, Vec<FieldError>> {
        let api::Bundle { metadata, spec, status: _ } = bundle;
        let api::BundleSpec { sources, target } = spec;
        let name = metadata.name.clone().unwrap_or_default();
        let mut problems = FieldErrors::default();
        check_name(&name, &mut problems);
        // What is too large is not parsed any further.
        size::check(spec, &mut problems)?;
        let policy = BundlePolicy::parse(metadata, namespaces, &mut problems);
        let namespace = policy.trust_namespace.as_ref().unwrap_or(namespaces.main());
        let sources = parse_sources(sources, namespace, &mut problems);
        let (output, namespaces) =
            target.as_ref().map(|target| parse_target(target, &mut problems)).unwrap_or_default();
        reject_self_reference(&name, &sources, &output, &mut problems);
        problems.end()?;
        let uid = metadata.uid.clone().unwrap_or_default();
        Ok(Self { id: name.into(), uid, sources, namespaces, output, policy })
    }
}

fn check_name(name: &str, problems: &mut FieldErrors) {
    if name.len() > api::MAX_NAME {
        problems.push(FieldError::invalid(
            "metadata.name",
            name,
            format!("must be no more than {} characters: it becomes a label value of every target", api::MAX_NAME),
        ));
    } else if !syntax::is_dns_subdomain(name) {
        problems.push(FieldError::invalid("metadata.name", name, "must be a lowercase RFC 1123 subdomain"));
    } else if ledger_of(name).is_some() {
        problems.push(FieldError::invalid(
            "metadata.name",
            name,
            "is the name of a ledger, whose place its target would take: give the Bundle another one",
        ));
    }
}

fn parse_sources(
    wire: &[api::BundleSource],
    namespace: &Arc<str>,
    problems: &mut FieldErrors,
) -> Vec<CertificateSource> {
    let mut sources = Vec::new();
    let mut default_requests = 0;
    let mut counted = 0;
    for (index, item) in wire.iter().enumerate() {
        let api::BundleSource { config_map, secret, in_line, use_default_cas } = item;
        let at = format!("spec.sources[{index}]");
        let mut types = 0;
        for (kind, object) in [(ObjectKind::ConfigMap, config_map), (ObjectKind::Secret, secret)] {
            if let Some(object) = object {
                types += 1;
                counted += 1;
                let at = format!("{at}.{}", kind.field());
                let object = parse_object(kind, object, namespace, &at, problems);
                sources.extend(object.map(CertificateSource::Object));
            }
        }
        if let Some(text) = in_line.as_ref().filter(|text| !text.is_empty()) {
            types += 1;
            counted += 1;
            sources.push(CertificateSource::Inline(text.clone()));
        }
        if let Some(enabled) = use_default_cas {
            types += 1;
            default_requests += 1;
            if *enabled {
                counted += 1;
                sources.push(CertificateSource::DefaultCas);
            }
        }
        if types != 1 {
            problems.push(FieldError::forbidden(
                at,
                format!("must define exactly one source type for each item but found {types} defined types"),
            ));
        }
    }
    if counted == 0 {
        problems.push(FieldError::forbidden("spec.sources", "must define at least one source"));
    }
    if default_requests > 1 {
        problems.push(FieldError::forbidden(
            "spec.sources",
            format!("must request default CAs either once or not at all but got {default_requests} requests"),
        ));
    }
    sources
}

fn parse_object(
    kind: ObjectKind,
    wire: &api::ObjectRefSource,
    namespace: &Arc<str>,
    at: &str,
    problems: &mut FieldErrors,
) -> Option<ObjectSource> {
    let api::ObjectRefSource { name, selector, key, include_all_keys } = wire;
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let one_of = "must validate one and only one schema (oneOf): [name, selector].";
    let select = match (set(name), selector) {
        (Some(name), None) => Some(Select::Named(name.into())),
        (None, Some(selector)) => {
            Some(Select::Labelled(Selector::parse(selector, &format!("{at}.selector"), problems)))
        }
        (None, None) => {
            problems.push(FieldError::invalid(at, "name: ' ', selector: nil", format!("{one_of} Found none valid")));
            None
        }
        (Some(name), Some(_)) => {
            problems.push(FieldError::invalid(
                at,
                format!("name: {name}, selector: {{}}"),
                format!("{one_of} Found both set"),
            ));
            None
        }
    };
    if let Some(Select::Named(name)) = &select
        && kind == ObjectKind::ConfigMap
        && ledger_of(name).is_some()
    {
        problems.push(FieldError::invalid(
            format!("{at}.name"),
            name,
            "is the name of a ledger, which holds what rootcast has published and is no source: name the object that its certificates came from",
        ));
    }
    let field = kind.field();
    let keys = match (set(key), include_all_keys.unwrap_or(false)) {
        (Some(key), false) => Some(Keys::One(key)),
        (None, true) => Some(Keys::All),
        (None, false) => {
            problems.push(FieldError::invalid(
                at,
                "key: ' ', includeAllKeys: false",
                format!("source {field} key must be defined when includeAllKeys is false"),
            ));
            None
        }
        (Some(key), true) => {
            problems.push(FieldError::invalid(
                at,
                format!("key: {key}, includeAllKeys: true"),
                format!("source {field} key cannot be defined when includeAllKeys is true"),
            ));
            None
        }
    };
    Some(ObjectSource { kind, namespace: namespace.clone(), select: select?, keys: keys? })
}

fn parse_target(wire: &api::BundleTarget, problems: &mut FieldErrors) -> (Output, Selector) {
    let api::BundleTarget { config_map, secret, additional_formats, namespace_selector } = wire;
    let at = "spec.target";
    let mut objects = Vec::new();
    for (kind, target) in [(ObjectKind::ConfigMap, config_map), (ObjectKind::Secret, secret)] {
        if let Some(target) = target {
            objects.push(parse_object_output(kind, target, &format!("{at}.{}", kind.field()), problems));
        }
    }
    if objects.is_empty() {
        problems.push(FieldError::invalid(at, "object", "any of the fields in [configMap secret] must be set"));
    }
    let (jks, pkcs12) =
        additional_formats.as_ref().map(|formats| parse_formats(formats, &objects, problems)).unwrap_or_default();
    let namespaces = namespace_selector
        .as_ref()
        .map(|selector| Selector::parse(selector, &format!("{at}.namespaceSelector"), problems))
        .unwrap_or_default();
    (Output { objects, jks, pkcs12 }, namespaces)
}

fn parse_object_output(kind: ObjectKind, wire: &api::KeyTarget, at: &str, problems: &mut FieldErrors) -> ObjectOutput {
    let api::KeyTarget { key, metadata } = wire;
    syntax::data_key(key, &format!("{at}.key"), problems);
    let (annotations, labels) = match metadata {
        Some(api::TargetMetadata { annotations, labels }) => {
            (annotations.clone().unwrap_or_default(), labels.clone().unwrap_or_default())
        }
        None => (Labels::new(), Labels::new()),
    };
    for (field, pairs) in [("annotations", &annotations), ("labels", &labels)] {
        let at = format!("{at}.metadata.{field}");
        for key in pairs.keys() {
            for domain in ["trust.cert-manager.io", "trust-manager.io", "rootcast.dev"] {
                if key.strip_prefix(domain).is_some_and(|rest| rest.starts_with('/')) {
                    problems.push(FieldError::invalid(
                        at.as_str(),
                        key.as_str(),
                        format!("{domain}/* {field} are not allowed"),
                    ));
                }
            }
        }
    }
    let at = format!("{at}.metadata");
    syntax::annotations(annotations.iter(), &format!("{at}.annotations"), problems);
    for (key, value) in &labels {
        syntax::label_key(key, &format!("{at}.labels"), problems);
        syntax::label_value(value, &format!("{at}.labels"), problems);
    }
    ObjectOutput { kind, pem_key: key.clone(), labels, annotations }
}

fn parse_formats(
    wire: &api::AdditionalFormats,
    objects: &[ObjectOutput],
    problems: &mut FieldErrors,
) -> (Option<JksOutput>, Option<Pkcs12Output>) {
    let api::AdditionalFormats { jks, pkcs12 } = wire;
    let mut taken: BTreeSet<&str> = objects.iter().map(|object| object.pem_key.as_str()).collect();
    let at = "spec.target.additionalFormats";
    let mut claim = |format: &str, key| {
        let at = format!("{at}.{format}.key");
        syntax::data_key(key, &at, problems);
        if !taken.insert(key) {
            problems.push(FieldError::invalid(at, key, "key must be unique across all target output keys"));
        }
    };
    let jks = jks.as_ref().map(|api::Jks { key, password }| {
        claim("jks", key);
        let password = password.as_ref().map_or("changeit", api::WirePassword::reveal);
        JksOutput { key: key.clone(), password: Password::new(password) }
    });
    let pkcs12 = pkcs12.as_ref().map(|api::Pkcs12 { key, password, profile }| {
        claim("pkcs12", key);
        let password = password.as_ref().map_or("", api::WirePassword::reveal);
        (key.clone(), Password::new(password), profile.as_ref())
    });
    let pkcs12 = pkcs12.map(|(key, password, profile)| Pkcs12Output {
        key,
        password,
        profile: profile.and_then(|profile| parse_profile(profile, problems)),
    });
    (jks, pkcs12)
}

fn parse_profile(wire: &api::Pkcs12Profile, problems: &mut FieldErrors) -> Option<Profile> {
    match wire {
        api::Pkcs12Profile::LegacyRC2 => Some(Profile::LegacyRc2),
        api::Pkcs12Profile::LegacyDES => Some(Profile::LegacyDes),
        api::Pkcs12Profile::Modern2023 => Some(Profile::Modern2023),
        api::Pkcs12Profile::Unknown(other) => {
            problems.push(FieldError::invalid(
                "spec.target.additionalFormats.pkcs12.profile",
                other.as_str(),
                "supported values: \"LegacyRC2\", \"LegacyDES\", \"Modern2023\"",
            ));
            None
        }
    }
}

/// Rejects a Bundle that reads the very key that it writes.
fn reject_self_reference(name: &str, sources: &[CertificateSource], output: &Output, problems: &mut FieldErrors) {
    let reads_own_target = |object: &ObjectOutput| {
        sources.iter().any(|source| {
            matches!(source, CertificateSource::Object(ObjectSource { kind, select: Select::Named(named), keys: Keys::One(key), .. })
                if *kind == object.kind && **named == *name && *key == object.pem_key)
        })
    };
    if output.objects.iter().any(reads_own_target) {
        problems.push(FieldError::forbidden("spec.sources", "cannot define the same source as target"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{TRUST_NAMESPACE, bundle, pem};

    /// The problems of a Bundle called `b`, as text.
    fn problems(spec: &Value) -> Vec<String> {
        match Intent::parse(&bundle("b", spec), &TRUST_NAMESPACE.into()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    fn with_target(target: &Value) -> Value {
        json!({ "sources": [{ "inLine": pem("rsa") }], "target": target })
    }

    fn with_source(source: &Value) -> Value {
        json!({ "sources": [source], "target": { "configMap": { "key": "ca.pem" } } })
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        let one_of = "must validate one and only one schema (oneOf): [name, selector].";
        let table: &[(Value, &str)] = &[
            (
                json!({ "sources": [{ "inLine": "x" }, {}], "target": { "configMap": { "key": "k" } } }),
                "spec.sources[1]: Forbidden: must define exactly one source type for each item but found 0 defined types",
            ),
            (
                with_source(&json!({ "inLine": "x", "configMap": { "name": "a", "key": "k" } })),
                "spec.sources[0]: Forbidden: must define exactly one source type for each item but found 2 defined types",
            ),
            (
                with_source(&json!({ "useDefaultCAs": false })),
                "spec.sources: Forbidden: must define at least one source",
            ),
            (
                json!({ "sources": [{ "useDefaultCAs": true }, { "useDefaultCAs": true }], "target": { "configMap": { "key": "k" } } }),
                "spec.sources: Forbidden: must request default CAs either once or not at all but got 2 requests",
            ),
            (
                with_source(&json!({ "configMap": { "key": "k" } })),
                &format!(
                    "spec.sources[0].configMap: Invalid value: \"name: ' ', selector: nil\": {one_of} Found none valid"
                ),
            ),
            (
                with_source(&json!({ "secret": { "name": "n", "selector": {}, "key": "k" } })),
                &format!("spec.sources[0].secret: Invalid value: \"name: n, selector: {{}}\": {one_of} Found both set"),
            ),
            (
                with_source(&json!({ "configMap": { "name": "n" } })),
                "spec.sources[0].configMap: Invalid value: \"key: ' ', includeAllKeys: false\": source configMap key must be defined when includeAllKeys is false",
            ),
            (
                with_source(&json!({ "secret": { "name": "n", "key": "k", "includeAllKeys": true } })),
                "spec.sources[0].secret: Invalid value: \"key: k, includeAllKeys: true\": source secret key cannot be defined when includeAllKeys is true",
            ),
            (
                with_source(&json!({ "configMap": { "name": "b", "key": "ca.pem" } })),
                "spec.sources: Forbidden: cannot define the same source as target",
            ),
            (
                with_source(&json!({ "configMap": { "name": "rootcast-ledger.bundle.b", "key": "certificates.pem" } })),
                "spec.sources[0].configMap.name: Invalid value: \"rootcast-ledger.bundle.b\": is the name of a ledger, which holds what rootcast has published and is no source: name the object that its certificates came from",
            ),
            (
                with_target(&json!({ "configMap": { "key": "k" }, "additionalFormats": { "jks": { "key": "k" } } })),
                "spec.target.additionalFormats.jks.key: Invalid value: \"k\": key must be unique across all target output keys",
            ),
            (
                with_target(
                    &json!({ "secret": { "key": "k" }, "additionalFormats": { "jks": { "key": "j" }, "pkcs12": { "key": "j" } } }),
                ),
                "spec.target.additionalFormats.pkcs12.key: Invalid value: \"j\": key must be unique across all target output keys",
            ),
            (
                with_target(
                    &json!({ "configMap": { "key": "k", "metadata": { "labels": { "trust.cert-manager.io/x": "y" } } } }),
                ),
                "spec.target.configMap.metadata.labels: Invalid value: \"trust.cert-manager.io/x\": trust.cert-manager.io/* labels are not allowed",
            ),
            (
                with_target(
                    &json!({ "secret": { "key": "k", "metadata": { "annotations": { "trust-manager.io/x": "y" } } } }),
                ),
                "spec.target.secret.metadata.annotations: Invalid value: \"trust-manager.io/x\": trust-manager.io/* annotations are not allowed",
            ),
            (
                with_target(
                    &json!({ "configMap": { "key": "k", "metadata": { "annotations": { "rootcast.dev/adopt": "b" } } } }),
                ),
                "spec.target.configMap.metadata.annotations: Invalid value: \"rootcast.dev/adopt\": rootcast.dev/* annotations are not allowed",
            ),
            (
                with_target(&json!({})),
                "spec.target: Invalid value: \"object\": any of the fields in [configMap secret] must be set",
            ),
            (
                with_target(&json!({ "configMap": { "key": "a/b" } })),
                "spec.target.configMap.key: Invalid value: \"a/b\": a key must be 1 to 253 characters of [A-Za-z0-9], '-', '_' or '.', and not start with '..'",
            ),
            (
                with_target(
                    &json!({ "configMap": { "key": "k" }, "additionalFormats": { "pkcs12": { "key": "p", "profile": "Best" } } }),
                ),
                "spec.target.additionalFormats.pkcs12.profile: Invalid value: \"Best\": supported values: \"LegacyRC2\", \"LegacyDES\", \"Modern2023\"",
            ),
            (
                with_target(
                    &json!({ "configMap": { "key": "k" }, "namespaceSelector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }),
                ),
                "spec.target.namespaceSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(problems(spec), [*expected], "{spec}");
        }
    }

    #[test]
    fn all_problems_of_a_bundle_are_reported_at_once() {
        let spec = json!({
            "sources": [{}, { "configMap": { "name": "n" } }],
            "target": { "configMap": { "key": "k", "metadata": { "labels": { "a b": "c" } } }, "additionalFormats": { "jks": { "key": "k" } } },
        });
        assert_eq!(problems(&spec).len(), 4, "{:#?}", problems(&spec));
    }

    #[test]
    fn a_name_that_is_no_label_value_is_a_problem() {
        let long = bundle(&"n".repeat(64), &with_target(&json!({ "configMap": { "key": "k" } })));
        let problems = Intent::parse(&long, &TRUST_NAMESPACE.into()).expect_err("64 characters are too many");
        assert!(problems[0].to_string().starts_with("metadata.name: Invalid value"), "{problems:?}");
    }

    #[test]
    fn what_a_server_would_default_is_defaulted() {
        let target = json!({ "configMap": { "key": "k" }, "additionalFormats": { "jks": { "key": "j" }, "pkcs12": { "key": "p" } } });
        let Output { objects, jks, pkcs12 } =
            Intent::parse(&bundle("b", &with_target(&target)), &TRUST_NAMESPACE.into()).expect("a valid Bundle").output;
        assert_eq!(objects.len(), 1);
        assert_eq!(jks.expect("a JKS").password.reveal(), "changeit");
        assert_eq!(pkcs12.expect("a PKCS#12").password.reveal(), "");
    }
}
