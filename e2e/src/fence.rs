//! When a controller has nothing more to do.

use anyhow::{Result, ensure};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    ControlPlane, eventually,
    story::{self, SOON, TRUST_NAMESPACE, anchors, certificate},
};

/// Sources, namespaces and Bundles of their own, whose changes follow all earlier ones through every watch of the
/// controller: when it has answered them, it has heard of everything before.
pub struct Fence<'a> {
    control_plane: &'a ControlPlane,
    secret_targets: bool,
    /// How often it was passed, which tells one change from the next.
    passed: Mutex<usize>,
}

/// A Bundle whose sources, spec and namespaces change.
const WATCHED: &str = "fence";

/// The ConfigMap and the Secret that it reads.
const SOURCE: &str = "fence-source";

/// A Bundle whose targets are deleted.
const HEALED: &str = "fence-targets";

/// A namespace that is always reached.
const INSIDE: &str = "fence";

/// A namespace that is reached every other time.
const SOMETIMES: &str = "fence-sometimes";

impl<'a> Fence<'a> {
    /// Sets it up; nothing has to run yet. `secret_targets`: whether the controller writes Secrets.
    pub async fn raise(control_plane: &'a ControlPlane, secret_targets: bool) -> Result<Self> {
        let fence = Self { control_plane, secret_targets, passed: Mutex::new(0) };
        control_plane.namespace(INSIDE, &[("fence", "")]).await?;
        fence.change(&control_plane.client(), 0).await?;
        let mut target = json!({"configMap": {"key": "k"}, "namespaceSelector": {"matchLabels": {"fence": ""}}});
        if secret_targets {
            target["secret"] = json!({"key": "k"});
        }
        let sources = json!([{"inLine": certificate("ec")}]);
        story::apply(&control_plane.client(), &bundle(HEALED, &json!({"sources": sources, "target": target}))).await?;
        Ok(fence)
    }

    /// The control plane.
    #[must_use]
    pub fn control_plane(&self) -> &'a ControlPlane {
        self.control_plane
    }

    /// Waits until the controller has heard of everything that happened before, and has answered it: twice, since what
    /// it began at the end of the first time is done at the end of the second.
    pub async fn pass(&self) -> Result<()> {
        let client = self.control_plane.client();
        let mut passed = self.passed.lock().await;
        for _ in 0..2 {
            *passed += 1;
            self.change(&client, *passed).await?;
            self.delete_targets(&client).await?;
            eventually("the controller answers", SOON, async || self.is_answered(&client, *passed).await).await;
        }
        Ok(())
    }

    async fn change(&self, client: &Client, number: usize) -> Result<()> {
        let labels: &[_] = if number % 2 == 1 { &[("fence", "")] } else { &[] };
        self.control_plane.namespace(SOMETIMES, labels).await?;
        let [config_map, secret] = certificates(number);
        let metadata = json!({"name": SOURCE, "namespace": TRUST_NAMESPACE});
        let text = json!({"k": certificate(config_map)});
        story::apply(client, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": text}))
            .await?;
        let bytes = json!({"k": ByteString(certificate(secret).into())});
        story::apply(client, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": bytes}))
            .await?;
        let sources = json!([
            {"configMap": {"name": SOURCE, "key": "k"}},
            {"secret": {"name": SOURCE, "key": "k"}},
        ]);
        let target = json!({
            "configMap": {"key": "pem", "metadata": {"annotations": {"number": number.to_string()}}},
            "namespaceSelector": {"matchLabels": {"fence": ""}},
        });
        story::apply(client, &bundle(WATCHED, &json!({"sources": sources, "target": target}))).await?;
        Ok(())
    }

    async fn delete_targets(&self, client: &Client) -> Result<()> {
        let params = DeleteParams::default();
        let gone = |error: kube::Error| match error {
            kube::Error::Api(status) if status.is_not_found() => Ok(()),
            other => Err(other),
        };
        Api::<ConfigMap>::namespaced(client.clone(), INSIDE)
            .delete(HEALED, &params)
            .await
            .map_or_else(gone, |_| Ok(()))?;
        if self.secret_targets {
            Api::<Secret>::namespaced(client.clone(), INSIDE)
                .delete(HEALED, &params)
                .await
                .map_or_else(gone, |_| Ok(()))?;
        }
        Ok(())
    }

    async fn is_answered(&self, client: &Client, number: usize) -> Result<()> {
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), INSIDE);
        let watched = config_maps.get(WATCHED).await?;
        ensure!(watched.annotations().get("number") == Some(&number.to_string()), "the Bundle was not seen");
        let pem = anchors(&certificates(number)).to_pem();
        ensure!(watched.data.iter().flatten().any(|(_, value)| *value == pem), "the sources were not read");
        let everywhere = ListParams::default().fields(&format!("metadata.name={WATCHED}"));
        let targets = Api::<ConfigMap>::all(client.clone()).list_metadata(&everywhere).await?;
        let sometimes = targets.iter().any(|target| target.namespace().as_deref() == Some(SOMETIMES));
        ensure!(sometimes == (number % 2 == 1), "the namespace was not seen");
        config_maps.get_metadata(HEALED).await?;
        if self.secret_targets {
            Api::<Secret>::namespaced(client.clone(), INSIDE).get_metadata(HEALED).await?;
        }
        Ok(())
    }
}

/// The certificates of the ConfigMap and of the Secret, which differ from one time to the next.
fn certificates(number: usize) -> [&'static str; 2] {
    if number % 2 == 1 { ["ec", "p384"] } else { ["rsa", "ed25519"] }
}

fn bundle(name: &str, spec: &serde_json::Value) -> serde_json::Value {
    json!({"apiVersion": rootcast::api::API_VERSION, "kind": "Bundle", "metadata": {"name": name}, "spec": spec})
}
