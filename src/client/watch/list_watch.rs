//! One list and the watch that goes on from it
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>).
//!
//! kube's own watcher holds a page of a list in memory, parsed: a hundred objects, each of which may have megabytes of
//! managed fields. Here objects are taken one by one from the connection.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kube::core::Status;
use kube::runtime::watcher::Event;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::split::{ListItems, Piece, RawWatchEvent, Splitter, WatchLines};
use super::{Watch, WatchBackoff, WatchedObject};
use crate::api;
use crate::bundle::ObjectKind;
use crate::client::api_error::ApiError;
use crate::client::connection::{ApiRequest, Connection, METADATA_ONLY, TIMEOUT};
use crate::client::uri;
use crate::fanout::ResourceVersion;
use crate::metrics::WatchActivity;

/// How many objects a page of a list has at most: as many as client-go asks for. For each page the API server counts all that
/// are left, so that many small pages take time by the square of the number of objects.
const PAGE: u32 = 500;

/// How long the API server keeps a watch open.
const WATCH_TIMEOUT: Duration = Duration::from_secs(290);

/// How much longer we wait for its end: a connection may be dead.
const WATCH_MARGIN: Duration = Duration::from_secs(5);

/// A watch that ends sooner has failed.
const WATCH_MIN_DURATION: Duration = Duration::from_secs(1);

/// Asks for the metadata of a list's items.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

const JSON: &str = "application/json";

/// The code of an answer that says: what is asked for is no longer remembered.
const EXPIRED: u16 = 410;

/// An interruption of a list or watch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListWatchError {
    /// The list failed.
    #[error("failed to list: {0}")]
    List(ApiError),
    /// The watch failed.
    #[error("failed to watch: {0}")]
    Watch(ApiError),
    /// The API server ended the watch with an error.
    #[error("the API server ends it: {}", .0.message)]
    Ended(Box<Status>),
    /// An object or event is malformed.
    #[error("what came cannot be read: {0}")]
    Malformed(serde_json::Error),
    /// The list, or an object of the watch, has no resource version to go on from.
    #[error("what came cannot be read: {0} has no resourceVersion")]
    Unversioned(&'static str),
}

/// What is listed and watched.
#[derive(Clone, Debug)]
pub(crate) struct ApiCollection {
    /// The path of the collection.
    pub(crate) path: String,
    /// The label selector.
    pub(crate) label_selector: Option<String>,
    /// Whether metadata is enough.
    pub(crate) metadata_only: bool,
}

/// An answer that is arriving.
struct StreamedResponse<C> {
    body: Incoming,
    chunk: Bytes,
    splitter: C,
}

/// A list, page by page.
pub(crate) struct ListPager {
    connection: Connection,
    collection: ApiCollection,
    limit: u32,
    /// Names the next page.
    next: String,
    page: Option<StreamedResponse<ListItems>>,
    version: Option<String>,
}

/// A list and the watch from there on, for ever.
pub(crate) struct ListWatcher {
    connection: Connection,
    watch: Watch,
    collection: ApiCollection,
    state: State,
    /// Since when the watch is open.
    opened: Instant,
    /// Whether the API server, and what is behind it, may be another than before.
    version_in_doubt: bool,
    backoff: WatchBackoff,
    pause: Option<Duration>,
    activity: WatchActivity,
}

enum State {
    New,
    Listing(Box<ListPager>),
    /// Everything up to this version is known.
    Listed(String),
    Watching(String, StreamedResponse<WatchLines>),
}

impl ApiCollection {
    /// Returns the targets of one Bundle, by the value of their label.
    pub(crate) fn targets_of(bundle: &str, kind: ObjectKind, namespace: Option<&str>) -> Self {
        Self {
            path: uri::collection(kind, namespace),
            label_selector: Some(format!("{}={bundle}", api::BUNDLE_LABEL)),
            metadata_only: true,
        }
    }
}

impl ListPager {
    /// A list from its beginning.
    pub(crate) fn new(connection: &Connection, collection: &ApiCollection) -> Self {
        let (connection, collection) = (connection.clone(), collection.clone());
        Self { connection, collection, limit: PAGE, next: String::new(), page: None, version: None }
    }

