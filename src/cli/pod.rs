//! The pod that the process runs in: its namespace, its identity and its signals.

use std::fs;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Files of Linux with the host name and random UUIDs (<https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html>).
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";

/// The file with the pod's own namespace (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Returns the pod's own namespace.
///
/// # Errors
/// When this is no pod with a service account.
pub(super) fn namespace() -> anyhow::Result<String> {
    read_trimmed(NAMESPACE)
}

/// Returns a unique name for this process: the host name and a random UUID.
pub(super) fn identity() -> anyhow::Result<String> {
    Ok(format!("{}_{}", read_trimmed(HOST_NAME)?, read_trimmed(RANDOM_UUID)?))
}

/// Returns a future that resolves on SIGTERM or SIGINT.
pub(super) fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
    })
}

fn read_trimmed(file: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok(text.trim().to_owned())
}
