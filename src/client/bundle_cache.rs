//! Cache of namespaces and of the Bundles that pods may request, fed by watches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::Either;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::api::Bundle;
use crate::bundle::{BundleId, DecisionSettings, Intent, Namespace, TrustNamespaces, is_dns_subdomain};
use crate::fanout::{ListScope, ListTracker};
use crate::inject::{Injectability, InjectableBundles};
use crate::webhook;

use super::api_error::ApiError;
use super::connection::{ApiRequest, Connection, METADATA_ONLY};
use super::lookups::Lookups;
use super::watch::{UnreadableObject, WatchedBundle, watch_bundles, watch_scope, watched_metadata};

/// The maximum time for the read of one object: a review, which takes at most two, has to be answered within 5 s.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before the next attempt to watch without permission, with [`BundleAccess::Optional`].
const DENIED_PAUSE: Duration = Duration::from_mins(1);

/// A cache of Bundles and namespaces. Clones share it.
#[derive(Clone)]
pub struct BundleCache {
    inner: Arc<Mutex<CacheInner>>,
    connection: Option<Connection>,
    lookups: Arc<Lookups>,
    trust_namespaces: TrustNamespaces,
}

/// The need for permission to watch Bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleAccess {
    /// The cache is never ready without permission.
    Required,
    /// Without permission the cache is ready, and native mode is off.
    Optional,
}

/// A failure of the cache to provide the objects of a review.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BundleCacheError(#[from] CacheCause);

#[derive(Debug, thiserror::Error)]
enum CacheCause {
    #[error("the injector may not see Bundles: give it the role of config/injector")]
    Forbidden,
    #[error("there is no namespace {0:?}")]
    NoNamespace(String),
    #[error("failed to read namespace {0:?}: {1}")]
    Namespace(String, FetchError),
    #[error("failed to read Bundle {0:?}: {1}")]
    Bundle(String, FetchError),
}

/// A failure to read one object.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("there is no cluster to ask")]
    NoCluster,
    #[error(transparent)]
    Request(#[from] ApiError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("no answer within {} s", READ_TIMEOUT.as_secs())]
    TimedOut,
}

struct CacheInner {
    bundles: Arc<InjectableBundles>,
    bundle_list: ListTracker<BundleId>,
    namespaces: BTreeMap<Box<str>, Namespace>,
    namespace_list: ListTracker<Box<str>>,
    /// Whether native mode is off for want of permission or of a cluster.
    disabled: bool,
}

impl BundleCache {
    /// Creates an empty cache; without a connection it stays empty.
    #[must_use]
    pub fn new(connection: Option<&Connection>, trust_namespaces: TrustNamespaces, settings: DecisionSettings) -> Self {
        let inner = CacheInner {
            bundles: Arc::new(InjectableBundles { settings, by_id: BTreeMap::new() }),
            bundle_list: ListTracker::default(),
            namespaces: BTreeMap::new(),
            namespace_list: ListTracker::default(),
            disabled: connection.is_none(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            connection: connection.cloned(),
            lookups: Arc::new(Lookups::new()),
            trust_namespaces,
        }
    }

    /// Keeps the cache up to date, for the life of the process.
    pub async fn run(self, access: BundleAccess) -> Infallible {
        let Some(connection) = &self.connection else { return pending().await };
        loop {
            let bundles = watch_bundles(connection).map_ok(Either::Left);
            let namespaces = watch_scope(connection, &ListScope::Namespaces).map_ok(Either::Right);
            let mut watch_events = stream::select(bundles, namespaces);
            while let Some(event) = watch_events.next().await {
                match event {
                    Ok(Either::Left(event)) => {
                        self.update(|inner| inner.apply_bundle_event(event, &self.trust_namespaces));
                    }
                    Ok(Either::Right(event)) => self.update(|inner| inner.apply_namespace_event(event)),
                    Err((_, error)) if access == BundleAccess::Optional && error.is_denied() => {
                        let mut inner = self.lock();
                        (inner.bundle_list, inner.namespace_list) = <_>::default();
                        if !std::mem::replace(&mut inner.disabled, true) {
                            info!(
                                "native mode is off, since Bundles and Namespaces may not be watched here; only \
                                 cainjector's rules hold: {error}"
                            );
                        }
                        break;
                    }
                    Err((watch, error)) => warn!(?watch, "watch interrupted: {error}"),
                }
            }
            tokio::time::sleep(DENIED_PAUSE).await;
        }
    }

    /// Returns whether everything that reviews depend on is cached, or is neither available nor needed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let inner = self.lock();
        inner.disabled || inner.is_synced()
    }

    /// Changes the cache; logs that native mode is on when both lists have ended.
    fn update(&self, change: impl FnOnce(&mut CacheInner)) {
        let mut inner = self.lock();
        let was_synced = inner.is_synced();
        change(&mut inner);
        if inner.is_synced() && (!was_synced || inner.disabled) {
            inner.disabled = false;
            info!(bundles = inner.bundles.by_id.len(), namespaces = inner.namespaces.len(), "native mode is on");
        }
    }

    fn lock(&self) -> MutexGuard<'_, CacheInner> {
        self.inner.lock().expect("no holder of the lock panics")
    }
}

