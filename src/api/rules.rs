//! Rules of Bundles and Distrusts that a schema's limits cannot express, in CEL, so that the API server itself refuses in our words.
//!
//! An object stored under an older schema must still accept status patches, labels and its own deletion. Below the root
//! the server sees to that: it forgives (ratchets) a rule whose value an update leaves as it was. At the root every
//! update changes something, so a rule there compares with the old object and applies only where the spec changes. Both
//! need Kubernetes 1.30.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use crate::limits;

use super::MAX_NAME;

/// A rule and its place in the schema, written like a field path (`spec.sources[].secret`; empty for the root).
pub(super) struct PlacedRule {
    pub(super) at: String,
    pub(super) rule: ValidationRule,
}

/// Every rule of a Bundle. Rules of one place keep their order.
pub(super) fn rules() -> Vec<PlacedRule> {
    let mut rules = vec![name_fits_a_label()];
    rules.extend(KINDS.map(source_is_not_target));
    rules.extend(sources());
    rules.extend(KINDS.into_iter().flat_map(source_object));
    rules.extend(target());
    rules.extend(KINDS.into_iter().flat_map(target_metadata));
    rules.extend(sizes());
    rules
}

/// The fields that stand for an object's kind, in a source as in a target.
const KINDS: [&str; 2] = ["configMap", "secret"];

/// Every rule of a Distrust.
pub(super) fn distrust_rules() -> Vec<PlacedRule> {
    let digests = ["sha256", "publicKeySHA256"];
    let rules = digests.map(|field| {
        let digest = "^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31})$";
        invalid(&format!("spec.certificates[].{field}"), format!("self.matches('{digest}')"))
            .with_message("must be a SHA-256: 64 hexadecimal digits, with colons between all bytes or without")
    });
    rules.into_iter().chain([choice("spec.certificates[]", "exactly", "==", &digests)]).collect()
}

fn name_fits_a_label() -> PlacedRule {
    invalid("", format!("oldSelf.hasValue() || self.metadata.name.size() <= {MAX_NAME}"))
        .with_message(format!(
            "name must be no more than {MAX_NAME} characters: it becomes the value of a label on every target"
        ))
        .with_field_path(".metadata")
        .with_optional_old_self()
}

/// Written with `has` alone: optionals have no size limit that the server could see, and the rule's estimated cost then
/// exceeds its budget.
fn source_is_not_target(kind: &str) -> PlacedRule {
    let untouched = "oldSelf.hasValue() && oldSelf.value().spec == self.spec";
    let no_target = format!("!has(self.spec.target) || !has(self.spec.target.{kind})");
    let same = [
        format!("has(s.{kind}) && has(s.{kind}.name) && has(s.{kind}.key)"),
        format!("s.{kind}.name == self.metadata.name && s.{kind}.key == self.spec.target.{kind}.key"),
    ];
    forbidden("", format!("{untouched} || {no_target} || !self.spec.sources.exists(s, {})", same.join(" && ")))
        .with_message("cannot define the same source as target")
        .with_field_path(".spec.sources")
        .with_optional_old_self()
}

fn sources() -> [PlacedRule; 3] {
    let some = "has(s.configMap) || has(s.secret) || has(s.inLine) || s.?useDefaultCAs.orValue(false)";
    let defaults = "self.filter(s, has(s.useDefaultCAs)).size()";
    [
        forbidden("spec.sources", format!("self.exists(s, {some})")).with_message("must define at least one source"),
        forbidden("spec.sources", format!("{defaults} <= 1")).with_message_expression(format!(
            "'must request default CAs either once or not at all but got %d requests'.format([{defaults}])"
        )),
        choice("spec.sources[]", "exactly", "==", &["configMap", "secret", "inLine", "useDefaultCAs"]),
    ]
}

