//! Whatever a pod looks like: the patch applies, adds and never takes away, and a second look finds nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option::{self, weighted};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rootcast::api;
use rootcast::bundle::{Intent, Labels, Namespace, Problem, Settings};
use rootcast::inject::{Bundles, Offered, Operator, Options, Policy, Review, Verdict, inject};
use serde_json::{Map, Value, json};

/// Names of Bundles, one of which does not exist.
const BUNDLES: [&str; 5] = ["corp", "corp", "my-org.com", "absent", "private"];

/// Fields whose lists may grow, or appear.
const GROWING: [&str; 3] = ["volumes", "volumeMounts", "env"];

/// What is asked, and by which rules.
#[derive(Clone, Debug)]
struct Question {
    pod: Value,
    old: Option<Value>,
    label: Option<&'static str>,
    options: Option<&'static str>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_patch_applies_adds_what_is_missing_and_leaves_nothing_for_a_second_look(question in question()) {
        let verdict = question.ask(&question.pod.to_string()).unwrap();
        if verdict.refusal.is_some() {
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
        prop_assert_eq!(again.refusal, verdict.refusal);
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
        let _ = Options::parse(&text);
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
        let _ = Options::parse(&text.into_iter().collect::<String>());
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
        refused += usize::from(verdict.refusal.is_some());
        ephemeral += usize::from(changed && question.old.is_some());
    }
    let answers = [patched, warned, refused, ephemeral];
    assert!(patched > 60 && warned > 100 && refused > 3 && ephemeral > 3, "of 500: {answers:?}");
}

impl Question {
    fn ask(&self, pod: &str) -> Result<Verdict, String> {
        let old = self.old.as_ref().map(Value::to_string);
        let review = Review { namespace: "team-a", pod, old: old.as_deref() };
        let labels = self.label.map(|label| (rootcast::inject::BUNDLE.to_owned(), label.to_owned()));
        let labels: Labels = labels.into_iter().collect();
        let verdict = if let Some(options) = self.options {
            let operator = Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() };
            inject(&review, &Policy::Cainjector { operator: &operator, options: &Options::parse(options).unwrap() })
        } else {
            let namespace = Namespace { labels: (&labels).into(), terminating: false };
            inject(&review, &Policy::Native { namespace: &namespace, bundles: &ALL })
        };
        verdict.map_err(|malformed| malformed.to_string())
    }
}

static ALL: LazyLock<Bundles> = LazyLock::new(bundles);

fn bundles() -> Bundles {
    let stores = json!({ "jks": { "key": "k.jks", "password": "pass $(WORD) it's" } });
    let target = json!({ "configMap": { "key": "ca.pem" }, "additionalFormats": stores });
    let offered = |(name, default_cas): (&str, bool)| {
        let sources = json!([{ "configMap": { "name": "x", "key": "y" } }, { "useDefaultCAs": default_cas }]);
        let bundle: api::Bundle = serde_json::from_value(json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": name },
            "spec": { "sources": sources, "target": target },
        }))
        .unwrap();
        let intent: Result<Intent, Vec<Problem>> = Intent::parse(&bundle, "cert-manager");
        (name.to_owned(), Offered::of(intent.as_ref().map_err(Vec::as_slice), &Settings::default()))
    };
    let offered = [("corp", true), ("my-org.com", true), ("private", false)].into_iter().map(offered);
    Bundles { settings: Settings::default(), offered: offered.collect() }
}

