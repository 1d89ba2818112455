//! A CA is replaced while clients connect: old, old and new, new only.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rootcast_e2e::{Authority, eventually};

use super::{
    UNDER_WAY,
    pod::{
        ClientPod, Started,
        Verdict::{Doubts, Trusts},
    },
    programs::{CURL, FILE, GO, GO_RELOADING, JAVA, NODE, OPENSSL, Program, REQUESTS},
    stage::{BUNDLE, Stage},
};

/// Those that read the Bundle's file on each connection.
const EACH_TIME: [Program; 4] = [CURL, OPENSSL, REQUESTS, GO_RELOADING];

/// Those that read it when they start.
const AT_START: [Program; 3] = [NODE, GO, JAVA];

const NAMESPACE: &str = "rotation";

const ROTATING: &str = "
sources: [{configMap: {name: private-ca, key: ca.crt}}]
target:
  configMap: {key: ca-bundle.crt}
  additionalFormats: {pkcs12: {key: truststore.p12, password: changeit, profile: Modern2023}}
";

/// How long a change may take to reach the file in a pod.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn no_handshake_fails_while_a_ca_is_replaced() -> Result<()> {
    let stage = Stage::set().await?;
    let (old, new) = (Authority::new("Old Root CA")?, Authority::new("New Root CA")?);
    stage.private.show(&old)?;
    stage.trust(&[&old]).await?;
    stage.namespace(NAMESPACE, &[]).await?;
    stage.bundle("rotating", ROTATING).await?;
    let annotations = [(BUNDLE, "rotating"), ("inject.rootcast.dev/runtimes", "openssl,curl,python,go,node,java")];
    let pod = |name, programs| {
        ClientPod {
            namespace: NAMESPACE,
            name,
            programs,
            asks: &[&stage.private],
            annotations: &annotations,
            mount: None,
        }
        .start(stage.node)
    };
    let trusting = [(&stage.private, Trusts)];
    let doubting = [(&stage.private, Doubts)];
    let watching = pod("watching", &[FILE])?;
    let reading = pod("reading", &EACH_TIME)?;
    let early = pod("started-early", &AT_START)?;
    reading.says(&trusting).await?;
    early.says(&trusting).await?;

    change(&stage, &watching, "old and new", &[&old, &new]).await?;
    let restarted = pod("started-in-the-overlap", &AT_START)?;
    restarted.says(&trusting).await?;
    early.says(&trusting).await?;

    stage.private.show(&new)?;
    let switched = Timestamp::now() + UNDER_WAY;
    reading.says_since(switched, &trusting).await?;
    restarted.says_since(switched, &trusting).await?;
    early.says_since(switched, &doubting).await?;

    change(&stage, &watching, "new only", &[&new]).await?;
    let changed = Timestamp::now() + UNDER_WAY;
    reading.says_since(changed, &trusting).await?;
    restarted.says_since(changed, &trusting).await?;
    // Not once since the first connection.
    reading.says(&trusting).await?;
    restarted.says(&trusting).await?;
    for program in &EACH_TIME {
        let handshakes = reading.attempts(program, Timestamp::MIN, &stage.private.url())?.len();
        println!("{}: {handshakes} handshakes during the rotation, none failed", program.name);
    }

    // A server that was forgotten is no longer trusted.
    stage.private.show(&old)?;
    reading.says_since(Timestamp::now() + UNDER_WAY, &doubting).await?;
    stage.end()
}

/// Changes the source, waits until the file in the pod has changed, and prints how long that took. The kubelet of this
/// node looks after its pods every second, where the default is a minute.
async fn change(stage: &Stage, watching: &Started, what: &str, authorities: &[&Authority]) -> Result<()> {
    let targets = Api::<ConfigMap>::namespaced(stage.node.client(), NAMESPACE);
    let began = Timestamp::now();
    stage.trust(authorities).await?;
    eventually("the target has the change", SOON, async || {
        let target = targets.get("rotating").await?;
        let pem = target.data.and_then(|mut data| data.remove("ca-bundle.crt")).context("it is empty")?;
        ensure!(pem.matches("-----BEGIN").count() == authorities.len(), "it holds {pem}");
        Ok(())
    })
    .await;
    let written = began.duration_until(Timestamp::now()).unsigned_abs();
    let expected = authorities.len().to_string();
    let arrived = eventually("the file in the pod has the change", SOON, async || {
        let seen = watching.log(FILE.name)?;
        let (at, _) = seen.iter().find(|(at, count)| *at >= began && *count == expected).context("it has not")?;
        Ok(*at)
    })
    .await;
    let arrived = began.duration_until(arrived).unsigned_abs();
    println!("{what}: in the target after {written:.1?}, in the pod's file after {arrived:.1?}");
    Ok(())
}