    /// The next object; `None` at the end.
    ///
    /// # Errors
    /// When a page cannot be had.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        while self.version.is_none() {
            let page = match &mut self.page {
                Some(page) => page,
                None => self.page.insert(self.open().await?),
            };
            match page.next(TIMEOUT).await? {
                Some(object) => return Ok(Some(object)),
                None if !page.splitter.is_whole => {
                    return Err(ApiError::Lost("the list ends in the middle".to_owned()));
                }
                None => {
                    let metadata = std::mem::take(&mut page.splitter.metadata);
                    self.page = None;
                    self.next = metadata.next;
                    if self.next.is_empty() {
                        self.version = Some(metadata.resource_version);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn open(&self) -> Result<StreamedResponse<ListItems>, ApiError> {
        let accept = if self.collection.metadata_only { METADATA_LIST } else { JSON };
        let mut query = format!("limit={}", self.limit);
        if !self.next.is_empty() {
            query += "&continue=";
            query += &uri::encode(&self.next);
        }
        StreamedResponse::open(&self.connection, &self.collection, &query, accept).await
    }
}

impl<C: Splitter + Default> StreamedResponse<C> {
    async fn open(
        connection: &Connection,
        collection: &ApiCollection,
        query: &str,
        accept: &'static str,
    ) -> Result<Self, ApiError> {
        let ApiCollection { path, label_selector: labels, .. } = collection;
        let labels = labels.iter().map(|labels| format!("&labelSelector={}", uri::encode(labels)));
        let uri = format!("{path}?{query}{}", labels.collect::<String>());
        let request = ApiRequest { method: Method::GET, uri, accept, body: None };
        Ok(Self { body: connection.open(request).await?, chunk: Bytes::new(), splitter: C::default() })
    }

    /// The next object; `None` at the end of the answer, which may come too early.
    async fn next(&mut self, idle_timeout: Duration) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            let mut rest = &self.chunk[..];
            let piece = self.splitter.next_piece(&mut rest);
            let taken = self.chunk.len() - rest.len();
            let _ = self.chunk.split_to(taken);
            match piece {
                Some(Piece::Object(object)) => return Ok(Some(object)),
                Some(Piece::TooLarge(beginning)) => {
                    tracing::warn!(beginning, "an object is too large to be read, and passed over");
                    continue;
                }
                None => {}
            }
            match timeout(idle_timeout, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => self.chunk = frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Err(ApiError::Lost(error.to_string())),
                Err(_) => return Err(ApiError::TimedOut(format!("nothing came for {} s", idle_timeout.as_secs()))),
            }
        }
    }
}

impl ListWatcher {
    pub(crate) fn new(connection: &Connection, watch: Watch, collection: ApiCollection) -> Self {
        Self {
            connection: connection.clone(),
            activity: connection.watches().add(watch.metric_label()),
            watch,
            collection,
            state: State::New,
            opened: Instant::now(),
            version_in_doubt: false,
            backoff: WatchBackoff::default(),
            pause: None,
        }
    }

    /// What it has to tell next. After an error it goes on, and after errors in a row ever more slowly; a whole list, or news,
    /// ends the row.
    pub(crate) async fn next(&mut self) -> Result<Event<WatchedObject>, ListWatchError> {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let result = self.advance().await;
        match &result {
            // A list that has only begun may fail as the one before it did.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(_) => self.backoff = WatchBackoff::default(),
            Err(error) => {
                self.pause = self.backoff.next();
                // A namespace may be gone, and our role there with it.
                if matches!(self.watch, Watch::Targets(_, Some(_))) && error.is_denied() {
                    self.activity.pause();
                }
            }
        }
        result
    }

