//! What hostile input costs: memory and time grow with its length and no faster.
//!
//! Bytes are those that the allocator is asked for, all told and at once. Time is the processor's, of this thread alone.

mod labelled_namespace;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::pending;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use allocation_counter::measure;
use axum::body::Body;
use http::Request;
use proptest::prelude::*;
use proptest::sample::select;
use rootcast::api;
use rootcast::bundle::{
    Inputs, Intent, Labels, Namespace, ObjectKind, OutputKeys, SourceContent, SourceId, SourceObject, resolve,
};
use rootcast::inject::{CainjectorOptions, InjectableBundles, Policy};
use rootcast::limits;
use rootcast::webhook::{AdmissionReview, BundleLookup, INJECT, ReviewResponse, ReviewSubject, mutations};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use labelled_namespace::{LabelledNamespace, cainjector};

/// Something that reads what others send.
#[derive(Clone, Copy, Debug)]
struct Reader {
    name: &'static str,
    /// Reads it.
    read: fn(&[u8]),
    /// The most bytes that are allocated for each byte of input, all told, and beside.
    total: (u64, u64),
    /// The most that are held at once.
    peak: (u64, u64),
}

/// The limits of a review bound a pod's lists at some hundred kilobytes each, and the patch, too.
const REVIEW: Reader =
    Reader { name: "review by annotations", read: by_annotations, total: (40, 8 << 20), peak: (20, 4 << 20) };
const MUTATE: Reader = Reader { name: "review by options", read: by_options, ..REVIEW };

fn by_annotations(body: &[u8]) {
    answer(body, &LabelledNamespace::of("corp").policy());
}

fn by_options(body: &[u8]) {
    let options = CainjectorOptions { config_map: "corp".to_owned(), ..CainjectorOptions::default() };
    answer(body, &Policy::Cainjector { operator: &cainjector(), options: &options });
}

fn answer(body: &[u8], policy: &Policy<'_>) {
    let Ok(review) = AdmissionReview::read(body) else { return };
    let Ok(ReviewSubject::Pod(pod)) = review.subject() else { return };
    if let Ok(verdict) = pod.parse().map(|pod| pod.inject(policy)) {
        black_box(review.encode_response(&ReviewResponse::from(verdict)));
    }
}

/// A pod with something hostile in it, `n` times.
#[derive(Clone, Copy, Debug)]
struct Hostile {
    name: &'static str,
    pod: fn(usize) -> String,
}

fn repeated(item: &str, n: usize) -> String {
    let mut list = format!("{item},").repeat(n);
    list.pop();
    list
}

fn numbered(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect::<Vec<_>>().join(",")
}

fn spec(members: &str) -> String {
    format!(
        r#"{{"metadata":{{"annotations":{{"inject.rootcast.dev/runtimes":"java,go,curl"}}}},"spec":{{{members}}}}}"#
    )
}

