//! Label selectors as Kubernetes evaluates and prints them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::field_error::{FieldError, FieldErrors};
use super::syntax;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Labels in one allocation, each key and value ended by a NUL, which neither may hold: as maps, the labels of ten
/// thousand namespaces would be most of their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedLabels(Box<str>);

/// Labels that a selector is matched against.
pub trait LabelSet {
    /// Returns the value of a label, if there is one.
    fn value(&self, key: &str) -> Option<&str>;
}

impl LabelSet for Labels {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl LabelSet for PackedLabels {
    fn value(&self, key: &str) -> Option<&str> {
        let mut words = self.0.split_terminator('\0');
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if name == key {
                return Some(value);
            }
        }
        None
    }
}

impl From<&Labels> for PackedLabels {
    fn from(labels: &Labels) -> Self {
        Self(labels.iter().flat_map(|(key, value)| [key, "\0", value, "\0"]).collect::<String>().into())
    }
}

/// A conjunction of requirements on labels, sorted by key. Without any requirement it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    Equals(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Parses the wire form and adds every error to `problems` under the field path `at`.
    pub fn parse(wire: &LabelSelector, at: &str, problems: &mut FieldErrors) -> Self {
        let LabelSelector { match_labels, match_expressions } = wire;
        let mut requirements = Vec::new();
        for (key, value) in match_labels.iter().flatten() {
            let at = format!("{at}.matchLabels");
            syntax::label_key(key, &at, problems);
            syntax::label_value(value, &at, problems);
            requirements.push(Requirement { key: key.clone(), test: Test::Equals(value.clone()) });
        }
        for (index, expression) in match_expressions.iter().flatten().enumerate() {
            requirements.extend(parse_expression(expression, &format!("{at}.matchExpressions[{index}]"), problems));
        }
        requirements.sort();
        Self(requirements)
    }

    /// Whether the labels meet every requirement.
    #[must_use]
    pub fn matches(&self, labels: &impl LabelSet) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.value(key);
            match test {
                Test::Equals(expected) => value == Some(expected.as_str()),
                Test::In(set) => value.is_some_and(|v| set.contains(v)),
                Test::NotIn(set) => value.is_none_or(|v| !set.contains(v)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Whether there is no requirement at all.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::Equals(value) => write!(f, "{key}={value}")?,
                Test::In(set) => write!(f, "{key} in ({})", list(set))?,
                Test::NotIn(set) => write!(f, "{key} notin ({})", list(set))?,
                Test::Exists => f.write_str(key)?,
                Test::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn list(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn parse_expression(wire: &LabelSelectorRequirement, at: &str, problems: &mut FieldErrors) -> Option<Requirement> {
    let LabelSelectorRequirement { key, operator, values } = wire;
    syntax::label_key(key, &format!("{at}.key"), problems);
    let values: BTreeSet<String> = values.iter().flatten().cloned().collect();
    for value in &values {
        syntax::label_value(value, &format!("{at}.values"), problems);
    }
    let requires_values = matches!(operator.as_str(), "In" | "NotIn");
    let test = match operator.as_str() {
        "In" => Test::In(values.clone()),
        "NotIn" => Test::NotIn(values.clone()),
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::DoesNotExist,
        other => {
            problems.push(FieldError::invalid(format!("{at}.operator"), other, "not a valid selector operator"));
            return None;
        }
    };
    if requires_values && values.is_empty() {
        problems
            .push(FieldError::required(format!("{at}.values"), "must be specified when `operator` is 'In' or 'NotIn'"));
    }
    if !requires_values && !values.is_empty() {
        problems.push(FieldError::forbidden(
            format!("{at}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ));
    }
    Some(Requirement { key: key.clone(), test })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(wire: serde_json::Value) -> (Selector, Vec<String>) {
        let mut problems = FieldErrors::default();
        let selector = Selector::parse(&serde_json::from_value(wire).unwrap(), "s", &mut problems);
        (selector, problems.end().err().iter().flatten().map(ToString::to_string).collect())
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_selector_prints_as_kubectl_writes_it() {
        let (selector, problems) = parse(json!({
            "matchLabels": {"team": "a"},
            "matchExpressions": [
                {"key": "env", "operator": "In", "values": ["prod", "dev"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "NotIn", "values": ["x"]},
                {"key": "here", "operator": "Exists"},
            ]
        }));
        assert_eq!(selector.to_string(), "env in (dev,prod),here,!old,team=a,zone notin (x)");
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn every_operator_decides_as_kubernetes_does() {
        type Row<'a> = (serde_json::Value, &'a [(&'a str, &'a str)], bool);
        let table: &[Row] = &[
            (json!({}), &[], true),
            (json!({"matchLabels": {"a": "1"}}), &[("a", "1"), ("b", "2")], true),
            (json!({"matchLabels": {"a": "1"}}), &[("a", "2")], false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}), &[("a", "2")], true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), &[], true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), &[("a", "1")], false),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), &[], false),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), &[("a", "")], false),
        ];
        for (wire, with, expected) in table {
            let (selector, labels) = (parse(wire.clone()).0, labels(with));
            assert_eq!(selector.matches(&labels), *expected, "{wire} on {with:?}");
            assert_eq!(selector.matches(&PackedLabels::from(&labels)), *expected, "{wire} on packed {with:?}");
        }
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let (_, problems) = parse(json!({
            "matchLabels": {"bad key": "v", "ok": "not ok"},
            "matchExpressions": [{"key": "a", "operator": "Like"}, {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]}]
        }));
        let starts: Vec<_> = problems.iter().map(|p| p.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
        assert_eq!(
            starts,
            [
                "s.matchLabels: Invalid value",
                "s.matchLabels: Invalid value",
                "s.matchExpressions[0].operator: Invalid value",
                "s.matchExpressions[1].values: Required value",
                "s.matchExpressions[2].values: Forbidden",
            ]
        );
    }
}
