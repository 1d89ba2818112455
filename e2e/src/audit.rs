//! The API server's audit log: who wrote what, who was denied what. Where that cannot be read, a proxy before the API
//! server sees as much of the requests that come through it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    access::{Access, Caller},
    proxy::Proxy,
    scratch::Scratch,
};

/// Every request once, when it is answered, without bodies; not what the API
/// server asks itself.
pub(crate) const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: None
    users: ["system:apiserver"]
  - level: Metadata
"#;

/// No line without bodies comes near this many bytes.
const LINE_MAX: u64 = 1024 * 1024;

/// How each line begins.
const START: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/"#;

/// Where the log is.
pub(crate) fn file(scratch: &Scratch) -> PathBuf {
    scratch.logs().join("audit.log")
}

/// A place in the log, to ask for what came after it. The default is its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(u64);

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As whom the request was judged: the impersonated user, where there is one.
    pub user: String,
    /// What the program that asked calls itself (`User-Agent`); empty where it does not.
    pub agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The plural, such as `configmaps`; empty for a path that is no resource.
    pub resource: String,
    /// Such as `status`; empty for none.
    pub subresource: String,
    /// Empty for what is cluster-wide.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// The path and query that was asked for.
    pub uri: String,
    /// The HTTP status.
    pub code: u16,
    /// What the API server said with an error.
    pub message: String,
    /// When the request came.
    pub time: Timestamp,
    /// The mutating webhooks that were called, in the order of their calls; a proxy does not see them.
    pub webhooks: Vec<WebhookCall>,
}

/// One call of a mutating webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookCall {
    /// The name of the entry.
    pub webhook: String,
    /// Whether it was called again because of what others changed.
    pub again: bool,
    /// What came of it.
    pub outcome: CallOutcome,
}

/// What came of a call of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The object is as it was: nothing was to be done, or the request was refused.
    Unchanged,
    /// It changed the object.
    Changed,
    /// It could not be asked, and the request went on without it.
    FailedOpen,
}

impl Entry {
    /// Whether it asked for a change, granted or not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether a program of this name asked: two that follow one another may have the same account. Go's clients call
    /// themselves by their file's name, a slash and a version; ours sends no name.
    #[must_use]
    pub fn is_by(&self, program: &str) -> bool {
        self.agent.split_once('/').is_some_and(|(name, _)| name == program)
    }

    /// Whether permissions stood in the way. That a namespace is terminating or
    /// a quota is used up is a 403 as well, and no matter of permissions.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let otherwise = ["because it is being terminated", "exceeded quota"];
        self.code == 403 && !otherwise.iter().any(|words| self.message.contains(words))
    }
}

/// The audit log of one control plane, in the order of answers.
pub struct Audit<'a>(Witness<'a>);

/// Who has seen requests.
enum Witness<'a> {
    /// The API server.
    Log(Log<'a>),
    /// The proxy that all of the harness' requests come through.
    Proxy(&'a Proxy),
}

/// The file of an API server.
struct Log<'a> {
    scratch: &'a Scratch,
    access: &'a Access,
    starts: &'a Starts,
}

/// When the API server was up but not ready, after its first start: it denies what roles allow that it has not read yet.
#[derive(Default)]
pub(crate) struct Starts(Mutex<Vec<Range<Timestamp>>>);

impl Starts {
    pub(crate) fn add(&self, start: Range<Timestamp>) {
        self.0.lock().expect("no holder of the lock panics").push(start);
    }

    fn include(&self, time: Timestamp) -> bool {
        self.0.lock().expect("no holder of the lock panics").iter().any(|start| start.contains(&time))
    }
}

impl<'a> Audit<'a> {
    pub(crate) fn new(scratch: &'a Scratch, access: &'a Access, starts: &'a Starts) -> Self {
        Self(Witness::Log(Log { scratch, access, starts }))
    }

    /// What a proxy has seen.
    pub(crate) fn of(proxy: &'a Proxy) -> Self {
        Self(Witness::Proxy(proxy))
    }

    /// The end of the log: after every request that was answered before.
    ///
    /// # Errors
    /// When the log cannot be read or stands still.
    pub async fn mark(&self) -> Result<Mark> {
        match &self.0 {
            Witness::Log(log) => {
                log.settle().await?;
                log.end()
            }
            Witness::Proxy(proxy) => Ok(Mark(proxy.answered() as u64)),
        }
    }

    /// All requests that were answered since `mark`, by whomever.
    ///
    /// # Errors
    /// As [`Audit::mark`].
    pub async fn since(&self, mark: Mark) -> Result<Vec<Entry>> {
        self.settle().await?;
        self.read(mark)
    }

