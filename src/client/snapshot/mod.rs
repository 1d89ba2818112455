//! The reads of `rootcast status`, `rootcast wait` and `rootcast diff`: lists in pages, of metadata alone where possible.

mod adoption_candidates;
mod distrusts;
pub mod object_reader;
mod retention;
mod rotation;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{self, ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api_error::ApiError;
use super::connection::Connection;
use super::hand_back::holder;
use super::objects::{ReadFailure, bundles, objects, parse};
use super::server_clock::ServerClock;
use crate::api::{BUNDLE_LABEL, Bundle};
use crate::bundle::{
    BundleId, Intent, Namespace, ObjectKind, ObjectSource, OutputKeys, Select, SourceContent, SourceId, SourceObject,
    TargetRef,
};
use crate::overview::{LeaderStatus, SnapshotTarget, SourceQuery};

pub use retention::certificate_uses;

/// The number of objects in a page of a list.
const PAGE: u32 = 500;

/// The number of sources that are read at the same time.
const CONCURRENCY: usize = 8;

/// A reader of the state of a cluster.
pub struct SnapshotReader<'a> {
    client: Client,
    server_clock: ServerClock,
    progress: &'a dyn Fn(&str, usize),
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

impl<'a> SnapshotReader<'a> {
    /// Creates a reader over a connection. It calls `progress` with the resource that is being listed and the number of
    /// objects so far.
    #[must_use]
    pub fn new(connection: &Connection, progress: &'a dyn Fn(&str, usize)) -> Self {
        Self { client: connection.bounded_client(), server_clock: connection.server_clock().clone(), progress }
    }

    /// Lists all Bundles by name, each as it is or with the reason why it cannot be parsed.
    ///
    /// # Errors
    /// When the Bundles cannot be listed.
    pub async fn bundles(&self) -> Result<Vec<(String, serde_json::Result<Bundle>)>, SnapshotReadError> {
        let listed = self.list("bundles", &bundles(&self.client), ListParams::default()).await;
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
        Ok(bundles.into_iter().map(|object| (name(&object.metadata).to_owned(), parse(object))).collect())
    }

    /// Lists all namespaces, by name.
    ///
    /// # Errors
    /// When the namespaces cannot be listed.
    pub async fn namespaces(&self) -> Result<BTreeMap<Arc<str>, Namespace>, SnapshotReadError> {
        let namespaces = Api::<PartialObjectMeta<v1::Namespace>>::all(self.client.clone());
        let namespaces = self.list("namespaces", &namespaces, ListParams::default()).await?;
        let named = namespaces
            .iter()
            .map(|PartialObjectMeta { metadata, .. }| (Arc::from(name(metadata)), Namespace::from(metadata)));
        Ok(named.collect())
    }