impl webhook::BundleLookup for BundleCache {
    type Error = BundleCacheError;

    fn bundles(&self) -> Result<Arc<InjectableBundles>, BundleCacheError> {
        let inner = self.lock();
        if inner.disabled {
            return Err(CacheCause::Forbidden.into());
        }
        Ok(inner.bundles.clone())
    }

    fn cached_namespace(&self, name: &str) -> Option<Namespace> {
        self.lock().namespaces.get(name).cloned()
    }

    async fn namespace(&self, name: &str) -> Result<Namespace, BundleCacheError> {
        let found: PartialObjectMeta = match self.fetch("/api/v1/namespaces", name, METADATA_ONLY).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(CacheCause::NoNamespace(name.to_owned()).into()),
            Err(cause) => return Err(CacheCause::Namespace(name.to_owned(), cause).into()),
        };
        Ok(Namespace::from(&found.metadata))
    }

    async fn bundles_with(&self, name: &str) -> Result<Arc<InjectableBundles>, BundleCacheError> {
        let found = self.fetch(&Bundle::url_path(&(), None), name, "application/json").await;
        let found: Option<DeserializeGuard<Bundle>> =
            found.map_err(|cause| CacheCause::Bundle(name.to_owned(), cause))?;
        let mut inner = self.lock();
        match found {
            Some(DeserializeGuard(found)) => {
                let bundle = found.map_err(UnreadableObject::from);
                inner.upsert_bundle(name.into(), &bundle, &self.trust_namespaces);
            }
            None => inner.remove_bundle(&name.into()),
        }
        Ok(inner.bundles.clone())
    }
}

impl BundleCache {
    /// Reads an object from the API server, if it exists.
    async fn fetch<T: DeserializeOwned>(
        &self,
        collection: &str,
        name: &str,
        accept: &'static str,
    ) -> Result<Option<T>, FetchError> {
        let Some(connection) = &self.connection else { return Err(FetchError::NoCluster) };
        if !is_dns_subdomain(name) {
            return Ok(None);
        }
        let uri = format!("{collection}/{name}");
        let request = async {
            match connection.send(ApiRequest { method: Method::GET, uri: uri.clone(), accept, body: None }).await {
                Ok(body) => Ok(Some(body)),
                Err(ApiError::Refused(status)) if status.is_not_found() => Ok(None),
                Err(failure) => Err(failure),
            }
        };
        let found = tokio::time::timeout(READ_TIMEOUT, self.lookups.read(&uri, request)).await;
        let found = found.map_err(|_| FetchError::TimedOut)??;
        Ok(found.map(|body| serde_json::from_slice(&body)).transpose()?)
    }
}

impl CacheInner {
    fn apply_bundle_event(&mut self, event: Event<WatchedBundle>, trust_namespaces: &TrustNamespaces) {
        let id = |bundle: &WatchedBundle| watched_metadata(bundle).name.as_deref().unwrap_or_default().into();
        match event {
            Event::Init => self.bundle_list.begin(self.bundles.by_id.keys().cloned()),
            Event::InitApply(bundle) | Event::Apply(bundle) => {
                let id = id(&bundle);
                self.bundle_list.record(&id);
                self.upsert_bundle(id, &bundle, trust_namespaces);
            }
            Event::Delete(bundle) => self.remove_bundle(&id(&bundle)),
            Event::InitDone => self.bundle_list.end().iter().for_each(|id| self.remove_bundle(id)),
        }
    }

    fn apply_namespace_event(&mut self, event: Event<ObjectMeta>) {
        let name = |metadata: &ObjectMeta| -> Box<str> { metadata.name.as_deref().unwrap_or_default().into() };
        match event {
            Event::Init => self.namespace_list.begin(self.namespaces.keys().cloned()),
            Event::InitApply(metadata) | Event::Apply(metadata) => {
                let name = name(&metadata);
                self.namespace_list.record(&name);
                self.namespaces.insert(name, Namespace::from(&metadata));
            }
            Event::Delete(metadata) => drop(self.namespaces.remove(&name(&metadata))),
            Event::InitDone => {
                for name in self.namespace_list.end() {
                    self.namespaces.remove(&name);
                }
            }
        }
    }

    fn upsert_bundle(
        &mut self,
        id: BundleId,
        bundle: &Result<Bundle, UnreadableObject>,
        trust_namespaces: &TrustNamespaces,
    ) {
        let InjectableBundles { settings, by_id } = Arc::make_mut(&mut self.bundles);
        let injectability = match bundle {
            Ok(bundle) => {
                let intent = Intent::parse(bundle, trust_namespaces);
                Injectability::of(intent.as_ref().map_err(Vec::as_slice), settings)
            }
            Err(unreadable) => Injectability::Unusable {
                cause: format!("it cannot be read: {}", unreadable.cause),
                remedy: "mend it".to_owned(),
            },
        };
        by_id.insert(id, injectability);
    }

    fn remove_bundle(&mut self, id: &BundleId) {
        Arc::make_mut(&mut self.bundles).by_id.remove(id);
    }

    /// Returns whether both lists have ended.
    fn is_synced(&self) -> bool {
        self.bundle_list.has_ended() && self.namespace_list.has_ended()
    }
}
