//! The product's release binary: what is tested is what is shipped, and never a
//! stale one.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};

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
    make("image")?;
    Ok(workspace().join("target/image/rootcast.tar"))
}

fn build_release_binary() -> Result<PathBuf> {
    make("build")?;
    Ok(workspace().join("target/static/rootcast"))
}

/// Has make bring a target up to date.
fn make(target: &str) -> Result<()> {
    let mut make = Command::new("make");
    make.args(["--silent", target]).current_dir(workspace()).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in env::vars_os().filter(|(name, _)| is_about_a_package(&name.to_string_lossy())) {
        make.env_remove(name);
    }
    ensure!(make.status().context("running make")?.success(), "`make {target}` failed");
    Ok(())
}

/// Whether cargo tells this to the programs that it runs, and so to us. Build
/// scripts (ring's, for one) would take it for a change and build everything
/// anew.
fn is_about_a_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}
