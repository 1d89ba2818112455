//! What scenarios take place on: a control plane, a controller, and an author who may write Bundles and nothing else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use rootcast::api::Bundle;
use rootcast_e2e::{
    ControlPlane, Controller, Install, eventually,
    scenario::{bundle, certificate, objects},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// How long a change may take to be seen: a target that fails is looked at again once a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// The key that Bundles write.
pub(crate) const KEY: &str = "ca.crt";

pub(crate) struct Stage<'a> {
    pub(crate) control_plane: &'a ControlPlane,
    controller: Option<Controller<'a>>,
}

impl Stage<'static> {
    pub(crate) async fn shared() -> &'static Self {
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        let start = async || {
            let mut stage = Self::set(ControlPlane::shared().await).await?;
            stage.control_plane.kubectl_ok(&["apply", "--server-side", "-k", "config/guard"], "")?;
            stage.start(&[]).await?;
            anyhow::Ok(stage)
        };
        STAGE.get_or_try_init(start).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }
}

impl<'a> Stage<'a> {
    /// A stage without policies, and with no controller yet.
    pub(crate) async fn set(control_plane: &'a ControlPlane) -> Result<Self> {
        control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
        let grant = ["create", "clusterrole", "bundle-author", "--verb=*"];
        let resource = ["--resource=bundles.trust.cert-manager.io"];
        control_plane.kubectl_ok(&[&grant[..], &resource[..]].concat(), "")?;
        let bind = ["create", "clusterrolebinding", "bundle-author", "--clusterrole=bundle-author", "--user=bob"];
        control_plane.kubectl_ok(&bind, "")?;
        Ok(Self { control_plane, controller: None })
    }

    /// The controller comes, with these flags.
    pub(crate) async fn start(&mut self, flags: &[&str]) -> Result<()> {
        let flags = [&["--secret-targets-enabled"], flags].concat();
        self.controller = Some(Controller::start(self.control_plane, &flags).await?);
        Ok(())
    }

    /// The controller goes.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(controller) = self.controller.take() {
            controller.stop().await?;
        }
        Ok(())
    }

    /// Ends the scenario.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop().await
    }

    /// Who may do everything. A client of its own for each scenario: it lives as long as the scenario's runtime.
    fn admin(&self) -> Client {
        self.control_plane.client()
    }

    /// Who may write Bundles.
    fn author(&self) -> Client {
        self.control_plane.client_as("bob", &[])
    }

    /// A namespace of its own, for a Bundle of the same name.
    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        self.control_plane.namespace(name, &[]).await.map(drop)
    }

    /// The author writes a Bundle that reaches only the namespace of this name.
    pub(crate) async fn write_bundle(&self, name: &str, namespace: &str, kind: &str, key: &str) -> Result<()> {
        let field = if kind == "Secret" { "secret" } else { "configMap" };
        let spec = json!({
            "sources": [{ "inLine": certificate("ec") }],
            "target": { field: { "key": key },
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } },
        });
        let bundles = objects(&self.author(), "Bundle", "")?;
        let object = bundle(name, &spec.to_string());
        bundles.patch(name, &PatchParams::apply("bob").force(), &Patch::Apply(&object)).await?;
        Ok(())
    }

    /// The author deletes a Bundle, and it is gone.
    pub(crate) async fn delete_bundle(&self, name: &str, how: &DeleteParams) -> Result<()> {
        let bundles = objects(&self.author(), "Bundle", "")?;
        bundles.delete(name, how).await?;
        eventually("the Bundle is gone", PATIENCE, async || {
            ensure!(bundles.get_opt(name).await?.is_none(), "{name} is there");
            Ok(())
        })
        .await;
        Ok(())
    }

    /// Somebody puts an object there.
    pub(crate) async fn put(&self, object: &Value) -> Result<DynamicObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let objects = objects(&self.admin(), text("/kind"), text("/metadata/namespace"))?;
        let params = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
        objects.create(&params, &serde_json::from_value(object.clone())?).await.context("putting the object there")
    }

    /// An object, if it is there.
    pub(crate) async fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<DynamicObject>> {
        Ok(objects(&self.admin(), kind, namespace)?.get_opt(name).await?)
    }

    /// The ConfigMap of a name, in the namespace of the same name, holds this and nothing else.
    pub(crate) async fn holds(&self, name: &str, data: &Value) -> Result<()> {
        let found = self.object("ConfigMap", name, name).await?.with_context(|| format!("{name} is gone"))?;
        ensure!(found.data["data"] == *data, "{found:?}");
        Ok(())
    }

    /// Somebody changes an object.
    pub(crate) async fn edit(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Result<()> {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        objects(&self.admin(), kind, namespace)?.patch(name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until condition `Synced` of a Bundle as it is now has this reason and says this.
    pub(crate) async fn says(&self, name: &str, reason: &str, words: &[&str]) -> Result<()> {
        let said = async || {
            let bundle = Api::<Bundle>::all(self.admin()).get(name).await?;
            let conditions = bundle.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let synced = conditions.into_iter().find(|condition| condition.type_ == "Synced").context("none yet")?;
            ensure!(synced.observed_generation == bundle.metadata.generation, "not yet");
            ensure!(synced.reason == reason, "{}: {}", synced.reason, synced.message);
            let missing: Vec<_> = words.iter().filter(|words| !synced.message.contains(**words)).collect();
            ensure!(missing.is_empty(), "{:?} lacks {missing:?}", synced.message);
            Ok(())
        };
        eventually(&format!("{name} is {reason}"), PATIENCE, said).await;
        Ok(())
    }

    /// Waits until the garbage collector has taken a target of a Bundle that was deleted after all others.
    pub(crate) async fn garbage_is_collected(&self, scenario: &str) -> Result<()> {
        let name = format!("{scenario}-last");
        self.namespace(&name).await?;
        self.write_bundle(&name, &name, "ConfigMap", KEY).await?;
        self.says(&name, "Synced", &[]).await?;
        self.delete_bundle(&name, &DeleteParams::background()).await?;
        eventually("the garbage collector has caught up", PATIENCE, async || {
            ensure!(self.object("ConfigMap", &name, &name).await?.is_none(), "the last target is there");
            Ok(())
        })
        .await;
        Ok(())
    }
}
