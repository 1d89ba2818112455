//! For every pod, the patch applies, adds and never removes, and a second review changes nothing.

mod any_pod;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use any_pod::{ReviewCase, odd, review_case};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rootcast::api;
use rootcast::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};
use rootcast::inject::{
    CainjectorOptions, Injectability, InjectableBundles, InjectionVerdict, Operator, PodReview, Policy,
};
use serde_json::{Value, json};

/// Fields whose lists may grow or be created.
const GROWING: [&str; 3] = ["volumes", "volumeMounts", "env"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_patch_applies_adds_what_is_missing_and_leaves_nothing_for_a_second_review(case in review_case()) {
        let verdict = case.verdict(&case.pod.to_string()).unwrap();
        if verdict.denial.is_some() {
            prop_assert!(verdict.patch.is_empty());
        }
        for warning in &verdict.warnings {
            prop_assert!(warning.chars().count() <= 256 && !warning.contains(char::is_control), "{}", warning);
        }
        let after = apply(&case.pod, &verdict);
        keeps("pod", &case.pod, &after)?;
        adds_no_duplicates(&case.pod, &after)?;

        let again = case.verdict(&after.to_string()).unwrap();
        prop_assert!(again.patch.is_empty(), "{:?}", again.patch);
        let (first, second): (BTreeSet<_>, BTreeSet<_>) = (verdict.warnings.iter().collect(), again.warnings.iter().collect());
        prop_assert!(second.is_subset(&first), "{:?} after {:?}", second, first);
        prop_assert_eq!(again.denial, verdict.denial);
    }

    #[test]
    fn what_is_no_pod_is_an_error_and_everything_else_can_be_patched(
        case in review_case(),
        replacements in vec((any::<Index>(), odd()), 1..4),
    ) {
        let mut pod = case.pod.clone();
        for (index, odd) in replacements {
            let index = index.index(count(&pod));
            replace(&mut pod, index, odd);
        }
        if let Ok(verdict) = case.verdict(&pod.to_string()) {
            apply(&pod, &verdict);
        }
    }

    #[test]
    fn damaged_text_is_no_panic(case in review_case(), cuts in vec((any::<Index>(), any::<Index>(), ".{0,3}"), 1..4)) {
        let mut text: Vec<char> = case.pod.to_string().chars().collect();
        for (from, length, new) in cuts {
            let from = from.index(text.len() + 1);
            let to = (from + length.index(8)).min(text.len());
            text.splice(from..to, new.chars());
        }
        let text: String = text.into_iter().collect();
        if let (Ok(verdict), Ok(pod)) = (case.verdict(&text), serde_json::from_str::<Value>(&text)) {
            apply(&pod, &verdict);
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "\\PC*|[\\[\\]{}:,\"a0\\\\ \n-]*", case in review_case()) {
        let _ = case.verdict(&text);
        let _ = CainjectorOptions::parse(&text);
    }

    #[test]
    fn damaged_options_are_no_panic(cuts in vec((any::<Index>(), any::<Index>(), ".{0,3}|\n *"), 1..4), which in 0..2usize) {
        let texts = ["configMap: corp\nexcludeNamespaces:\n- a\n- b\nsetEnvVar: false\n", r#"{"secret": "s", "includeNamespaces": ["a"]}"#];
        let mut text: Vec<char> = texts[which].chars().collect();
        for (from, length, new) in cuts {
            let from = from.index(text.len() + 1);
            let to = (from + length.index(8)).min(text.len());
            text.splice(from..to, new.chars());
        }
        let _ = CainjectorOptions::parse(&text.into_iter().collect::<String>());
    }
}

/// The other tests are only meaningful if many of the pods are patched, denied or cause warnings.
#[test]
fn arbitrary_reviews_have_verdicts_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let strategy = review_case();
    let (mut patched, mut warned, mut denied, mut ephemeral) = (0, 0, 0, 0);
    for _ in 0..500 {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        let verdict = case.verdict(&case.pod.to_string()).unwrap();
        let changed = !verdict.patch.is_empty();
        patched += usize::from(changed);
        warned += usize::from(!verdict.warnings.is_empty());
        denied += usize::from(verdict.denial.is_some());
        ephemeral += usize::from(changed && case.old.is_some());
    }
    let counts = [patched, warned, denied, ephemeral];
    assert!(patched > 60 && warned > 100 && denied > 3 && ephemeral > 3, "of 500: {counts:?}");
}

impl ReviewCase {
    fn verdict(&self, pod: &str) -> Result<InjectionVerdict, String> {
        let old = self.old.as_ref().map(Value::to_string);
        let review = PodReview { namespace: "team-a", pod, old: old.as_deref() };
        let labels = self.label.map(|label| (rootcast::inject::BUNDLE.to_owned(), label.to_owned()));
        let labels: Labels = labels.into_iter().collect();
        let pod = review.parse().map_err(|error| error.to_string())?;
        Ok(if let Some(options) = self.options {
            let operator = Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() };
            let options = CainjectorOptions::parse(options).unwrap();
            pod.inject(&Policy::Cainjector { operator: &operator, options: &options })
        } else {
            let namespace = Namespace { labels: (&labels).into(), terminating: false, uid: "".into() };
            pod.inject(&Policy::Native { namespace: &namespace, bundles: &ALL })
        })
    }
}

