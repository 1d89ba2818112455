//! Watches: everything that the controller hears from the API server, as one stream of plain news.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::api::{self, Bundle};
use crate::bundle::{ObjectKind, Settings};

/// How many objects a page of a list has: pages are what a large cluster costs us in memory.
const PAGE: u32 = 100;

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
pub(super) type News = (Watch, watcher::Result<watcher::Event<Object>>);

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
pub(super) fn all(client: &Client, trust_namespace: &str, watches: &[Watch]) -> SelectAll<BoxStream<'static, News>> {
    watches.iter().map(|watch| start(client.clone(), trust_namespace, watch.clone())).collect()
}

fn start(client: Client, trust_namespace: &str, watch: Watch) -> BoxStream<'static, News> {
    let everything = watcher::Config::default().page_size(PAGE);
    let labelled = everything.clone().labels(api::BUNDLE_LABEL);
    match &watch {
        Watch::Bundles => watcher(Api::<DeserializeGuard<Bundle>>::all(client), everything)
            .backoff(Pauses::default())
            .map(move |event| (watch.clone(), event.map(|event| convert(event, Object::from))))
            .boxed(),
        Watch::Namespaces => metadata(Api::<PartialObjectMeta<Namespace>>::all(client), everything, watch),
        Watch::Sources(ObjectKind::ConfigMap) => {
            metadata(Api::<PartialObjectMeta<ConfigMap>>::namespaced(client, trust_namespace), everything, watch)
        }
        Watch::Sources(ObjectKind::Secret) => {
            metadata(Api::<PartialObjectMeta<Secret>>::namespaced(client, trust_namespace), everything, watch)
        }
        Watch::Targets(ObjectKind::ConfigMap, None) => {
            metadata(Api::<PartialObjectMeta<ConfigMap>>::all(client), labelled, watch)
        }
        Watch::Targets(ObjectKind::Secret, None) => {
            metadata(Api::<PartialObjectMeta<Secret>>::all(client), labelled, watch)
        }
        Watch::Targets(ObjectKind::ConfigMap, Some(namespace)) => {
            metadata(Api::<PartialObjectMeta<ConfigMap>>::namespaced(client, namespace), labelled, watch.clone())
        }
        Watch::Targets(ObjectKind::Secret, Some(namespace)) => {
            metadata(Api::<PartialObjectMeta<Secret>>::namespaced(client, namespace), labelled, watch.clone())
        }
    }
}

fn metadata<K>(api: Api<PartialObjectMeta<K>>, config: watcher::Config, watch: Watch) -> BoxStream<'static, News>
where
    PartialObjectMeta<K>: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    K: 'static,
{
    watcher(api, config)
        .backoff(Pauses::default())
        .map(move |event| {
            (watch.clone(), event.map(|event| convert(event, |object| Object::Metadata(Box::new(object.metadata)))))
        })
        .boxed()
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

fn convert<K>(event: watcher::Event<K>, object: impl FnOnce(K) -> Object) -> watcher::Event<Object> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Apply(inner) => Apply(object(inner)),
        Delete(inner) => Delete(object(inner)),
        InitApply(inner) => InitApply(object(inner)),
        Init => Init,
        InitDone => InitDone,
    }
}

impl From<DeserializeGuard<Bundle>> for Object {
    fn from(DeserializeGuard(read): DeserializeGuard<Bundle>) -> Self {
        let unreadable = |invalid: InvalidObject| Unreadable { metadata: invalid.metadata, cause: invalid.error };
        Self::Bundle(Box::new(read.map_err(unreadable)))
    }
}

impl Object {
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