fn annotated(key: &str, value: &str, containers: usize) -> String {
    let containers = repeated(r#"{"name":"b"}"#, containers);
    format!(
        r#"{{"metadata":{{"annotations":{{"inject.rootcast.dev/{key}":"{value}","cainjector.lestak.sh/{key}":"{value}"}}}},"spec":{{"containers":[{containers}]}}}}"#
    )
}

const HOSTILE: &[Hostile] = &[
    Hostile { name: "containers", pod: |n| spec(&format!(r#""containers":[{}]"#, repeated("{}", n))) },
    Hostile { name: "nulls", pod: |n| spec(&format!(r#""containers":[{}]"#, repeated("null", n))) },
    Hostile {
        name: "all kinds of containers of one name",
        pod: |n| {
            let list = repeated(r#"{"name":"a"}"#, n);
            spec(&format!(r#""containers":[{list}],"initContainers":[{list}],"ephemeralContainers":[{list}]"#))
        },
    },
    Hostile {
        name: "containers that a list does not exclude",
        pod: |n| annotated("excludeContainers", &repeated("a", n.min(1_000)), n.min(100)),
    },
    Hostile { name: "excluded containers", pod: |n| annotated("excludeContainers", &repeated("a", n), n) },
    Hostile { name: "namespaces", pod: |n| annotated("excludeNamespaces", &repeated("a", n), 1) },
    Hostile { name: "runtimes", pod: |n| annotated("runtimes", &repeated("x", n), 1) },
    Hostile { name: "a long annotation", pod: |n| annotated("mountPath", &"/a".repeat(n), n) },
    Hostile { name: "a mount path of dots", pod: |n| annotated("mountPath", &"/a/..".repeat(n.min(1_000)), 100) },
    Hostile {
        name: "annotations",
        pod: |n| {
            let all = numbered(n, |index| format!(r#""{index}":"""#));
            format!(r#"{{"metadata":{{"annotations":{{{all}}}}},"spec":{{"containers":[{{}}]}}}}"#)
        },
    },
    Hostile {
        name: "annotations of one key",
        pod: |n| {
            let all = repeated(r#""inject.rootcast.dev/bundle":"corp""#, n);
            format!(r#"{{"metadata":{{"annotations":{{{all}}}}},"spec":{{"containers":[{{}}]}}}}"#)
        },
    },
    Hostile { name: "volumes", pod: |n| spec(&format!(r#""volumes":[{}],"containers":[{{}}]"#, repeated("{}", n))) },
    Hostile {
        name: "volumes of our name",
        pod: |n| spec(&format!(r#""volumes":[{}],"containers":[{{}}]"#, repeated(r#"{"name":"rootcast-corp"}"#, n))),
    },
    Hostile {
        name: "items of a volume",
        pod: |n| {
            spec(&format!(r#""volumes":[{{"configMap":{{"items":[{}]}}}}],"containers":[{{}}]"#, repeated("{}", n)))
        },
    },
    Hostile {
        name: "variables",
        pod: |n| spec(&format!(r#""containers":[{{"env":[{}]}}]"#, repeated(r#"{"name":"SSL_CERT_FILE"}"#, n))),
    },
    Hostile {
        name: "variables of many names",
        pod: |n| {
            let all = numbered(n, |index| format!(r#"{{"name":"V{index}","value":"'javax"}}"#));
            spec(&format!(r#""containers":[{{"env":[{all}]}}]"#))
        },
    },
    Hostile {
        name: "options for Java",
        pod: |n| {
            let own = format!(r#"{{"name":"JAVA_TOOL_OPTIONS","value":"{}"}}"#, "\\\"".repeat(n));
            spec(&format!(r#""containers":[{{"env":[{own}]}},{{"env":[{own}]}}]"#))
        },
    },
    Hostile {
        name: "arguments",
        pod: |n| spec(&format!(r#""containers":[{{"args":[{}]}}]"#, repeated(r#""javax.net.'ssl""#, n))),
    },
    Hostile {
        name: "a long argument",
        pod: |n| spec(&format!(r#""containers":[{{"command":["{}"]}}]"#, "javax.net.ssl.trustStor ".repeat(n))),
    },
    Hostile { name: "mounts", pod: |n| spec(&format!(r#""containers":[{{"volumeMounts":[{}]}}]"#, repeated("{}", n))) },
    Hostile {
        name: "mounts in many containers",
        pod: |n| {
            let container = format!(r#"{{"volumeMounts":[{0}],"volumeDevices":[{0}]}}"#, repeated("{}", n.min(500)));
            spec(&format!(r#""containers":[{}]"#, repeated(&container, (n / 500).clamp(1, 120))))
        },
    },
    Hostile {
        name: "mounts below a long path",
        pod: |n| {
            let path = "/a".repeat(1 + n.min(20_000));
            let mounts = repeated(r#"{"name":"v","mountPath":"/b"}"#, n.min(500));
            format!(
                r#"{{"metadata":{{"annotations":{{"cainjector.lestak.sh/mountPath":"{path}"}}}},"spec":{{"containers":[{{"volumeMounts":[{mounts}]}}]}}}}"#
            )
        },
    },
    Hostile {
        name: "a mount at a path of many parts",
        pod: |n| {
            let path = "/etc/..".repeat(n);
            spec(&format!(r#""containers":[{{"volumeMounts":[{{"mountPath":"{path}"}}]}}]"#))
        },
    },
    Hostile {
        name: "terms of affinity",
        pod: |n| {
            let term =
                r#"{"matchExpressions":[{"key":"kubernetes.io/os","operator":"In","values":["windows","windows"]}]}"#;
            let terms = repeated(term, n);
            spec(&format!(
                r#""containers":[{{}}],"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{terms}]}}}}}}"#
            ))
        },
    },
    Hostile {
        name: "labels of nodes",
        pod: |n| {
            let all = numbered(n, |index| format!(r#""{index}":"""#));
            spec(&format!(r#""containers":[{{}}],"nodeSelector":{{{all}}}"#))
        },
    },
    Hostile { name: "fields that nobody knows", pod: |n| spec(&numbered(n, |index| format!(r#""{index}":[]"#))) },
    Hostile { name: "nesting", pod: |n| spec(&format!(r#""x":{}{}"#, "[".repeat(n), "]".repeat(n))) },
    Hostile { name: "a number", pod: |n| spec(&format!(r#""x":1{},"os":1{}"#, "0".repeat(n), "0".repeat(n))) },
    Hostile { name: "a text where none may be", pod: |n| spec(&format!(r#""containers":"{}""#, "\\n".repeat(n))) },
    Hostile { name: "no JSON", pod: |n| "[".repeat(n) },
];

/// The request for a pod: a new one, or one that gets ephemeral containers.
fn body(hostile: Hostile, n: usize, is_new: bool) -> Vec<u8> {
    let pod = (hostile.pod)(n);
    let (operation, sub_resource) = if is_new { ("CREATE", "") } else { ("UPDATE", "ephemeralcontainers") };
    let mut body = String::new();
    write!(
        body,
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"1","kind":{{"group":"","version":"v1","kind":"Pod"}},"subResource":"{sub_resource}","namespace":"shop","operation":"{operation}","object":{pod},"oldObject":{}}}}}"#,
        if is_new { "null" } else { &pod }
    )
    .unwrap();
    body.into_bytes()
}

/// What an input is, and how one of a size is made.
type Input<T> = (&'static str, fn(usize) -> T);

/// PEM, good and bad, `n` times.
const PEM: &[Input<String>] = &[
    ("blocks that hold nothing", |n| "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".repeat(n)),
    ("beginnings", |n| "-----BEGIN CERTIFICATE-----\n".repeat(n)),
    ("dashes", |n| "-".repeat(n)),
    ("lines of base64", |n| format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", "MIIB\n".repeat(n))),
    ("text", |n| "not a certificate\n".repeat(n)),
    ("a line of base64", |n| "MIIB".repeat(n)),
    ("empty lines", |n| "\n".repeat(n)),
];

const ANCHORS: Reader = Reader {
    name: "PEM",
    read: |text| drop(black_box(rootcast::trust::pem::read(text))),
    total: (64, 1 << 20),
    peak: (48, 1 << 20),
};

/// Bundles whose lists have `n` members.
const BUNDLES: &[Input<Value>] = &[
    ("labels to select", |n| {
        let labels: Value = (0..n).map(|index| (format!("not valid {index}"), json!("not valid, either"))).collect();
        json!({ "sources": [{ "useDefaultCAs": true }], "target": { "configMap": { "key": "a" }, "namespaceSelector": { "matchLabels": labels } } })
    }),
    ("expressions", |n| {
        let expressions = vec![json!({ "key": "a", "operator": "Wrong", "values": ["b"] }); n];
        json!({ "sources": [{ "useDefaultCAs": true }], "target": { "configMap": { "key": "a" }, "namespaceSelector": { "matchExpressions": expressions } } })
    }),
    ("sources", |n| json!({ "sources": vec![json!({}); n], "target": { "configMap": { "key": "a" } } })),
    ("metadata", |n| {
        let labels: Value = (0..n).map(|index| (format!("not valid {index}"), json!("not valid, either"))).collect();
        json!({ "sources": [{ "useDefaultCAs": true }], "target": { "configMap": { "key": "a", "metadata": { "labels": labels, "annotations": labels } } } })
    }),
];

/// A source takes half a kilobyte, and three bytes to write; the API server refuses more than a hundred.
const BUNDLE: Reader = Reader { name: "Bundle", read: bundle, total: (640, 1 << 20), peak: (320, 1 << 20) };

fn bundle(text: &[u8]) {
    if let Ok(bundle) = serde_json::from_slice::<api::Bundle>(text) {
        let _ = black_box(Intent::parse(&bundle, &"cert-manager".into()));
    }
}

fn bundle_text(spec: &Value) -> Vec<u8> {
    json!({ "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": "corp" }, "spec": spec })
        .to_string()
        .into_bytes()
}

/// Holds a reader to its bounds.
fn is_cheap(reader: Reader, input: &[u8], what: &str) {
    let cost = measure(|| (reader.read)(input));
    let bound = |(each, beside): (u64, u64)| each * input.len() as u64 + beside;
    let (name, length) = (reader.name, input.len());
    assert!(cost.bytes_total <= bound(reader.total), "{name}, {what}, {length} bytes: {cost:?}");
    assert!(cost.bytes_max <= bound(reader.peak), "{name}, {what}, {length} bytes: {cost:?}");
}

/// How long this thread has run.
fn ran() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// Asserts that four times the input takes no more than some ten times as long: were it the square, it would be sixteen.
fn is_linear(reader: Reader, what: &str, input: &dyn Fn(usize) -> Vec<u8>) {
    let time = |input: &[u8]| {
        let once = || {
            let before = ran();
            (reader.read)(input);
            ran().saturating_sub(before)
        };
        (0..3).map(|_| once()).min().unwrap()
    };
    let (small, large) = (input(2_000), input(8_000));
    let (fast, slow) = (time(&small), time(&large));
    let growth = u32::try_from(large.len().div_ceil(small.len())).unwrap();
    assert!(
        slow <= fast * growth * 5 / 2 + Duration::from_millis(2),
        "{}, {what}: {fast:?}, then {slow:?}",
        reader.name
    );
    for input in [small, large] {
        is_cheap(reader, &input, what);
    }
}

#[test]
fn reviews_are_linear() {
    for hostile in HOSTILE {
        for is_new in [true, false] {
            for reader in [REVIEW, MUTATE] {
                is_linear(reader, hostile.name, &|n| body(*hostile, n, is_new));
            }
        }
    }
}

/// A cluster that does not answer.
struct Silent;

impl BundleLookup for Silent {
    type Error = Infallible;

    fn bundles(&self) -> Result<Arc<InjectableBundles>, Infallible> {
        Ok(Arc::default())
    }

    async fn bundles_with(&self, _: &str) -> Result<Arc<InjectableBundles>, Infallible> {
        pending().await
    }

    fn cached_namespace(&self, _: &str) -> Option<Namespace> {
        None
    }

    async fn namespace(&self, _: &str) -> Result<Namespace, Infallible> {
        pending().await
    }
}

#[test]
fn a_review_that_waits_for_the_api_server_holds_little_beside_its_body() {
    let hostile = HOSTILE.iter().find(|hostile| hostile.name == "mounts in many containers").unwrap();
    let body = body(*hostile, 10_000, true);
    assert!((50_000..64_000).contains(&body.len()), "it is decided at once, and is {} bytes", body.len());
    let (_options, options) = watch::channel(Arc::default());
    let router = mutations(Silent, cainjector(), options, Arc::new(|_, _| ()));
    let mut review = pin!(router.oneshot(Request::post(INJECT).body(Body::from(body)).unwrap()));
    let cost = measure(|| assert!(review.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()));
    assert!(cost.bytes_max > 1 << 19, "the pod is parsed: {cost:?}");
    assert!(cost.bytes_current < 1 << 14, "{cost:?}");
}

#[test]
fn reading_pem_is_linear() {
    for (what, text) in PEM {
        is_linear(ANCHORS, what, &|n| text(n).into_bytes());
    }
}

#[test]
fn parsing_a_bundle_is_linear() {
    for (what, spec) in BUNDLES {
        is_linear(BUNDLE, what, &|n| bundle_text(&spec(n)));
    }
}

/// The sources of a Bundle that names one object as often as it may.
fn named_often(times: usize) -> (Intent, Inputs) {
    let source = json!({ "configMap": { "name": "roots", "key": "ca.pem" } });
    let spec = json!({ "sources": vec![source; times], "target": { "configMap": { "key": "k" } } });
    let bundle: api::Bundle = serde_json::from_slice(&bundle_text(&spec)).unwrap();
    let pem = include_str!("cases/certs/ec.pem");
    let text = pem.repeat((1 << 20) / pem.len());
    let content = SourceContent::Keys([("ca.pem".to_owned(), text.into_bytes().into())].into());
    let object = SourceObject {
        labels: Labels::new(),
        output: OutputKeys::None,
        content,
        undecodable: std::collections::BTreeMap::new(),
    };
    let id = SourceId { kind: ObjectKind::ConfigMap, namespace: "cert-manager".into(), name: "roots".into() };
    let sources = [(id, object)].into();
    (Intent::parse(&bundle, &"cert-manager".into()).unwrap(), Inputs { sources, ..Inputs::default() })
}

#[test]
fn a_source_that_is_named_a_hundred_times_costs_what_it_costs_once() {
    let cost = |times| {
        let (intent, world) = named_often(times);
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        measure(|| drop(black_box(resolve(&intent, &world, now).unwrap())))
    };
    let (once, often) = (cost(1), cost(limits::SOURCES.max));
    assert!(often.bytes_total <= once.bytes_total + (1 << 16), "{often:?} instead of {once:?}");
    assert!(often.bytes_max <= 24 << 20, "{often:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn reviews_cost_what_their_length_allows(hostile in select(HOSTILE), n in 1..10_000_usize, is_new in any::<bool>()) {
        for reader in [REVIEW, MUTATE] {
            is_cheap(reader, &body(hostile, n, is_new), hostile.name);
        }
    }

    #[test]
    fn pem_costs_what_its_length_allows((what, text) in select(PEM), n in 1..10_000_usize) {
        is_cheap(ANCHORS, text(n).as_bytes(), what);
    }

    #[test]
    fn bundles_cost_what_their_length_allows((what, spec) in select(BUNDLES), n in 1..5_000_usize) {
        is_cheap(BUNDLE, &bundle_text(&spec(n)), what);
    }
}
