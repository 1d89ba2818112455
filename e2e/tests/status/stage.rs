//! What the scenarios of this binary share: one control plane, one controller that leads, and the Pod that it would run in.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result};
use rootcast_e2e::{Barrier, ControlPlane, Controller, Install, release_binary, scenario::TRUST_NAMESPACE};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell};

pub(crate) struct Stage {
    pub(crate) control_plane: &'static ControlPlane,
    pub(crate) barrier: Barrier<'static>,
    _controller: Controller<'static>,
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl Stage {
    /// The stage, set up by the first that asks.
    pub(crate) async fn shared() -> &'static Self {
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        let start = async || {
            let control_plane = ControlPlane::shared_given().await;
            control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
            let barrier = Barrier::start(control_plane, true).await?;
            let leading = [
                "--secret-targets-enabled",
                "--allow-names=cluster-info",
                "--leader-elect=true",
                "--leader-election-namespace=cert-manager",
            ];
            let controller = Controller::start(control_plane, &leading).await?;
            control_plane.kubectl_ok(&["apply", "-f", "-"], &pod()?.to_string())?;
            barrier.sync(&control_plane.client()).await?;
            Ok::<_, anyhow::Error>(Self { control_plane, barrier, _controller: controller })
        };
        STAGE.get_or_try_init(start).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }

    /// Runs `rootcast` as the administrator.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Result<Told> {
        rootcast(self.control_plane.kubeconfig(), arguments, "").await
    }
}

impl Told {
    pub(crate) fn document(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }
}

/// Runs `rootcast`.
pub(crate) async fn rootcast(kubeconfig: &Path, arguments: &[&str], stdin: &str) -> Result<Told> {
    let mut command = Command::new(release_binary().await?);
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG");
    told(command, stdin).await
}

/// Runs a program to its end.
pub(crate) async fn told(mut command: Command, stdin: &str) -> Result<Told> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting the program")?;
    let mut pipe = child.stdin.take().context("its input is piped")?;
    pipe.write_all(stdin.as_bytes()).await.context("writing its input")?;
    drop(pipe);
    let output = child.wait_with_output().await.context("waiting for the program")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Told { code: output.status.code(), out: text(&output.stdout), errors: text(&output.stderr) })
}

/// A Pod as the controller's Deployment makes one; no node runs it. A Pod's name is its host's.
fn pod() -> Result<Value> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").context("the name of this host")?;
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": host.trim(), "namespace": TRUST_NAMESPACE},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "rootcast", "image": "rootcast",
                "args": [
                    "controller", "--trust-namespace=cert-manager", "--secret-targets-enabled=true",
                    "--allow-names=cluster-info",
                ],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))
}