    async fn advance(&mut self) -> Result<Event<WatchedObject>, ListWatchError> {
        loop {
            match std::mem::replace(&mut self.state, State::New) {
                State::New => {
                    self.state = State::Listing(Box::new(ListPager::new(&self.connection, &self.collection)));
                    return Ok(Event::Init);
                }
                State::Listing(mut list) => {
                    let object = list.next().await.map_err(ListWatchError::List)?;
                    self.activity.record_event();
                    if let Some(object) = object {
                        let object = WatchedObject::read(&self.watch, &object).map_err(ListWatchError::Malformed)?;
                        self.state = State::Listing(list);
                        return Ok(Event::InitApply(object));
                    }
                    let version = list.version.unwrap_or_default();
                    if version.is_empty() {
                        return Err(ListWatchError::Unversioned("the list"));
                    }
                    (self.state, self.version_in_doubt) = (State::Listed(version), false);
                    return Ok(Event::InitDone);
                }
                State::Listed(version) => {
                    // An error leaves the version as it is.
                    self.state = State::Listed(version.clone());
                    if std::mem::replace(&mut self.version_in_doubt, true) && self.is_ahead(&version).await? {
                        self.state = State::New;
                        continue;
                    }
                    match self.open(&version).await {
                        Ok(lines) => self.state = State::Watching(version, lines),
                        Err(ApiError::Refused(status)) if is_version_unavailable(&status) => {
                            self.state = State::New;
                            return Err(ListWatchError::Watch(ApiError::Refused(status)));
                        }
                        Err(failure) => return Err(ListWatchError::Watch(failure)),
                    }
                }
                State::Watching(version, mut lines) => {
                    self.state = State::Listed(version);
                    let line = match lines.next(WATCH_TIMEOUT + WATCH_MARGIN).await {
                        Ok(Some(line)) => {
                            self.activity.record_event();
                            line
                        }
                        end => {
                            // One that fails, or ends before its time, was interrupted.
                            let open = self.opened.elapsed();
                            self.version_in_doubt = end.is_err() || open < WATCH_TIMEOUT;
                            if open < WATCH_MIN_DURATION {
                                let at_once = "it ends as soon as it is open".to_owned();
                                return Err(ListWatchError::Watch(end.err().unwrap_or(ApiError::Lost(at_once))));
                            }
                            continue;
                        }
                    };
                    if let Some(event) = self.read(&line, lines)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    async fn open(&mut self, version: &str) -> Result<StreamedResponse<WatchLines>, ApiError> {
        let accept = if self.collection.metadata_only { METADATA_ONLY } else { JSON };
        let query = format!(
            "watch=true&timeoutSeconds={}&allowWatchBookmarks=true&resourceVersion={}",
            WATCH_TIMEOUT.as_secs(),
            uri::encode(version)
        );
        self.opened = Instant::now();
        StreamedResponse::open(&self.connection, &self.collection, &query, accept).await
    }

    /// Whether we know more than the API server: etcd was restored from a backup. A watch from a version that is still to
    /// come would be silent until then.
    async fn is_ahead(&self, version: &str) -> Result<bool, ListWatchError> {
        let mut list = ListPager { limit: 1, ..ListPager::new(&self.connection, &self.collection) };
        let mut page = list.open().await.map_err(ListWatchError::List)?;
        while page.next(TIMEOUT).await.map_err(ListWatchError::List)?.is_some() {}
        list.version = Some(page.splitter.metadata.resource_version);
        Ok(list.version.is_some_and(|now| ResourceVersion::parse(&now) < ResourceVersion::parse(version)))
    }

    /// Reads a line of a watch; most go on with the watch.
    fn read(
        &mut self,
        line: &[u8],
        lines: StreamedResponse<WatchLines>,
    ) -> Result<Option<Event<WatchedObject>>, ListWatchError> {
        let RawWatchEvent { kind, object } = serde_json::from_slice(line).map_err(ListWatchError::Malformed)?;
        let object = object.get().as_bytes();
        if kind == "ERROR" {
            let status: Status = serde_json::from_slice(object).map_err(ListWatchError::Malformed)?;
            if is_version_unavailable(&status) {
                self.state = State::New;
            }
            return Err(ListWatchError::Ended(Box::new(status)));
        }
        let Versioned { metadata } = serde_json::from_slice(object).map_err(ListWatchError::Malformed)?;
        if metadata.resource_version.is_empty() {
            self.state = State::New;
            return Err(ListWatchError::Unversioned("an object"));
        }
        self.state = State::Watching(metadata.resource_version, lines);
        let read = || WatchedObject::read(&self.watch, object).map_err(ListWatchError::Malformed);
        Ok(match kind {
            "ADDED" | "MODIFIED" => Some(Event::Apply(read()?)),
            "DELETED" => Some(Event::Delete(read()?)),
            _ => None,
        })
    }
}

/// As much of an object as a watch needs to go on.
#[derive(Deserialize)]
struct Versioned {
    metadata: VersionedMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionedMetadata {
    #[serde(default)]
    resource_version: String,
}

/// Whether the version that a watch asked for is no longer remembered, or still to come.
fn is_version_unavailable(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == EXPIRED || causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
}

impl ListWatchError {
    /// Whether the API server does not let us see what we ask for, or has no such thing.
    pub(crate) fn is_denied(&self) -> bool {
        match self {
            Self::List(ApiError::Refused(status)) | Self::Watch(ApiError::Refused(status)) => {
                matches!(status.code, 401 | 403 | 404)
            }
            _ => false,
        }
    }
}
