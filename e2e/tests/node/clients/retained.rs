//! Three ways to rotate a CA under a Bundle that retains, at the same time: whatever the order of steps, no client of any
//! kind fails a handshake.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use rootcast::trust::Fingerprint;
use rootcast_e2e::{Authority, Node, TlsServer, release_binary};
use serde_json::json;
use tokio::process::Command;

use super::{
    pod::{
        ClientPod,
        Verdict::{Doubts, Trusts},
    },
    programs::RELOADING,
    stage::{BUNDLE, Stage},
};
use crate::stage::helm;

const NAME: &str = "retaining";

const SPEC: &str = "
sources: [{configMap: {name: private-ca, key: ca.crt}}]
target:
  configMap: {key: ca-bundle.crt}
  additionalFormats: {pkcs12: {key: truststore.p12, password: changeit, profile: Modern2023}}
";

/// How long an issuer goes on with a CA that its administrator has taken away.
const LATE: Duration = Duration::from_mins(1);

/// A server, the CA that it has, and the one that it gets.
struct Way {
    old: Authority,
    new: Authority,
    server: TlsServer,
}

impl Way {
    fn new(stage: &Stage, name: &str) -> Result<Self> {
        let (old, new) = (Authority::new(&format!("Old {name} CA"))?, Authority::new(&format!("New {name} CA"))?);
        let server = TlsServer::start(stage.node.host_address(), &old)?;
        Ok(Self { old, new, server })
    }
}

#[tokio::test]
async fn no_handshake_fails_in_whichever_order_a_ca_is_replaced() -> Result<()> {
    let stage = Stage::set().await?;
    helm(stage.node, "upgrade", json!({"app": {"settle": "5s", "retain": "3m"}}))?;
    let ways = ["swapped", "added", "taken away"].map(|name| Way::new(&stage, name));
    let [swapped, added, taken] = ways;
    let (swapped, added, taken) = (swapped?, added?, taken?);
    stage.trust(&[&swapped.old, &added.old, &taken.old]).await?;
    stage.namespace(NAME, &[]).await?;
    stage.bundle(NAME, SPEC).await?;
    for way in [&swapped, &added, &taken] {
        wait(stage.node, &way.old, "settled").await?;
    }
    let servers = [&swapped.server, &added.server, &taken.server];
    let annotations = [(BUNDLE, NAME), ("inject.rootcast.dev/runtimes", "openssl,curl,python,go,node,java")];
    let pod = ClientPod {
        namespace: NAME,
        name: "clients",
        programs: &RELOADING,
        asks: &servers,
        annotations: &annotations,
        mount: None,
    };
    let pod = pod.start(stage.node)?;
    let trusting = servers.map(|server| (server, Trusts));
    pod.says(&trusting).await?;

    // One edit replaces two of them, and adds the successor of the third.
    stage.trust(&[&swapped.new, &added.old, &added.new, &taken.new]).await?;
    let edited = tokio::time::Instant::now();
    for way in [&swapped, &added] {
        wait(stage.node, &way.new, "settled").await?;
        way.server.show(&way.new)?;
    }
    stage.trust(&[&swapped.new, &added.new, &taken.new]).await?;
    tokio::time::sleep_until(edited + LATE).await;
    taken.server.show(&taken.new)?;
    for way in [&swapped, &added, &taken] {
        wait(stage.node, &way.old, "retired").await?;
    }
    let gone = Timestamp::now();
    pod.says_since(gone, &trusting).await?;
    // Not once since the first connection.
    pod.says(&trusting).await?;
    for program in &RELOADING {
        let counts = servers.iter().map(|server| Ok(pod.attempts(program, Timestamp::MIN, &server.url())?.len()));
        let handshakes: usize = counts.sum::<Result<_>>()?;
        println!("{}: {handshakes} handshakes during three rotations, none failed", program.name);
    }

    // A server that was forgotten is no longer trusted.
    taken.server.show(&taken.old)?;
    pod.says_since(Timestamp::now() + Duration::from_secs(15), &[(&taken.server, Doubts)]).await?;
    helm(stage.node, "upgrade", json!({}))?;
    stage.end()
}

/// Runs `rootcast wait` to its success.
async fn wait(node: &Node, authority: &Authority, until: &str) -> Result<()> {
    let (bundle, sha256) = (format!("bundle/{NAME}"), Fingerprint::of(authority.der()).to_string());
    let mut command = Command::new(release_binary().await?);
    command.args(["wait", &bundle, "--certificate", &sha256, "--for", until, "--timeout", "6m"]);
    let output = command.arg("--kubeconfig").arg(node.kubeconfig()).output().await.context("running rootcast")?;
    ensure!(output.status.success(), "waiting until it is {until}: {output:?}");
    Ok(())
}
