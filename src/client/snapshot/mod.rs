//! The reads of `rootcast status` and `rootcast diff`: lists in pages, of metadata alone where possible.

mod adoption_candidates;
pub mod object_reader;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api_error::ApiError;
use super::connection::{ApiRequest, Connection};
use super::hand_back::holder;
use super::uri::{self, resource};
use crate::api::{API_VERSION, BUNDLE_LABEL, Bundle};
use crate::bundle::{
    BundleId, Intent, Namespace, ObjectKind, ObjectSource, OutputKeys, Select, SourceContent, SourceId, SourceObject,
    TargetRef,
};
use crate::overview::{LeaderStatus, SnapshotTarget, SourceQuery};

/// The number of objects in a page of a list.
const PAGE: usize = 500;

/// The number of sources that are read at the same time.
const CONCURRENCY: usize = 8;

/// The `Accept` header for lists of metadata.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

const WHOLE: &str = "application/json";

/// A reader of the state of a cluster.
pub struct SnapshotReader<'a> {
    /// The connection for all requests.
    pub connection: &'a Connection,
    /// A callback with the resource that is being listed and the number of objects so far.
    pub progress: &'a dyn Fn(&str, usize),
}

/// The targets that are read.
#[derive(Clone, Copy, Debug)]
pub enum SnapshotScope<'a> {
    /// All targets of the cluster.
    Cluster,
    /// The targets of one Bundle.
    Bundle(&'a str),
    /// The targets in one namespace.
    Namespace(&'a str),
}

/// A failure to read objects, with its remedy.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct SnapshotReadError {
    cause: String,
    /// Whether the cause is a missing permission.
    pub forbidden: bool,
    /// Whether the object or resource does not exist.
    pub absent: bool,
}

/// The sources that could be read, and why the others could not.
pub type SnapshotSources = (BTreeMap<SourceId, SourceObject>, BTreeMap<SourceQuery, String>);

/// The targets of Bundles, by Bundle.
pub type SnapshotTargets = BTreeMap<BundleId, BTreeMap<TargetRef, SnapshotTarget>>;

/// The command line of a container.
#[derive(Clone, Debug)]
pub struct ContainerCommand {
    /// Name of the Pod.
    pub pod: String,
    /// The arguments: `command` without its first element, and `args`.
    pub arguments: Vec<String>,
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: ListMeta,
    /// An empty list of metadata is `null`.
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct PartialMetadata {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl SnapshotReader<'_> {
    /// Lists all Bundles by name, each as it is or with the reason why it cannot be parsed.
    ///
    /// # Errors
    /// When the Bundles cannot be listed.
    pub async fn bundles(&self) -> Result<Vec<(String, serde_json::Result<Bundle>)>, SnapshotReadError> {
        let listed = self.list::<Value>("bundles", &format!("/apis/{API_VERSION}/bundles"), "", WHOLE).await;
        let bundles = listed.map_err(|error| match error {
            SnapshotReadError { absent: true, .. } => SnapshotReadError {
                cause:
                    "this cluster knows no Bundles: install the chart, or at least the CRD (rootcast crds | kubectl \
                        apply -f -)"
                        .to_owned(),
                ..error
            },
            other => other,
        })?;
        let read = |object: Value| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            (name, Bundle::deserialize(object))
        };
        Ok(bundles.into_iter().map(read).collect())
    }

    /// Lists all namespaces, by name.
    ///
    /// # Errors
    /// When the namespaces cannot be listed.
    pub async fn namespaces(&self) -> Result<BTreeMap<Arc<str>, Namespace>, SnapshotReadError> {
        let namespaces = self.list::<PartialMetadata>("namespaces", "/api/v1/namespaces", "", METADATA_ONLY).await?;
        let named = namespaces
            .iter()
            .map(|PartialMetadata { metadata }| (Arc::from(name(metadata)), Namespace::from(metadata)));
        Ok(named.collect())
    }

    /// Reads one namespace.
    ///
    /// # Errors
    /// When the namespace does not exist or cannot be read.
    pub async fn namespace(&self, name: &str) -> Result<Namespace, SnapshotReadError> {
        let body = self.get("namespaces", &format!("/api/v1/namespaces/{name}"), WHOLE).await?;
        let PartialMetadata { metadata } = serde_json::from_slice(&body)?;
        Ok(Namespace::from(&metadata))
    }

