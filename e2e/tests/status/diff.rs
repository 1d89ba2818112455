//! What would change if objects were as in a file.

use anyhow::{Result, ensure};
use rootcast_e2e::scenario::{Scenario, Scene, anchors, bundle, certificate, pem_key, source};
use serde_json::{Value, json};

use crate::stage::{Stage, Told, rootcast};

impl Stage {
    async fn diff(&self, objects: &[&Value], more: &[&str]) -> Result<Told> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        rootcast(self.control_plane.kubeconfig(), &[&["diff", "-f", "-"], more].concat(), &list).await
    }
}

fn spec(source: &str, selected: &str) -> String {
    format!(
        "{{sources: [{{configMap: {{name: {source}, key: ca.crt}}}}], target: {{configMap: {{key: ca.pem}}, namespaceSelector: {{matchLabels: {{scenario: {selected}}}}}}}}}"
    )
}

fn fingerprints(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|found| found["fingerprint"].as_str()).collect()
}

#[tokio::test]
async fn a_file_is_compared_with_the_cluster_and_nothing_is_written() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "compared";
    let scenario = Scenario::begin(&stage.barrier, name, &["a", "b"]).await?;
    scenario.leave("c").await?;
    let corporate = |names: &[&str]| {
        let text = names.iter().map(|name| certificate(name)).collect::<String>();
        source("ConfigMap", "compared-corporate", &[], &[("ca.crt", &text)])
    };
    let (live, live_source) = (bundle(name, &spec("compared-corporate", name)), corporate(&["ec", "rsa"]));
    let fingerprint =
        |name: &str| anchors(&[name]).iter().map(|anchor| anchor.fingerprint().to_string()).collect::<String>();

    let told = stage.diff(&[&live, &live_source], &[]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    ensure!(told.out.contains("Bundle compared\n  created: 2 ConfigMaps in compared-a, compared-b\n"), "{}", told.out);
    ensure!(told.out.contains("2 added, 0 removed, 0 the same"), "{}", told.out);

    scenario.apply(&live_source).await?;
    scenario.apply(&live).await?;
    let expected = scenario.synced(&["a", "b"], &pem_key("ca.pem", &["ec", "rsa"]));
    scenario.then("it is synced", name, 2, &expected).await?;

    let told = stage.diff(&[&live, &live_source], &[]).await?;
    assert_eq!((told.code, &*told.out), (Some(0), ""), "{}", told.errors);

    let told = stage.diff(&[&corporate(&["ec", "expired"])], &[]).await?;
    assert_eq!(told.code, Some(1), "{told:?}");
    for words in [
        "  updated: 2 ConfigMaps in compared-a, compared-b\n",
        "  -  CN=Alpha Root CA A,",
        "  +  CN=Expired Root A",
        "ConfigMap cert-manager/compared-corporate key \"ca.crt\" line 11\n",
        "1 added, 1 removed, 1 the same\n",
    ] {
        ensure!(told.out.contains(words), "no {words:?} in\n{}", told.out);
    }
    let document = stage.diff(&[&corporate(&["ec", "expired"])], &["-o", "json"]).await?.document()?;
    let trust = &document["bundles"][0]["trust"];
    assert_eq!(fingerprints(&trust["added"]), [fingerprint("expired")]);
    assert_eq!(fingerprints(&trust["removed"]), [fingerprint("rsa")]);

    let elsewhere = bundle(name, &spec("compared-corporate", "nowhere"));
    let told = stage.diff(&[&elsewhere], &[]).await?;
    assert_eq!(told.code, Some(1));
    ensure!(told.out.contains("  released: 2 ConfigMaps in compared-a, compared-b\n"), "{}", told.out);

    let joined = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "compared-c", "labels": {"scenario": name}}});
    let told = stage.diff(&[&joined], &[]).await?;
    assert_eq!(
        (told.code, &*told.out),
        (Some(1), "Bundle compared\n  created: 1 ConfigMap in compared-c\n"),
        "{}",
        told.errors
    );

    let named = bundle(
        "compared-by-name",
        "{sources: [{useDefaultCAs: true}], target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: compared-d}}}}",
    );
    let coming = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "compared-d"}});
    let told = stage.diff(&[&named, &coming], &[]).await?;
    ensure!(told.out.contains("Bundle compared-by-name\n  created: 1 ConfigMap in compared-d\n"), "{told:?}");
    ensure!(told.out.contains("default CAs no. 1\n"), "{}", told.out);

    scenario.then("nothing was written", name, 0, &expected).await?;
    Ok(())
}

#[tokio::test]
async fn what_would_be_refused_is_refused_with_the_cause() -> Result<()> {
    let stage = Stage::shared().await;
    let name = "refused";
    let scenario = Scenario::begin(&stage.barrier, name, &["a"]).await?;
    scenario.apply(&source("ConfigMap", "refused-corporate", &[], &[("ca.crt", &certificate("ec"))])).await?;
    scenario.apply(&bundle(name, &spec("refused-corporate", name))).await?;
    let scene: Scene = scenario.synced(&["a"], &pem_key("ca.pem", &["ec"]));
    scenario.then("it is synced", name, 1, &scene).await?;

    let absent = bundle(name, &spec("absent", name));
    let broken = source("ConfigMap", "refused-corporate", &[], &[("ca.crt", "-----BEGIN CERTIFICATE-----\nx")]);
    let invalid = bundle(name, "{sources: [], target: {configMap: {key: ca.pem}}}");
    let nothing = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}});
    let table = [
        (
            &absent,
            "rootcast: Bundle refused: its targets would stay as they are: Bundle source was not found: failed to get ConfigMap cert-manager/absent",
        ),
        (&broken, "rootcast: Bundle refused: its targets would stay as they are: "),
        (&invalid, "rootcast: Bundle refused is invalid: spec.sources: Forbidden: must define at least one source"),
        (
            &nothing,
            "rootcast: the input holds no Bundle, no Namespace, and no ConfigMap or Secret of namespace cert-manager",
        ),
    ];
    for (object, words) in table {
        let told = stage.diff(&[object], &[]).await?;
        assert_eq!((told.code, &*told.out), (Some(2), ""), "{}", told.errors);
        ensure!(told.errors.contains(words), "no {words:?} in {}", told.errors);
    }
    Ok(())
}
