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

use super::cut::{Cut, Items, Line, Lines, Piece};
use super::{Object, Pauses, Watch};
use crate::cluster::connection::{Ask, Connection, Failure, METADATA_ONLY, TIMEOUT};
use crate::fanout::Version;
use crate::metrics::Hearing;

/// How many objects a page of a list has at most: as many as client-go asks for. For each page the API server counts all that
/// are left, so that many small pages take time by the square of the number of objects.
const PAGE: u32 = 500;

/// How long the API server keeps a watch open.
const WATCH: Duration = Duration::from_secs(290);

/// How much longer we wait for its end: a connection may be dead.
const WATCH_MARGIN: Duration = Duration::from_secs(5);

/// A watch that ends sooner has failed.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// Asks for the metadata of a list's items.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

const JSON: &str = "application/json";

/// The code of an answer that says: what is asked for is no longer remembered.
const EXPIRED: u16 = 410;

/// Why a list or watch was interrupted.
#[derive(Debug)]
pub(in crate::cluster) enum Error {
    /// The list cannot be had.
    List(Failure),
    /// The watch cannot be had.
    Watch(Failure),
    /// The watch ends with this.
    Ended(Box<Status>),
    /// What came cannot be read.
    Unreadable(String),
}

/// What is listed and watched.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Resource {
    /// The path of the collection.
    pub(in crate::cluster) path: String,
    /// The label selector.
    pub(in crate::cluster) labels: Option<String>,
    /// Whether metadata is enough.
    pub(in crate::cluster) metadata_only: bool,
}

/// An answer that is arriving.
struct Arriving<C> {
    body: Incoming,
    chunk: Bytes,
    cut: C,
}

/// A list, page by page.
pub(in crate::cluster) struct List {
    connection: Connection,
    resource: Resource,
    limit: u32,
    /// Names the next page.
    next: String,
    page: Option<Arriving<Items>>,
    version: Option<String>,
}

/// A list and the watch from there on, for ever.
pub(super) struct Follower {
    connection: Connection,
    watch: Watch,
    resource: Resource,
    state: State,
    /// Since when the watch is open.
    opened: Instant,
    /// Whether the API server, and what is behind it, may be another than before.
    in_doubt: bool,
    pauses: Pauses,
    pause: Option<Duration>,
    hearing: Hearing,
}

enum State {
    New,
    Listing(Box<List>),
    /// Everything up to this version is known.
    Listed(String),
    Watching(String, Arriving<Lines>),
}

impl List {
    /// A list from its beginning.
    pub(in crate::cluster) fn new(connection: &Connection, resource: &Resource) -> Self {
        let (connection, resource) = (connection.clone(), resource.clone());
        Self { connection, resource, limit: PAGE, next: String::new(), page: None, version: None }
    }

    /// The next object; `None` at the end.
    ///
    /// # Errors
    /// When a page cannot be had.
    pub(in crate::cluster) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        while self.version.is_none() {
            let page = match &mut self.page {
                Some(page) => page,
                None => self.page.insert(self.open().await?),
            };
            match page.next(TIMEOUT).await? {
                Some(object) => return Ok(Some(object)),
                None if !page.cut.is_whole => return Err(Failure::Lost("the list ends in the middle".to_owned())),
                None => {
                    let metadata = std::mem::take(&mut page.cut.metadata);
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

    async fn open(&self) -> Result<Arriving<Items>, Failure> {
        let accept = if self.resource.metadata_only { METADATA_LIST } else { JSON };
        let mut query = format!("limit={}", self.limit);
        if !self.next.is_empty() {
            query += "&continue=";
            query += &encode(&self.next);
        }
        Arriving::open(&self.connection, &self.resource, &query, accept).await
    }
}

impl<C: Cut + Default> Arriving<C> {
    async fn open(
        connection: &Connection,
        resource: &Resource,
        query: &str,
        accept: &'static str,
    ) -> Result<Self, Failure> {
        let Resource { path, labels, .. } = resource;
        let labels = labels.iter().map(|labels| format!("&labelSelector={}", encode(labels)));
        let uri = format!("{path}?{query}{}", labels.collect::<String>());
        let ask = Ask { method: Method::GET, uri, accept, body: None };
        Ok(Self { body: connection.open(ask).await?, chunk: Bytes::new(), cut: C::default() })
    }

    /// The next object; `None` at the end of the answer, which may come too early.
    async fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let mut rest = &self.chunk[..];
            let piece = self.cut.cut(&mut rest);
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
            match timeout(patience, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => self.chunk = frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Err(Failure::Lost(error.to_string())),
                Err(_) => return Err(Failure::TimedOut(format!("nothing came for {} s", patience.as_secs()))),
            }
        }
    }
}

impl Follower {
    pub(super) fn new(connection: &Connection, watch: Watch, resource: Resource) -> Self {
        Self {
            connection: connection.clone(),
            hearing: connection.watches().enter(watch.word()),
            watch,
            resource,
            state: State::New,
            opened: Instant::now(),
            in_doubt: false,
            pauses: Pauses::default(),
            pause: None,
        }
    }

    /// What it has to tell next. After an error it goes on, and after errors in a row ever more slowly; a whole list, or news,
    /// ends the row.
    pub(super) async fn next(&mut self) -> Result<Event<Object>, Error> {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let result = self.advance().await;
        match &result {
            // A list that has only begun may fail as the one before it did.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(_) => self.pauses = Pauses::default(),
            Err(error) => {
                self.pause = self.pauses.next();
                // A namespace may be gone, and our role there with it.
                if matches!(self.watch, Watch::Targets(_, Some(_))) && error.is_denied() {
                    self.hearing.pause();
                }
            }
        }
        result
    }

