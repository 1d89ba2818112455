//! A JVM reads the options that injection sets, whatever the password.

mod absent;

use std::process::Command;

use absent::absent;
use rootcast::api;
use rootcast::bundle::{DecisionSettings, FieldError, Intent, Labels, Namespace};
use rootcast::inject::{Injectability, InjectableBundles, PodReview, Policy};
use serde_json::{Value, json};

const PASSWORDS: [&str; 7] =
    ["changeit", "two  words", "it's", r#"say "hi", it's $(HOME)"#, r#""""#, r"back\slash $$ $", "tab\tnew"];

#[test]
fn a_jvm_has_exactly_this_path_type_and_password_as_its_properties() {
    for password in PASSWORDS {
        let options = expand(&options(password));
        let java = Command::new("java")
            .args(["-XshowSettings:properties", "-version"])
            .env("JAVA_TOOL_OPTIONS", &options)
            .output();
        let Ok(output) = java else {
            return absent("java");
        };
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{options}\n{printed}");
        let shown = password.replace('\t', "\\t");
        for (property, value) in [("", "/etc/rootcast/corp/k.jks"), ("Type", "JKS"), ("Password", &*shown)] {
            let line = format!("    javax.net.ssl.trustStore{property} = {value}");
            let plain = line.replace("\\t", "\t");
            assert!(printed.lines().any(|other| other == line || other == plain), "{line:?} is not in\n{printed}");
        }
        assert!(printed.lines().any(|line| line == "    own = 1"), "{printed}");
    }
}

/// The value of the variable in a container that has one of its own.
fn options(password: &str) -> String {
    let bundle: api::Bundle = serde_json::from_value(json!({
        "apiVersion": api::API_VERSION, "kind": api::KIND, "metadata": { "name": "corp" },
        "spec": {
            "sources": [{ "useDefaultCAs": true }, { "configMap": { "name": "x", "key": "y" } }],
            "target": {
                "configMap": { "key": "ca.pem" },
                "additionalFormats": { "jks": { "key": "k.jks", "password": password } },
            },
        },
    }))
    .unwrap();
    let intent: Result<Intent, Vec<FieldError>> = Intent::parse(&bundle, &"cert-manager".into());
    let injectability = Injectability::of(intent.as_ref().map_err(Vec::as_slice), &DecisionSettings::default());
    let bundles =
        InjectableBundles { settings: DecisionSettings::default(), by_id: [("corp".into(), injectability)].into() };
    let namespace = Namespace { labels: (&Labels::new()).into(), terminating: false, uid: "".into() };
    let pod = json!({
        "metadata": { "annotations": { "inject.rootcast.dev/bundle": "corp", "inject.rootcast.dev/runtimes": "java" } },
        "spec": { "containers": [{ "name": "app", "env": [{ "name": "JAVA_TOOL_OPTIONS", "value": "-Down=1" }] }] },
    })
    .to_string();
    let review = PodReview { namespace: "team-a", pod: &pod, old: None };
    let policy = Policy::Native { namespace: &namespace, bundles: &bundles };
    let verdict = review.parse().unwrap().inject(&policy);
    let patch: Value = serde_json::to_value(&verdict.patch).unwrap();
    let change = patch.as_array().unwrap().iter().find(|change| change["path"] == "/spec/containers/0/env/0/value");
    change.unwrap()["value"].as_str().unwrap().to_owned()
}

/// Expands a value as the kubelet does in a pod that has a variable `HOME`.
fn expand(value: &str) -> String {
    let (mut expanded, mut rest) = (String::new(), value);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = match after.chars().next() {
            Some('$') => {
                expanded.push('$');
                &after[1..]
            }
            Some('(') => {
                expanded.push_str("EXPANDED");
                after.split_once(')').map_or("", |(_, rest)| rest)
            }
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}
