//! Backups of what a control plane stores, and their return: all that was written in between is undone, and versions
//! count from an earlier number on.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    ControlPlane,
    processes::lock,
    supervised::{Signal, Supervised},
};

/// A copy of etcd's data, which goes with its control plane.
#[derive(Debug)]
pub struct Backup(PathBuf);

impl ControlPlane {
    /// Copies what is stored; the API server is away meanwhile.
    ///
    /// # Errors
    /// When something does not end, or does not start again.
    pub async fn backup(&self) -> Result<Backup> {
        let backup = tempfile::Builder::new().prefix("backup-").tempdir_in(self.scratch.data())?.keep();
        self.stop_storage().await?;
        copy(&self.scratch.data().join("etcd"), &backup.join("etcd"))?;
        self.start_storage().await?;
        Ok(Backup(backup))
    }

    /// Puts a backup in the place of what is stored now; the API server is away for at least so long.
    ///
    /// # Errors
    /// As [`ControlPlane::backup`].
    pub async fn restore(&self, backup: &Backup, away: Duration) -> Result<()> {
        self.stop_storage().await?;
        let data = self.scratch.data().join("etcd");
        std::fs::remove_dir_all(&data).context("removing what is stored")?;
        copy(&backup.0.join("etcd"), &data)?;
        tokio::time::sleep(away).await;
        self.start_storage().await
    }

    /// Ends the API server and etcd, which has everything in its files then.
    async fn stop_storage(&self) -> Result<()> {
        self.kill_api_server().await?;
        lock(&self.processes().etcd).signal(Signal::Terminate);
        while lock(&self.processes().etcd).exit()?.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn start_storage(&self) -> Result<()> {
        let log = lock(&self.processes().etcd).log().to_owned();
        *lock(&self.processes().etcd) = Supervised::start(&self.processes().etcd_command, &log)?;
        self.restart_api_server().await
    }
}

fn copy(from: &PathBuf, to: &PathBuf) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status().context("running cp")?;
    ensure!(status.success(), "copying {} failed", from.display());
    Ok(())
}