    /// A request is logged just after it is answered; a proxy takes it down before.
    async fn settle(&self) -> Result<()> {
        match &self.0 {
            Witness::Log(log) => log.settle().await,
            Witness::Proxy(_) => Ok(()),
        }
    }

    fn read(&self, mark: Mark) -> Result<Vec<Entry>> {
        match &self.0 {
            Witness::Log(log) => log.read(mark),
            Witness::Proxy(proxy) => Ok(proxy.entries(usize::try_from(mark.0)?)),
        }
    }

    /// Whether an API server that was not ready has answered.
    fn is_of_a_start(&self, entry: &Entry) -> bool {
        matches!(&self.0, Witness::Log(log) if log.starts.include(entry.time))
    }

    /// The writes of one identity since `mark`, granted or not; a write without
    /// effect counts.
    ///
    /// # Errors
    /// As [`Audit::mark`].
    pub async fn writes_by(&self, identity: &str, mark: Mark) -> Result<Vec<Entry>> {
        let mut entries = self.since(mark).await?;
        entries.retain(|entry| entry.user == identity && entry.is_write());
        Ok(entries)
    }

    /// What one identity was denied since `mark` by an API server that was ready.
    ///
    /// # Errors
    /// As [`Audit::mark`].
    pub async fn denied(&self, identity: &str, mark: Mark) -> Result<Vec<Entry>> {
        self.settle().await?;
        self.denied_so_far(identity, mark)
    }

    /// [`Audit::denied`] without waiting for the log to catch up.
    pub(crate) fn denied_so_far(&self, identity: &str, mark: Mark) -> Result<Vec<Entry>> {
        let mut entries = self.read(mark)?;
        entries.retain(|entry| entry.user == identity && entry.is_denied() && !self.is_of_a_start(entry));
        Ok(entries)
    }
}

impl Log<'_> {
    /// This asks for a path that nobody else asks for and waits until the log has it.
    async fn settle(&self) -> Result<()> {
        static BARRIERS: AtomicU64 = AtomicU64::new(0);
        let barrier = format!("/rootcast-barrier-{}", BARRIERS.fetch_add(1, Ordering::Relaxed));
        let mark = self.end()?;
        let request = http::Request::get(&barrier).body(Vec::new())?;
        // Answered with 404, as it should be.
        drop(self.access.client(Caller::Admin).request_text(request).await);
        let logged = async {
            while !self.read(mark)?.iter().any(|entry| entry.uri == barrier) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(30), logged).await.context("the audit log stands still")?
    }

    /// The end of the last whole line: a line grows in several steps.
    fn end(&self) -> Result<Mark> {
        let mut log = self.open()?;
        let length = log.metadata()?.len();
        let start = length.saturating_sub(LINE_MAX);
        log.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        log.take(length - start).read_to_end(&mut tail).context("reading the audit log")?;
        let end = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline as u64 + 1);
        ensure!(end > 0 || start == 0, "a line of the audit log is over {LINE_MAX} bytes long");
        Ok(Mark(start + end))
    }

    fn open(&self) -> Result<File> {
        File::open(file(self.scratch)).context("opening the audit log")
    }

    fn read(&self, mark: Mark) -> Result<Vec<Entry>> {
        let mut log = self.open()?;
        log.seek(SeekFrom::Start(mark.0))?;
        let mut text = String::new();
        log.read_to_string(&mut text).context("reading the audit log")?;
        entries(&text)
    }
}

/// Reads whole lines; a last line that is still being written is left for later.
fn entries(log: &str) -> Result<Vec<Entry>> {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole
        .lines()
        .map(|line| {
            let event: Event = serde_json::from_str(untorn(line)).context("reading an audit event")?;
            ensure!(event.stage == "ResponseComplete" || event.stage == "Panic", "unexpected stage");
            Ok(event.into())
        })
        .collect()
}

/// An API server that was killed may leave a part of a line, which the first of its successor then follows.
fn untorn(line: &str) -> &str {
    line.rfind(START).map_or(line, |start| &line[start..])
}

/// `audit.k8s.io/v1` Event, as far as it is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

impl From<Event> for Entry {
    fn from(event: Event) -> Self {
        let Event {
            stage: _,
            request_uri,
            verb,
            user,
            impersonated_user,
            user_agent,
            object_ref,
            response_status,
            request_received_timestamp,
            annotations,
        } = event;
        let ObjectRef { resource, subresource, namespace, name } = object_ref;
        let Status { code, message } = response_status;
        Self {
            user: impersonated_user.unwrap_or(user).username,
            agent: user_agent,
            verb,
            resource,
            subresource,
            namespace,
            name,
            uri: request_uri,
            code,
            message,
            time: request_received_timestamp,
            webhooks: webhook_calls(&annotations),
        }
    }
}

