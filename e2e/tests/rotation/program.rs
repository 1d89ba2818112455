//! `rootcast` on the command line.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use rootcast_e2e::{ControlPlane, release_binary};
use tokio::process::Command;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) errors: String,
}

/// Runs `rootcast` to its end, as the administrator.
pub(crate) async fn rootcast(control_plane: &ControlPlane, arguments: &[&str]) -> Result<Told> {
    let mut command = Command::new(release_binary().await?);
    command.args(arguments).arg("--kubeconfig").arg(control_plane.kubeconfig()).env_remove("KUBECONFIG");
    told(command).await
}

/// Runs a program to its end.
pub(crate) async fn told(mut command: Command) -> Result<Told> {
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("running {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Told { code: output.status.code(), out: text(&output.stdout), errors: text(&output.stderr) })
}
