//! `kubectl rootcast`: the program under the name that kubectl looks for.

use std::{env, os::unix::fs::symlink, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{kubectl_binary, release_binary};
use tokio::process::Command;

use crate::stage::{Stage, Told, told};

#[tokio::test]
async fn kubectl_runs_it_as_a_plugin_when_it_is_linked_on_the_path() -> Result<()> {
    let stage = Stage::shared().await;
    let folder = tempfile::tempdir().context("a folder for the link")?;
    symlink(release_binary().await?, folder.path().join("kubectl-rootcast")).context("linking")?;
    let rest = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([PathBuf::from(folder.path())].into_iter().chain(env::split_paths(&rest)))?;
    let kubectl = async |arguments: &[&str]| -> Result<Told> {
        let mut command = Command::new(kubectl_binary()?);
        command.arg("rootcast").args(arguments).env("PATH", &path).env("KUBECONFIG", stage.control_plane.kubeconfig());
        told(command, "").await
    };
    let help = kubectl(&[]).await?;
    assert_eq!(help.code, Some(2));
    ensure!(help.errors.contains("Usage: kubectl rootcast <COMMAND>"), "{}", help.errors);
    ensure!(!help.errors.contains("--trust-namespace"), "no controller's flags: {}", help.errors);
    let help = kubectl(&["status", "--help"]).await?;
    ensure!(help.out.contains("Usage: kubectl rootcast status [OPTIONS] [BUNDLE]"), "{}", help.out);
    ensure!(help.out.contains("Exit code 0: everything is as it should be; 1: "), "{}", help.out);
    let status = kubectl(&["status", "-n", "default"]).await?;
    assert_eq!(status.code, Some(0), "{}", status.errors);
    ensure!(status.out.starts_with("BUNDLE "), "{}", status.out);
    Ok(())
}
