//! Limits of a Bundle's size, checked before anything else of it, so that the work it causes is bounded.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api;
use crate::limits::{self, Limit};

use super::field_error::{FieldError, FieldErrors};

/// Checks the size of a Bundle.
///
/// # Errors
/// All errors so far, if something is too large.
pub(super) fn check(spec: &api::BundleSpec, problems: &mut FieldErrors) -> Result<(), Vec<FieldError>> {
    let api::BundleSpec { sources, target } = spec;
    let mut size = Size { terms: 0, excess: false, problems };
    size.at_most(&limits::SOURCES, "spec.sources", sources.len(), "split the Bundle");
    for (index, source) in sources.iter().take(limits::SOURCES.max).enumerate() {
        for (field, object) in [("configMap", &source.config_map), ("secret", &source.secret)] {
            let Some(object) = object else { continue };
            let at = format!("spec.sources[{index}].{field}");
            for (field, text) in [("name", &object.name), ("key", &object.key)] {
                let length = text.as_ref().map_or(0, String::len);
                size.at_most(&limits::SOURCE_NAME, &format!("{at}.{field}"), length, "no object has such a one");
            }
            size.selector(&format!("{at}.selector"), object.selector.as_ref());
        }
    }
    let Some(target) = target else { return size.end() };
    for (field, object) in [("configMap", &target.config_map), ("secret", &target.secret)] {
        let metadata = object.as_ref().and_then(|object| object.metadata.as_ref());
        let Some(api::TargetMetadata { annotations, labels }) = metadata else { continue };
        let count = |pairs: &Option<BTreeMap<_, _>>| pairs.as_ref().map_or(0, BTreeMap::len);
        let at = format!("spec.target.{field}.metadata");
        let remedy = "take out what no program reads";
        size.at_most(&limits::TARGET_LABELS, &format!("{at}.labels"), count(labels), remedy);
        size.at_most(&limits::TARGET_ANNOTATIONS, &format!("{at}.annotations"), count(annotations), remedy);
    }
    if let Some(api::AdditionalFormats { jks, pkcs12 }) = &target.additional_formats {
        let jks = jks.as_ref().and_then(|jks| jks.password.as_ref());
        let pkcs12 = pkcs12.as_ref().and_then(|pkcs12| pkcs12.password.as_ref());
        for (format, password) in [("jks", jks), ("pkcs12", pkcs12)] {
            let length = password.map_or(0, |password| password.reveal().len());
            let at = format!("spec.target.additionalFormats.{format}.password");
            size.at_most(&limits::PASSWORD, &at, length, "shorten it");
        }
    }
    size.selector("spec.target.namespaceSelector", target.namespace_selector.as_ref());
    size.end()
}

struct Size<'a> {
    /// How many terms the selectors had so far.
    terms: usize,
    excess: bool,
    problems: &'a mut FieldErrors,
}

