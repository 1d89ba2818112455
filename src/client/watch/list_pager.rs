//! Lists, page by page and object by object.
//!
//! kube's own watcher holds a parsed page of a list in memory: a hundred objects, each of which may have megabytes of
//! managed fields. Here objects are read one by one from the connection.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::split::{ListItems, Piece, Splitter};
use crate::api;
use crate::bundle::ObjectKind;
use crate::client::api_error::ApiError;
use crate::client::connection::{ApiRequest, Connection, TIMEOUT};
use crate::client::uri;

/// The maximum number of objects in a page of a list, the same as in client-go. For each page the API server counts all
/// objects that are left, so that many small pages take time by the square of the number of objects.
const PAGE: u32 = 500;

/// The `Accept` header for a list of metadata.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The media type of JSON.
pub(super) const JSON: &str = "application/json";

/// A collection of objects that is listed and watched.
#[derive(Clone, Debug)]
pub(crate) struct ApiCollection {
    /// Path of the collection.
    pub(super) path: String,
    /// Label selector of the objects.
    pub(super) label_selector: Option<String>,
    /// Whether only metadata is needed.
    pub(super) metadata_only: bool,
}

/// A response that is read piece by piece.
pub(super) struct StreamedResponse<C> {
    body: Incoming,
    chunk: Bytes,
    splitter: C,
}

/// A reader of a list, page by page.
pub(crate) struct ListPager {
    connection: Connection,
    collection: ApiCollection,
    limit: u32,
    /// The token of the next page.
    next: String,
    page: Option<StreamedResponse<ListItems>>,
    /// Resource version of the list; `None` before its end.
    pub(super) version: Option<String>,
}

impl ApiCollection {
    /// Creates the collection of the targets of one Bundle, by the value of their label.
    pub(crate) fn targets_of(bundle: &str, kind: ObjectKind, namespace: Option<&str>) -> Self {
        let label_selector = Some(format!("{}={bundle}", api::BUNDLE_LABEL));
        Self { label_selector, ..Self::metadata_of(uri::collection(kind, namespace)) }
    }

    /// Creates the collection of all objects of a path.
    pub(in crate::client) fn objects_of(path: String) -> Self {
        Self { path, label_selector: None, metadata_only: false }
    }

    /// Creates the collection of the metadata of all objects of a path.
    pub(super) fn metadata_of(path: String) -> Self {
        Self { path, label_selector: None, metadata_only: true }
    }
}

impl ListPager {
    /// Creates a reader at the beginning of a list.
    pub(crate) fn new(connection: &Connection, collection: &ApiCollection) -> Self {
        let (connection, collection) = (connection.clone(), collection.clone());
        Self { connection, collection, limit: PAGE, next: String::new(), page: None, version: None }
    }

    /// Returns the next object; `None` at the end of the list.
    ///
    /// # Errors
    /// When a page cannot be read.
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

    /// Returns the current resource version of a collection, by a list of one object.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub(super) async fn current_version(
        connection: &Connection,
        collection: &ApiCollection,
    ) -> Result<String, ApiError> {
        let mut page = Self { limit: 1, ..Self::new(connection, collection) }.open().await?;
        while page.next(TIMEOUT).await?.is_some() {}
        Ok(page.splitter.metadata.resource_version)
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
    /// Sends the request for a collection.
    ///
    /// # Errors
    /// When the request fails.
    pub(super) async fn open(
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

    /// Returns the next object; `None` at the end of the response, which may come too early.
    ///
    /// # Errors
    /// When the connection fails, or nothing comes for `idle_timeout`.
    pub(super) async fn next(&mut self, idle_timeout: Duration) -> Result<Option<Vec<u8>>, ApiError> {
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
