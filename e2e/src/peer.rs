//! What trust-manager's own chart installs, as far as it differs from ours.

use rootcast::api::crd;
use serde_json::Value;

/// The definition of Bundles: ours, with the one-of rules only.
///
/// # Panics
/// Never: a definition is plain data.
#[must_use]
pub fn crd_yaml() -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(strip),
            Value::Object(fields) => {
                if let Some(Value::Array(rules)) = fields.get_mut("x-kubernetes-validations") {
                    rules.retain(|rule| rule["message"].as_str().is_some_and(is_rule));
                }
                fields.values_mut().for_each(strip);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut crd = serde_json::to_value(crd()).expect("a definition is plain data");
    strip(&mut crd);
    crd.to_string()
}

/// Whether a refusal in these words comes from that definition, too.
#[must_use]
pub fn is_rule(words: &str) -> bool {
    words.contains("one of the fields in [")
}
