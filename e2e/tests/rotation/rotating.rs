//! A Bundle that retains, its source and its namespaces: what is done to them, and all that became of it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ConfigMap, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use rootcast::{
    api::Bundle,
    trust::{Anchor, Anchors, Fingerprint},
};
use rootcast_e2e::{
    Authority, Change, ControlPlane, Entry, IDENTITY, Mark, Revision, eventually,
    scenario::{TRUST_NAMESPACE, apply, bundle, source},
};
use serde_json::{Value, json};

/// How long something may take that depends on no time of the scenario, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The key of every target.
pub(crate) const KEY: &str = "ca.pem";

/// A CA that exists only as long as its scenario.
pub(crate) struct Ca {
    pub(crate) name: &'static str,
    pub(crate) authority: Authority,
}

/// A Bundle that selects namespaces of its own and reads one ConfigMap.
#[derive(Clone)]
pub(crate) struct Rotating<'a> {
    pub(crate) client: Client,
    pub(crate) control_plane: &'a ControlPlane,
    pub(crate) name: String,
    pub(crate) namespaces: Vec<String>,
    /// Everything that is the Bundle's came to be after this.
    began: Revision,
}

impl Ca {
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        Ok(Self { name, authority: Authority::new(name)? })
    }

    /// CAs of these names.
    pub(crate) fn all<const COUNT: usize>(names: [&'static str; COUNT]) -> Result<[Self; COUNT]> {
        let all: Vec<_> = names.into_iter().map(Self::new).collect::<Result<_>>()?;
        all.try_into().ok().context("one for each name")
    }

    fn anchor(&self) -> Anchor {
        Anchor::from_der(self.authority.der()).expect("a certificate of the harness's own")
    }

    /// Its certificate as targets hold it.
    pub(crate) fn pem(&self) -> String {
        pem(&[self])
    }

    /// The SHA-256 of its certificate, in 64 digits.
    pub(crate) fn sha256(&self) -> String {
        self.anchor().fingerprint().to_string()
    }

    /// The SHA-256 of its public key, in 64 digits.
    pub(crate) fn key_sha256(&self) -> String {
        Fingerprint::of(&self.authority.public_key()).to_string()
    }
}

/// What targets of these CAs hold.
pub(crate) fn pem(cas: &[&Ca]) -> String {
    Anchors::collect(cas.iter().map(|ca| ca.anchor())).map(|anchors| anchors.to_pem()).unwrap_or_default()
}

/// The `ConfigMap` that remembers for a Bundle.
pub(crate) fn ledger_name(bundle: &str) -> String {
    format!("rootcast-ledger.bundle.{bundle}")
}

impl<'a> Rotating<'a> {
    /// A Bundle that retains for so long, of these CAs, in so many namespaces. Returns once every target holds them.
    pub(crate) async fn begin(
        control_plane: &'a ControlPlane,
        name: &str,
        namespaces: usize,
        retain: &str,
        cas: &[&Ca],
    ) -> Result<Self> {
        let rotating = Self::prepare(control_plane, name, namespaces, cas).await?;
        rotating.annotate(&json!({"rootcast.dev/retain": retain})).await?;
        rotating.holds(cas).await;
        Ok(rotating)
    }

    /// The same without the Bundle.
    pub(crate) async fn prepare(
        control_plane: &'a ControlPlane,
        name: &str,
        namespaces: usize,
        cas: &[&Ca],
    ) -> Result<Self> {
        let rotating = Self {
            client: control_plane.client(),
            control_plane,
            name: name.to_owned(),
            namespaces: (0..namespaces).map(|number| format!("{name}-{number}")).collect(),
            began: control_plane.revision().await?,
        };
        let join = async |namespace: &String| control_plane.namespace(namespace, &[("rotating", name)]).await;
        stream::iter(&rotating.namespaces).map(join).buffer_unordered(8).try_for_each(async |_| Ok(())).await?;
        rotating.publish(cas).await?;
        Ok(rotating)
    }

