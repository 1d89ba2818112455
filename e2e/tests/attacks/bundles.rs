//! Bundles that an author of Bundles makes expensive.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use rootcast::api::crd_yaml;
use rootcast_e2e::{
    ServingCertificate, TlsClient, Volume,
    attack::post,
    eventually, peer,
    scenario::{SOON, certificate},
};
use serde_json::{Value, json};

use crate::stage::{Stage, send, send_ok};

const BUNDLES: &str = "/apis/trust.cert-manager.io/v1alpha1/bundles";

/// The webhook of the controller, as trust-manager's chart asks for it.
const HOST: &str = "trust-manager.cert-manager.svc";
const VALIDATE: &str = "/validate-trust-cert-manager-io-v1alpha1-bundle";

/// What no API server lets pass, if it looks at it: so many labels, each with a value that is none.
fn bomb(name: &str, pairs: usize) -> Value {
    // Short names: an object has 1.5 MiB at most.
    let labels: BTreeMap<_, _> = (0..pairs).map(|number| (format!("{number:x}"), "-")).collect();
    json!({
        "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle", "metadata": {"name": name},
        "spec": {
            "sources": [{"inLine": certificate("ec")}],
            "target": {"configMap": {"key": "k"}, "namespaceSelector": {"matchLabels": labels}},
        },
    })
}

/// The same of other fields, each as large as an object may be.
fn others() -> Vec<Value> {
    let with = |name: &str, path: &str, value: Value| {
        let mut bundle = bomb(name, 0);
        *bundle.pointer_mut(path).expect("every Bundle here has it") = value;
        bundle
    };
    let pairs: BTreeMap<_, _> = (0..10_000).map(|number| (format!("-{number}"), "-")).collect();
    let expressions = vec![json!({"key": "-", "operator": "No"}); 30_000];
    let mut templated = bomb("templated", 0);
    templated["spec"]["target"]["configMap"]["metadata"] = json!({"labels": pairs});
    vec![
        with("sourced", "/spec/sources", vec![json!({"configMap": {"name": "-", "key": "/"}}); 25_000].into()),
        with("expressed", "/spec/target/namespaceSelector", json!({"matchExpressions": expressions})),
        templated,
    ]
}

#[tokio::test]
async fn malformed_bundles_cost_no_memory_and_leave_the_others_alone() -> Result<()> {
    let stage = Stage::set().await?;
    let author = stage.author();
    let mut site = stage.site(&[]).await?;
    // Our own definition may have rules that refuse them; trust-manager's has none, and what is stored stays.
    for crd in [crd_yaml(), peer::crd_yaml()] {
        stage.control_plane.install_crd(&crd).await?;
        let bombs = [bomb("bomb", 120_000), bomb("bomb2", 120_000)];
        for bundle in bombs.iter().chain(&others()) {
            let attack = async { send(&author, Method::POST, BUNDLES, bundle).await };
            let answer = site.lives_during(attack).await?;
            println!("{}: {} {}", bundle["metadata"]["name"], answer.code, shortened(&answer.body["message"]));
        }
    }
    let (status, message) = eventually("the author is told", SOON, async || site.synced("bomb").await).await;
    ensure!(status == "False" && message.len() < 4_096, "{status}, {} bytes: {}", message.len(), &message[..200]);
    // It must not take the restart of the API server's definition for a reason to forget them.
    let mut site = site.restarts().await?;
    site.lives().await?;
    site.end("malformed Bundles").await
}

fn shortened(message: &Value) -> String {
    message.as_str().unwrap_or_default().chars().take(200).collect()
}

#[tokio::test]
async fn a_review_of_100_000_pairs_costs_the_controller_neither_its_lease_nor_others_their_targets() -> Result<()> {
    let stage = Stage::shared().await;
    let control_plane = &stage.control_plane;
    let ServingCertificate { certificate, key, authority } = control_plane.serving_certificate(HOST)?;
    let mut volume = Volume::new(control_plane)?;
    volume.show(&[("ca.crt", &authority), ("tls.crt", &certificate), ("tls.key", &key)])?;
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let flags = [
        format!("--webhook-certificate-dir={}", volume.path().display()),
        format!("--webhook-port={port}"),
        "--leader-elect=true".to_owned(),
        "--leader-election-namespace=cert-manager".to_owned(),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut site = stage.site(&flags).await?;
    let tls = TlsClient::new(&authority, HOST)?;
    let kind = json!({"group": "trust.cert-manager.io", "version": "v1alpha1", "kind": "Bundle"});
    for bundle in [bomb("b", 100_000)].iter().chain(&others()) {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": kind, "operation": "CREATE", "object": bundle},
        });
        let attack = post(&tls, port, VALIDATE, review.to_string());
        let (status, answer) = site.lives_during(attack).await.with_context(|| bundle["metadata"].to_string())?;
        let told = answer["response"].to_string();
        let told: String = told.chars().take(400).collect();
        ensure!(status == 200 && answer["response"]["allowed"] == false, "{status}: {told}");
    }
    // Who was blocked for longer than its Lease lasts ends only when it looks at it again.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    site.lives().await?;
    site.end("reviews of Bundles").await
}

#[tokio::test]
async fn a_bundle_that_selects_all_keys_of_a_tls_secret_takes_none_from_a_later_one() -> Result<()> {
    let stage = Stage::shared().await;
    let author = stage.author();
    let mut site = stage.site(&[]).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "web-tls", "namespace": "cert-manager"},
        "stringData": {"tls.crt": certificate("ec"), "tls.key": ""},
    });
    send_ok(&site.client, Method::POST, "/api/v1/namespaces/cert-manager/secrets", &secret).await?;
    let bundle = |name: &str, rest: Value| {
        let mut from = json!({"name": "web-tls"});
        from.as_object_mut().expect("it is one").extend(rest.as_object().cloned().unwrap_or_default());
        json!({
            "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle", "metadata": {"name": name},
            "spec": {"sources": [{"secret": from}], "target": {"configMap": {"key": "k"}}},
        })
    };
    send_ok(&author, Method::POST, BUNDLES, &bundle("all-of-tls", json!({"includeAllKeys": true}))).await?;
    eventually("all keys are refused", SOON, async || {
        let (status, message) = site.synced("all-of-tls").await?;
        ensure!(status == "False", "{message}");
        Ok(())
    })
    .await;
    send_ok(&author, Method::POST, BUNDLES, &bundle("one-of-tls", json!({"key": "tls.crt"}))).await?;
    eventually("one key is not", SOON, async || {
        let (status, message) = site.synced("one-of-tls").await?;
        ensure!(status == "True", "{message}");
        Ok(())
    })
    .await;
    for name in ["all-of-tls", "one-of-tls"] {
        send_ok(&author, Method::DELETE, &format!("{BUNDLES}/{name}"), &Value::Null).await?;
    }
    send_ok(&site.client, Method::DELETE, "/api/v1/namespaces/cert-manager/secrets/web-tls", &Value::Null).await?;
    site.lives().await?;
    site.end("all keys of a TLS Secret").await
}
