//! Hostile input, from the bytes of a request to the bytes of its answer: nothing panics, and what is not answered with
//! a review is malformed for a reason.
//!
//! `ROOTCAST_FUZZ_CASES=1000000 cargo test --release --test webhook fuzz` tries that many instead of a few; what fails is
//! printed in its smallest form and kept in `tests/proptest-regressions`, from where it is tried again.

use std::env;
use std::error::Error;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rootcast::inject::{CainjectorOptions, Policy};
use rootcast::webhook::{AdmissionReview, ReviewResponse, ReviewSubject};
use serde_json::{Value, json};

use crate::answers::{bundles, namespace, operator, review};

/// From a request to its answer, as the server does it.
fn answer(body: &[u8], policy: &Policy<'_>) -> Result<Vec<u8>, Box<dyn Error>> {
    let review = AdmissionReview::read(body)?;
    let answer = match review.subject()? {
        ReviewSubject::Pod(pod) => pod.parse()?.inject(policy).into(),
        ReviewSubject::Bundle(_) | ReviewSubject::Other => ReviewResponse::default(),
    };
    Ok(review.encode_response(&answer))
}

/// What must hold of every request.
fn is_answered(body: &[u8]) -> Result<(), TestCaseError> {
    let (bundles, namespace, operator) = (bundles(), namespace(), operator());
    let options = CainjectorOptions { config_map: "ours".to_owned(), ..CainjectorOptions::default() };
    let policies = [
        Policy::Native { namespace: &namespace, bundles: &bundles },
        Policy::Cainjector { operator: &operator, options: &options },
    ];
    for policy in policies {
        match answer(body, &policy) {
            Err(error) => {
                let reason = error.to_string();
                prop_assert!(reason.contains(" is no ") && reason.contains(": "), "{reason}");
            }
            Ok(answer) => is_valid(body, &answer)?,
        }
    }
    Ok(())
}

