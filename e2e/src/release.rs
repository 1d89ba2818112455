//! The product's release binary: what is tested is what is shipped, and never a
//! stale one.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Deserialize;

use crate::access::workspace;

/// The release binary, built once per process, so that no test runs a stale one.
/// Quick when it is fresh.
///
/// # Errors
/// When it does not build.
pub async fn release_binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    tokio::task::spawn_blocking(|| BINARY.get_or_init(|| build_release_binary().map_err(|error| format!("{error:#}"))))
        .await?
        .as_deref()
        .map_err(|error| anyhow!("{error}"))
}

/// The product's image, as an archive that is made anew by `make image`. Quick when nothing has changed.
///
/// # Errors
/// When that fails.
pub fn image_archive() -> Result<PathBuf> {
    let mut make = builder("make");
    let status = make.args(["--silent", "image"]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    ensure!(status.context("running make")?.success(), "`make image` failed");
    Ok(workspace().join("target/image/rootcast.tar"))
}

/// A program that builds something in the workspace.
fn builder(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace());
    for (name, _) in env::vars_os() {
        if is_about_a_package(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command
}

fn build_release_binary() -> Result<PathBuf> {
    let output = builder(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--package=rootcast", "--bin=rootcast"])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "`cargo build --release --bin rootcast` failed");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == "rootcast"))
        .find_map(|message| message.executable)
        .context("cargo names no binary")
}

/// Whether cargo tells this to the programs that it runs, and so to us. Build
/// scripts (ring's, for one) would take it for a change and build everything
/// anew.
fn is_about_a_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// One line of cargo's JSON messages.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}
