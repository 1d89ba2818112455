//! The only CA of a Bundle is distrusted: programs that trusted by it trust nobody, rather than everybody or whom their
//! system trusts.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use rootcast::trust::Fingerprint;
use rootcast_e2e::eventually;
use serde_json::json;

use super::{
    UNDER_WAY,
    pod::{
        ClientPod,
        Verdict::{Doubts, Fails, Trusts},
    },
    programs::{FILE, OPENSSL, RELOADING},
    stage::{BUNDLE, SOON, STORY, Stage},
};
const NAME: &str = "distrusted";

const SPEC: &str = "
sources: [{configMap: {name: private-ca, key: ca.crt}}]
target:
  configMap: {key: ca-bundle.crt}
  additionalFormats: {pkcs12: {key: truststore.p12, password: changeit, profile: Modern2023}}
";

#[tokio::test]
async fn programs_whose_only_ca_is_distrusted_trust_neither_its_servers_nor_public_ones() -> Result<()> {
    let stage = Stage::set().await?;
    stage.namespace(NAME, &[]).await?;
    stage.bundle(NAME, SPEC).await?;
    let annotations = [(BUNDLE, NAME), ("inject.rootcast.dev/runtimes", "openssl,curl,python,go,node,java")];
    let asks = [&stage.private, &stage.public];
    let pod = |name, programs| {
        ClientPod { namespace: NAME, name, programs, asks: &asks, annotations: &annotations, mount: None }
            .start(stage.node)
    };
    let watching = pod("watching", &[FILE])?;
    let programs: Vec<_> = RELOADING.into_iter().chain([OPENSSL]).collect();
    let clients = pod("clients", &programs)?;
    clients.says(&[(&stage.private, Trusts), (&stage.public, Doubts)]).await?;

    let sha256 = Fingerprint::of(stage.private_ca.der()).to_string();
    let distrust = json!({
        "apiVersion": "rootcast.dev/v1alpha1", "kind": "Distrust",
        "metadata": {"name": "incident", "labels": {STORY.0: STORY.1}},
        "spec": {"reason": "its key was published", "certificates": [{"sha256": sha256}]},
    });
    stage.node.kubectl_ok(&["apply", "-f", "-"], &distrust.to_string())?;
    let last = eventually("the file in the pod holds no CA", SOON, async || {
        let seen = watching.log(FILE.name)?;
        let last = seen.last().cloned();
        ensure!(last.as_ref().is_some_and(|(_, count)| count == "0"), "{last:?}");
        Ok(last)
    })
    .await;
    println!("the file in the pod held no CA from {last:?} on");
    clients.says_since(Timestamp::now() + UNDER_WAY, &[(&stage.private, Fails), (&stage.public, Fails)]).await?;
    stage.node.kubectl_ok(&["delete", "distrust", "incident"], "")?;
    stage.end()
}
