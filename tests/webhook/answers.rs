//! What reviews are answered, byte for byte where it matters.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rootcast::bundle::{DecisionSettings, Intent, Namespace};
use rootcast::inject::{CainjectorOptions, Injectability, InjectableBundles, Operator};
use rootcast::webhook::{
    BundleLookup, INJECT, MUTATE, ReviewOutcome, ServerLimits, VALIDATE_BUNDLE, mutations, validation,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stage::{Response, Server};

/// A cluster with one Bundle, `roots`; the namespace `lost` cannot be had.
pub(crate) struct Small {
    pub(crate) native: bool,
}

impl BundleLookup for Small {
    type Error = io::Error;

    fn bundles(&self) -> io::Result<Arc<InjectableBundles>> {
        if self.native { Ok(Arc::new(bundles())) } else { Err(io::Error::other("it has no access to the API server")) }
    }

    async fn bundles_with(&self, _: &str) -> io::Result<Arc<InjectableBundles>> {
        self.bundles()
    }

    fn cached_namespace(&self, name: &str) -> Option<Namespace> {
        (name != "lost").then(namespace)
    }

    async fn namespace(&self, name: &str) -> io::Result<Namespace> {
        let lost = || io::Error::other("namespace lost: the API server does not answer");
        if name == "lost" { Err(lost()) } else { Ok(namespace()) }
    }
}

pub(crate) fn namespace() -> Namespace {
    Namespace { labels: (&std::collections::BTreeMap::new()).into(), terminating: false, uid: "".into() }
}

pub(crate) fn bundles() -> InjectableBundles {
    let bundle = json!({
        "metadata": {"name": "roots"},
        "spec": {"sources": [{"useDefaultCAs": true}], "target": {"configMap": {"key": "ca.pem"}}},
    });
    let bundle = serde_json::from_value(bundle).expect("a Bundle");
    let intent = Intent::parse(&bundle, &"cert-manager".into());
    let settings = DecisionSettings::default();
    let offered = Injectability::of(intent.as_ref().map_err(|problems| &problems[..]), &settings);
    InjectableBundles { settings, by_id: [("roots".into(), offered)].into() }
}

pub(crate) fn operator() -> Operator {
    Operator { name: "cainjector".to_owned(), domain: "lestak.sh".to_owned() }
}

pub(crate) fn pod(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "annotations": annotations},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    })
}

/// A review as the API server writes it.
pub(crate) fn review(kind: &str, operation: &str, object: &Value) -> Value {
    let (group, version) = if kind == "Bundle" { ("trust.cert-manager.io", "v1alpha1") } else { ("", "v1") };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0b4d", "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": "whatever"},
            "namespace": "shop", "operation": operation, "userInfo": {"username": "somebody"},
            "object": object, "oldObject": null, "dryRun": true, "options": {"kind": "CreateOptions"},
        },
    })
}

type Seen = Arc<Mutex<Vec<(ReviewOutcome, Duration)>>>;

async fn start(native: bool) -> (Server, Seen) {
    let seen = Seen::default();
    let observer = {
        let seen = seen.clone();
        Arc::new(move |outcome, took| seen.lock().expect("no panic").push((outcome, took)))
    };
    let options = CainjectorOptions { config_map: "ours".to_owned(), ..CainjectorOptions::default() };
    let (_, options) = watch::channel(Arc::new(options));
    let router = mutations(Small { native }, operator(), options, observer);
    (Server::start(router, ServerLimits::default()).await, seen)
}

fn answer(response: &Response) -> Value {
    assert_eq!(response.code, 200, "{response:?}");
    assert!(response.head.contains("content-type: application/json"), "{}", response.head);
    let mut answer: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "0b4d");
    if let Some(patch) = answer.pointer("/response/patch").and_then(Value::as_str) {
        let patch = STANDARD.decode(patch).expect("base64");
        answer["response"]["patch"] = serde_json::from_slice(&patch).expect("JSON");
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
    }
    answer
}

#[tokio::test]
async fn a_path_is_a_mode_and_an_answer_has_the_version_of_its_question() {
    let (server, seen) = start(true).await;
    let mut client = server.client().await;
    let object = pod(&json!({"inject.rootcast.dev/bundle": "roots"}));
    for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
        let mut review = review("Pod", "CREATE", &object);
        review["apiVersion"] = json!(version);
        for (path, volume, source) in [(INJECT, "rootcast-roots", "roots"), (MUTATE, "cainjector-ours", "ours")] {
            let answer = answer(&client.post(path, review.to_string()).await.expect("an answer"));
            assert_eq!(answer["apiVersion"], version);
            assert_eq!(answer["response"]["allowed"], true);
            let patch = answer["response"]["patch"].as_array().expect("a patch");
            let volumes = patch.iter().find(|change| change["path"] == "/spec/volumes").expect("volumes");
            assert_eq!(volumes["value"], json!([{"name": volume, "configMap": {"name": source}}]));
        }
    }
    let outcomes: Vec<_> = seen.lock().expect("no panic").iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes, [ReviewOutcome::Injected; 4]);
}

