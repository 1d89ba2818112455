//! Detection of pods that run on Windows nodes only, where the mount paths and most variables have no meaning.
//!
//! A `RuntimeClass` may select such nodes, too; its selector is not in the pod.

use serde::Deserialize;

use super::lenient::{Fold, FoldedList, HasElements, LenientObject, LenientText};

/// The label of nodes for their operating system, and its name before Kubernetes 1.14
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-os>).
const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

/// The value for Windows.
const WINDOWS: &str = "windows";

/// The only other operating system of nodes in Kubernetes.
const LINUX: &str = "linux";

/// The field `spec.os` of a pod.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Os<'a> {
    #[serde(default, borrow)]
    name: LenientText<'a>,
}

/// The labels of the operating system in `spec.nodeSelector`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct NodeSelector<'a> {
    #[serde(default, borrow, rename = "kubernetes.io/os")]
    os: LenientText<'a>,
    #[serde(default, borrow, rename = "beta.kubernetes.io/os")]
    beta_os: LenientText<'a>,
}

/// The field `spec.affinity` of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Affinity {
    #[serde(default)]
    node_affinity: LenientObject<NodeAffinity>,
}

/// The required node affinity; the preferred one excludes no node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeAffinity {
    #[serde(default)]
    required_during_scheduling_ignored_during_execution: LenientObject<NodeSelectorTerms>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelectorTerms {
    #[serde(default)]
    node_selector_terms: FoldedList<Terms>,
}

/// Terms, any of which a node may satisfy. One without any requirement is satisfied by no node.
#[derive(Debug, Default)]
struct Terms {
    windows: bool,
    other: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    #[serde(default)]
    match_expressions: FoldedList<Requirements>,
    /// Requirements on the name of a node, which does not depend on its operating system.
    #[serde(default)]
    match_fields: FoldedList<HasElements>,
}

/// Requirements, all of which a node has to satisfy.
#[derive(Debug, Default)]
struct Requirements {
    any: bool,
    windows: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Requirement<'a> {
    #[serde(default, borrow)]
    key: LenientText<'a>,
    #[serde(default, borrow)]
    operator: LenientText<'a>,
    #[serde(default)]
    values: FoldedList<Values>,
}

/// The operating systems that a list of values names.
#[derive(Debug, Default)]
struct Values {
    windows: bool,
    linux: bool,
    other: bool,
}

impl Fold<'_> for Terms {
    type Element = LenientObject<Term>;

    fn add(&mut self, _: usize, term: LenientObject<Term>) {
        if term.match_expressions.windows {
            self.windows = true;
        } else if term.match_expressions.any || term.match_fields.0 {
            self.other = true;
        }
    }
}

impl<'de> Fold<'de> for Requirements {
    type Element = LenientObject<Requirement<'de>>;

    fn add(&mut self, _: usize, requirement: LenientObject<Requirement<'de>>) {
        let Requirement { key, operator, values } = &requirement.0;
        self.any = true;
        self.windows |= OS_LABELS.contains(&&**key)
            && match &**operator {
                "In" => values.windows && !values.linux && !values.other,
                "NotIn" => values.linux && !values.windows,
                _ => false,
            };
    }
}

impl<'de> Fold<'de> for Values {
    type Element = LenientText<'de>;

    fn add(&mut self, _: usize, value: LenientText<'de>) {
        match &*value {
            WINDOWS => self.windows = true,
            LINUX => self.linux = true,
            _ => self.other = true,
        }
    }
}

/// Returns whether a pod with these fields runs on Windows nodes only.
pub(super) fn is_for_windows(os: &Os<'_>, node_selector: &NodeSelector<'_>, affinity: &Affinity) -> bool {
    let terms = &affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms;
    [&os.name, &node_selector.os, &node_selector.beta_os].into_iter().any(|name| **name == *WINDOWS)
        || terms.windows && !terms.other
}

#[cfg(test)]
mod tests {
    use crate::inject::pod::{Pod, ReviewField};