static ALL: LazyLock<InjectableBundles> = LazyLock::new(bundles);

fn bundles() -> InjectableBundles {
    let stores = json!({ "jks": { "key": "k.jks", "password": "pass $(WORD) it's" } });
    let target = json!({ "configMap": { "key": "ca.pem" }, "additionalFormats": stores });
    let injectable = |(name, default_cas): (&str, bool)| {
        let sources = json!([{ "configMap": { "name": "x", "key": "y" } }, { "useDefaultCAs": default_cas }]);
        let bundle: api::Bundle = serde_json::from_value(json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": name },
            "spec": { "sources": sources, "target": target },
        }))
        .unwrap();
        let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, &"cert-manager".into());
        (name.into(), Injectability::of(intent.as_ref().map_err(Vec::as_slice), &DecisionSettings::default()))
    };
    let by_id = [("corp", true), ("my-org.com", true), ("private", false)].into_iter().map(injectable);
    InjectableBundles { settings: DecisionSettings::default(), by_id: by_id.collect() }
}

/// The pod after the patch.
fn apply(pod: &Value, verdict: &InjectionVerdict) -> Value {
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&verdict.patch).unwrap()).unwrap();
    let mut after = pod.clone();
    json_patch::patch(&mut after, &patch).unwrap_or_else(|error| panic!("{error}: {:?}", verdict.patch));
    after
}

/// Checks that everything is still in its position, and that only lists that may grow have new items.
fn keeps(at: &str, before: &Value, after: &Value) -> Result<(), TestCaseError> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                match value {
                    Value::Null if GROWING.contains(&&**key) => {}
                    _ if key == "value" && before.get("name") == Some(&json!("JAVA_TOOL_OPTIONS")) => {
                        let (old, new) = (value.as_str().unwrap_or_default(), after[key].as_str().unwrap_or_default());
                        prop_assert!(new.starts_with(old), "{}: {} became {}", at, old, new);
                    }
                    _ => keeps(&format!("{at}.{key}"), value, &after[key])?,
                }
            }
            for key in after.keys().filter(|key| !before.contains_key(*key)) {
                prop_assert!(GROWING.contains(&&**key) || key == "value", "{}: {} is new", at, key);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let grows = GROWING.iter().any(|field| at.ends_with(field));
            prop_assert!(before.len() == after.len() || grows && before.len() < after.len(), "{}", at);
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                keeps(&format!("{at}[{index}]"), before, after)?;
            }
        }
        _ => prop_assert_eq!(before, after, "{}", at),
    }
    Ok(())
}

/// Checks that added items have valid, unique names, and that added mounts have a volume.
fn adds_no_duplicates(before: &Value, after: &Value) -> Result<(), TestCaseError> {
    let (before, after) = (&before["spec"], &after["spec"]);
    let volumes = texts(&after["volumes"], "name");
    for name in added(&before["volumes"], &after["volumes"], "name") {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (1..=63).contains(&name.len()) && name.chars().all(inner);
        prop_assert!(valid && !name.starts_with('-') && !name.ends_with('-'), "{}", name);
        prop_assert_eq!(volumes.iter().filter(|other| **other == name).count(), 1, "{}", name);
    }
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for (before, after) in list(&before[field]).iter().zip(list(&after[field])) {
            let mounts = (&before["volumeMounts"], &after["volumeMounts"]);
            let paths = [texts(mounts.1, "mountPath"), texts(&after["volumeDevices"], "devicePath")].concat();
            for path in added(mounts.0, mounts.1, "mountPath") {
                prop_assert_eq!(paths.iter().filter(|other| **other == path).count(), 1, "{}", path);
            }
            for volume in added(mounts.0, mounts.1, "name") {
                prop_assert!(volumes.contains(&volume), "{} is not there", volume);
            }
            let names = texts(&after["env"], "name");
            for name in added(&before["env"], &after["env"], "name") {
                prop_assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{}", name);
            }
        }
    }
    Ok(())
}

fn added<'a>(before: &Value, after: &'a Value, field: &str) -> Vec<&'a str> {
    texts(after, field).split_off(list(before).len())
}

fn texts<'a>(items: &'a Value, field: &str) -> Vec<&'a str> {
    list(items).iter().map(|item| item[field].as_str().unwrap_or_default()).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Counts the values in a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the value at `index`, counted depth-first, in a value.
fn replace(value: &mut Value, mut index: usize, new: Value) {
    if index == 0 {
        *value = new;
        return;
    }
    index -= 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    for inner in inner {
        let size = count(inner);
        if index < size {
            return replace(inner, index, new);
        }
        index -= size;
    }
}