/// An answer that the API server takes, whose patch fits the pod.
fn is_valid(body: &[u8], answer: &[u8]) -> Result<(), TestCaseError> {
    let answer: Value = serde_json::from_slice(answer).expect("an answer is JSON");
    let response = &answer["response"];
    prop_assert!(response["uid"].as_str().is_some_and(|uid| !uid.is_empty()) && response["allowed"].is_boolean());
    for warning in response["warnings"].as_array().into_iter().flatten() {
        prop_assert!(warning.as_str().is_some_and(|text| text.chars().count() <= 256), "{warning}");
    }
    if response["allowed"] == false {
        prop_assert!(response["status"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        prop_assert_eq!(&response["patch"], &Value::Null);
    }
    if let Some(patch) = response["patch"].as_str() {
        let patch = STANDARD.decode(patch).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
        // What is not looked at may be what only Go takes for text.
        let mut review = serde_json::from_slice::<Value>(body).unwrap_or_default();
        if let Some(pod) = review.pointer_mut("/request/object") {
            let applied = json_patch::patch(pod, &patch);
            prop_assert!(applied.is_ok(), "{applied:?}");
        }
    }
    Ok(())
}

/// Reviews that are rich in what is looked at.
fn valid() -> Vec<Value> {
    let rich = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "web-", "labels": {"a": "b"},
            "annotations": {
                "inject.rootcast.dev/bundle": "roots", "inject.rootcast.dev/required": "true",
                "inject.rootcast.dev/runtimes": "node,java", "inject.rootcast.dev/excludeContainers": "a,b",
                "cainjector.lestak.sh/mountPath": "/x", "cainjector.lestak.sh/configMap": "y",
            },
        },
        "spec": {
            "os": {"name": "linux"},
            "volumes": [{"name": "rootcast-roots", "configMap": {"name": "roots"}}, {"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "first", "restartPolicy": "Always", "env": [{"name": "A", "value": "B"}]}],
            "containers": [
                {"name": "web", "volumeMounts": [{"name": "v", "mountPath": "/etc/rootcast"}]},
                {"name": "a", "envFrom": [{"configMapRef": {"name": "e"}}]},
                {"name": "j", "env": [{"name": "JAVA_TOOL_OPTIONS", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
            ],
            "ephemeralContainers": [{"name": "debug", "targetContainerName": "web"}],
        },
    });
    let plain = json!({
        "metadata": {"annotations": {"inject.rootcast.dev/bundle": "roots"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let mut ephemeral = review("Pod", "UPDATE", &rich);
    ephemeral["request"]["subResource"] = json!("ephemeralcontainers");
    ephemeral["request"]["oldObject"] = plain.clone();
    vec![review("Pod", "CREATE", &rich), review("Pod", "CREATE", &plain), ephemeral]
}

/// A node of a document becomes something else.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Value),
    Remove,
    Twice,
    Rename(String),
}

fn odd_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        select(vec!["", " ", "true", "roots", "/", "/etc/rootcast", "a/b", "\u{0}", "$(A)", "🦀", "rootcast-roots"])
            .prop_map(str::to_owned),
        "\\PC{0,300}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn mutation() -> impl Strategy<Value = (Index, Mutation)> {
    let what = prop_oneof![
        4 => odd_value().prop_map(Mutation::Replace),
        2 => Just(Mutation::Remove),
        1 => Just(Mutation::Twice),
        1 => select(vec!["name", "env", "volumes", "Metadata", ""]).prop_map(|key| Mutation::Rename(key.to_owned())),
    ];
    (any::<Index>(), what)
}

fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn mutate(document: &mut Value, at: Index, mutation: Mutation) {
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let pointer = at.get(&all);
    if let Mutation::Replace(value) = mutation {
        *document.pointer_mut(pointer).expect("it was found there") = value;
        return;
    }
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    match (document.pointer_mut(parent).expect("what has a child"), mutation) {
        (Value::Object(map), Mutation::Rename(name)) => {
            let value = map.remove(&key).expect("it was found there");
            map.insert(name, value);
        }
        (Value::Object(map), _) => drop(map.remove(&key)),
        (Value::Array(items), mutation) => {
            let index: usize = key.parse().expect("an index");
            match mutation {
                Mutation::Twice => items.push(items[index].clone()),
                _ => drop(items.remove(index)),
            }
        }
        _ => unreachable!("only objects and lists have children"),
    }
}

fn cases() -> ProptestConfig {
    let cases = env::var("ROOTCAST_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000);
    ProptestConfig { cases, max_shrink_iters: 10_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn reviews_whose_nodes_are_odd_are_answered(
        seed in select(valid()),
        mutations in prop::collection::vec(mutation(), 0..5),
    ) {
        let mut document = seed;
        for (at, mutation) in mutations {
            mutate(&mut document, at, mutation);
        }
        is_answered(document.to_string().as_bytes())?;
    }

    #[test]
    fn reviews_whose_bytes_are_odd_are_answered(
        seed in select(valid()),
        changes in prop::collection::vec((any::<Index>(), prop::option::of(any::<u8>())), 1..6),
        end in prop::option::weighted(0.2, any::<Index>()),
    ) {
        let mut body = seed.to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(body.len());
            match byte {
                Some(byte) => body[at] = byte,
                None => drop(body.remove(at)),
            }
        }
        if let Some(end) = end {
            body.truncate(end.index(body.len()));
        }
        is_answered(&body)?;
    }

    #[test]
    fn what_is_no_json_is_malformed(body in prop::collection::vec(any::<u8>(), 0..200)) {
        is_answered(&body)?;
    }
}

#[test]
fn a_document_that_is_nested_without_end_is_malformed() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(100_000) + "1" + &close.repeat(100_000);
        let object = review("Pod", "CREATE", &json!("DEEP")).to_string().replace("\"DEEP\"", &deep);
        let annotated = review("Pod", "CREATE", &json!({"spec": "DEEP"})).to_string().replace("\"DEEP\"", &deep);
        for body in [deep, object, annotated] {
            is_answered(body.as_bytes()).expect("it is answered");
        }
    }
}
