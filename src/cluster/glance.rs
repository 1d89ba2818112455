//! One look at an object: for who wants to see, not to act.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ListParams;
use kube::{Api, Client};

use super::hand_back::Refused;
use crate::api::{BUNDLE_LABEL, Bundle, SYNCED};
use crate::bundle::{Content, ObjectKind};

/// The keys of an object and their values.
pub type Values = BTreeMap<String, Vec<u8>>;

/// A Bundle, as the cluster has it.
#[derive(Debug)]
pub struct Seen {
    /// What condition `Synced` says, if it is there and not `True`.
    pub trouble: Option<String>,
    /// The target of the first namespace that has one, in the order of names; a Bundle with ConfigMaps and Secrets shows a
    /// ConfigMap.
    pub target: Option<SeenTarget>,
}

/// One of a Bundle's targets.
#[derive(Debug)]
pub struct SeenTarget {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// The key of the PEM, by the Bundle's spec.
    pub key: String,
    /// What it holds; `None` if that key is not there.
    pub value: Option<Vec<u8>>,
}

/// Reads the keys of a ConfigMap or Secret.
///
/// # Errors
/// When the API server refuses or cannot be reached.
pub async fn object(client: &Client, kind: ObjectKind, namespace: &str, name: &str) -> Result<Values, Refused> {
    let client = client.clone();
    Ok(match kind {
        ObjectKind::ConfigMap => config_map(Api::<ConfigMap>::namespaced(client, namespace).get(name).await?),
        ObjectKind::Secret => secret(Api::<Secret>::namespaced(client, namespace).get(name).await?),
    })
}

/// Reads a Bundle, and one of its targets, by two requests or three.
///
/// # Errors
/// When the API server refuses or cannot be reached.
pub async fn bundle(client: &Client, name: &str) -> Result<Seen, Refused> {
    let bundle = Api::<Bundle>::all(client.clone()).get(name).await?;
    let conditions = bundle.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
    let mut untrue = conditions.filter(|condition| condition.type_ == SYNCED && condition.status != "True");
    let trouble = untrue.next().map(|condition| format!("{}: {}", condition.reason, condition.message));
    let spec = bundle.spec.target.unwrap_or_default();
    let first = ListParams::default()
        .labels(&format!("{BUNDLE_LABEL}={name}"))
        .fields(&format!("metadata.name={name}"))
        .limit(1);
    let mut target = None;
    if let Some(spec) = spec.config_map {
        let found = Api::<ConfigMap>::all(client.clone()).list(&first).await?.items.into_iter().next();
        target = found.map(|found| {
            let namespace = found.metadata.namespace.clone().unwrap_or_default();
            let value = config_map(found).remove(&spec.key);
            SeenTarget { kind: ObjectKind::ConfigMap, namespace, key: spec.key, value }
        });
    }
    if let (None, Some(spec)) = (&target, spec.secret) {
        let found = Api::<Secret>::all(client.clone()).list(&first).await?.items.into_iter().next();
        target = found.map(|found| {
            let namespace = found.metadata.namespace.clone().unwrap_or_default();
            let value = secret(found).remove(&spec.key);
            SeenTarget { kind: ObjectKind::Secret, namespace, key: spec.key, value }
        });
    }
    Ok(Seen { trouble, target })
}

fn config_map(object: ConfigMap) -> Values {
    values(Content::of_config_map(object, |_| true))
}

fn secret(object: Secret) -> Values {
    values(Content::of_secret(object, |_, _| true))
}

fn values(content: Content) -> Values {
    match content {
        Content::Keys(values) | Content::TlsKeys(values) => values,
        Content::Unreadable(_) => Values::new(),
    }
}