    /// The Bundle, with these annotations and no others.
    pub(crate) fn manifest(&self, annotations: &Value) -> Value {
        let Self { name, .. } = self;
        let spec = format!(
            "{{sources: [{{configMap: {{name: {name}-source, key: ca.crt}}}}],
               target: {{configMap: {{key: {KEY}}}, namespaceSelector: {{matchLabels: {{rotating: '{name}'}}}}}}}}"
        );
        let mut bundle = bundle(name, &spec);
        bundle["metadata"]["annotations"] = annotations.clone();
        bundle
    }

    /// The Bundle has these annotations from now on, and no others of a scenario's.
    pub(crate) async fn annotate(&self, annotations: &Value) -> Result<()> {
        apply(&self.client, &self.manifest(annotations)).await?;
        Ok(())
    }

    /// The source holds these CAs from now on.
    pub(crate) async fn publish(&self, cas: &[&Ca]) -> Result<()> {
        self.fill(&pem(cas)).await
    }

    /// The source holds this text from now on.
    pub(crate) async fn fill(&self, text: &str) -> Result<()> {
        let source = source("ConfigMap", &format!("{}-source", self.name), &[], &[("ca.crt", text)]);
        apply(&self.client, &source).await?;
        Ok(())
    }

    /// Waits until every target holds exactly these CAs.
    pub(crate) async fn holds(&self, cas: &[&Ca]) {
        let expected = pem(cas);
        let names: Vec<_> = cas.iter().map(|ca| ca.name).collect();
        eventually(&format!("all targets of {} hold {names:?}", self.name), SOON, async || {
            let targets = self.targets().await?;
            ensure!(targets.keys().eq(self.sorted()), "targets in {:?}", targets.keys());
            let others = targets.iter().find(|(_, found)| **found != expected);
            ensure!(others.is_none(), "not {others:?}; {:?}", self.conditions().await?);
            Ok(())
        })
        .await;
    }

    fn sorted(&self) -> Vec<&String> {
        let mut namespaces: Vec<_> = self.namespaces.iter().collect();
        namespaces.sort();
        namespaces
    }

    /// What each target holds, by namespace.
    pub(crate) async fn targets(&self) -> Result<BTreeMap<String, String>> {
        let named = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let found = Api::<ConfigMap>::all(self.client.clone()).list(&named).await?;
        let text = |found: ConfigMap| {
            let text = found.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default();
            (found.metadata.namespace.unwrap_or_default(), text)
        };
        Ok(found.into_iter().map(text).collect())
    }

    /// Waits until every target has held these CAs for as long as nodes take, and the Bundle says so.
    pub(crate) async fn is_settled(&self, cas: &[&Ca]) {
        eventually(&format!("{} is settled", self.name), SOON, async || {
            let since = cas.iter().map(async |ca| {
                let entry = self.entry(ca).await?.with_context(|| format!("{} is not remembered", ca.name))?;
                let everywhere = entry["everywhere"].as_str().with_context(|| format!("{entry} is not everywhere"))?;
                anyhow::Ok(everywhere.parse::<Timestamp>()?)
            });
            let since = futures::future::try_join_all(since).await?;
            let settled = self.condition("Settled").await?;
            ensure!(settled.status == "True" && settled.reason == "Settled", "{settled:?}");
            let says = settled.last_transition_time.0;
            ensure!(since.iter().all(|since| *since < says), "since {since:?}; {settled:?}");
            Ok(())
        })
        .await;
    }

    /// The document of the ledger, if there is one.
    pub(crate) async fn ledger(&self) -> Result<Option<Value>> {
        let Some(ledger) = self.ledgers().get_opt(&ledger_name(&self.name)).await? else { return Ok(None) };
        let text = ledger.data.and_then(|mut data| data.remove("ledger.json")).context("a ledger has a document")?;
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// What the ledger says of a CA.
    pub(crate) async fn entry(&self, ca: &Ca) -> Result<Option<Value>> {
        let ledger = self.ledger().await?.unwrap_or_default();
        let mut entries = ledger["certificates"].as_array().into_iter().flatten();
        Ok(entries.find(|entry| entry["sha256"] == json!(ca.sha256())).cloned())
    }

    /// Waits until the ledger says that a CA has left, and returns since when.
    pub(crate) async fn leaves(&self, ca: &Ca) -> Timestamp {
        eventually(&format!("{} leaves {}", ca.name, self.name), SOON, async || {
            let entry = self.entry(ca).await?.context("it is not remembered")?;
            Ok(entry["left"].as_str().with_context(|| entry.to_string())?.parse()?)
        })
        .await
    }

    /// Waits until the ledger has forgotten a CA.
    pub(crate) async fn forgets(&self, ca: &Ca) {
        eventually(&format!("{} forgets {}", self.name, ca.name), SOON, async || {
            let entry = self.entry(ca).await?;
            ensure!(entry.is_none(), "{entry:?}");
            Ok(())
        })
        .await;
    }

    /// Where ledgers are.
    pub(crate) fn ledgers(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), TRUST_NAMESPACE)
    }

    /// Somebody edits the target in a namespace (JSON merge patch).
    pub(crate) async fn edit(&self, namespace: &str, change: &Value) -> Result<()> {
        let targets = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        targets.patch(&self.name, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    async fn conditions(&self) -> Result<Vec<Condition>> {
        let bundle = Api::<Bundle>::all(self.client.clone()).get(&self.name).await?;
        Ok(bundle.status.and_then(|status| status.conditions).unwrap_or_default())
    }

    /// A condition of the Bundle.
    pub(crate) async fn condition(&self, type_: &str) -> Result<Condition> {
        let mut all = self.conditions().await?;
        let place = all.iter().position(|condition| condition.type_ == type_);
        Ok(all.swap_remove(place.with_context(|| format!("no condition {type_} yet, but {all:?}"))?))
    }

    /// Waits until a condition has this status and reason, and its message all of these words.
    pub(crate) async fn says(&self, type_: &str, status: &str, reason: &str, words: &[&str]) {
        eventually(&format!("{}: {type_}={status}/{reason}", self.name), SOON, async || {
            let found = self.condition(type_).await?;
            ensure!((&*found.status, &*found.reason) == (status, reason), "{found:?}");
            let missing: Vec<_> = words.iter().filter(|words| !found.message.contains(**words)).collect();
            ensure!(missing.is_empty(), "no {missing:?} in {:?}", found.message);
            Ok(())
        })
        .await;
    }

    /// Waits until the Bundle has none of the conditions of retention.
    pub(crate) async fn says_nothing_of_retention(&self) {
        eventually(&format!("{} does not retain", self.name), SOON, async || {
            let found = self.conditions().await?;
            ensure!(found.iter().all(|one| !["Settled", "Retiring"].contains(&one.type_.as_str())), "{found:?}");
            Ok(())
        })
        .await;
    }

    /// Waits until an event of this reason has all of these words.
    pub(crate) async fn tells(&self, reason: &str, words: &[&str]) {
        eventually(&format!("{}: event {reason}", self.name), SOON, async || {
            let of_reason = ListParams::default().fields(&format!("reason={reason}"));
            let events = Api::<Event>::all(self.client.clone()).list(&of_reason).await?;
            let about = |event: &Event| event.regarding.as_ref().is_some_and(|it| it.name.as_ref() == Some(&self.name));
            let notes: Vec<_> = events.into_iter().filter(about).filter_map(|event| event.note).collect();
            let told = notes.iter().any(|note| words.iter().all(|words| note.contains(words)));
            ensure!(told, "no {words:?} in {notes:?}");
            Ok(())
        })
        .await;
    }

    /// Every content that each target had since then, in order, as the names of those of these CAs that it held.
    pub(crate) async fn contents(&self, since: Revision, cas: &[&Ca]) -> Result<BTreeMap<String, Vec<String>>> {
        let mut contents = BTreeMap::<_, Vec<_>>::new();
        for change in self.control_plane.history(since).await? {
            if self.is_target(&change) {
                let held = held(&change, cas).join("+");
                contents.entry(change.namespace).or_default().push(held);
            }
        }
        Ok(contents)
    }

    /// Asserts that the ledger held whatever a target held before that was written.
    pub(crate) async fn remembered_before_it_wrote(&self, cas: &[&Ca]) -> Result<()> {
        let ledger = ledger_name(&self.name);
        let mut remembered = Vec::new();
        for change in self.control_plane.history(self.began).await? {
            let held = held(&change, cas);
            if change.namespace == TRUST_NAMESPACE && change.name == ledger {
                remembered = held;
            } else if self.is_target(&change) {
                let unknown: Vec<_> = held.iter().filter(|name| !remembered.contains(name)).collect();
                ensure!(unknown.is_empty(), "{}: {unknown:?} was in no ledger", change.namespace);
            }
        }
        Ok(())
    }

    fn is_target(&self, change: &Change) -> bool {
        change.name == self.name && self.namespaces.contains(&change.namespace)
    }

    /// These contents for each target.
    pub(crate) fn each(&self, contents: &[&str]) -> BTreeMap<String, Vec<String>> {
        let contents: Vec<_> = contents.iter().map(ToString::to_string).collect();
        self.namespaces.iter().map(|namespace| (namespace.clone(), contents.clone())).collect()
    }

    /// The controller's writes of ledger and targets since then, in the order in which they were answered. None was
    /// refused.
    pub(crate) async fn writes(&self, since: Mark) -> Result<Vec<Entry>> {
        let ledger = ledger_name(&self.name);
        let mut writes = self.control_plane.audit().writes_by(IDENTITY, since).await?;
        writes.retain(|entry| entry.resource == "configmaps" && [&self.name, &ledger].contains(&&entry.name));
        let refused: Vec<_> = writes.iter().filter(|entry| entry.code >= 300).collect();
        ensure!(refused.is_empty(), "{refused:#?}");
        Ok(writes)
    }

    /// [`Rotating::writes`] in short: `ledger` for one write of it, the number of targets for those in between.
    pub(crate) async fn steps(&self, since: Mark) -> Result<Vec<String>> {
        let writes = self.writes(since).await?;
        let steps = writes.chunk_by(|one, next| one.name == self.name && next.name == self.name);
        let step = |writes: &[Entry]| match writes {
            [write] if write.name != self.name => "ledger".to_owned(),
            writes => writes.len().to_string(),
        };
        Ok(steps.map(step).collect())
    }
}

/// The names of those of these CAs that an object holds.
fn held(change: &Change, cas: &[&Ca]) -> Vec<&'static str> {
    cas.iter().filter(|ca| change.holds(ca.pem().trim())).map(|ca| ca.name).collect()
}
