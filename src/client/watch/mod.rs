//! Watches: the changes of all objects that the controller depends on, as one stream of events.

mod list_pager;
mod list_watch;
mod split;

use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use serde::Deserialize;

use super::connection::Connection;
use super::uri;
use crate::api::{self, Bundle};
use crate::bundle::{DecisionSettings, ObjectKind};
use crate::fanout::ExponentialBackoff;

pub(crate) use list_pager::{ApiCollection, ListPager};
pub(crate) use list_watch::ListWatchError;
use list_watch::ListWatcher;

/// The pauses after failures in a row of a watch.
const PAUSE: ExponentialBackoff = ExponentialBackoff { first: Duration::from_millis(200), max: Duration::from_secs(5) };

/// A watch of one collection of objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watch {
    /// The watch of all Bundles.
    Bundles,
    /// The watch of the metadata of all namespaces.
    Namespaces,
    /// The watch of the metadata of the objects of one kind in the trust namespace.
    Sources(ObjectKind),
    /// The watch of the metadata of the objects of one kind that carry the Bundle label, in one namespace or in all.
    Targets(ObjectKind, Option<String>),
}

/// An object as a watch delivers it.
#[derive(Clone, Debug)]
pub(crate) enum WatchedObject {
    /// A Bundle; where it cannot be read, its metadata and the cause.
    Bundle(Box<Result<Bundle, UnreadableBundle>>),
    /// Metadata of a namespace, source or target.
    Metadata(Box<ObjectMeta>),
}

/// A Bundle that does not fit the wire types.
#[derive(Clone, Debug)]
pub(crate) struct UnreadableBundle {
    /// Metadata of the Bundle.
    pub(crate) metadata: ObjectMeta,
    /// The reason why the Bundle cannot be read.
    pub(crate) cause: String,
}

/// A watch and an event or interruption of it.
pub(crate) type WatchItem = (Watch, Result<watcher::Event<WatchedObject>, ListWatchError>);

/// Starts the watches. Each restarts itself, with a backoff while the API server is unavailable.
pub(crate) fn start_watches<'a>(
    connection: &Connection,
    trust_namespace: &str,
    watches: impl IntoIterator<Item = &'a Watch>,
) -> SelectAll<BoxStream<'static, WatchItem>> {
    let start = |watch: &Watch| {
        let list_watcher = ListWatcher::new(connection, watch.clone(), watch.collection(trust_namespace));
        let watch = watch.clone();
        let next_item = move |mut list_watcher: ListWatcher| {
            let watch = watch.clone();
            async move {
                let event = list_watcher.next().await;
                Some(((watch, event), list_watcher))
            }
        };
        stream::unfold(list_watcher, next_item).boxed()
    };
    watches.into_iter().map(start).collect()
}

impl Watch {
    /// Returns the watches that a controller with these settings needs: no more than its role allows.
    pub(crate) fn needed(settings: &DecisionSettings) -> Vec<Self> {
        let mut watches = vec![Self::Bundles, Self::Namespaces];
        watches.extend(ObjectKind::ALL.map(Self::Sources));
        for kind in ObjectKind::ALL {
            if kind == ObjectKind::Secret && !settings.secret_targets {
                continue;
            }
            match &settings.target_namespaces {
                None => watches.push(Self::Targets(kind, None)),
                Some(namespaces) => {
                    watches.extend(namespaces.iter().map(|namespace| Self::Targets(kind, Some(namespace.clone()))));
                }
            }
        }
        watches
    }

    /// Returns the label of the watch in metrics.
    fn metric_label(&self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Namespaces => "namespaces",
            Self::Sources(ObjectKind::ConfigMap) => "source_configmaps",
            Self::Sources(ObjectKind::Secret) => "source_secrets",
            Self::Targets(ObjectKind::ConfigMap, _) => "target_configmaps",
            Self::Targets(ObjectKind::Secret, _) => "target_secrets",
        }
    }

    fn collection(&self, trust_namespace: &str) -> ApiCollection {
        let (path, labels) = match self {
            Self::Bundles => (Bundle::url_path(&(), None), None),
            Self::Namespaces => ("/api/v1/namespaces".to_owned(), None),
            Self::Sources(kind) => (uri::collection(*kind, Some(trust_namespace)), None),
            Self::Targets(kind, namespace) => {
                (uri::collection(*kind, namespace.as_deref()), Some(api::BUNDLE_LABEL.to_owned()))
            }
        };
        ApiCollection { path, label_selector: labels, metadata_only: *self != Self::Bundles }
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

/// The metadata of an object of any kind.
#[derive(Deserialize)]
pub(crate) struct MetadataOnly {
    /// Metadata of the object.
    pub(crate) metadata: ObjectMeta,
}

impl From<DeserializeGuard<Bundle>> for WatchedObject {
    fn from(DeserializeGuard(read): DeserializeGuard<Bundle>) -> Self {
        let unreadable = |invalid: InvalidObject| UnreadableBundle { metadata: invalid.metadata, cause: invalid.error };
        Self::Bundle(Box::new(read.map_err(unreadable)))
    }
}

impl WatchedObject {
    /// Parses an object of a watch.
    fn read(watch: &Watch, json: &[u8]) -> serde_json::Result<Self> {
        if *watch == Watch::Bundles {
            return match serde_json::from_slice(json) {
                Ok(bundle) => Ok(Self::Bundle(Box::new(Ok(bundle)))),
                Err(error) => {
                    let MetadataOnly { metadata } = serde_json::from_slice(json)?;
                    Ok(Self::Bundle(Box::new(Err(UnreadableBundle { metadata, cause: error.to_string() }))))
                }
            };
        }
        let MetadataOnly { metadata } = serde_json::from_slice(json)?;
        Ok(Self::Metadata(Box::new(metadata)))
    }

    /// Returns the metadata of the object.
    pub(crate) fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Bundle(bundle) => match bundle.as_ref() {
                Ok(bundle) => &bundle.metadata,
                Err(unreadable) => &unreadable.metadata,
            },
            Self::Metadata(metadata) => metadata,
        }
    }
}