#[tokio::test]
async fn what_is_no_pod_to_be_created_goes_untouched() {
    let (server, seen) = start(true).await;
    let mut client = server.client().await;
    let wish = pod(&json!({"inject.rootcast.dev/bundle": "roots"}));
    let changed = |pointer: &str, value: &str, review: &Value| {
        let mut review = review.clone();
        *review.pointer_mut(pointer).expect("a field") = json!(value);
        review
    };
    let create = review("Pod", "CREATE", &wish);
    let mut status = review("Pod", "UPDATE", &wish);
    status["request"]["subResource"] = json!("status");
    let mut binding = create.clone();
    binding["request"]["subResource"] = json!("binding");
    let table = [
        changed("/request/kind/kind", "Deployment", &create),
        changed("/request/kind/group", "metrics.k8s.io", &create),
        changed("/request/kind/version", "v2", &create),
        review("Pod", "DELETE", &Value::Null),
        review("Pod", "CONNECT", &Value::Null),
        review("Pod", "UPDATE", &wish),
        review("Bundle", "CREATE", &json!({})),
        status,
        binding,
    ];
    for review in &table {
        for path in [INJECT, MUTATE] {
            let response = client.post(path, review.to_string()).await.expect("an answer");
            let answer = answer(&response);
            assert_eq!(answer["response"], json!({"uid": "0b4d", "allowed": true}), "{review}");
        }
    }
    let seen = seen.lock().expect("no panic");
    assert!(seen.len() == 2 * table.len() && seen.iter().all(|(outcome, _)| *outcome == ReviewOutcome::Unchanged));
}

#[tokio::test]
async fn who_is_malformed_is_told_what_and_where() {
    let (server, seen) = start(true).await;
    let mut client = server.client().await;
    let without = |field: &str| {
        let mut review = review("Pod", "CREATE", &pod(&json!({})));
        review["request"].as_object_mut().expect("an object").remove(field);
        review.to_string()
    };
    let of = |object: Value| review("Pod", "CREATE", &object).to_string();
    let table = [
        (String::new(), "this is no AdmissionReview: EOF while parsing a value at line 1 column 0"),
        ("[]".to_owned(), "this is no AdmissionReview: "),
        ("{}".to_owned(), "this is no AdmissionReview: missing field `apiVersion`"),
        (of(json!({})).replace("admission.k8s.io/v1", "v1"), "unknown variant `v1`, expected `admission.k8s.io/v1`"),
        (of(json!({})).replace("AdmissionReview", "PodList"), "unknown variant `PodList`, expected `AdmissionReview`"),
        (of(json!({})).replace("0b4d", ""), "this is no AdmissionReview: request.uid is empty"),
        (without("uid"), "missing field `uid`"),
        (without("object"), "this is no AdmissionReview: request.object is missing"),
        (of(Value::Null), "this is no AdmissionReview: request.object is missing"),
        (without("namespace"), "this is no AdmissionReview of a pod: request.namespace is missing"),
        (of(json!([])), "object is no pod: "),
        (of(json!({"metadata": 1})), "object is no pod: "),
        (of(json!({})) + "x", "trailing characters"),
    ];
    for (body, words) in &table {
        for path in [INJECT, MUTATE] {
            let response = client.post(path, body).await.expect("an answer");
            assert_eq!(response.code, 400, "{body}: {response:?}");
            assert!(response.body.contains(words), "{body}: {}", response.body);
        }
    }
    let seen = seen.lock().expect("no panic");
    assert!(seen.len() == 2 * table.len() && seen.iter().all(|(outcome, _)| *outcome == ReviewOutcome::Malformed));
}

#[tokio::test]
async fn a_namespace_that_cannot_be_had_is_an_error_and_never_one_without_labels() {
    let (server, seen) = start(true).await;
    let mut client = server.client().await;
    let review = review("Pod", "CREATE", &pod(&json!({}))).to_string().replace("\"shop\"", "\"lost\"");
    let response = client.post(INJECT, &review).await.expect("an answer");
    assert_eq!((response.code, &*response.body), (500, "namespace lost: the API server does not answer"));
    // cainjector's rules have nothing to do with the labels of namespaces.
    assert_eq!(client.post(MUTATE, &review).await.expect("an answer").code, 200);
    assert_eq!(seen.lock().expect("no panic")[0].0, ReviewOutcome::Failed);
}

