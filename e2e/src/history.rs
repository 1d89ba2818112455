//! What the store remembers: every version that a ConfigMap ever had, whoever wrote it and whatever became of the
//! answer. Audit logs count requests, this counts what they did.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rootcast::api::HASH_ANNOTATION;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::ControlPlane;

/// Where the API server keeps ConfigMaps.
const PREFIX: &str = "/registry/configmaps/";

/// A key of our own in the same range, which the API server does not see.
const FENCE: &str = "/registry/configmaps~";

/// A place in the history, to ask for what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(i64);

impl Revision {
    /// How many changes of anything, at least, happened from `earlier` to here.
    #[must_use]
    pub fn since(self, earlier: Self) -> usize {
        usize::try_from(self.0 - earlier.0).unwrap_or_default()
    }
}

/// A ConfigMap was written or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in the order of all changes.
    pub revision: Revision,
    /// Where.
    pub namespace: String,
    /// Which.
    pub name: String,
    /// The hash annotation of a target that is there now.
    pub hash: Option<String>,
    /// Whether it is gone.
    pub deleted: bool,
    /// The object as the API server stores it; empty if it is gone.
    stored: Vec<u8>,
}

impl Change {
    /// Whether the object that was written holds this text, in one of its keys or anywhere else.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        self.stored.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl ControlPlane {
    /// The present end of the history.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn revision(&self) -> Result<Revision> {
        self.revision_after("/v3/kv/range").await
    }

    async fn revision_after(&self, step: &str) -> Result<Revision> {
        let key = json!({"key": BASE64_STANDARD.encode(FENCE)});
        let answer = self.ask_etcd(step, &key).await?.collect().await?.to_bytes();
        let answer: Answer = serde_json::from_slice(&answer).context("reading etcd's answer")?;
        Ok(Revision(answer.header.revision.parse()?))
    }

    /// All changes of `ConfigMap`s since then. The API server makes etcd forget what is older than 5 minutes, unless it
    /// runs with `--etcd-compaction-interval=0`.
    ///
    /// # Errors
    /// When etcd does not answer, or has forgotten.
    pub async fn history(&self, since: Revision) -> Result<Vec<Change>> {
        let end = self.revision_after("/v3/kv/put").await?;
        let watch = json!({"create_request": {
            "key": BASE64_STANDARD.encode(PREFIX),
            "range_end": BASE64_STANDARD.encode(format!("{FENCE}~")),
            "start_revision": (since.0 + 1).to_string(),
        }});
        let mut body = self.ask_etcd("/v3/watch", &watch).await?;
        let (mut changes, mut unread) = (Vec::new(), Vec::new());
        loop {
            let frame = body.frame().await.context("etcd ended the watch")??;
            let Ok(data) = frame.into_data() else { continue };
            unread.extend_from_slice(&data);
            while let Some(newline) = unread.iter().position(|&byte| byte == b'\n') {
                let line: Line = serde_json::from_slice(&unread[..newline]).context("reading etcd's watch")?;
                unread.drain(..=newline);
                ensure!(!line.result.canceled, "etcd has forgotten what came after {since:?}");
                for event in line.result.events {
                    let change = event.read()?;
                    if change.revision >= end {
                        return Ok(changes);
                    }
                    // The barriers of others have no name.
                    if !change.name.is_empty() {
                        changes.push(change);
                    }
                }
            }
        }
    }

    /// One request to etcd's JSON gateway (<https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>).
    async fn ask_etcd(&self, path: &str, body: &Value) -> Result<Incoming> {
        let socket = UnixStream::connect(self.scratch.data().join("client.sock")).await.context("reaching etcd")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let request = http::Request::post(path).header(http::header::HOST, "etcd");
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body.to_string())))?).await?;
        ensure!(answer.status().is_success(), "etcd answers {}", answer.status());
        Ok(answer.into_body())
    }
}

#[derive(Deserialize)]
struct Answer {
    header: Header,
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

#[derive(Deserialize)]
struct Line {
    result: Events,
}

#[derive(Deserialize)]
struct Events {
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    kv: KeyValue,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    mod_revision: String,
    #[serde(default)]
    value: String,
}

impl Event {
    fn read(self) -> Result<Change> {
        let Self { kind, kv: KeyValue { key, mod_revision, value } } = self;
        let key = String::from_utf8(BASE64_STANDARD.decode(key)?)?;
        let (namespace, name) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).unwrap_or_default();
        let stored = BASE64_STANDARD.decode(value)?;
        Ok(Change {
            revision: Revision(mod_revision.parse()?),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            hash: hash(&stored),
            deleted: kind == "DELETE",
            stored,
        })
    }
}

/// The hash annotation in an object as the API server stores it. In protobuf, an entry of a map is a key and, after a
/// tag and a length, its value (<https://protobuf.dev/programming-guides/encoding/#maps>).
fn hash(stored: &[u8]) -> Option<String> {
    let key = HASH_ANNOTATION.as_bytes();
    let ends = stored.windows(key.len()).enumerate().filter(|(_, window)| *window == key).map(|(at, _)| at + key.len());
    let value = ends.filter_map(|end| match &stored[end..] {
        [0x12, length, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    });
    value.map(|value| String::from_utf8_lossy(value).into_owned()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_is_told_from_its_managed_field() {
        let stored = b"k8s\0..f:trust.cert-manager.io/hash\":{}..\x0a\x1atrust.cert-manager.io/hash\x12\x03abc..";
        assert_eq!(hash(stored).as_deref(), Some("abc"));
    }
}