    fn is_for_windows(spec: &str) -> bool {
        Pod::parse(ReviewField::Object, &format!("{{\"spec\": {spec}}}")).unwrap().is_for_windows()
    }

    #[test]
    fn windows_is_detected_in_the_os_and_in_the_node_selector() {
        let table = [
            (r#"{"os": {"name": "windows"}}"#, true),
            (r#"{"os": {"name": "linux"}}"#, false),
            (r#"{"os": {"name": "Windows"}}"#, false),
            (r#"{"nodeSelector": {"kubernetes.io/os": "windows"}}"#, true),
            (r#"{"nodeSelector": {"a": "b", "beta.kubernetes.io/os": "windows"}}"#, true),
            (r#"{"nodeSelector": {"kubernetes.io/os": "linux"}}"#, false),
            (r#"{"nodeSelector": {"kubernetes.io/os": "Windows"}}"#, false),
            (r#"{"nodeSelector": {"kubernetes.io/arch": "windows", "kubernetes.io/os": null}}"#, false),
        ];
        for (spec, expected) in table {
            assert_eq!(is_for_windows(spec), expected, "{spec}");
        }
    }

    #[test]
    fn windows_is_detected_in_affinity_that_admits_no_other_node() {
        let required = |terms: &str| {
            format!(
                r#"{{"affinity": {{"nodeAffinity": {{"requiredDuringSchedulingIgnoredDuringExecution": {{"nodeSelectorTerms": {terms}}}}}}}}}"#
            )
        };
        let is = |operator: &str, values: &str| {
            format!(r#"{{"key": "kubernetes.io/os", "operator": "{operator}", "values": {values}}}"#)
        };
        let (windows, linux) = (is("In", r#"["windows"]"#), is("In", r#"["linux"]"#));
        let zone = r#"{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["windows"]}"#;
        let field = r#"{"key": "metadata.name", "operator": "In", "values": ["node-1"]}"#;
        let beta = windows.replace("kubernetes.io/os", "beta.kubernetes.io/os");
        let table = [
            (format!(r#"[{{"matchExpressions": [{windows}]}}]"#), true),
            (format!(r#"[{{"matchExpressions": [{beta}]}}]"#), true),
            (format!(r#"[{{"matchExpressions": [{zone}, {windows}]}}]"#), true),
            (format!(r#"[{{"matchExpressions": [{windows}], "matchFields": [{field}]}}]"#), true),
            (format!(r#"[{{"matchExpressions": [{windows}]}}, {{"matchExpressions": [{beta}, {zone}]}}]"#), true),
            (format!(r#"[{{}}, null, {{"matchExpressions": [{windows}]}}]"#), true),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("NotIn", r#"["linux"]"#)), true),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("NotIn", r#"["linux", "darwin"]"#)), true),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("NotIn", r#"["linux", "windows"]"#)), false),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("NotIn", r#"["windows"]"#)), false),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("In", r#"["windows", "linux"]"#)), false),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("in", r#"["windows"]"#)), false),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("In", r#"["Windows"]"#)), false),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("Exists", "null")), false),
            (format!(r#"[{{"matchExpressions": [{}]}}]"#, is("In", "[]")), false),
            (format!(r#"[{{"matchExpressions": [{zone}]}}]"#), false),
            (format!(r#"[{{"matchExpressions": [{windows}]}}, {{"matchExpressions": [{linux}]}}]"#), false),
            (format!(r#"[{{"matchExpressions": [{windows}]}}, {{"matchFields": [{field}]}}]"#), false),
            ("[{}]".to_owned(), false),
            ("[]".to_owned(), false),
            ("null".to_owned(), false),
        ];
        for (terms, expected) in table {
            assert_eq!(is_for_windows(&required(&terms)), expected, "{terms}");
            let preferred = required(&terms).replace("requiredDuring", "preferredDuring");
            assert!(!is_for_windows(&preferred), "{terms}");
        }
    }
}
