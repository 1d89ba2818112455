//! When a controller has nothing more to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    ControlPlane, eventually,
    scenario::{self, SOON, anchors, bundle, certificate, source},
};

/// Sources, namespaces and Bundles of their own, whose changes follow all earlier ones through every watch of the
/// controller: when it has answered them, it has heard of everything before.
pub struct Barrier<'a> {
    control_plane: &'a ControlPlane,
    secret_targets: bool,
    /// How many rounds were begun.
    begun: AtomicUsize,
    /// How many rounds are over.
    over: Mutex<usize>,
}

/// The ConfigMap and the Secret that Bundles read.
const SOURCE: &str = "barrier-source";

/// A namespace that is always reached.
const INSIDE: &str = "barrier";

/// A namespace that is reached every other time.
const SOMETIMES: &str = "barrier-sometimes";

impl<'a> Barrier<'a> {
    /// Sets it up; nothing has to run yet. `secret_targets`: whether the controller writes Secrets.
    pub async fn start(control_plane: &'a ControlPlane, secret_targets: bool) -> Result<Self> {
        let barrier = Self { control_plane, secret_targets, begun: AtomicUsize::new(0), over: Mutex::new(0) };
        control_plane.namespace(INSIDE, &[("barrier", "")]).await?;
        barrier.change(&control_plane.client(), 0).await?;
        barrier.bring_healed(&control_plane.client(), 0).await?;
        Ok(barrier)
    }

    /// The control plane.
    #[must_use]
    pub fn control_plane(&self) -> &'a ControlPlane {
        self.control_plane
    }

    /// Waits until the controller has heard of everything that happened before, and has answered it: two rounds, since
    /// what it began at the end of the first is done at the end of the second. Scenarios that ask at the same time share
    /// a round.
    pub async fn sync(&self, client: &Client) -> Result<()> {
        for _ in 0..2 {
            let next = self.begun.load(Ordering::SeqCst) + 1;
            let mut over = self.over.lock().await;
            if *over < next {
                self.begun.store(next, Ordering::SeqCst);
                tokio::try_join!(
                    self.change(client, next),
                    self.bring_healed(client, next),
                    self.delete_targets(client, next - 1)
                )?;
                eventually("the controller answers", SOON, async || self.is_answered(client, next).await).await;
                for bundle in [healed(next - 1), watched(next - 1)] {
                    scenario::objects(client, "Bundle", "")?.delete(&bundle, &DeleteParams::background()).await?;
                }
                *over = next;
            }
        }
        Ok(())
    }

    async fn change(&self, client: &Client, number: usize) -> Result<()> {
        let labels = if number % 2 == 1 { json!({"barrier": ""}) } else { json!({}) };
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOMETIMES, "labels": labels}});
        let [text, secret_text] = certificates(number).map(certificate);
        let config_map = source("ConfigMap", SOURCE, &[], &[("k", &text)]);
        let secret = source("Secret", SOURCE, &[], &[("k", &secret_text)]);
        let spec = format!(
            "{{sources: [{{configMap: {{name: {SOURCE}, key: k}}}}, {{secret: {{name: {SOURCE}, key: k}}}}],
               target: {{configMap: {{key: pem}}, namespaceSelector: {{matchLabels: {{barrier: ''}}}}}}}}"
        );
        let bundle = bundle(&watched(number), &spec);
        let apply = |object| scenario::apply(client, object);
        tokio::try_join!(apply(&namespace), apply(&config_map), apply(&secret), apply(&bundle))?;
        Ok(())
    }

    /// A Bundle whose targets are deleted in the next round.
    async fn bring_healed(&self, client: &Client, number: usize) -> Result<()> {
        let secret = if self.secret_targets { "secret: {key: k}," } else { "" };
        let spec = format!(
            "{{sources: [{{inLine: {}}}], target: {{configMap: {{key: k}}, {secret}
               namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {INSIDE}}}}}}}}}",
            json!(certificate("ec"))
        );
        scenario::apply(client, &bundle(&healed(number), &spec)).await?;
        Ok(())
    }

    async fn delete_targets(&self, client: &Client, number: usize) -> Result<()> {
        for kind in self.kinds() {
            match scenario::objects(client, kind, INSIDE)?.delete(&healed(number), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    fn kinds(&self) -> &'static [&'static str] {
        if self.secret_targets { &["ConfigMap", "Secret"] } else { &["ConfigMap"] }
    }

    async fn is_answered(&self, client: &Client, number: usize) -> Result<()> {
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), INSIDE);
        let pem = anchors(&certificates(number)).to_pem();
        for bundle in [watched(number - 1), watched(number)] {
            let target = config_maps.get(&bundle).await?;
            ensure!(target.data.iter().flatten().any(|(_, value)| *value == pem), "the sources were not read");
        }
        let everywhere = ListParams::default().fields(&format!("metadata.name={}", watched(number)));
        let targets = Api::<ConfigMap>::all(client.clone()).list_metadata(&everywhere).await?;
        let sometimes = targets.iter().any(|target| target.namespace().as_deref() == Some(SOMETIMES));
        ensure!(sometimes == (number % 2 == 1), "the namespace was not seen");
        for kind in self.kinds() {
            let targets = scenario::objects(client, kind, INSIDE)?;
            targets.get_metadata(&healed(number - 1)).await?;
            targets.get_metadata(&healed(number)).await?;
        }
        Ok(())
    }
}

/// The Bundle that comes with a round, and whose sources change in the one after this. Each round has its own: a content
/// that changes again and again is rolled out less and less often.
fn watched(number: usize) -> String {
    format!("barrier-{number}")
}

/// The Bundle whose targets are deleted in the round after this one. Each round has its own: a target that is deleted
/// again and again is healed less and less often.
fn healed(number: usize) -> String {
    format!("barrier-targets-{number}")
}

/// The certificates of the ConfigMap and of the Secret, which differ from one time to the next.
fn certificates(number: usize) -> [&'static str; 2] {
    if number % 2 == 1 { ["ec", "p384"] } else { ["rsa", "ed25519"] }
}