    async fn advance(&mut self) -> Result<Event<Object>, Error> {
        loop {
            match std::mem::replace(&mut self.state, State::New) {
                State::New => {
                    self.state = State::Listing(Box::new(List::new(&self.connection, &self.resource)));
                    return Ok(Event::Init);
                }
                State::Listing(mut list) => {
                    let object = list.next().await.map_err(Error::List)?;
                    self.hearing.heard();
                    if let Some(object) = object {
                        let object = Object::read(&self.watch, &object).map_err(Error::Unreadable)?;
                        self.state = State::Listing(list);
                        return Ok(Event::InitApply(object));
                    }
                    let version = list.version.unwrap_or_default();
                    if version.is_empty() {
                        return Err(Error::Unreadable("the list has no resourceVersion".to_owned()));
                    }
                    (self.state, self.in_doubt) = (State::Listed(version), false);
                    return Ok(Event::InitDone);
                }
                State::Listed(version) => {
                    // An error leaves the version as it is.
                    self.state = State::Listed(version.clone());
                    if std::mem::replace(&mut self.in_doubt, true) && self.is_ahead(&version).await? {
                        self.state = State::New;
                        continue;
                    }
                    match self.open(&version).await {
                        Ok(lines) => self.state = State::Watching(version, lines),
                        Err(Failure::Refused(status)) if is_out_of_reach(&status) => {
                            self.state = State::New;
                            return Err(Error::Watch(Failure::Refused(status)));
                        }
                        Err(failure) => return Err(Error::Watch(failure)),
                    }
                }
                State::Watching(version, mut lines) => {
                    self.state = State::Listed(version);
                    let line = match lines.next(WATCH + WATCH_MARGIN).await {
                        Ok(Some(line)) => {
                            self.hearing.heard();
                            line
                        }
                        end => {
                            // One that fails, or ends before its time, was interrupted.
                            let open = self.opened.elapsed();
                            self.in_doubt = end.is_err() || open < WATCH;
                            if open < WATCH_MIN {
                                let at_once = "it ends as soon as it is open".to_owned();
                                return Err(Error::Watch(end.err().unwrap_or(Failure::Lost(at_once))));
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

    async fn open(&mut self, version: &str) -> Result<Arriving<Lines>, Failure> {
        let accept = if self.resource.metadata_only { METADATA_ONLY } else { JSON };
        let query = format!(
            "watch=true&timeoutSeconds={}&allowWatchBookmarks=true&resourceVersion={}",
            WATCH.as_secs(),
            encode(version)
        );
        self.opened = Instant::now();
        Arriving::open(&self.connection, &self.resource, &query, accept).await
    }

    /// Whether we know more than the API server: etcd was restored from a backup. A watch from a version that is still to
    /// come would be silent until then.
    async fn is_ahead(&self, version: &str) -> Result<bool, Error> {
        let mut list = List { limit: 1, ..List::new(&self.connection, &self.resource) };
        let mut page = list.open().await.map_err(Error::List)?;
        while page.next(TIMEOUT).await.map_err(Error::List)?.is_some() {}
        list.version = Some(page.cut.metadata.resource_version);
        Ok(list.version.is_some_and(|now| Version::parse(&now) < Version::parse(version)))
    }

    /// Reads a line of a watch; most go on with the watch.
    fn read(&mut self, line: &[u8], lines: Arriving<Lines>) -> Result<Option<Event<Object>>, Error> {
        let unreadable = |error: serde_json::Error| Error::Unreadable(error.to_string());
        let Line { kind, object } = serde_json::from_slice(line).map_err(unreadable)?;
        let object = object.get().as_bytes();
        if kind == "ERROR" {
            let status: Status = serde_json::from_slice(object).map_err(unreadable)?;
            if is_out_of_reach(&status) {
                self.state = State::New;
            }
            return Err(Error::Ended(Box::new(status)));
        }
        let Versioned { metadata } = serde_json::from_slice(object).map_err(unreadable)?;
        if metadata.resource_version.is_empty() {
            self.state = State::New;
            return Err(Error::Unreadable("an object has no resourceVersion".to_owned()));
        }
        self.state = State::Watching(metadata.resource_version, lines);
        let read = || Object::read(&self.watch, object).map_err(Error::Unreadable);
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
fn is_out_of_reach(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == EXPIRED || causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
}

/// Percent-encodes a value of a query (RFC 3986, 2.3).
fn encode(value: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encoded = value.bytes().map(|byte| match byte {
        byte if plain(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

impl Error {
    /// Whether the API server does not let us see what we ask for, or has no such thing.
    pub(in crate::cluster) fn is_denied(&self) -> bool {
        match self {
            Self::List(Failure::Refused(status)) | Self::Watch(Failure::Refused(status)) => {
                matches!(status.code, 401 | 403 | 404)
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(failure) => write!(f, "failed to list: {failure}"),
            Self::Watch(failure) => write!(f, "failed to watch: {failure}"),
            Self::Ended(status) => write!(f, "the API server ends it: {}", status.message),
            Self::Unreadable(cause) => write!(f, "what came cannot be read: {cause}"),
        }
    }
}
