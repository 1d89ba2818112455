//! Arbitrary reviews: pods of all kinds, with unknown fields and `null` in odd positions.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option::{self, weighted};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Names of Bundles, one of which does not exist.
const BUNDLES: [&str; 5] = ["corp", "corp", "my-org.com", "absent", "private"];

/// A review and the policy that decides about it.
#[derive(Clone, Debug)]
pub(crate) struct ReviewCase {
    /// The pod.
    pub(crate) pod: Value,
    /// The pod before ephemeral containers are added, if any are.
    pub(crate) old: Option<Value>,
    /// The Bundle that the namespace's label names, if any.
    pub(crate) label: Option<&'static str>,
    /// The options of cainjector; `None` for native mode.
    pub(crate) options: Option<&'static str>,
}

/// A value for a position where it is invalid.
pub(crate) fn odd() -> impl Strategy<Value = Value> {
    let lists = [json!([null]), json!([["a"]]), json!([{ "name": "a" }]), json!({ "name": null }), json!({ "a": {} })];
    let plain = [json!(null), json!(true), json!(0), json!(-1.5), json!("a"), json!([]), json!({})];
    select([lists.as_slice(), plain.as_slice()].concat())
}

/// A review of a pod in native mode or by cainjector's rules.
pub(crate) fn review_case() -> impl Strategy<Value = ReviewCase> {
    let options = [
        "",
        "configMap: corp",
        "secret: my-org.com\nmountPath: /etc/ssl/\nexcludeContainers: [a]",
        "configMap: corp\nsetEnvVar: false",
    ];
    let label = weighted(0.5, select(BUNDLES.as_slice()));
    (pod(), weighted(0.4, pod()), label, weighted(0.4, select(options.to_vec())))
        .prop_map(|(pod, old, label, options)| ReviewCase { pod, old, label, options })
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
    // Most annotations are absent, so that the others have an effect.
    let word = |words: &[&'static str]| prop_oneof![14 => Just(Value::Null), 4 => select(words.to_vec()).prop_map(Value::from), 1 => text()];
    let runtimes = select(vec!["java", "node,java", "go, python,java", "php,java,perl"]).prop_map(Value::from);
    let runtimes = prop_oneof![1 => Just(Value::Null), 2 => runtimes, 1 => text()];
    let native = object([
        (
            "inject.rootcast.dev/bundle",
            prop_oneof![4 => select(BUNDLES.as_slice()).prop_map(Value::from), 1 => text()].boxed(),
        ),
        ("inject.rootcast.dev/skip", word(&["false", "false", "", "no", "true"]).boxed()),
        ("inject.rootcast.dev/required", word(&["true", "false", "yes"]).boxed()),
        ("inject.rootcast.dev/runtimes", runtimes.boxed()),
        ("inject.rootcast.dev/excludeContainers", word(&["a", "b, c"]).boxed()),
    ]);
    let cainjector = object([
        ("cainjector.lestak.sh/secret", word(&["corp", ""]).boxed()),
        ("cainjector.lestak.sh/configMap", word(&["corp", "My.Org"]).boxed()),
        ("cainjector.lestak.sh/mountPath", word(&["/etc", "/cacerts"]).boxed()),
        ("cainjector.lestak.sh/inject", word(&["false", "true", "yes"]).boxed()),
        ("cainjector.lestak.sh/excludeNamespaces", word(&["team-a", "team-b", "team-c"]).boxed()),
    ]);
    (native, cainjector, map()).prop_map(|(native, cainjector, more)| {
        let members = [native, cainjector, more].into_iter().filter_map(|map| map.as_object().cloned()).flatten();
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
    let values = ["", "-Xmx1g", "-Xmx2g", "-Djavax.net.ssl.trustStore=/x", "x\"y"];
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
    let injected = [("rootcast-corp", "corp"), ("rootcast-private", "private"), ("cainjector-corp", "corp")];
    let injected =
        select(injected.map(|(name, object)| json!({ "name": name, "configMap": { "name": object } })).to_vec());
    prop_oneof![any, injected]
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
    let map = btree_map(keys, values, 0..2);
    prop_oneof![3 => Just(json!({})), 1 => map.prop_map(|map: BTreeMap<_, _>| map.into_iter().collect())].boxed()
}

fn text() -> BoxedStrategy<Value> {
    let texts = prop_oneof![8 => "[a-z0-9.-]{0,12}", 1 => "\\PC{0,200}", 3 => "[\n\t\"\\\\é]{1,4}"];
    texts.prop_map(Value::from).boxed()
}

/// A value of a field that injection does not read.
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
            btree_map("[a-zA-Z/~]{0,5}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
    .boxed()
}

/// A list with a `null` here and there.
fn items(item: impl Strategy<Value = Value> + 'static, most: usize) -> BoxedStrategy<Value> {
    vec(prop_oneof![8 => item, 1 => Just(Value::Null)], 0..=most).prop_map(Value::from).boxed()
}

/// A value, or `null`.
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
