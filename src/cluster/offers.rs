//! What Bundles offer to pods in which namespaces, kept from watches.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use kube::Resource;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::api::Bundle;
use crate::bundle::{Intent, Namespace, Settings, is_dns_subdomain};
use crate::inject::{Bundles, Offered};
use crate::webhook;

use super::connection::{Ask, Connection, Failure, METADATA_ONLY};
use super::lookups::Lookups;
use super::watch::{self, Object, Watch};

/// How long the read of one object may take: a review, for which there are two at most, has to be answered within 5 s.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// How long until permission is looked for again where it is not needed.
const DENIED_PAUSE: Duration = Duration::from_mins(1);

/// What is known of Bundles and namespaces. Clones share it.
#[derive(Clone)]
pub struct Offers {
    known: Arc<Mutex<Known>>,
    connection: Option<Connection>,
    lookups: Arc<Lookups>,
    trust_namespace: String,
}

/// Whether there is nothing to do without Bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// There is nothing to do without them.
    Required,
    /// Without permission to see them it goes on without them.
    Optional,
}

struct Known {
    bundles: Arc<Bundles>,
    namespaces: BTreeMap<Box<str>, Namespace>,
    lists: Lists,
    /// Whether we are not permitted to see Bundles, and do without.
    off: bool,
}

/// The first lists of both watches.
#[derive(Default)]
struct Lists {
    bundles: Listing,
    namespaces: Listing,
}

/// Where a watch is with its list.
#[derive(Default)]
struct Listing {
    /// What was known before and has not been seen in the list that runs.
    unseen: BTreeSet<String>,
    /// Whether a list has ever been whole.
    filled: bool,
}

impl Offers {
    /// Knows nothing yet; without a connection it never will.
    #[must_use]
    pub fn new(connection: Option<&Connection>, trust_namespace: &str, settings: Settings) -> Self {
        let known = Known {
            bundles: Arc::new(Bundles { settings, offered: BTreeMap::new() }),
            namespaces: BTreeMap::new(),
            lists: Lists::default(),
            off: connection.is_none(),
        };
        Self {
            known: Arc::new(Mutex::new(known)),
            connection: connection.cloned(),
            lookups: Arc::new(Lookups::new()),
            trust_namespace: trust_namespace.to_owned(),
        }
    }

    /// Keeps it up to date, for the life of the process.
    pub async fn follow(self, need: Need) -> Infallible {
        let Some(connection) = &self.connection else { return pending().await };
        let watches = [Watch::Bundles, Watch::Namespaces];
        loop {
            let mut news = watch::all(connection, &self.trust_namespace, &watches);
            while let Some((watch, event)) = news.next().await {
                match event {
                    Ok(event) => self.hear(&watch, event),
                    Err(error) if need == Need::Optional && error.is_denied() => {
                        let mut known = self.lock();
                        known.lists = Lists::default();
                        if !std::mem::replace(&mut known.off, true) {
                            info!(
                                "native mode is off, since Bundles and Namespaces may not be watched here; only cainjector's rules hold: {error}"
                            );
                        }
                        break;
                    }
                    Err(error) => warn!(?watch, "watch interrupted: {error}"),
                }
            }
            tokio::time::sleep(DENIED_PAUSE).await;
        }
    }

    /// Whether everything that reviews depend on is known, or is not to be had and not needed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let known = self.lock();
        known.off || known.lists.are_filled()
    }

    fn hear(&self, watch: &Watch, event: watcher::Event<Object>) {
        let mut known = self.lock();
        let before = known.lists.are_filled();
        match event {
            watcher::Event::Init => {
                let names: BTreeSet<_> = match watch {
                    Watch::Bundles => known.bundles.offered.keys().cloned().collect(),
                    _ => known.namespaces.keys().map(ToString::to_string).collect(),
                };
                known.lists.of(watch).unseen = names;
            }
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                let name = object.metadata().name.clone().unwrap_or_default();
                known.lists.of(watch).unseen.remove(&name);
                known.put(name, &object, &self.trust_namespace);
            }
            watcher::Event::Delete(object) => {
                known.remove(watch, &object.metadata().name.clone().unwrap_or_default());
            }
            watcher::Event::InitDone => {
                let listing = known.lists.of(watch);
                listing.filled = true;
                for name in std::mem::take(&mut listing.unseen) {
                    known.remove(watch, &name);
                }
            }
        }
        if known.lists.are_filled() && (!before || known.off) {
            known.off = false;
            info!(bundles = known.bundles.offered.len(), namespaces = known.namespaces.len(), "native mode is on");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics with it")
    }
}

