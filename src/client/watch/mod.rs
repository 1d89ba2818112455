//! Watches: the changes of all objects that the controller and the injector depend on, as streams of events.

mod list_pager;
mod list_watch;
mod split;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll, StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::uri;
use crate::api::{self, Bundle, CertificateRequest, Distrust};
use crate::bundle::{DecisionSettings, ObjectKind, TrustNamespaces};
use crate::fanout::{ExponentialBackoff, ListScope};

pub(crate) use list_pager::{ApiCollection, ListPager};
pub(crate) use list_watch::ListWatchError;
use list_watch::ListWatcher;

/// The pauses after failures in a row of a watch.
const PAUSE: ExponentialBackoff = ExponentialBackoff { first: Duration::from_millis(200), max: Duration::from_secs(5) };

/// A watch of one collection of objects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watch {
    /// The watch of all Bundles.
    Bundles,
    /// The watch of all Distrusts, which the API server may not have, or not show to this process.
    Distrusts,
    /// The watch of the metadata of the objects of one kind in a trust namespace; `None` is the main one.
    Sources(ObjectKind, Option<Arc<str>>),
    /// The watch of the metadata of what the engine knows: of all namespaces, or of the objects of one kind that carry
    /// the Bundle label.
    Fanout(ListScope),
    /// The watch of all CertificateRequests.
    CertificateRequests,
}

/// An event of a controller's watch.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    /// An event of a Bundle.
    Bundle(Event<WatchedBundle>),
    /// An event of a Distrust.
    Distrust(Event<WatchedDistrust>),
    /// An event of a source of a kind in a trust namespace; `None` is the main one.
    Source(ObjectKind, Option<Arc<str>>, Event<ObjectMeta>),
    /// An event of a namespace or target.
    Fanout(ListScope, Event<ObjectMeta>),
    /// An event of a CertificateRequest.
    CertificateRequest(Event<Box<CertificateRequest>>),
}

/// A Bundle as a watch delivers it.
pub(crate) type WatchedBundle = Box<Result<Bundle, UnreadableObject>>;

/// A Distrust as a watch delivers it.
pub(crate) type WatchedDistrust = Box<Result<Distrust, UnreadableObject>>;

/// An object that does not fit the wire types.
#[derive(Clone, Debug)]
pub(crate) struct UnreadableObject {
    /// Metadata of the object.
    pub(crate) metadata: ObjectMeta,
    /// The reason why the object cannot be read.
    pub(crate) cause: String,
}

/// An event, or the interruption of a watch.
pub(crate) type WatchResult<T> = Result<T, (Watch, ListWatchError)>;

/// Starts the watches of a controller. Each restarts itself, with a backoff while the API server is unavailable.
pub(crate) fn start_watches<'a>(
    connection: &Connection,
    trust_namespace: &str,
    watches: impl IntoIterator<Item = &'a Watch>,
) -> SelectAll<BoxStream<'static, WatchResult<WatchEvent>>> {
    let events = |watch: &Watch| match watch.clone() {
        Watch::Bundles => watch_bundles(connection).map_ok(WatchEvent::Bundle).boxed(),
        Watch::Distrusts => {
            let path = Distrust::url_path(&(), None);
            let collection = ApiCollection { path, label_selector: None, metadata_only: false };
            start(connection, Watch::Distrusts, collection).map_ok(WatchEvent::Distrust).boxed()
        }
        Watch::Sources(kind, namespace) => {
            let path = uri::collection(kind, Some(namespace.as_deref().unwrap_or(trust_namespace)));
            let events = start(connection, watch.clone(), ApiCollection::metadata_of(path));
            events.map_ok(move |event| WatchEvent::Source(kind, namespace.clone(), event)).boxed()
        }
        Watch::Fanout(scope) => {
            let events = watch_scope(connection, &scope);
            events.map_ok(move |event| WatchEvent::Fanout(scope.clone(), event)).boxed()
        }
        Watch::CertificateRequests => {
            let collection = ApiCollection::objects_of(CertificateRequest::PATH.to_owned());
            start(connection, Watch::CertificateRequests, collection).map_ok(WatchEvent::CertificateRequest).boxed()
        }
    };
    watches.into_iter().map(events).collect()
}

/// Starts the watch of all Bundles.
pub(super) fn watch_bundles(connection: &Connection) -> BoxStream<'static, WatchResult<Event<WatchedBundle>>> {
    start(connection, Watch::Bundles, ApiCollection::objects_of(Bundle::url_path(&(), None)))
}

/// Starts the watch of the metadata of namespaces or targets.
pub(super) fn watch_scope(
    connection: &Connection,
    scope: &ListScope,
) -> BoxStream<'static, WatchResult<Event<ObjectMeta>>> {
    let collection = match scope {
        ListScope::Namespaces => ApiCollection::metadata_of("/api/v1/namespaces".to_owned()),
        ListScope::Targets(kind, namespace) => ApiCollection {
            label_selector: Some(api::BUNDLE_LABEL.to_owned()),
            ..ApiCollection::metadata_of(uri::collection(*kind, namespace.as_deref()))
        },
    };
    start(connection, Watch::Fanout(scope.clone()), collection)
}

