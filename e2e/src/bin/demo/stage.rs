//! What the scenario is told with: a voice, kubectl, and a stopwatch.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, runtime::wait::await_condition};
use rootcast::api::Bundle;
use rootcast_e2e::ControlPlane;

use crate::certificates;

/// How long anything may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One control plane with rootcast at work.
pub(crate) struct Stage<'a> {
    /// Where everything happens.
    pub(crate) control_plane: &'a ControlPlane,
    /// The administrator's.
    pub(crate) client: Client,
}

/// A new chapter.
pub(crate) fn title(text: &str) {
    println!("\n== {text}");
}

/// A sentence.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Something to look at: indented.
pub(crate) fn show(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn new(control_plane: &'a ControlPlane) -> Self {
        Self { control_plane, client: control_plane.client() }
    }

    /// Shows a kubectl command and what it prints.
    pub(crate) fn kubectl(&self, arguments: &str) -> Result<()> {
        show(&format!("$ kubectl {arguments}"));
        let arguments: Vec<_> = arguments.split(' ').collect();
        show(&self.control_plane.kubectl_ok(&arguments, "")?);
        Ok(())
    }

    /// Shows a kubectl command, what it prints, and its one warning.
    pub(crate) fn warned(&self, arguments: &str) -> Result<()> {
        show(&format!("$ kubectl {arguments}"));
        let arguments: Vec<_> = arguments.split(' ').collect();
        let output = self.control_plane.kubectl(&arguments, "")?;
        let [out, warnings] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(output.status.success() && warnings.matches("Warning: ").count() == 1, "kubectl said: {warnings}");
        show(&warnings);
        show(&out);
        Ok(())
    }

    /// Shows a manifest, and how kubectl fails to apply it.
    pub(crate) fn refused(&self, manifest: &str) -> Result<()> {
        show("$ kubectl apply -f - <<EOF");
        show(manifest);
        show("EOF");
        let output = self.control_plane.kubectl(&["apply", "-f", "-"], manifest)?;
        ensure!(!output.status.success(), "the API server accepted what it should refuse");
        show(&String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Shows the keys of a target: certificates by name, keystores by size.
    pub(crate) async fn target(&self, bundle: &str, namespace: &str) -> Result<()> {
        let ConfigMap { data, binary_data, .. } = self.config_maps(namespace).get(bundle).await?;
        show(&format!("ConfigMap {namespace}/{bundle}"));
        for (key, text) in data.unwrap_or_default() {
            show(&format!("  {key}, {} bytes", text.len()));
            for line in certificates::lines(&text)? {
                show(&format!("    {line}"));
            }
        }
        for (key, bytes) in binary_data.unwrap_or_default() {
            show(&format!("  {key}, {} bytes", bytes.0.len()));
        }
        Ok(())
    }

    /// Waits until a Bundle's condition `Synced` has this reason, and returns its message.
    pub(crate) async fn reason(&self, bundle: &str, reason: &str) -> Result<String> {
        let message = |object: &Bundle| {
            let conditions = object.status.as_ref()?.conditions.as_ref()?;
            let synced = conditions.iter().find(|condition| condition.type_ == "Synced")?;
            let current = synced.observed_generation == object.metadata.generation && synced.reason == reason;
            current.then(|| synced.message.clone())
        };
        let wanted = |object: Option<&Bundle>| object.and_then(message).is_some();
        let found = in_time(await_condition(Api::<Bundle>::all(self.client.clone()), bundle, wanted))
            .await
            .with_context(|| format!("waiting for Bundle {bundle} to be {reason}"))?;
        found.as_ref().and_then(message).context("the Bundle is gone")
    }

    /// Makes a change and waits until each of these targets, given by name and namespace, is as wanted: how many
    /// milliseconds after the change was begun the first and the last one were.
    pub(crate) async fn measure(
        &self,
        change: impl Future<Output = Result<()>>,
        targets: &[(&str, &str)],
        wanted: impl Fn(&ConfigMap) -> bool + Copy,
    ) -> Result<(u128, u128)> {
        let began = Instant::now();
        let arrivals = targets.iter().map(|(name, namespace)| async move {
            let there = |object: Option<&ConfigMap>| object.is_some_and(wanted);
            in_time(await_condition(self.config_maps(namespace), name, there))
                .await
                .with_context(|| format!("waiting for ConfigMap {namespace}/{name}"))?;
            anyhow::Ok(began.elapsed().as_millis())
        });
        let ((), times) = futures::try_join!(change, try_join_all(arrivals))?;
        let first = times.iter().min().context("there are no targets to wait for")?;
        Ok((*first, times.iter().max().copied().unwrap_or(*first)))
    }

    pub(crate) fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

async fn in_time<T>(condition: impl Future<Output = Result<T, kube::runtime::wait::Error>>) -> Result<T> {
    Ok(tokio::time::timeout(PATIENCE, condition).await.with_context(|| format!("not within {PATIENCE:?}"))??)
}