impl Size<'_> {
    fn at_most(&mut self, limit: &Limit, at: &str, count: usize, remedy: &str) {
        let Limit { what, max, .. } = limit;
        if count > *max {
            let found = format!("{count} {}", what.split(' ').next().unwrap_or_default().to_lowercase());
            self.problems.push(FieldError::invalid(at, found, format!("must have at most {max}: {remedy}")));
            self.excess = true;
        }
    }

    /// Counts over all selectors; the one that goes beyond the limit is named.
    fn selector(&mut self, at: &str, selector: Option<&LabelSelector>) {
        let Some(LabelSelector { match_labels, match_expressions }) = selector else { return };
        let values = |values: &Option<Vec<_>>| values.as_ref().map_or(0, Vec::len);
        let expressions = match_expressions.iter().flatten().map(|expression| 1 + values(&expression.values));
        let before = self.terms;
        self.terms += match_labels.as_ref().map_or(0, BTreeMap::len) + expressions.sum::<usize>();
        let max = limits::SELECTOR_TERMS.max;
        if before <= max && self.terms > max {
            self.problems.push(FieldError::invalid(
                at,
                format!("{} labels, expressions and values", self.terms - before),
                format!("all selectors of a Bundle together must have at most {max}: select by a label that all these objects share"),
            ));
            self.excess = true;
        }
    }

    fn end(self) -> Result<(), Vec<FieldError>> {
        if self.excess { self.problems.end() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use crate::bundle::fixture::{TRUST_NAMESPACE, bundle};
    use crate::bundle::{Intent, Refusal};
    use crate::limits;

    fn message(spec: &Value) -> String {
        match Intent::parse(&bundle("b", spec), &TRUST_NAMESPACE.into()) {
            Ok(_) => String::new(),
            Err(problems) => Refusal::invalid_spec(&problems).message,
        }
    }

    fn pairs(count: usize, value: &str) -> Value {
        (0..count).map(|number| (format!("k{number}"), value.into())).collect::<Map<_, _>>().into()
    }

    fn spec(metadata: &Value, selector: &Value) -> Value {
        json!({
            "sources": [{ "inLine": "x" }],
            "target": { "configMap": { "key": "k", "metadata": metadata }, "namespaceSelector": selector },
        })
    }

    #[test]
    fn what_is_just_not_too_large_is_taken() {
        let metadata = json!({
            "labels": pairs(limits::TARGET_LABELS.max, "v"),
            "annotations": pairs(limits::TARGET_ANNOTATIONS.max, "v"),
        });
        let names: Vec<_> = (0..limits::SELECTOR_TERMS.max - 1).map(|number| format!("n{number}")).collect();
        let selector = json!({ "matchExpressions": [{ "key": "a", "operator": "In", "values": names }] });
        assert_eq!(message(&spec(&metadata, &selector)), "");
    }

    #[test]
    fn what_is_too_large_is_named_with_path_and_remedy_before_it_is_parsed() {
        let none = json!({});
        let max = limits::SELECTOR_TERMS.max;
        let over =
            "all selectors of a Bundle together must have at most 5000: select by a label that all these objects share";
        let selects = json!({ "matchLabels": pairs(max / 2 + 1, "v") });
        let source = json!({ "configMap": { "selector": selects, "key": "k" } });
        let sources = |sources: Value| json!({ "sources": sources, "target": { "configMap": { "key": "k" } } });
        let values = json!({ "matchExpressions": [{ "key": "a", "operator": "In", "values": vec!["v"; max] }] });
        let password = json!({ "sources": [{ "inLine": "x" }], "target": { "configMap": { "key": "k" },
            "additionalFormats": { "jks": { "key": "j", "password": "p".repeat(1025) } } } });
        let table = [
            (
                spec(&none, &json!({ "matchLabels": pairs(125_000, "not ok") })),
                format!("spec.target.namespaceSelector: Invalid value: \"125000 labels, expressions and values\": {over}"),
            ),
            (
                spec(&none, &values),
                format!("spec.target.namespaceSelector: Invalid value: \"5001 labels, expressions and values\": {over}"),
            ),
            (
                sources(json!([source, source])),
                format!("spec.sources[1].configMap.selector: Invalid value: \"2501 labels, expressions and values\": {over}"),
            ),
            (
                sources(vec![json!({ "inLine": "x" }); 101].into()),
                "spec.sources: Invalid value: \"101 sources\": must have at most 100: split the Bundle".to_owned(),
            ),
            (
                sources(json!([{ "secret": { "name": "n".repeat(254), "key": "k" } }])),
                "spec.sources[0].secret.name: Invalid value: \"254 bytes\": must have at most 253: no object has such a one".to_owned(),
            ),
            (
                spec(&json!({ "labels": pairs(2001, "not ok") }), &none),
                "spec.target.configMap.metadata.labels: Invalid value: \"2001 labels\": must have at most 2000: take out what no program reads".to_owned(),
            ),
            (
                spec(&json!({ "annotations": pairs(2001, "") }), &none),
                "spec.target.configMap.metadata.annotations: Invalid value: \"2001 annotations\": must have at most 2000: take out what no program reads".to_owned(),
            ),
            (
                password,
                "spec.target.additionalFormats.jks.password: Invalid value: \"1025 bytes\": must have at most 1024: shorten it".to_owned(),
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(message(&spec), format!("Bundle is invalid: {expected}"));
        }
    }

    #[test]
    fn the_first_problems_are_named_and_the_others_are_counted() {
        let message = message(&spec(&json!({}), &json!({ "matchLabels": pairs(1000, "not ok") })));
        assert_eq!(message.matches("Invalid value").count(), limits::FIELD_ERRORS.max);
        assert!(message.ends_with("; and 980 more"), "{message}");
        let long = "x".repeat(1_000_000);
        let many = message_of_values(&long);
        assert!(many.len() < 2000, "{}", many.len());
    }

    fn message_of_values(value: &str) -> String {
        message(&spec(&json!({}), &json!({ "matchLabels": { "a": value } })))
    }

    proptest! {
        #[test]
        fn no_foreign_text_gets_raw_into_a_message(text in "(.|\\n|\\pC){1,40}") {
            let selector = json!({ "matchExpressions": [{ "key": text, "operator": text, "values": [text] }] });
            let source = json!({ "configMap": { "name": text, "selector": selector, "key": text, "includeAllKeys": true } });
            let target = json!({
                "configMap": { "key": text, "metadata": { "labels": { &text: text }, "annotations": { &text: text } } },
                "additionalFormats": { "pkcs12": { "key": text, "profile": text } },
                "namespaceSelector": selector,
            });
            let mut shown = message(&json!({ "sources": [source], "target": target }));
            prop_assert!(!shown.is_empty());
            let _ = write!(shown, "{}", Refusal::unreadable(&text).message);
            prop_assert!(matches!(crate::text::escape(&shown), std::borrow::Cow::Borrowed(_)), "{:?}", shown);
        }
    }
}