/// What the API server notes about a call of a mutating webhook, under a key that ends with round and place
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/>).
#[derive(Deserialize)]
struct MutationNote {
    webhook: String,
    mutated: bool,
}

fn webhook_calls(annotations: &BTreeMap<String, String>) -> Vec<WebhookCall> {
    const NOTE: &str = "mutation.webhook.admission.k8s.io/round_";
    let calls = annotations.iter().filter_map(|(key, value)| {
        let (round, place) = key.strip_prefix(NOTE)?.split_once("_index_")?;
        let MutationNote { webhook, mutated } = serde_json::from_str(value).ok()?;
        let outcome = match mutated {
            _ if annotations.contains_key(&format!("failed-open.{key}")) => CallOutcome::FailedOpen,
            true => CallOutcome::Changed,
            false => CallOutcome::Unchanged,
        };
        let at: (u32, u32) = (round.parse().ok()?, place.parse().ok()?);
        Some((at, WebhookCall { webhook, again: at.0 > 0, outcome }))
    });
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|(at, _)| *at);
    calls.into_iter().map(|(_, call)| call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = r#"{"kind":"Event","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/configmaps","verb":"create","user":{"username":"admin"},"impersonatedUser":{"username":"ann"},"objectRef":{"resource":"configmaps","namespace":"a","name":"x","apiVersion":"v1"},"responseStatus":{"metadata":{},"status":"Failure","message":"no","reason":"Forbidden","code":403},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:05.679901Z"}"#;

    #[test]
    fn an_impersonated_user_is_the_one_who_wrote() {
        let entries = entries(&format!("{DENIED}\n")).unwrap();
        assert_eq!(entries[0].user, "ann");
        assert!(entries[0].is_write() && entries[0].is_denied());
    }

    #[test]
    fn a_terminating_namespace_or_a_used_up_quota_is_no_lack_of_permission() {
        for message in [
            "x is forbidden: unable to create new content in namespace a because it is being terminated",
            "x is forbidden: exceeded quota: q, requested: count/configmaps=1",
        ] {
            let line = DENIED.replace("\"no\"", &format!("{message:?}"));
            assert!(!entries(&format!("{line}\n")).unwrap()[0].is_denied(), "{message}");
        }
    }

    /// The predecessor's pod still ran when its role was gone already.
    const PREDECESSORS: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"5c0f7a8e-6f6e-4f6b-8f57-0d4c6a3f4e0b","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/events","verb":"create","user":{"username":"system:serviceaccount:cert-manager:trust-manager","uid":"0b9bd8a1-50ee-4a5e-9a8c-5ef0ac1e2a3a","groups":["system:serviceaccounts","system:serviceaccounts:cert-manager","system:authenticated"]},"sourceIPs":["10.245.0.7"],"userAgent":"trust-manager/v0.0.0 (linux/amd64) kubernetes/$Format","objectRef":{"resource":"events","namespace":"default","name":"corporate.18a1","apiVersion":"v1"},"responseStatus":{"metadata":{},"status":"Failure","message":"events is forbidden: User \"system:serviceaccount:cert-manager:trust-manager\" cannot create resource \"events\" in API group \"\" in the namespace \"default\"","reason":"Forbidden","details":{"kind":"events"},"code":403},"requestReceivedTimestamp":"2026-11-27T21:14:05.678901Z","stageTimestamp":"2026-11-27T21:14:05.679901Z","annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}}"#;

    #[test]
    fn a_denial_of_the_predecessors_is_not_ours_though_the_account_is_the_same() {
        let theirs = &entries(&format!("{PREDECESSORS}\n")).unwrap()[0];
        assert!(theirs.is_denied() && theirs.is_by("trust-manager"), "{theirs:#?}");
        let ours = PREDECESSORS.replace(r#""userAgent":"trust-manager/v0.0.0 (linux/amd64) kubernetes/$Format","#, "");
        let ours = &entries(&format!("{ours}\n")).unwrap()[0];
        assert!(ours.is_denied() && !ours.is_by("trust-manager"), "{ours:#?}");
    }

    #[test]
    fn what_a_killed_server_left_unfinished_is_left_out() {
        let line = DENIED.replacen(r#""Event","#, r#""Event","apiVersion":"audit.k8s.io/v1","#, 1);
        assert_eq!(entries(&format!("{}{line}\n", &line[..120])).unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_is_still_being_written_is_left_for_later() {
        assert_eq!(entries(&format!("{DENIED}\n{}", &DENIED[..90])).unwrap().len(), 1);
    }
}
