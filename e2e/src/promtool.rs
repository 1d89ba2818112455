//! Prometheus' own tool, which tests alerts.

use std::{path::Path, process::Command};

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
