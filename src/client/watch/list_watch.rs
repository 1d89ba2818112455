//! A list and the watch that continues from it
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>).

use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher::Event;
use serde::Deserialize;
use tokio::time::Instant;

use super::list_pager::{ApiCollection, JSON, ListPager, StreamedResponse};
use super::split::{RawWatchEvent, WatchLines};
use super::{Watch, WatchBackoff, WatchedObject};
use crate::client::api_error::ApiError;
use crate::client::connection::{Connection, METADATA_ONLY};
use crate::client::uri;
use crate::fanout::{ListScope, ResourceVersion};
use crate::metrics::WatchActivity;

/// The time for which the API server keeps a watch open.
const WATCH_TIMEOUT: Duration = Duration::from_secs(290);

/// The additional time to wait for the end of a watch: its connection may be dead.
const WATCH_MARGIN: Duration = Duration::from_secs(5);

/// The duration below which a watch counts as failed.
const WATCH_MIN_DURATION: Duration = Duration::from_secs(1);

/// The time after which it is asked again for a collection that the API server does not have, or does not show.
const UNAVAILABLE_RETRY: Duration = Duration::from_mins(1);

/// The status code for a resource version that the API server no longer has.
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

/// An endless list and watch: it lists, watches from there, and lists again when it has to.
pub(super) struct ListWatcher {
    connection: Connection,
    pub(super) watch: Watch,
    collection: ApiCollection,
    state: State,
    /// The time at which the watch was opened.
    opened: Instant,
    /// Whether the API server, or its etcd, may have been replaced, so that the version may be unknown to it.
    version_in_doubt: bool,
    backoff: WatchBackoff,
    pause: Option<Duration>,
    activity: WatchActivity,
}

enum State {
    New,
    Listing(Box<ListPager>),
    /// Everything up to this version was delivered.
    Listed(String),
    Watching(String, StreamedResponse<WatchLines>),
}

impl ListWatcher {
    /// Creates a watcher that begins with a list.
    pub(super) fn new(connection: &Connection, watch: Watch, collection: ApiCollection) -> Self {
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

    /// Waits for the next event. After an error the watcher continues, and after errors in a row ever more slowly; a
    /// complete list, or an event of the watch, ends the row.
    ///
    /// # Errors
    /// When the list or watch was interrupted.
    pub(super) async fn next<T: WatchedObject>(&mut self) -> Result<Event<T>, ListWatchError> {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let result = self.advance().await;
        match &result {
            // A list that has only begun may fail like the one before it.
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(_) => self.backoff = WatchBackoff::default(),
            Err(error) => {
                self.pause = self.backoff.next();
                // The namespace may be gone, and with it the role of this controller there.
                let of_one_namespace =
                    matches!(self.watch, Watch::Fanout(ListScope::Targets(_, Some(_))) | Watch::Sources(_, Some(_)));
                if of_one_namespace && error.is_denied() {
                    self.activity.pause();
                }
                if self.watch == Watch::Distrusts && error.is_unavailable() {
                    (self.state, self.pause) = (State::New, Some(UNAVAILABLE_RETRY));
                    self.activity.pause();
                }
            }
        }
        result
    }

    async fn advance<T: WatchedObject>(&mut self) -> Result<Event<T>, ListWatchError> {
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
                        let object = T::read(&object).map_err(ListWatchError::Malformed)?;
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
                            // A watch that fails, or ends before its time, was interrupted.
                            let open = self.opened.elapsed();
                            self.version_in_doubt = end.is_err() || open < WATCH_TIMEOUT;
                            if open < WATCH_MIN_DURATION {
                                let cause = "it ends as soon as it is open".to_owned();
                                return Err(ListWatchError::Watch(end.err().unwrap_or(ApiError::Lost(cause))));
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

    /// Returns whether `version` is ahead of the API server, whose etcd was restored from a backup. A watch from a
    /// version in the future would deliver nothing until then.
    async fn is_ahead(&self, version: &str) -> Result<bool, ListWatchError> {
        let now = ListPager::current_version(&self.connection, &self.collection).await.map_err(ListWatchError::List)?;
        Ok(ResourceVersion::parse(&now) < ResourceVersion::parse(version))
    }

    /// Reads a line of a watch; unless it is an error, the watch continues.
    fn read<T: WatchedObject>(
        &mut self,
        line: &[u8],
        lines: StreamedResponse<WatchLines>,
    ) -> Result<Option<Event<T>>, ListWatchError> {
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
        let read = || T::read(object).map_err(ListWatchError::Malformed);
        Ok(match kind {
            "ADDED" | "MODIFIED" => Some(Event::Apply(read()?)),
            "DELETED" => Some(Event::Delete(read()?)),
            _ => None,
        })
    }
}

/// The part of an object that a watch needs to continue.
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

/// Returns whether the API server no longer has the version of a watch, or does not have it yet.
fn is_version_unavailable(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == EXPIRED || causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
}

impl ListWatchError {
    /// Returns whether the API server does not have the collection, or does not show it to this process.
    pub(crate) fn is_unavailable(&self) -> bool {
        match self {
            Self::List(ApiError::Refused(status)) | Self::Watch(ApiError::Refused(status)) => {
                matches!(status.code, 403 | 404)
            }
            _ => false,
        }
    }

    /// Returns whether the API server denies access to the collection, or does not have it.
    pub(crate) fn is_denied(&self) -> bool {
        self.refusal_code().is_some_and(|code| matches!(code, 401 | 403 | 404))
    }

    /// Returns the status code with which the API server refused the list or watch, if it did.
    pub(crate) fn refusal_code(&self) -> Option<u16> {
        match self {
            Self::List(ApiError::Refused(status)) | Self::Watch(ApiError::Refused(status)) => Some(status.code),
            _ => None,
        }
    }
}