impl webhook::Cluster for Offers {
    fn bundles(&self) -> Result<Arc<Bundles>, String> {
        let known = self.lock();
        if known.off {
            return Err("the injector may not see Bundles: give it the role of config/injector".to_owned());
        }
        Ok(known.bundles.clone())
    }

    fn known_namespace(&self, name: &str) -> Option<Namespace> {
        self.lock().namespaces.get(name).cloned()
    }

    async fn namespace(&self, name: &str) -> Result<Namespace, String> {
        let found: PartialObjectMeta = match self.look("/api/v1/namespaces", name, METADATA_ONLY).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(format!("there is no namespace {name:?}")),
            Err(cause) => return Err(format!("failed to read namespace {name:?}: {cause}")),
        };
        Ok(Namespace::from(&found.metadata))
    }

    async fn bundles_with(&self, name: &str) -> Result<Arc<Bundles>, String> {
        let found = self.look(&Bundle::url_path(&(), None), name, "application/json").await;
        let found: Option<DeserializeGuard<Bundle>> =
            found.map_err(|cause| format!("failed to read Bundle {name:?}: {cause}"))?;
        let mut known = self.lock();
        match found {
            Some(found) => known.put(name.to_owned(), &Object::from(found), &self.trust_namespace),
            None => known.remove(&Watch::Bundles, name),
        }
        Ok(known.bundles.clone())
    }
}

impl Offers {
    /// An object as it is now, if it is there.
    async fn look<T: DeserializeOwned>(
        &self,
        folder: &str,
        name: &str,
        accept: &'static str,
    ) -> Result<Option<T>, String> {
        let Some(connection) = &self.connection else { return Err("there is no cluster to ask".to_owned()) };
        if !is_dns_subdomain(name) {
            return Ok(None);
        }
        let uri = format!("{folder}/{name}");
        let ask = async {
            match connection.send(Ask { method: Method::GET, uri: uri.clone(), accept, body: None }).await {
                Ok(body) => Ok(Some(body)),
                Err(Failure::Refused(status)) if status.is_not_found() => Ok(None),
                Err(failure) => Err(failure.to_string()),
            }
        };
        match tokio::time::timeout(LOOK_MAX, self.lookups.read(&uri, ask)).await {
            Ok(found) => {
                found?.map(|body| serde_json::from_slice(&body)).transpose().map_err(|error| error.to_string())
            }
            Err(_) => Err(format!("no answer within {} s", LOOK_MAX.as_secs())),
        }
    }
}

impl Known {
    fn put(&mut self, name: String, object: &Object, trust_namespace: &str) {
        match object {
            Object::Metadata(metadata) => {
                self.namespaces.insert(name.into(), Namespace::from(&**metadata));
            }
            Object::Bundle(bundle) => {
                let Bundles { settings, offered } = Arc::make_mut(&mut self.bundles);
                let offer = match &**bundle {
                    Ok(bundle) => {
                        let intent = Intent::parse(bundle, trust_namespace);
                        Offered::of(intent.as_ref().map_err(Vec::as_slice), settings)
                    }
                    Err(unreadable) => Offered::Unusable {
                        cause: format!("it cannot be read: {}", unreadable.cause),
                        cure: "mend it".to_owned(),
                    },
                };
                offered.insert(name, offer);
            }
        }
    }

    fn remove(&mut self, watch: &Watch, name: &str) {
        match watch {
            Watch::Bundles => {
                Arc::make_mut(&mut self.bundles).offered.remove(name);
            }
            _ => {
                self.namespaces.remove(name);
            }
        }
    }
}

impl Lists {
    fn of(&mut self, watch: &Watch) -> &mut Listing {
        match watch {
            Watch::Bundles => &mut self.bundles,
            _ => &mut self.namespaces,
        }
    }

    fn are_filled(&self) -> bool {
        self.bundles.filled && self.namespaces.filled
    }
}
