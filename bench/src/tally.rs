//! Where each target of a Bundle is: one watch of metadata, open all the time, whose events are counted when they come.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use rootcast::api::{BUNDLE_LABEL, HASH_ANNOTATION};
use tokio::{sync::watch, task::AbortHandle};

/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_mins(5);

/// Counts the targets of one Bundle; dropping it ends the watch.
pub(crate) struct Tally {
    board: watch::Receiver<Board>,
    task: AbortHandle,
}

/// What is known of all targets.
#[derive(Default)]
pub(crate) struct Board {
    /// By namespace.
    targets: HashMap<String, Seen>,
    /// How many targets have this hash.
    by_hash: HashMap<String, usize>,
    /// When the last event came.
    at: Option<Instant>,
}

/// What matters of one target.
pub(crate) struct Seen {
    hash: String,
    /// The value of the label that is asked for.
    pub(crate) label: Option<String>,
    /// The resource version, which a server of today only counts up.
    pub(crate) version: u64,
}

impl Tally {
    /// Starts to count the targets of a Bundle, and to note the value of one label of theirs.
    pub(crate) fn start(client: Client, bundle: &str, label: &'static str) -> Self {
        let selector = format!("{BUNDLE_LABEL}={bundle}");
        let config = watcher::Config::default().labels(&selector);
        let events = watcher(Api::<PartialObjectMeta<ConfigMap>>::all(client), config).default_backoff();
        let events = events.filter_map(async |event| event.ok().map(convert)).boxed();
        let (sender, board) = watch::channel(Board::default());
        let task = tokio::spawn(count(events, sender, label)).abort_handle();
        Self { board, task }
    }

    /// Waits until the targets are as wanted; when the event came that made them so.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Board) -> bool) -> Result<Instant> {
        let mut board = self.board.clone();
        let found = tokio::time::timeout(PATIENCE, board.wait_for(wanted)).await;
        let found = found.with_context(|| format!("{what}: not within {PATIENCE:?}"))?;
        let at = found.context("the watch of targets ended")?.at;
        Ok(at.unwrap_or_else(Instant::now))
    }

    /// How many targets have this hash now.
    pub(crate) fn holding(&self, hash: &str) -> usize {
        self.board.borrow().holding(hash)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Board {
    /// How many targets have this hash.
    pub(crate) fn holding(&self, hash: &str) -> usize {
        self.by_hash.get(hash).copied().unwrap_or_default()
    }

    /// The target in a namespace.
    pub(crate) fn target(&self, namespace: &str) -> Option<&Seen> {
        self.targets.get(namespace)
    }

    fn set(&mut self, metadata: ObjectMeta, label: &str) {
        let text = |pairs: Option<BTreeMap<String, String>>, key| pairs.and_then(|mut pairs| pairs.remove(key));
        let namespace = metadata.namespace.unwrap_or_default();
        let seen = Seen {
            hash: text(metadata.annotations, HASH_ANNOTATION).unwrap_or_default(),
            label: text(metadata.labels, label),
            version: metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or_default(),
        };
        self.remove(&namespace);
        *self.by_hash.entry(seen.hash.clone()).or_default() += 1;
        self.targets.insert(namespace, seen);
    }

    fn remove(&mut self, namespace: &str) {
        if let Some(Seen { hash, .. }) = self.targets.remove(namespace)
            && let Some(count) = self.by_hash.get_mut(&hash)
        {
            *count -= 1;
        }
    }
}

/// An event without the type of the object.
enum News {
    There(Box<ObjectMeta>),
    Gone(String),
    /// A new list begins.
    Anew,
}

fn convert(event: Event<PartialObjectMeta<ConfigMap>>) -> Option<News> {
    match event {
        Event::Apply(object) | Event::InitApply(object) => Some(News::There(Box::new(object.metadata))),
        Event::Delete(object) => Some(News::Gone(object.metadata.namespace.unwrap_or_default())),
        Event::Init => Some(News::Anew),
        Event::InitDone => None,
    }
}

async fn count(mut events: BoxStream<'static, Option<News>>, board: watch::Sender<Board>, label: &'static str) {
    while let Some(event) = events.next().await {
        let Some(news) = event else { continue };
        board.send_modify(|board| {
            match news {
                News::There(metadata) => board.set(*metadata, label),
                News::Gone(namespace) => board.remove(&namespace),
                News::Anew => *board = Board::default(),
            }
            board.at = Some(Instant::now());
        });
    }
}