/// The pod after the patch.
fn apply(pod: &Value, verdict: &Verdict) -> Value {
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

/// Something in the wrong place.
fn odd() -> impl Strategy<Value = Value> {
    let lists = [json!([null]), json!([["a"]]), json!([{ "name": "a" }]), json!({ "name": null }), json!({ "a": {} })];
    let plain = [json!(null), json!(true), json!(0), json!(-1.5), json!("a"), json!([]), json!({})];
    select([lists.as_slice(), plain.as_slice()].concat())
}

fn question() -> impl Strategy<Value = Question> {
    let options = [
        "",
        "configMap: corp",
        "secret: my-org.com\nmountPath: /etc/ssl/\nexcludeContainers: [a]",
        "configMap: corp\nsetEnvVar: false",
    ];
    let label = weighted(0.5, select(BUNDLES.as_slice()));
    (pod(), weighted(0.4, pod()), label, weighted(0.4, select(options.to_vec())))
        .prop_map(|(pod, old, label, options)| Question { pod, old, label, options })
}

fn pod() -> impl Strategy<Value = Value> {
    let metadata = object([("annotations", maybe(annotations())), ("labels", maybe(map())), ("name", text())]);
    let os = prop_oneof![24 => Just(json!({ "name": "linux" })), 1 => Just(json!({ "name": "windows" }))];
    let containers = || maybe(items(container(), 4));
    let spec = object([
        ("volumes", maybe(items(volume(), 3))),
        ("containers", containers()),
        ("initContainers", containers()),
        ("ephemeralContainers", containers()),
        ("os", maybe(os)),
        ("nodeSelector", maybe(map())),
        ("hostNetwork", anything()),
        ("fieldOfTomorrow", anything()),
    ]);
    object([("metadata", maybe(metadata)), ("spec", maybe(spec)), ("status", anything())])
}

fn annotations() -> impl Strategy<Value = Value> {
    // Most annotations say nothing, so that the others come to something.
    let word = |words: &[&'static str]| prop_oneof![14 => Just(Value::Null), 4 => select(words.to_vec()).prop_map(Value::from), 1 => text()];
    let native = object([
        (
            "inject.rootcast.dev/bundle",
            prop_oneof![4 => select(BUNDLES.as_slice()).prop_map(Value::from), 1 => text()].boxed(),
        ),
        ("inject.rootcast.dev/skip", word(&["false", "false", "", "no", "true"]).boxed()),
        ("inject.rootcast.dev/required", word(&["true", "false", "yes"]).boxed()),
        ("inject.rootcast.dev/runtimes", word(&["java", "node,java", "go, python", "php,java,perl"]).boxed()),
        ("inject.rootcast.dev/excludeContainers", word(&["a", "b, c"]).boxed()),
    ]);
    let peers = object([
        ("cainjector.lestak.sh/secret", word(&["corp", ""]).boxed()),
        ("cainjector.lestak.sh/configMap", word(&["corp", "My.Org"]).boxed()),
        ("cainjector.lestak.sh/mountPath", word(&["/etc", "/cacerts"]).boxed()),
        ("cainjector.lestak.sh/inject", word(&["false", "true", "yes"]).boxed()),
        ("cainjector.lestak.sh/excludeNamespaces", word(&["team-a", "team-b", "team-c"]).boxed()),
    ]);
    (native, peers, map()).prop_map(|(native, peers, more)| {
        let members = [native, peers, more].into_iter().filter_map(|map| map.as_object().cloned()).flatten();
        Value::Object(members.collect::<Map<_, _>>())
    })
}

fn container() -> impl Strategy<Value = Value> {
    let path =
        select(vec!["/etc", "/etc/rootcast/corp", "/cacerts", "/etc/ssl", "/data", "/etc/rootcast/corp/deep", ""]);
    let mount = object([
        ("name", volume_name()),
        ("mountPath", path.clone().prop_map(Value::from).boxed()),
        ("subPath", anything()),
    ]);
    let device = object([("devicePath", path.prop_map(Value::from).boxed())]);
    let names = ["JAVA_TOOL_OPTIONS", "JAVA_TOOL_OPTIONS", "SSL_CERT_FILE", "GIT_SSL_CAINFO", "PATH"];
    let values = ["", "-Xmx1g", "-Djavax.net.ssl.trustStore=/x", "x\"y"];
    let variable = object([
        ("name", select(names.to_vec()).prop_map(Value::from).boxed()),
        ("value", maybe(select(values.to_vec()).prop_map(Value::from))),
        ("valueFrom", weighted(0.2, Just(json!({ "fieldRef": {} }))).prop_map(Value::from).boxed()),
    ]);
    object([
        ("name", prop_oneof![select(vec!["a", "b", "c"]).prop_map(Value::from), text()].boxed()),
        ("image", text()),
        ("env", maybe(items(variable, 3))),
        ("envFrom", weighted(0.1, Just(json!([{ "prefix": "X" }]))).prop_map(Value::from).boxed()),
        ("volumeMounts", maybe(items(mount, 2))),
        ("volumeDevices", weighted(0.2, items(device, 1)).prop_map(Value::from).boxed()),
        ("resizePolicy", anything()),
    ])
}

fn volume() -> impl Strategy<Value = Value> {
    let object_name = || select(vec!["corp", "my-org.com", "other"]).prop_map(Value::from).boxed();
    let source = prop_oneof![
        object([("name", object_name()), ("optional", option::of(any::<bool>()).prop_map(Value::from).boxed())])
            .prop_map(|source| json!({ "configMap": source })),
        object([("secretName", object_name())]).prop_map(|source| json!({ "secret": source })),
        anything().prop_map(|source| json!({ "ephemeral": source })),
    ];
    let any = (volume_name(), source).prop_map(|(name, mut volume)| {
        volume["name"] = name;
        volume
    });
    let ours = [("rootcast-corp", "corp"), ("rootcast-private", "private"), ("cainjector-corp", "corp")];
    let ours = select(ours.map(|(name, object)| json!({ "name": name, "configMap": { "name": object } })).to_vec());
    prop_oneof![any, ours]
}

fn volume_name() -> BoxedStrategy<Value> {
    prop_oneof![
        select(vec!["rootcast-corp", "cainjector-corp", "data", "tmp", "run", "cache", "config", "tokens"])
            .prop_map(Value::from),
        text()
    ]
    .boxed()
}

fn map() -> BoxedStrategy<Value> {
    let keys = select(vec!["kubernetes.io/os", "kubernetes.io/config.mirror", "a/b", "~", "team", "x", "y", "z"]);
    let values = prop_oneof![9 => text(), 1 => Just(json!("windows"))];
    let map = proptest::collection::btree_map(keys, values, 0..2);
    prop_oneof![3 => Just(json!({})), 1 => map.prop_map(|map: BTreeMap<_, _>| map.into_iter().collect())].boxed()
}

fn text() -> BoxedStrategy<Value> {
    let sorts = prop_oneof![8 => "[a-z0-9.-]{0,12}", 1 => "\\PC{0,200}", 3 => "[\n\t\"\\\\é]{1,4}"];
    sorts.prop_map(Value::from).boxed()
}

/// Values that we never look at.
fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text(),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z/~]{0,5}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
    .boxed()
}

/// A list with a `null` here and there.
fn items(item: impl Strategy<Value = Value> + 'static, most: usize) -> BoxedStrategy<Value> {
    vec(prop_oneof![8 => item, 1 => Just(Value::Null)], 0..=most).prop_map(Value::from).boxed()
}

/// Something that may be `null`.
fn maybe(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![19 => value, 1 => Just(Value::Null)].boxed()
}

/// An object with some of these members.
fn object<const N: usize>(members: [(&'static str, BoxedStrategy<Value>); N]) -> BoxedStrategy<Value> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| weighted(0.85, value.prop_map(move |value| (name.to_owned(), value))))
        .collect();
    members.prop_map(|members| members.into_iter().flatten().collect()).boxed()
}
