//! Whatever a pod looks like: the patch applies, adds and never takes away, and a second look finds nothing to do.

mod any_pod;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use any_pod::{Question, odd, question};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rootcast::api;
use rootcast::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};
use rootcast::inject::{
    CainjectorOptions, Injectability, InjectableBundles, InjectionVerdict, Operator, PodReview, Policy, inject,
};
use serde_json::{Value, json};

/// Fields whose lists may grow, or appear.
const GROWING: [&str; 3] = ["volumes", "volumeMounts", "env"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_patch_applies_adds_what_is_missing_and_leaves_nothing_for_a_second_look(question in question()) {
        let verdict = question.ask(&question.pod.to_string()).unwrap();
        if verdict.denial.is_some() {
            prop_assert!(verdict.patch.is_empty());
        }
        for warning in &verdict.warnings {
            prop_assert!(warning.chars().count() <= 256 && !warning.contains(char::is_control), "{}", warning);
        }
        let after = apply(&question.pod, &verdict);
        keeps("pod", &question.pod, &after)?;
        adds_no_duplicates(&question.pod, &after)?;

        let again = question.ask(&after.to_string()).unwrap();
        prop_assert!(again.patch.is_empty(), "{:?}", again.patch);
        let (first, second): (BTreeSet<_>, BTreeSet<_>) = (verdict.warnings.iter().collect(), again.warnings.iter().collect());
        prop_assert!(second.is_subset(&first), "{:?} after {:?}", second, first);
        prop_assert_eq!(again.denial, verdict.denial);
    }

    #[test]
    fn what_is_no_pod_is_said_to_be_none_and_everything_else_can_be_patched(
        question in question(),
        places in vec((any::<Index>(), odd()), 1..4),
    ) {
        let mut pod = question.pod.clone();
        for (place, odd) in places {
            let place = place.index(count(&pod));
            replace(&mut pod, place, odd);
        }
        if let Ok(verdict) = question.ask(&pod.to_string()) {
            apply(&pod, &verdict);
        }
    }

    #[test]
    fn damaged_text_is_no_panic(question in question(), cuts in vec((any::<Index>(), any::<Index>(), ".{0,3}"), 1..4)) {
        let mut text: Vec<char> = question.pod.to_string().chars().collect();
        for (from, length, new) in cuts {
            let from = from.index(text.len() + 1);
            let to = (from + length.index(8)).min(text.len());
            text.splice(from..to, new.chars());
        }
        let text: String = text.into_iter().collect();
        if let (Ok(verdict), Ok(pod)) = (question.ask(&text), serde_json::from_str::<Value>(&text)) {
            apply(&pod, &verdict);
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "\\PC*|[\\[\\]{}:,\"a0\\\\ \n-]*", question in question()) {
        let _ = question.ask(&text);
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

/// Who tests with pods that nothing is done to tests nothing.
#[test]
fn arbitrary_questions_have_all_sorts_of_answers() {
    let mut runner = TestRunner::deterministic();
    let strategy = question();
    let (mut patched, mut warned, mut refused, mut ephemeral) = (0, 0, 0, 0);
    for _ in 0..500 {
        let question = strategy.new_tree(&mut runner).unwrap().current();
        let verdict = question.ask(&question.pod.to_string()).unwrap();
        let changed = !verdict.patch.is_empty();
        patched += usize::from(changed);
        warned += usize::from(!verdict.warnings.is_empty());
        refused += usize::from(verdict.denial.is_some());
        ephemeral += usize::from(changed && question.old.is_some());
    }
    let answers = [patched, warned, refused, ephemeral];
    assert!(patched > 60 && warned > 100 && refused > 3 && ephemeral > 3, "of 500: {answers:?}");
}

impl Question {
    fn ask(&self, pod: &str) -> Result<InjectionVerdict, String> {
        let old = self.old.as_ref().map(Value::to_string);
        let review = PodReview { namespace: "team-a", pod, old: old.as_deref() };
        let labels = self.label.map(|label| (rootcast::inject::BUNDLE.to_owned(), label.to_owned()));
        let labels: Labels = labels.into_iter().collect();
        let verdict = if let Some(options) = self.options {
            let operator = Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() };
            inject(
                &review,
                &Policy::Cainjector { operator: &operator, options: &CainjectorOptions::parse(options).unwrap() },
            )
        } else {
            let namespace = Namespace { labels: (&labels).into(), terminating: false, uid: "".into() };
            inject(&review, &Policy::Native { namespace: &namespace, bundles: &ALL })
        };
        verdict.map_err(|malformed| malformed.to_string())
    }
}

static ALL: LazyLock<InjectableBundles> = LazyLock::new(bundles);

fn bundles() -> InjectableBundles {
    let stores = json!({ "jks": { "key": "k.jks", "password": "pass $(WORD) it's" } });
    let target = json!({ "configMap": { "key": "ca.pem" }, "additionalFormats": stores });
    let offered = |(name, default_cas): (&str, bool)| {
        let sources = json!([{ "configMap": { "name": "x", "key": "y" } }, { "useDefaultCAs": default_cas }]);
        let bundle: api::Bundle = serde_json::from_value(json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": name },
            "spec": { "sources": sources, "target": target },
        }))
        .unwrap();
        let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, "cert-manager");
        (name.to_owned(), Injectability::of(intent.as_ref().map_err(Vec::as_slice), &DecisionSettings::default()))
    };
    let offered = [("corp", true), ("my-org.com", true), ("private", false)].into_iter().map(offered);
    InjectableBundles { settings: DecisionSettings::default(), by_name: offered.collect() }
}

/// The pod after the patch.
fn apply(pod: &Value, verdict: &InjectionVerdict) -> Value {
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&verdict.patch).unwrap()).unwrap();
    let mut after = pod.clone();
    json_patch::patch(&mut after, &patch).unwrap_or_else(|error| panic!("{error}: {:?}", verdict.patch));
    after
}

/// Everything is still there, at its place, and nothing new but items of the lists that may grow.
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

/// What was added has valid names that nothing else has, and mounts what is there.
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

/// How many values there are in a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces one of the values in a value, counted in depth.
fn replace(value: &mut Value, mut place: usize, new: Value) {
    if place == 0 {
        *value = new;
        return;
    }
    place -= 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    for inner in inner {
        let size = count(inner);
        if place < size {
            return replace(inner, place, new);
        }
        place -= size;
    }
}
