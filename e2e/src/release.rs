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
    built(&BINARY, || {
        make("build")?;
        Ok(workspace().join("target/static/rootcast"))
    })
    .await
}

/// The same program without optimisations, linked with the system's C library: what that answers can be replaced.
///
/// # Errors
/// When it does not build.
pub(crate) async fn dynamic_binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built(&BINARY, || {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        run(Command::new(cargo).args(["build", "--quiet", "--locked", "--workspace", "--bin=rootcast"]))?;
        Ok(workspace().join("target/debug/rootcast"))
    })
    .await
}

async fn built(
    binary: &'static OnceLock<Result<PathBuf, String>>,
    build: fn() -> Result<PathBuf>,
) -> Result<&'static Path> {
    tokio::task::spawn_blocking(move || binary.get_or_init(|| build().map_err(|error| format!("{error:#}"))))
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

/// Has make bring a target up to date.
fn make(target: &str) -> Result<()> {
    run(Command::new("make").args(["--silent", target]))
}

/// Has something built in the workspace.
fn run(command: &mut Command) -> Result<()> {
    command.current_dir(workspace()).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in env::vars_os().filter(|(name, _)| is_about_a_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    ensure!(command.status().with_context(|| format!("running {command:?}"))?.success(), "{command:?} failed");
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
