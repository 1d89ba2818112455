//! What a process finds out about the pod that it runs in.

use std::fs;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Where Linux tells them (<https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html>).
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";

/// Where a pod finds its own namespace (<https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>).
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Our own namespace, if this is a pod with a service account.
pub(super) fn namespace() -> anyhow::Result<String> {
    read_trimmed(NAMESPACE)
}

/// A name that no other process has.
pub(super) fn identity() -> anyhow::Result<String> {
    Ok(format!("{}_{}", read_trimmed(HOST_NAME)?, read_trimmed(RANDOM_UUID)?))
}

/// Resolves when the process is asked to end (SIGTERM, SIGINT).
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