fn start<T: WatchedObject>(
    connection: &Connection,
    watch: Watch,
    collection: ApiCollection,
) -> BoxStream<'static, WatchResult<Event<T>>> {
    let list_watcher = ListWatcher::new(connection, watch, collection);
    let next_item = |mut list_watcher: ListWatcher| async move {
        let event = list_watcher.next::<T>().await.map_err(|error| (list_watcher.watch.clone(), error));
        Some((event, list_watcher))
    };
    stream::unfold(list_watcher, next_item).boxed()
}

impl Watch {
    /// Returns the watches that a controller with these settings needs: no more than its role allows.
    pub(crate) fn needed(settings: &DecisionSettings, trust_namespaces: &TrustNamespaces) -> Vec<Self> {
        let mut watches = vec![Self::Bundles, Self::Distrusts, Self::Fanout(ListScope::Namespaces)];
        watches.extend(ObjectKind::ALL.map(|kind| Self::Sources(kind, None)));
        for namespace in trust_namespaces.additional() {
            watches.extend(ObjectKind::ALL.map(|kind| Self::Sources(kind, Some(namespace.clone()))));
        }
        for kind in ObjectKind::ALL {
            if kind == ObjectKind::Secret && !settings.secret_targets {
                continue;
            }
            let targets = |namespace| Self::Fanout(ListScope::Targets(kind, namespace));
            match &settings.target_namespaces {
                None => watches.push(targets(None)),
                Some(namespaces) => watches.extend(namespaces.iter().cloned().map(Some).map(targets)),
            }
        }
        watches
    }

    /// Returns the label of the watch in metrics.
    fn metric_label(&self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Distrusts => "distrusts",
            Self::Sources(ObjectKind::ConfigMap, _) => "source_configmaps",
            Self::Sources(ObjectKind::Secret, _) => "source_secrets",
            Self::Fanout(ListScope::Namespaces) => "namespaces",
            Self::Fanout(ListScope::Targets(ObjectKind::ConfigMap, _)) => "target_configmaps",
            Self::Fanout(ListScope::Targets(ObjectKind::Secret, _)) => "target_secrets",
            Self::CertificateRequests => "certificaterequests",
        }
    }
}

/// Formats the watch as the log names it.
impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundles => f.write_str("Bundles"),
            Self::Distrusts => f.write_str("Distrusts"),
            Self::Sources(kind, None) => f.debug_tuple("Sources").field(kind).finish(),
            Self::Sources(kind, Some(namespace)) => f.debug_tuple("Sources").field(kind).field(namespace).finish(),
            Self::Fanout(scope) => scope.fmt(f),
            Self::CertificateRequests => f.write_str("CertificateRequests"),
        }
    }
}

/// The pauses after failures in a row; any event of the watch ends the row.
#[derive(Default)]
pub(super) struct WatchBackoff(u32);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE.pause(self.0);
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// An object of a watch, read from JSON.
trait WatchedObject: Sized + Send + 'static {
    fn read(json: &[u8]) -> serde_json::Result<Self>;
}

impl WatchedObject for ObjectMeta {
    fn read(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json).map(|MetadataOnly { metadata }| metadata)
    }
}

impl<T: DeserializeOwned + Send + 'static> WatchedObject for Box<Result<T, UnreadableObject>> {
    fn read(json: &[u8]) -> serde_json::Result<Self> {
        Ok(Box::new(match serde_json::from_slice(json) {
            Ok(object) => Ok(object),
            Err(error) => Err(UnreadableObject { metadata: ObjectMeta::read(json)?, cause: error.to_string() }),
        }))
    }
}

impl WatchedObject for Box<CertificateRequest> {
    /// Reads a request; one that does not fit the wire types has no certificate.
    fn read(json: &[u8]) -> serde_json::Result<Self> {
        let without_status = || Ok(CertificateRequest { metadata: ObjectMeta::read(json)?, status: None });
        serde_json::from_slice(json).or_else(|_| without_status()).map(Box::new)
    }
}

/// The metadata of an object of any kind.
#[derive(Deserialize)]
pub(crate) struct MetadataOnly {
    /// Metadata of the object.
    pub(crate) metadata: ObjectMeta,
}

impl From<InvalidObject> for UnreadableObject {
    fn from(invalid: InvalidObject) -> Self {
        Self { metadata: invalid.metadata, cause: invalid.error }
    }
}

/// Returns the metadata of an object, readable or not.
pub(crate) fn watched_metadata<T: Resource>(object: &Result<T, UnreadableObject>) -> &ObjectMeta {
    object.as_ref().map_or_else(|unreadable| &unreadable.metadata, Resource::meta)
}