    /// Reads one namespace.
    ///
    /// # Errors
    /// When the namespace does not exist or cannot be read.
    pub async fn namespace(&self, name: &str) -> Result<Namespace, SnapshotReadError> {
        let namespaces = Api::<PartialObjectMeta<v1::Namespace>>::all(self.client.clone());
        let namespace = get("namespaces", &namespaces, name).await?;
        Ok(Namespace::from(&namespace.metadata))
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
        let labelled = ListParams::default().labels(BUNDLE_LABEL);
        let (namespace, params) = match scope {
            SnapshotScope::Cluster => (None, labelled),
            SnapshotScope::Bundle(name) => (None, labelled.fields(&format!("metadata.name={name}"))),
            SnapshotScope::Namespace(namespace) => (Some(namespace), labelled),
        };
        let objects = objects::<PartialObjectMeta<DynamicObject>>(&self.client, kind, namespace);
        let mut targets = SnapshotTargets::new();
        for PartialObjectMeta { metadata, .. } in self.list(kind.resource(), &objects, params).await? {
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
        let leases = match namespace {
            Some(namespace) => Api::<Lease>::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let named = ListParams::default().fields(&format!("metadata.name={lease}"));
        let leases = match self.list("leases.coordination.k8s.io", &leases, named).await {
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
        let pod = ApiResource::erase::<Pod>(&());
        let pods = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &pod);
        let pods = self.list("pods", &pods, ListParams::default()).await?;
        let words = |value: Option<&Value>| {
            let words = value.and_then(Value::as_array).into_iter().flatten();
            words.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let programs = pods.iter().flat_map(|pod| {
            let phase = pod.data.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
            let is_finished = ["Succeeded", "Failed"].contains(&phase);
            let containers = pod.data.pointer("/spec/containers").and_then(Value::as_array).filter(|_| !is_finished);
            let pod = name(&pod.metadata).to_owned();
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
                    .map(|object| Ok(parse_source(source, object, key_filter)?))
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
    ) -> Result<Vec<DynamicObject>, SnapshotReadError> {
        let objects = objects(&self.client, *kind, Some(namespace));
        match select {
            Select::Named(name) => Ok(get_opt(kind.resource(), &objects, name).await?.into_iter().collect()),
            Select::Labelled(selector) => {
                self.list(kind.resource(), &objects, ListParams::default().labels(&selector.to_string())).await
            }
        }
    }

    async fn list<K: Clone + Debug + DeserializeOwned>(
        &self,
        resource: &str,
        objects: &Api<K>,
        params: ListParams,
    ) -> Result<Vec<K>, SnapshotReadError> {
        self.list_some(resource, objects, params, Some).await
    }

    /// Lists objects, and keeps of each what `keep` returns.
    async fn list_some<K: Clone + Debug + DeserializeOwned, T>(
        &self,
        resource: &str,
        objects: &Api<K>,
        params: ListParams,
        mut keep: impl FnMut(K) -> Option<T>,
    ) -> Result<Vec<T>, SnapshotReadError> {
        let mut params = params.limit(PAGE);
        let (mut kept, mut count) = (Vec::new(), 0);
        loop {
            let page = objects.list(&params).await;
            let page = page.map_err(|error| SnapshotReadError::of(&error.into(), "list", resource))?;
            count += page.items.len();
            kept.extend(page.items.into_iter().filter_map(&mut keep));
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(kept),
            }
            (self.progress)(resource, count);
        }
    }
}

async fn get<K: Clone + Debug + DeserializeOwned>(
    resource: &str,
    objects: &Api<K>,
    name: &str,
) -> Result<K, SnapshotReadError> {
    objects.get(name).await.map_err(|error| SnapshotReadError::of(&error.into(), "get", resource))
}

async fn get_opt<K: Clone + Debug + DeserializeOwned>(
    resource: &str,
    objects: &Api<K>,
    name: &str,
) -> Result<Option<K>, SnapshotReadError> {
    objects.get_opt(name).await.map_err(|error| SnapshotReadError::of(&error.into(), "get", resource))
}

impl SnapshotReadError {
    fn of(failure: &ReadFailure, verb: &str, resource: &str) -> Self {
        let (forbidden, absent) = match failure {
            // An API that is not served is no Status, but a text.
            ReadFailure::Request(ApiError::Refused(status)) => (status.is_forbidden(), status.code == 404),
            _ => (false, false),
        };
        let remedy = match failure {
            _ if forbidden => format!("; have somebody grant you the verb {verb} on {resource}"),
            ReadFailure::Malformed(_) => String::new(),
            ReadFailure::Request(failure) => match failure {
                // The pages of a list are of one revision, which etcd compacts after minutes.
                ApiError::Refused(status) if status.code == 410 => "; try again".to_owned(),
                ApiError::Refused(_) => String::new(),
                ApiError::Busy(..) | ApiError::Failed(_) => "; try again".to_owned(),
                ApiError::Lost(_) | ApiError::TimedOut(_) => "; can kubectl reach this cluster?".to_owned(),
            },
        };
        Self { cause: format!("{failure}{remedy}"), forbidden, absent }
    }
}

impl From<serde_json::Error> for SnapshotReadError {
    fn from(error: serde_json::Error) -> Self {
        Self { cause: ReadFailure::from(error).to_string(), forbidden: false, absent: false }
    }
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// Parses a source object, cut down to the keys that pass the filter.
fn parse_source<W: Fn(&str) -> bool>(
    source: &ObjectSource,
    object: DynamicObject,
    key_filter: impl Fn(&SourceId, &ObjectMeta) -> W,
) -> serde_json::Result<(SourceId, SourceObject)> {
    let metadata = object.metadata.clone();
    let id = SourceId { kind: source.kind, namespace: source.namespace.clone(), name: name(&metadata).into() };
    let includes_key = key_filter(&id, &metadata);
    let content = match source.kind {
        ObjectKind::ConfigMap => SourceContent::of_config_map(parse::<ConfigMap>(object)?, includes_key),
        ObjectKind::Secret => SourceContent::of_secret(parse::<Secret>(object)?, |key, _| includes_key(key)),
    };
    let output = OutputKeys::of(&metadata);
    Ok((
        id,
        SourceObject { labels: metadata.labels.unwrap_or_default(), output, content, undecodable: BTreeMap::new() },
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::fixture::server;

    #[tokio::test]
    async fn a_malformed_bundle_spoils_no_list_and_pages_are_joined() {
        let bundle = |name: &str, sources: Value| json!({ "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle", "metadata": { "name": name }, "spec": { "sources": sources } });
        let page = |next: &str, items: Value| json!({ "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "BundleList", "metadata": { "continue": next }, "items": items });
        let pages = [
            page("a b", json!([bundle("bad", json!("none")), bundle("good", json!([{ "inLine": "x" }]))])),
            page("", json!([bundle("last", json!([{ "inLine": "x" }]))])),
        ];
        let (connection, requests) = server(pages.map(|page| (200, page)).into()).await;
        let bundles = SnapshotReader::new(&connection, &|_, _| {}).bundles().await.expect("a list");
        let read: Vec<_> = bundles.iter().map(|(name, bundle)| (&**name, bundle.is_ok())).collect();
        assert_eq!(read, [("bad", false), ("good", true), ("last", true)]);
        let requests = requests.lock().expect("no holder of the lock panics").clone();
        let path = "GET /apis/trust.cert-manager.io/v1alpha1/bundles?&limit=500";
        assert_eq!(requests, [format!("{path} HTTP/1.1"), format!("{path}&continue=a+b HTTP/1.1")]);
    }

    #[tokio::test]
    async fn a_failed_request_is_sent_once_and_its_error_has_a_remedy() {
        let status = |code: u16, reason: &str, message: &str| {
            (code, json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message }))
        };
        let rows = [
            (status(403, "Forbidden", "no"), "no; have somebody grant you the verb list on namespaces"),
            (status(404, "NotFound", "no such thing"), "no such thing"),
            (status(410, "Expired", "too old"), "too old; try again"),
            (status(429, "TooManyRequests", "slow down"), "slow down; try again"),
            (status(500, "InternalError", "etcdserver: leader changed"), "etcdserver: leader changed; try again"),
            ((200, json!("?")), "the API server's answer is malformed: "),
        ];
        for (answer, expected) in rows {
            let (connection, requests) = server(vec![answer]).await;
            let error = SnapshotReader::new(&connection, &|_, _| {}).namespaces().await.expect_err(expected);
            assert!(error.to_string().starts_with(expected), "{error}");
            assert_eq!((error.forbidden, error.absent), (expected.contains("grant"), expected.starts_with("no such")));
            assert_eq!(requests.lock().expect("no holder of the lock panics").len(), 1, "{expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_ends_after_30_s() {
        let (connection, _) = server(Vec::new()).await;
        let error = SnapshotReader::new(&connection, &|_, _| {}).namespace("a").await.expect_err("a time-out");
        assert_eq!(error.to_string(), "no answer within 30 s; can kubectl reach this cluster?");
    }
}