    /// Lists the objects of a kind that carry the Bundle label.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub async fn targets(
        &self,
        kind: ObjectKind,
        scope: SnapshotScope<'_>,
    ) -> Result<SnapshotTargets, SnapshotReadError> {
        let resource = resource(kind);
        let labelled = format!("labelSelector={}", uri::encode(BUNDLE_LABEL));
        let (path, query) = match scope {
            SnapshotScope::Cluster => (uri::collection(kind, None), labelled),
            SnapshotScope::Bundle(name) => {
                (uri::collection(kind, None), format!("{labelled}&fieldSelector=metadata.name%3D{name}"))
            }
            SnapshotScope::Namespace(namespace) => (uri::collection(kind, Some(namespace)), labelled),
        };
        let mut targets = SnapshotTargets::new();
        for PartialMetadata { metadata } in self.list(resource, &path, &query, METADATA_ONLY).await? {
            let namespace = metadata.namespace.as_deref().unwrap_or_default().into();
            let target = TargetRef { kind, namespace, name: name(&metadata).into() };
            let of_bundle = targets.entry(target.name.clone().into()).or_default();
            of_bundle.insert(target, SnapshotTarget::read(&metadata));
        }
        Ok(targets)
    }

    /// Reads the leader and the namespace of the Lease, which is `namespace` or any. Of several Leases of the name the
    /// one that is held counts.
    pub async fn leadership(
        &self,
        namespace: Option<&str>,
        lease: &str,
        now: Timestamp,
    ) -> (LeaderStatus, Option<String>) {
        let within = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let path = format!("/apis/coordination.k8s.io/v1{within}/leases");
        let query = format!("fieldSelector=metadata.name%3D{lease}");
        let leases = match self.list::<Lease>("leases.coordination.k8s.io", &path, &query, WHOLE).await {
            Ok(leases) => leases,
            Err(error) => {
                let remedy = if error.forbidden && namespace.is_none() {
                    "; for its own namespace alone, name that by --leader-election-namespace"
                } else {
                    ""
                };
                return (LeaderStatus::Unknown(format!("{error}{remedy}")), namespace.map(str::to_owned));
            }
        };
        let read = |lease: Lease| {
            let namespace = lease.metadata.namespace.clone().unwrap_or_default();
            let lease_name = format!("{namespace}/{}", name(&lease.metadata));
            let spec = lease.spec.unwrap_or_default();
            let renewed = spec.renew_time.as_ref().map(|time| time.0);
            let leadership = match (holder(spec, now), renewed) {
                (Some(holder), Some(renewed)) => LeaderStatus::Led { lease: lease_name, holder, renewed },
                _ => LeaderStatus::Vacant { lease: lease_name, renewed },
            };
            (leadership, Some(namespace))
        };
        let leaders = leases.into_iter().map(read);
        let held = |(leadership, _): &(LeaderStatus, Option<String>)| matches!(leadership, LeaderStatus::Led { .. });
        leaders.max_by_key(held).unwrap_or_else(|| (LeaderStatus::NoLease, namespace.map(str::to_owned)))
    }

    /// Lists the command lines of the containers of a namespace's unfinished Pods.
    ///
    /// # Errors
    /// When the Pods cannot be listed.
    pub async fn container_commands(&self, namespace: &str) -> Result<Vec<ContainerCommand>, SnapshotReadError> {
        let pods = self.list::<Value>("pods", &format!("/api/v1/namespaces/{namespace}/pods"), "", WHOLE).await?;
        let words = |value: Option<&Value>| {
            let words = value.and_then(Value::as_array).into_iter().flatten();
            words.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let programs = pods.iter().flat_map(|pod| {
            let text = |at: &str| pod.pointer(at).and_then(Value::as_str).unwrap_or_default();
            let is_finished = ["Succeeded", "Failed"].contains(&text("/status/phase"));
            let containers = pod.pointer("/spec/containers").and_then(Value::as_array).filter(|_| !is_finished);
            let pod = text("/metadata/name").to_owned();
            containers.into_iter().flatten().map(move |container| {
                let command = words(container.get("command")).into_iter().skip(1);
                ContainerCommand { pod: pod.clone(), arguments: command.chain(words(container.get("args"))).collect() }
            })
        });
        Ok(programs.collect())
    }

    /// Reads the sources of Bundles: of each object only the keys that Bundles read.
    pub async fn sources(&self, intents: &[&Intent]) -> SnapshotSources {
        let all = || intents.iter().flat_map(|intent| intent.object_sources());
        let mut seen = BTreeSet::new();
        let distinct: Vec<_> = all().filter(|source| seen.insert(SourceQuery::from(*source))).collect();
        let key_filter = |id: &SourceId, metadata: &ObjectMeta| {
            let labels = metadata.labels.clone().unwrap_or_default();
            let of_object: Vec<_> = all().filter(|source| source.reads(id, &labels)).collect();
            move |key: &str| of_object.iter().any(|source| source.keys.include(key))
        };
        let reads = stream::iter(distinct.iter().map(|source| self.source(source)));
        let reads: Vec<_> = reads.buffered(CONCURRENCY).collect().await;
        let (mut objects, mut unread) = (BTreeMap::new(), BTreeMap::new());
        for (source, read) in distinct.into_iter().zip(reads) {
            let parsed = read.and_then(|found| {
                found
                    .into_iter()
                    .map(|object| Ok(parse(source, object, key_filter)?))
                    .collect::<Result<Vec<_>, SnapshotReadError>>()
            });
            match parsed {
                Ok(found) => objects.extend(found),
                Err(error) => {
                    let query = SourceQuery::from(source);
                    let cause = format!("source {query} cannot be read: {error}");
                    unread.insert(query, cause);
                }
            }
        }
        (objects, unread)
    }

    async fn source(
        &self,
        ObjectSource { kind, namespace, select, keys: _ }: &ObjectSource,
    ) -> Result<Vec<Value>, SnapshotReadError> {
        let resource = resource(*kind);
        let path = uri::collection(*kind, Some(namespace));
        match select {
            Select::Named(name) => match self.get(resource, &format!("{path}/{name}"), WHOLE).await {
                Ok(body) => Ok(vec![serde_json::from_slice(&body)?]),
                Err(SnapshotReadError { absent: true, .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            },
            Select::Labelled(selector) => {
                let query = format!("labelSelector={}", uri::encode(&selector.to_string()));
                self.list(resource, &path, &query, WHOLE).await
            }
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        resource: &str,
        path: &str,
        query: &str,
        accept: &'static str,
    ) -> Result<Vec<T>, SnapshotReadError> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let uri = format!("{path}?limit={PAGE}&{query}{next}");
            let body = self.send("list", resource, uri, accept).await?;
            let Page { metadata, items } = serde_json::from_slice(&body)?;
            all.extend(items.into_iter().flatten());
            match metadata.continue_ {
                Some(token) if !token.is_empty() => next = format!("&continue={}", uri::encode(&token)),
                _ => return Ok(all),
            }
            (self.progress)(resource, all.len());
        }
    }

    async fn get(&self, resource: &str, uri: &str, accept: &'static str) -> Result<bytes::Bytes, SnapshotReadError> {
        self.send("get", resource, uri.to_owned(), accept).await
    }

    async fn send(
        &self,
        verb: &str,
        resource: &str,
        uri: String,
        accept: &'static str,
    ) -> Result<bytes::Bytes, SnapshotReadError> {
        let request = ApiRequest { method: Method::GET, uri, accept, body: None };
        self.connection.send(request).await.map_err(|failure| SnapshotReadError::of(&failure, verb, resource))
    }
}

impl SnapshotReadError {
    fn of(failure: &ApiError, verb: &str, resource: &str) -> Self {
        let (forbidden, absent) = match failure {
            ApiError::Refused(status) => (status.is_forbidden(), status.is_not_found()),
            _ => (false, false),
        };
        let remedy = match failure {
            _ if forbidden => format!("; have somebody grant you the verb {verb} on {resource}"),
            // The pages of a list are of one revision, which etcd compacts after minutes.
            ApiError::Refused(status) if status.code == 410 => "; try again".to_owned(),
            ApiError::Refused(_) => String::new(),
            ApiError::Busy(..) | ApiError::Failed(_) => "; try again".to_owned(),
            ApiError::Lost(_) | ApiError::TimedOut(_) => "; can kubectl reach this cluster?".to_owned(),
        };
        Self { cause: format!("{failure}{remedy}"), forbidden, absent }
    }
}

impl From<serde_json::Error> for SnapshotReadError {
    fn from(error: serde_json::Error) -> Self {
        let cause = format!("the API server's answer is malformed: {error}");
        Self { cause, forbidden: false, absent: false }
    }
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// Parses a source object, cut down to the keys that pass the filter.
fn parse<W: Fn(&str) -> bool>(
    source: &ObjectSource,
    object: Value,
    key_filter: impl Fn(&SourceId, &ObjectMeta) -> W,
) -> serde_json::Result<(SourceId, SourceObject)> {
    let PartialMetadata { metadata } = PartialMetadata::deserialize(&object)?;
    let id = SourceId { kind: source.kind, namespace: source.namespace.clone(), name: name(&metadata).into() };
    let includes_key = key_filter(&id, &metadata);
    let content = match source.kind {
        ObjectKind::ConfigMap => SourceContent::of_config_map(ConfigMap::deserialize(object)?, includes_key),
        ObjectKind::Secret => SourceContent::of_secret(Secret::deserialize(object)?, |key, _| includes_key(key)),
    };
    let output = OutputKeys::of(&metadata);
    Ok((
        id,
        SourceObject { labels: metadata.labels.unwrap_or_default(), output, content, undecodable: BTreeMap::new() },
    ))
}
