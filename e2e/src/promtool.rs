//! Prometheus' own tool, which tests alerts.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::programs;

/// Runs promtool in a folder and waits for its end. Returns what it prints.
///
/// # Errors
/// When it was never built, cannot be run, or fails; the error quotes it.
pub fn promtool_ok(folder: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(programs::promtool()?);
    let output = command.args(args).current_dir(folder).env_clear().output().context("running promtool")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "promtool {}: {stdout}{stderr}", args.join(" "));
    Ok(stdout)
}

/// Has promtool read metrics in the text format.
///
/// # Errors
/// When it cannot be run, cannot read them, or has something against their names and help; the error quotes it.
pub fn promtool_metrics_ok(text: &str) -> Result<()> {
    let mut command = Command::new(programs::promtool()?);
    command.args(["check", "metrics"]).env_clear();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool check metrics: {said}");
    Ok(())
}