#[tokio::test]
async fn native_mode_that_is_off_warns_and_lets_no_pod_in_that_requires_it() {
    let (server, seen) = start(false).await;
    let mut client = server.client().await;
    let cause = "no Bundle is mounted, for native mode is off: it has no access to the API server";
    let key = |key: &str| format!("inject.rootcast.dev/{key}");
    let mut ask = async |annotations: Value| {
        let review = review("Pod", "CREATE", &pod(&annotations)).to_string();
        answer(&client.post(INJECT, review).await.expect("an answer"))["response"].clone()
    };
    let warned = json!({"uid": "0b4d", "allowed": true, "warnings": [cause]});
    assert_eq!(ask(json!({key("bundle"): "roots"})).await, warned);
    assert_eq!(ask(json!({key("required"): "false"})).await, warned);
    let message = format!("{cause}; annotation inject.rootcast.dev/required lets no pod in without");
    let refused = json!({
        "uid": "0b4d", "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": message},
    });
    assert_eq!(ask(json!({key("required"): " true"})).await, refused);
    assert_eq!(ask(json!({key("required"): "true", key("skip"): "true"})).await["warnings"], Value::Null);
    let outcomes: Vec<_> = seen.lock().expect("no panic").iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(
        outcomes,
        [ReviewOutcome::Warned, ReviewOutcome::Warned, ReviewOutcome::Refused, ReviewOutcome::Unchanged]
    );
}

#[tokio::test]
async fn other_methods_and_paths_are_told_so_and_content_types_are_not_asked_for() {
    let (pods, _) = start(true).await;
    let bundles = Server::start(validation("cert-manager".into()), ServerLimits::default()).await;
    for (path, server) in [(INJECT, &pods), (MUTATE, &pods), (VALIDATE_BUNDLE, &bundles)] {
        let mut client = server.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.expect("sent");
        let response = client.response().await.expect("an answer");
        assert_eq!((response.code, &*response.body), (405, "reviews are sent by POST"));
        assert!(response.head.contains("allow: post"), "{}", response.head);
        let body = review("Pod", "DELETE", &Value::Null).to_string();
        let head = format!("POST {path}?timeout=5s HTTP/1.1\r\nhost: a\r\ncontent-type: text/html\r\n");
        client.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await.expect("sent");
        assert_eq!(client.response().await.expect("an answer").code, 200);
    }
    let mut client = pods.client().await;
    for path in ["/", "/injector", "/inject/", VALIDATE_BUNDLE] {
        let response = client.post(path, "x").await.expect("an answer");
        assert_eq!((response.code, &*response.body), (404, "there is no webhook at this path"));
    }
}

#[tokio::test]
async fn bundles_are_judged_by_the_rules_of_the_controller_in_trust_managers_words() {
    let server = Server::start(validation("cert-manager".into()), ServerLimits::default()).await;
    let mut client = server.client().await;
    let mut ask = async |operation: &str, object: Value, subresource: &str| {
        let mut review = review("Bundle", operation, &object);
        review["request"]["subResource"] = json!(subresource);
        review["request"]["namespace"] = Value::Null;
        review["request"].as_object_mut().expect("an object").remove("namespace");
        answer(&client.post(VALIDATE_BUNDLE, review.to_string()).await.expect("an answer"))["response"].clone()
    };
    let allowed = json!({"uid": "0b4d", "allowed": true});
    let refused = |code: u16, reason: &str, message: &str| json!({"uid": "0b4d", "allowed": false, "status": {"code": code, "reason": reason, "message": message}});
    let bundle = |sources: Value| {
        let target = json!({"configMap": {"key": "pem"}});
        json!({"metadata": {"name": "b"}, "spec": {"sources": sources, "target": target}})
    };
    let good = bundle(json!([{"useDefaultCAs": true}]));
    let none = bundle(json!([]));
    let two = bundle(json!([{"useDefaultCAs": true, "inLine": "x"}, {"useDefaultCAs": true}]));
    let mut leaving = none.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let no_source = refused(403, "Forbidden", "spec.sources: Forbidden: must define at least one source");
    let several = "[spec.sources[0]: Forbidden: must define exactly one source type for each item but found 2 defined \
                   types, spec.sources: Forbidden: must request default CAs either once or not at all but got 2 \
                   requests]";
    // A long list of problems ends with their number, and takes no time to speak of.
    let pair = json!({"useDefaultCAs": false, "inLine": "x"});
    let many = ask("CREATE", bundle(vec![pair; 20_000].into()), "").await;
    let message = many["status"]["message"].as_str().expect("a message");
    assert!(!many["allowed"].as_bool().expect("a verdict") && message.len() < 10_000, "{} bytes", message.len());
    for operation in ["CREATE", "UPDATE"] {
        assert_eq!(ask(operation, good.clone(), "").await, allowed);
        assert_eq!(ask(operation, none.clone(), "").await, no_source);
        assert_eq!(ask(operation, two.clone(), "").await, refused(403, "Forbidden", several));
        // Whoever reports on a Bundle, or ends its deletion, does not change what it asks for.
        assert_eq!(ask(operation, none.clone(), "status").await, allowed);
        assert_eq!(ask(operation, leaving.clone(), "").await, allowed);
    }
    assert_eq!(ask("DELETE", Value::Null, "").await, allowed);
    let odd = ask("CREATE", json!({"spec": {"sources": 1}}), "").await;
    assert_eq!(odd["status"]["code"], 400);
    assert!(odd["status"]["message"].as_str().is_some_and(|words| words.starts_with("this is no Bundle: ")), "{odd}");
}
