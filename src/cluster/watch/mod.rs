//! Watches: everything that the controller hears from the API server, as one stream of plain news.

mod cut;
mod follow;

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
use crate::api::{self, Bundle};
use crate::bundle::{ObjectKind, Settings};

use follow::Follower;
pub(super) use follow::{Error, List, Resource};

/// The pauses after failures in a row of a watch: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    /// All Bundles.
    Bundles,
    /// Metadata of all namespaces.
    Namespaces,
    /// Metadata of the objects of one kind in the trust namespace.
    Sources(ObjectKind),
    /// Metadata of the objects of one kind that carry the Bundle label, in one namespace or in all.
    Targets(ObjectKind, Option<String>),
}

/// An object as a watch delivers it.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A Bundle; where it cannot be read, its metadata and why.
    Bundle(Box<Result<Bundle, Unreadable>>),
    /// Metadata of a namespace, source or target.
    Metadata(Box<ObjectMeta>),
}

/// A Bundle that does not fit the wire types.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    /// Its metadata.
    pub(super) metadata: ObjectMeta,
    /// Why it cannot be read.
    pub(super) cause: String,
}

/// What a watch has to tell.
pub(super) type News = (Watch, Result<watcher::Event<Object>, Error>);

/// Which watches a controller with these settings needs: no more than its role allows.
pub(super) fn needed(settings: &Settings) -> Vec<Watch> {
    let mut watches = vec![Watch::Bundles, Watch::Namespaces];
    watches.extend(ObjectKind::ALL.map(Watch::Sources));
    for kind in ObjectKind::ALL {
        if kind == ObjectKind::Secret && !settings.secret_targets {
            continue;
        }
        match &settings.target_namespaces {
            None => watches.push(Watch::Targets(kind, None)),
            Some(namespaces) => {
                watches.extend(namespaces.iter().map(|namespace| Watch::Targets(kind, Some(namespace.clone()))));
            }
        }
    }
    watches
}

/// Starts the watches. Each one restarts itself, backing off while the API server is away.
pub(super) fn all<'a>(
    connection: &Connection,
    trust_namespace: &str,
    watches: impl IntoIterator<Item = &'a Watch>,
) -> SelectAll<BoxStream<'static, News>> {
    let start = |watch: &Watch| {
        let follower = Follower::new(connection, watch.clone(), watch.resource(trust_namespace));
        let watch = watch.clone();
        let news = move |mut follower: Follower| {
            let watch = watch.clone();
            async move {
                let event = follower.next().await;
                Some(((watch, event), follower))
            }
        };
        stream::unfold(follower, news).boxed()
    };
    watches.into_iter().map(start).collect()
}

/// The targets of one Bundle, by the value of their label.
pub(super) fn targets_of(bundle: &str, kind: ObjectKind, namespace: Option<&str>) -> Resource {
    Resource {
        path: objects(kind, namespace),
        labels: Some(format!("{}={bundle}", api::BUNDLE_LABEL)),
        metadata_only: true,
    }
}

impl Watch {
    /// What it is called in metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Namespaces => "namespaces",
            Self::Sources(ObjectKind::ConfigMap) => "source_configmaps",
            Self::Sources(ObjectKind::Secret) => "source_secrets",
            Self::Targets(ObjectKind::ConfigMap, _) => "target_configmaps",
            Self::Targets(ObjectKind::Secret, _) => "target_secrets",
        }
    }

    fn resource(&self, trust_namespace: &str) -> Resource {
        let (path, labels) = match self {
            Self::Bundles => (Bundle::url_path(&(), None), None),
            Self::Namespaces => ("/api/v1/namespaces".to_owned(), None),
            Self::Sources(kind) => (objects(*kind, Some(trust_namespace)), None),
            Self::Targets(kind, namespace) => {
                (objects(*kind, namespace.as_deref()), Some(api::BUNDLE_LABEL.to_owned()))
            }
        };
        Resource { path, labels, metadata_only: *self != Self::Bundles }
    }
}

fn objects(kind: ObjectKind, namespace: Option<&str>) -> String {
    let plural = match kind {
        ObjectKind::ConfigMap => "configmaps",
        ObjectKind::Secret => "secrets",
    };
    namespace.map_or_else(|| format!("/api/v1/{plural}"), |name| format!("/api/v1/namespaces/{name}/{plural}"))
}

/// The pauses between failures in a row; whatever a watch delivers ends the row.
#[derive(Default)]
pub(super) struct Pauses(u32);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE.saturating_mul(1 << self.0.min(10)).min(PAUSE_MAX);
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// An object of which only the metadata matters.
#[derive(Deserialize)]
pub(super) struct Bare {
    pub(super) metadata: ObjectMeta,
}

impl From<DeserializeGuard<Bundle>> for Object {
    fn from(DeserializeGuard(read): DeserializeGuard<Bundle>) -> Self {
        let unreadable = |invalid: InvalidObject| Unreadable { metadata: invalid.metadata, cause: invalid.error };
        Self::Bundle(Box::new(read.map_err(unreadable)))
    }
}

impl Object {
    /// Reads what a watch brought.
    fn read(watch: &Watch, json: &[u8]) -> Result<Self, String> {
        let unreadable = |error: serde_json::Error| error.to_string();
        if *watch == Watch::Bundles {
            return match serde_json::from_slice(json) {
                Ok(bundle) => Ok(Self::Bundle(Box::new(Ok(bundle)))),
                Err(error) => {
                    let Bare { metadata } = serde_json::from_slice(json).map_err(unreadable)?;
                    Ok(Self::Bundle(Box::new(Err(Unreadable { metadata, cause: error.to_string() }))))
                }
            };
        }
        let Bare { metadata } = serde_json::from_slice(json).map_err(unreadable)?;
        Ok(Self::Metadata(Box::new(metadata)))
    }

    /// The object's metadata.
    pub(super) fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Bundle(bundle) => match bundle.as_ref() {
                Ok(bundle) => &bundle.metadata,
                Err(unreadable) => &unreadable.metadata,
            },
            Self::Metadata(metadata) => metadata,
        }
    }
}
