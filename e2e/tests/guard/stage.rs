//! What the accounts try, and a control plane whose policies are in force.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use rootcast_e2e::{
    ControlPlane, Install, eventually,
    scenario::{SOON, objects},
};
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "shop";
const LABEL: &str = "trust.cert-manager.io/bundle";
const KEYS: &str = "rootcast.dev/keys";
const ADOPT: &str = "rootcast.dev/adopt";

/// What stands in for the object's name, which each row makes anew.
pub(crate) const ITS_NAME: &str = "ITS-NAME";

/// An object as it is, or as the controller's account would have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    pub(crate) secret: bool,
    pub(crate) type_: Option<&'static str>,
    pub(crate) labelled: bool,
    pub(crate) keys: Option<String>,
    pub(crate) adopt: Option<&'static str>,
    pub(crate) data: BTreeMap<String, String>,
    pub(crate) binary: BTreeMap<String, String>,
}

impl Object {
    pub(crate) fn of(data: &[(&str, &str)]) -> Self {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { data, ..Self::default() }
    }

    pub(crate) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    pub(crate) fn of_type(self, type_: &'static str) -> Self {
        Self { type_: Some(type_), ..self }
    }

    pub(crate) fn labelled(self) -> Self {
        Self { labelled: true, ..self }
    }

    pub(crate) fn keys(self, keys: &str) -> Self {
        Self { keys: Some(keys.to_owned()), ..self }
    }

    pub(crate) fn adopt(self, name: &'static str) -> Self {
        Self { adopt: Some(name), ..self }
    }

    pub(crate) fn binary(mut self, key: &str, value: &str) -> Self {
        self.binary.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn and(mut self, key: &str, value: &str) -> Self {
        self.data.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.secret { "Secret" } else { "ConfigMap" }
    }

    pub(crate) fn named(&self, name: &str) -> Value {
        let mut annotations = json!({});
        if let Some(keys) = &self.keys {
            annotations[KEYS] = json!(keys);
        }
        if let Some(adopt) = self.adopt {
            annotations[ADOPT] = json!(if adopt == ITS_NAME { name } else { adopt });
        }
        let labels = if self.labelled { json!({LABEL: name}) } else { json!({}) };
        let mut object = json!({
            "apiVersion": "v1", "kind": self.kind(),
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations},
        });
        object[if self.secret { "stringData" } else { "data" }] = json!(self.data);
        if !self.binary.is_empty() {
            object["binaryData"] = json!(self.binary);
        }
        if let Some(type_) = self.type_ {
            object["type"] = json!(type_);
        }
        object
    }
}

/// What the controller's account tries.
#[derive(Clone, Debug)]
pub(crate) enum Try {
    Create(Object),
    Replace(Object, Object),
    /// Forced server-side apply.
    Apply(Object, Object),
    Delete(Object),
}

/// Carries out a try; whether it was permitted, or the refusal.
pub(crate) async fn attempt(admin: &Client, account: &Client, name: &str, what: &Try) -> Result<Result<(), String>> {
    let (before, after) = match what {
        Try::Create(after) => (None, Some(after)),
        Try::Replace(before, after) | Try::Apply(before, after) => (Some(before), Some(after)),
        Try::Delete(before) => (Some(before), None),
    };
    let kind = before.or(after).map(Object::kind).unwrap_or_default();
    let object = |object: &Object| serde_json::from_value::<DynamicObject>(object.named(name));
    let theirs: Api<DynamicObject> = objects(admin, kind, NAMESPACE)?;
    if let Some(before) = before {
        theirs.create(&PostParams::default(), &object(before)?).await.context("putting the object there")?;
    }
    let ours: Api<DynamicObject> = objects(account, kind, NAMESPACE)?;
    let after = after.map(object).transpose()?;
    let result = match (what, after) {
        (Try::Create(_), Some(after)) => ours.create(&PostParams::default(), &after).await.map(drop),
        (Try::Replace(..), Some(mut after)) => {
            after.metadata.resource_version = theirs.get(name).await?.metadata.resource_version;
            ours.replace(name, &PostParams::default(), &after).await.map(drop)
        }
        (Try::Apply(..), Some(after)) => {
            let params = PatchParams::apply("trust-manager").force();
            ours.patch(name, &params, &Patch::Apply(after)).await.map(drop)
        }
        _ => ours.delete(name, &DeleteParams::default()).await.map(drop),
    };
    let verdict = match result {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => return Err(error).with_context(|| format!("{what:?}")),
    };
    if theirs.get_opt(name).await?.is_some() {
        theirs.delete(name, &DeleteParams::default()).await?;
    }
    Ok(verdict)
}

/// A control plane whose policies are in force.
pub(crate) async fn guarded() -> Result<ControlPlane> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
    control_plane.namespace(NAMESPACE, &[]).await?;
    for folder in ["config/injector", "config/guard"] {
        control_plane.kubectl_ok(&["apply", "--server-side", "-k", folder], "")?;
    }
    let (admin, account) = (control_plane.client(), control_plane.account_client("rootcast").await?);
    eventually("the policy is in force", SOON, async || {
        let verdict = attempt(&admin, &account, "first", &Try::Create(Object::default())).await?;
        ensure!(verdict.is_err(), "not yet");
        Ok(())
    })
    .await;
    Ok(control_plane)
}
