//! Verdicts for pods as users write them, and for pods beyond every limit.

mod labelled_namespace;

use rootcast::inject::{self, CainjectorOptions, InjectionVerdict, PodReview, Policy};
use rootcast::limits;
use serde_json::{Value, json};

use labelled_namespace::{LabelledNamespace, cainjector};

/// The verdict for a pod in a namespace that names a Bundle with a keystore.
fn native_verdict(pod: &Value) -> InjectionVerdict {
    let pod = pod.to_string();
    let review = PodReview { namespace: "shop", pod: &pod, old: None };
    review.parse().unwrap().inject(&LabelledNamespace::of("corporate").policy())
}

/// The verdict for a pod by cainjector's rules.
fn cainjector_verdict(pod: &Value) -> InjectionVerdict {
    let options = CainjectorOptions::parse("configMap: corporate").unwrap();
    let pod = pod.to_string();
    let review = PodReview { namespace: "shop", pod: &pod, old: None };
    review.parse().unwrap().inject(&Policy::Cainjector { operator: &cainjector(), options: &options })
}

fn pod(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn left_alone(cause: &str) -> Vec<String> {
    vec![format!(
        "Bundle \"corporate\": JAVA_TOOL_OPTIONS of container \"app\" left alone: {cause}; give it the trust store's options yourself"
    )]
}

#[test]
fn a_trust_store_of_the_users_own_is_left_alone() {
    let table = [
        (include_str!("inject_pods/java-jdkopts.json"), "JDK_JAVA_OPTIONS names a trust store already"),
        (include_str!("inject_pods/java-args.json"), "its command or arguments name a trust store already"),
    ];
    for (text, cause) in table {
        let verdict = native_verdict(&pod(text));
        assert_eq!(verdict.warnings, left_alone(cause));
        assert!(!verdict.patch.is_empty() && !verdict.patch.as_json().contains("trustStore"), "{:?}", verdict.patch);
    }
}

#[test]
fn options_that_java_8_cuts_off_cause_a_warning() {
    let verdict = native_verdict(&pod(include_str!("inject_pods/java-long.json")));
    assert!(verdict.patch.as_json().contains("-Dotel.x051=value -Djavax.net.ssl.trustStore="));
    let warning = "Bundle \"corporate\": JAVA_TOOL_OPTIONS of container \"app\" has more than 1024 bytes, and Java 8 reads no more; shorten your own options";
    assert_eq!(verdict.warnings, [warning]);
}

#[test]
fn a_pod_for_windows_is_left_alone_with_a_warning() {
    let affine = pod(include_str!("inject_pods/windows-affinity.json"));
    let mut labelled = pod(include_str!("inject_pods/plain.json"));
    labelled["spec"]["nodeSelector"] = json!({ "beta.kubernetes.io/os": "windows" });
    for windows in [affine, labelled] {
        let verdict = native_verdict(&windows);
        assert!(verdict.patch.is_empty());
        let warning =
            "Bundle \"corporate\": pod not injected: it is for Windows; annotate it inject.rootcast.dev/skip: \"true\"";
        assert_eq!(verdict.warnings, [warning]);
    }
}

#[test]
fn aws_and_grpc_are_set_where_they_are_named() {
    let mut plain = pod(include_str!("inject_pods/plain.json"));
    let patch = native_verdict(&plain).patch;
    assert!(patch.as_json().contains("SSL_CERT_FILE"));
    let variables = ["AWS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"];
    assert!(variables.iter().all(|variable| !patch.as_json().contains(variable)), "{patch:?}");
    plain["metadata"]["annotations"]["inject.rootcast.dev/runtimes"] = json!("AWS, gRPC");
    let patch = native_verdict(&plain).patch;
    assert!(variables.iter().all(|variable| patch.as_json().contains(variable)), "{patch:?}");
}

/// A container with this number of mounts.
fn mounting(count: usize) -> Value {
    let mount = |index| json!({ "name": format!("v{index}"), "mountPath": format!("/data/{index}") });
    json!({ "name": "app", "volumeMounts": (0..count).map(mount).collect::<Vec<_>>() })
}

#[test]
fn a_pod_at_a_limit_is_injected_and_one_beyond_causes_a_warning_or_is_denied_if_it_requires_injection() {
    type Make<'a> = &'a dyn Fn(usize) -> Value;
    let containers = |count: usize| json!({ "spec": { "containers": vec![json!({ "name": "app" }); count] } });
    let spread = |count: usize| {
        let list = |count| vec![json!({ "name": "app" }); count];
        json!({ "spec": { "containers": list(count - 2), "initContainers": list(1), "ephemeralContainers": list(1) } })
    };
    let annotated = |key: &str, value: String| {
        let mut pod = containers(1);
        pod["metadata"]["annotations"][format!("inject.rootcast.dev/{key}")] = json!(value);
        pod["metadata"]["annotations"][format!("cainjector.lestak.sh/{key}")] = json!(value);
        pod
    };
    let list = |count: usize| annotated("excludeContainers", vec!["a"; count].join(","));
    let long = |count: usize| annotated("excludeContainers", "a".repeat(count));
    let many = |count: usize| {
        let annotations: Value = (0..count).map(|index| (format!("z{index}"), json!(""))).collect();
        let mut pod = containers(1);
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    let mounts = |count: usize| json!({ "spec": { "containers": [{ "name": "b" }, mounting(count)] } });
    let devices = |count: usize| json!({ "spec": { "containers": [{ "name": "app", "volumeDevices": vec![json!({ "devicePath": "/d" }); count] }] } });
    let volumes = |count: usize| {
        let mut pod = containers(1);
        pod["spec"]["volumes"] = vec![json!({ "name": "v" }); count].into();
        pod
    };
    let table: [(Make<'_>, limits::Limit, &str); 8] = [
        (&containers, limits::POD_CONTAINERS, "its 129 containers are more than 128; remove some"),
        (&spread, limits::POD_CONTAINERS, "its 129 containers are more than 128; remove some"),
        (&list, limits::POD_LIST, "/excludeContainers are more than 1024; shorten it"),
        (&long, limits::POD_ANNOTATION, "/excludeContainers are more than 65536; shorten it"),
        (&many, limits::POD_ANNOTATIONS, "annotations are more than 4096; remove some"),
        (&mounts, limits::POD_MOUNTS, "its 513 mounts of container \"app\" are more than 512; mount whole folders"),
        (&devices, limits::POD_MOUNTS, "its 513 mounts of container \"app\" are more than 512; mount whole folders"),
        (&volumes, limits::POD_VOLUMES, "its 1025 volumes are more than 1024; remove some"),
    ];
    for (make, limit, message) in table {
        for verdict in [native_verdict, cainjector_verdict] {
            let at = verdict(&make(limit.max));
            assert!(!at.patch.is_empty() && at.warnings.is_empty(), "{}: {:?}", limit.what, at.warnings);
            let beyond = verdict(&make(limit.max + 1));
            assert!(beyond.patch.is_empty() && beyond.denial.is_none(), "{}", limit.what);
            let [warning] = &beyond.warnings[..] else { panic!("{:?}", beyond.warnings) };
            assert!(warning.contains("pod not injected: its ") && warning.ends_with(message), "{warning}");
        }
        let mut requiring = make(limit.max + 1);
        requiring["metadata"]["annotations"][inject::REQUIRED] = json!("true");
        let denial = native_verdict(&requiring).denial.expect(limit.what);
        assert!(denial.code == 403 && denial.message.ends_with(message), "{denial:?}");
    }
}

#[test]
fn a_patch_that_would_be_too_long_is_none() {
    let mut requiring = json!({ "spec": { "containers": vec![json!({ "name": "app" }); 128] } });
    requiring["metadata"]["annotations"]["cainjector.lestak.sh/mountPath"] = json!("/a".repeat(10_000));
    let verdict = cainjector_verdict(&requiring);
    assert!(verdict.patch.is_empty());
    let [warning] = &verdict.warnings[..] else { panic!("{:?}", verdict.warnings) };
    assert!(warning.contains("its patch would have more than 262144 bytes; exclude containers"), "{warning}");
    // The pod's own value is copied into the patch.
    let own = json!({ "name": "app", "env": [{ "name": "JAVA_TOOL_OPTIONS", "value": "-Dx=".repeat(300_000) }] });
    let long = json!({
        "metadata": { "annotations": { inject::REQUIRED: "true", inject::RUNTIMES: "java" } },
        "spec": { "containers": [own] },
    });
    let denial = native_verdict(&long).denial.unwrap();
    assert!(denial.message.contains("its patch would have more than 262144 bytes"), "{denial:?}");
}