fn source_object(kind: &str) -> [PlacedRule; 3] {
    let at = format!("spec.sources[].{kind}");
    let all = "self.?includeAllKeys.orValue(false)";
    [
        choice(&at, "exactly", "==", &["name", "selector"]),
        invalid(&at, format!("{all} || has(self.key)"))
            .with_message(format!("source {kind} key must be defined when includeAllKeys is false")),
        invalid(&at, format!("!({all} && has(self.key))"))
            .with_message(format!("source {kind} key cannot be defined when includeAllKeys is true")),
    ]
}

fn target() -> [PlacedRule; 4] {
    let unique = |format: &str, others: &str| {
        let formats = "self.?additionalFormats";
        invalid("spec.target", format!("!{formats}.?{format}.hasValue() || !({formats}.?{format}.?key in [{others}])"))
            .with_message("key must be unique across all target output keys")
            .with_field_path(&format!(".additionalFormats.{format}.key"))
    };
    [
        choice("spec.target", "at least", ">=", &KINDS),
        unique("jks", "self.?configMap.?key, self.?secret.?key"),
        unique("pkcs12", "self.?configMap.?key, self.?secret.?key, self.?additionalFormats.?jks.?key"),
        choice("spec.target.additionalFormats", "at least", ">=", &["jks", "pkcs12"]),
    ]
}

fn target_metadata(kind: &str) -> Vec<PlacedRule> {
    let mut rules = Vec::new();
    for field in ["annotations", "labels"] {
        for reserved in ["trust.cert-manager.io/", "trust-manager.io/", "rootcast.dev/"] {
            let at = format!("spec.target.{kind}.metadata.{field}");
            rules.push(
                invalid(&at, format!("self.all(key, !key.startsWith('{reserved}'))"))
                    .with_message(format!("{reserved}* {field} are not allowed")),
            );
        }
    }
    rules
}

/// Rules that bound sizes as the controller does; sums over several fields are checked by the controller alone.
fn sizes() -> Vec<PlacedRule> {
    let at_most = |at: String, max: usize| {
        invalid(&at, format!("self.size() <= {max}")).with_message(format!("must have at most {max} entries"))
    };
    let mut rules = Vec::new();
    for kind in KINDS {
        for (field, limit) in [("labels", limits::TARGET_LABELS), ("annotations", limits::TARGET_ANNOTATIONS)] {
            rules.push(at_most(format!("spec.target.{kind}.metadata.{field}"), limit.max));
        }
    }
    let selectors = KINDS.map(|kind| format!("spec.sources[].{kind}.selector"));
    for selector in selectors.into_iter().chain(["spec.target.namespaceSelector".to_owned()]) {
        for field in ["matchLabels", "matchExpressions"] {
            rules.push(at_most(format!("{selector}.{field}"), limits::SELECTOR_TERMS.max));
        }
    }
    rules
}

/// How many of an object's fields are set; `trust-manager`'s own rule and words, character for character.
fn choice(at: &str, bound: &str, compare: &str, fields: &[&str]) -> PlacedRule {
    let set: Vec<_> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    let rule = format!("[{}].filter(x,x==true).size() {compare} 1", set.join(","));
    invalid(at, rule).with_message(format!("{bound} one of the fields in [{}] must be set", fields.join(" ")))
}

fn invalid(at: &str, rule: String) -> PlacedRule {
    PlacedRule { at: at.to_owned(), rule: ValidationRule { rule, ..ValidationRule::default() } }
}

fn forbidden(at: &str, rule: String) -> PlacedRule {
    let mut placed = invalid(at, rule);
    placed.rule.reason = Some("FieldValueForbidden".to_owned());
    placed
}

impl PlacedRule {
    fn with_message(mut self, message: impl Into<String>) -> Self {
        self.rule.message = Some(message.into());
        self
    }

    fn with_message_expression(mut self, expression: String) -> Self {
        self.rule.message_expression = Some(expression);
        self
    }

    /// The field to blame, relative to the rule's place.
    fn with_field_path(mut self, field: &str) -> Self {
        self.rule.field_path = Some(field.to_owned());
        self
    }

    /// Runs the rule on creation too, although it names `oldSelf`, which is then an optional.
    fn with_optional_old_self(mut self) -> Self {
        self.rule.optional_old_self = Some(true);
        self
    }
}
