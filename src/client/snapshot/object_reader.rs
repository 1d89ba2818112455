//! Reads of single objects for the read-only commands.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{DynamicObject, ListParams};

use crate::api::{BUNDLE_LABEL, Bundle, SYNCED};
use crate::bundle::{ObjectKind, SourceContent};
use crate::client::connection::Connection;
use crate::client::objects::{ReadFailure, bundles, objects, parse};

/// The values of an object, by key.
pub type Values = BTreeMap<String, Vec<u8>>;

/// The state of a Bundle in the cluster.
#[derive(Debug)]
pub struct LiveBundle {
    /// Reason and message of condition `Synced`, if it exists and is not `True`.
    pub sync_failure: Option<String>,
    /// The target in the first namespace that has one, in the order of names; of a Bundle with ConfigMaps and Secrets a
    /// ConfigMap.
    pub target: Option<LiveTarget>,
}

/// One of a Bundle's targets.
#[derive(Debug)]
pub struct LiveTarget {
    /// Kind of the target.
    pub kind: ObjectKind,
    /// Namespace of the target.
    pub namespace: String,
    /// The key of the PEM in the Bundle's spec.
    pub key: String,
    /// Value of the key; `None` if the target does not have it.
    pub value: Option<Vec<u8>>,
}

/// A failure to read an object, in the words of the API server or of the connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ObjectReadError(String);

/// Reads the keys of a ConfigMap or Secret.
///
/// # Errors
/// When the API server refuses or cannot be reached.
pub async fn object(
    connection: &Connection,
    kind: ObjectKind,
    namespace: &str,
    name: &str,
) -> Result<Values, ObjectReadError> {
    values(kind, objects(&connection.bounded_client(), kind, Some(namespace)).get(name).await?)
}

/// Reads a Bundle and one of its targets, with two or three requests.
///
/// # Errors
/// When the API server refuses or cannot be reached.
pub async fn bundle(connection: &Connection, name: &str) -> Result<LiveBundle, ObjectReadError> {
    let client = connection.bounded_client();
    let bundle = parse::<Bundle>(bundles(&client).get(name).await?)?;
    let conditions = bundle.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
    let mut untrue = conditions.filter(|condition| condition.type_ == SYNCED && condition.status != "True");
    let sync_failure = untrue.next().map(|condition| format!("{}: {}", condition.reason, condition.message));
    let spec = bundle.spec.target.unwrap_or_default();
    let mut target = None;
    for (kind, spec) in [(ObjectKind::ConfigMap, spec.config_map), (ObjectKind::Secret, spec.secret)] {
        if let (None, Some(spec)) = (&target, spec) {
            target = first_target(&client, kind, name, spec.key).await?;
        }
    }
    Ok(LiveBundle { sync_failure, target })
}

/// Reads the target in the first namespace. The server sorts by namespace, so that one object is enough.
async fn first_target(
    client: &Client,
    kind: ObjectKind,
    bundle: &str,
    key: String,
) -> Result<Option<LiveTarget>, ObjectReadError> {
    let labelled = ListParams::default().labels(&format!("{BUNDLE_LABEL}={bundle}"));
    let first = labelled.fields(&format!("metadata.name={bundle}")).limit(1);
    let list = objects::<DynamicObject>(client, kind, None).list(&first).await?;
    let Some(found) = list.items.into_iter().next() else { return Ok(None) };
    let namespace = found.metadata.namespace.clone().unwrap_or_default();
    let value = values(kind, found)?.remove(&key);
    Ok(Some(LiveTarget { kind, namespace, key, value }))
}

fn values(kind: ObjectKind, object: DynamicObject) -> Result<Values, ObjectReadError> {
    let content = match kind {
        ObjectKind::ConfigMap => SourceContent::of_config_map(parse::<ConfigMap>(object)?, |_| true),
        ObjectKind::Secret => SourceContent::of_secret(parse::<Secret>(object)?, |_, _| true),
    };
    Ok(match content {
        SourceContent::Keys(values) | SourceContent::TlsKeys(values) => {
            values.into_iter().filter_map(|(key, text)| Some((key, text.whole()?))).collect()
        }
        SourceContent::Unreadable(_) => Values::new(),
    })
}

impl<E: Into<ReadFailure>> From<E> for ObjectReadError {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}
