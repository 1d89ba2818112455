//! `rootcast inspect` looks into objects of a real cluster, with the permissions of whoever runs it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use rootcast_e2e::release_binary;
use rootcast_e2e::scenario::{Scenario, anchors, bundle, certificate, pem_key};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::stage;

struct Told {
    code: Option<i32>,
    out: String,
    errors: String,
}

async fn inspect(kubeconfig: &Path, arguments: &[&str]) -> Result<Told> {
    let mut command = Command::new(release_binary().await?);
    command.arg("inspect").args(arguments).arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG");
    let output = command.output().await.context("running rootcast inspect")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Told { code: output.status.code(), out: text(&output.stdout), errors: text(&output.stderr) })
}

impl Told {
    /// The fingerprints and the keys that they were found in, in order.
    fn found(&self) -> Result<Vec<(String, String)>> {
        let document: Value = serde_json::from_str(&self.out).with_context(|| self.errors.clone())?;
        let found = document["certificates"].as_array().context("certificates")?.iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(found.map(|found| (text(&found["objectKey"]), text(&found["fingerprint"]))).collect())
    }
}

fn expected(key: &str, certificates: &[&str]) -> Vec<(String, String)> {
    anchors(certificates).iter().map(|anchor| (key.to_owned(), anchor.fingerprint().to_string())).collect()
}

#[tokio::test]
async fn objects_and_bundles_are_shown_as_the_cluster_has_them() -> Result<()> {
    let name = "inspected";
    let scenario = Scenario::begin(stage().await, name, &["b", "a"]).await?;
    let admin = stage().await.control_plane().kubeconfig();
    let json = |place| [place, "-o", "json"];
    let text: String = ["ec", "rsa"].map(certificate).concat();
    scenario.apply(&bundle(name, &spec(name, &text, "password: secret"))).await?;
    let content = pem_key("ca.pem", &["ec", "rsa"]);
    let keystore = rootcast::trust::jks::encode(&anchors(&["ec", "rsa"]), &rootcast::trust::Password::new("secret"));
    scenario
        .then("it is synced", name, 2, &scenario.synced(&["a", "b"], &content.clone().and("ca.jks", keystore)))
        .await?;

    let told = inspect(admin, &json("bundle/inspected")).await?;
    assert_eq!((told.code, told.found()?), (Some(0), expected("ca.pem", &["ec", "rsa"])), "{}", told.errors);
    ensure!(told.out.contains("Bundle inspected as ConfigMap inspected-a/inspected"), "the first of two: {}", told.out);
    let told = inspect(admin, &json("configmap/inspected-b/inspected/ca.pem")).await?;
    assert_eq!((told.code, told.found()?), (Some(0), expected("ca.pem", &["ec", "rsa"])));
    let told = inspect(admin, &["configmap/inspected-b/inspected", "-o", "json", "--password=secret"]).await?;
    let (keystore, pem): (Vec<_>, Vec<_>) = told.found()?.into_iter().partition(|(key, _)| key == "ca.jks");
    assert_eq!((keystore.len(), pem), (2, expected("ca.pem", &["ec", "rsa"])));
    let told = inspect(admin, &["bundle/inspected", "configmap/inspected-b/inspected"]).await?;
    assert_eq!((told.code, told.out.as_str()), (Some(0), "0 added, 0 removed, 2 the same\n"));

    let tls = json!({"tls.crt": ByteString(certificate("leaf").into()), "tls.key": ByteString("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n".into())});
    let metadata = json!({"name": "server", "namespace": scenario.namespace("a")});
    scenario.apply(&json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": tls})).await?;
    let told = inspect(admin, &["secret/inspected-a/server"]).await?;
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 2), "{}", told.out);
    ensure!(told.out.contains("tls.crt line 1"), "{}", told.out);
    let words = "rootcast: Secret inspected-a/server: key \"tls.key\": line 1: a block \"PRIVATE KEY\" instead of CERTIFICATE: a private key, which is not read";
    ensure!(told.errors.contains(words), "{}", told.errors);

    scenario.apply(&bundle(name, &spec(name, &text[..200], "password: secret"))).await?;
    scenario
        .becomes(
            "it is broken",
            name,
            &rootcast_e2e::scenario::Scene { reason: "SourceBuildError".to_owned(), ..scenario.scene(name).await? },
        )
        .await;
    let told = inspect(admin, &["bundle/inspected"]).await?;
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 3), "{}", told.out);
    ensure!(
        told.errors.contains("the Bundle is not synced, so this may be of old: SourceBuildError: "),
        "{}",
        told.errors
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_or_not_permitted_is_named_with_the_cure() -> Result<()> {
    let name = "unseen";
    let scenario = Scenario::begin(stage().await, name, &["a"]).await?;
    let control_plane = stage().await.control_plane();
    scenario.apply(&bundle(name, &spec("nobody", &certificate("ec"), ""))).await?;
    let metadata = json!({"name": "notes", "namespace": scenario.namespace("a")});
    scenario
        .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"b": "text", "a": ""}}))
        .await?;
    let nobody = control_plane.kubeconfig_for("nobody", &["system:authenticated"])?;
    let admin = control_plane.kubeconfig();
    let table: [(&Path, &str, &str); 8] = [
        (
            admin,
            "bundle/unseen",
            "no namespace has a target of Bundle unseen: does its namespaceSelector match any namespace?",
        ),
        (admin, "bundle/absent", "read Bundle absent"),
        (admin, "configmap/unseen-a/absent", "read ConfigMap unseen-a/absent: configmaps \"absent\" not found"),
        (admin, "configmap/unseen-a/notes/c", "ConfigMap unseen-a/notes has no key \"c\"; it has a, b"),
        (admin, "configmap/unseen-a/notes", "ConfigMap unseen-a/notes: key \"a\": holds no certificate"),
        (
            &nobody,
            "secret/unseen-a/x",
            "read Secret unseen-a/x: secrets \"x\" is forbidden: User \"nobody\" cannot get resource",
        ),
        (&nobody, "bundle/unseen", "(who may not, names a target: configmap/NAMESPACE/unseen)"),
        (&nobody, "configmap/unseen-a/notes/b", "is forbidden"),
    ];
    for (kubeconfig, place, words) in table {
        let told = inspect(kubeconfig, &[place]).await?;
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{place}: {}", told.errors);
        ensure!(told.errors.contains(words), "{place}: {}", told.errors);
    }
    Ok(())
}

fn spec(scenario: &str, text: &str, jks: &str) -> String {
    let text = serde_json::to_string(text).expect("text");
    let formats =
        if jks.is_empty() { String::new() } else { format!("additionalFormats: {{jks: {{key: ca.jks, {jks}}}}},") };
    format!(
        "{{sources: [{{inLine: {text}}}],
           target: {{configMap: {{key: ca.pem}}, {formats} namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}}}}}"
    )
}
