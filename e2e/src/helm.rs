//! Helm, as the administrator runs it.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{ControlPlane, Node, access::workspace, programs};

/// The chart's folder, seen from the workspace's, where helm runs.
pub const CHART: &str = "charts/rootcast";

/// Runs helm in the workspace's folder, with `stdin` as its input and no cluster, and waits for its end.
///
/// # Errors
/// When helm was never built or cannot be run. Any exit code is a success here.
pub fn helm(args: &[&str], stdin: &str) -> Result<Output> {
    run(Path::new("/dev/null"), args, stdin)
}

/// What [`helm`] prints.
///
/// # Errors
/// When helm fails; the error quotes it.
pub fn helm_ok(args: &[&str], stdin: &str) -> Result<String> {
    success(args, &helm(args, stdin)?)
}

impl ControlPlane {
    /// Runs helm as the administrator of this cluster.
    ///
    /// # Errors
    /// As [`helm`].
    pub fn helm(&self, args: &[&str], stdin: &str) -> Result<Output> {
        run(self.kubeconfig(), args, stdin)
    }

    /// What [`ControlPlane::helm`] prints.
    ///
    /// # Errors
    /// As [`helm_ok`].
    pub fn helm_ok(&self, args: &[&str], stdin: &str) -> Result<String> {
        success(args, &self.helm(args, stdin)?)
    }
}

impl Node {
    /// What helm prints that runs as the administrator of this node.
    ///
    /// # Errors
    /// As [`helm_ok`].
    pub fn helm_ok(&self, args: &[&str], stdin: &str) -> Result<String> {
        success(args, &run(self.kubeconfig(), args, stdin)?)
    }
}

/// Helm's own settings, of the user who runs the tests, would decide what it does.
fn run(kubeconfig: &Path, args: &[&str], stdin: &str) -> Result<Output> {
    let home = tempfile::tempdir().context("making a home for helm")?;
    let mut child = Command::new(programs::helm()?)
        .args(args)
        .current_dir(workspace())
        .env_clear()
        .env("HOME", home.path())
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting helm")?;
    let mut pipe = child.stdin.take().expect("helm's input is piped");
    std::thread::scope(|scope| {
        // helm may end without reading all: its answer says why.
        scope.spawn(move || pipe.write_all(stdin.as_bytes()));
        child.wait_with_output()
    })
    .context("waiting for helm")
}

fn success(args: &[&str], output: &Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "helm {}: {}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
