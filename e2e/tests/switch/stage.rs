//! The node, its tenants and their Bundles, and what can be seen of them.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use rootcast::api::{Bundle, SOURCES_COMPLETE, SYNCED};
use rootcast_e2e::{
    Entry, Mark, Node, eventually, release_binary,
    scenario::{TRUST_NAMESPACE, apply, bundle, certificate, source},
};
use serde_json::{from_value, json};
use tokio::task::JoinHandle;

use crate::{peer, recording};

/// How many namespaces every Bundle reaches.
pub(crate) const TENANTS: usize = 50;

/// Bundles, with their specs but for the selector. `corporate` has the source that changes and the key that is renamed.
const BUNDLES: [(&str, &str); 3] = [
    (
        "corporate",
        "sources: [{configMap: {name: corporate-ca, key: ca.crt}}]
target: {configMap: {key: ca.pem}, additionalFormats: {jks: {key: ca.jks}, pkcs12: {key: ca.p12, profile: Modern2023}}",
    ),
    ("public", "sources: [{useDefaultCAs: true}]\ntarget: {configMap: {key: ca.pem}"),
    ("sealed", "sources: [{secret: {name: sealed-ca, key: ca.crt}}]\ntarget: {secret: {key: ca.pem}"),
];

/// trust-manager writes five objects a second.
const SLOW: Duration = Duration::from_mins(3);

/// For how long nothing may happen where nothing is to happen.
const QUIET: Duration = Duration::from_secs(10);

/// The product's image, as `make image` makes it.
const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/image/rootcast.tar");

pub(crate) struct Stage {
    pub(crate) node: &'static Node,
    began: Instant,
}

impl Stage {
    /// A node with the product's image and empty tenants.
    pub(crate) async fn set() -> Result<Self> {
        let stage = Self { node: Node::shared().await, began: Instant::now() };
        stage.node.import(Path::new(IMAGE))?;
        let namespaces = Api::<Namespace>::all(stage.node.client());
        let create = async |(name, labels): (String, serde_json::Value)| {
            let namespace = json!({"metadata": {"name": name, "labels": labels}});
            namespaces.create(&PostParams::default(), &from_value(namespace)?).await.context(name)
        };
        let tenants = (0..TENANTS).map(|number| (tenant(number), json!({"tenant": ""})));
        let all = tenants.chain([(TRUST_NAMESPACE.to_owned(), json!({}))]);
        stream::iter(all).map(create).buffer_unordered(8).try_for_each(async |_| Ok(())).await?;
        Ok(stage)
    }

    /// Says what was seen, for the closing line of a run that nobody watched.
    pub(crate) fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Runs helm in the trust namespace with trust-manager's values at hand, and waits until its pods are ready.
    pub(crate) fn helm(&self, what: &str, args: &[&str]) -> Result<()> {
        let settled = ["--namespace", TRUST_NAMESPACE, "--wait", "--timeout=3m"];
        let done = self.node.helm_ok(&[args, &settled].concat(), &peer::values().to_string());
        if done.is_err() {
            let told = self.node.kubectl_ok(&["describe", "pods", "--namespace", TRUST_NAMESPACE], "")?;
            println!("{told}");
        }
        self.say(what);
        done.map(drop)
    }

    pub(crate) async fn mark(&self) -> Result<Mark> {
        self.node.audit().mark().await
    }

    /// Creates sources and Bundles.
    pub(crate) async fn populate(&self) -> Result<()> {
        let client = self.node.client();
        self.change_source(&certificate("ec")).await?;
        apply(&client, &source("Secret", "sealed-ca", &[], &[("ca.crt", &certificate("rsa"))])).await?;
        for (name, spec) in BUNDLES {
            let spec = format!("{spec}, namespaceSelector: {{matchLabels: {{tenant: ''}}}}}}");
            apply(&client, &bundle(name, &spec)).await?;
        }
        Ok(())
    }

    pub(crate) async fn change_source(&self, text: &str) -> Result<()> {
        apply(&self.node.client(), &source("ConfigMap", "corporate-ca", &[], &[("ca.crt", text)])).await?;
        Ok(())
    }

    pub(crate) async fn rename_key(&self) -> Result<()> {
        let renamed = BUNDLES[0].1.replace("ca.pem", "roots.pem");
        let spec = format!("{renamed}, namespaceSelector: {{matchLabels: {{tenant: ''}}}}}}");
        apply(&self.node.client(), &bundle(BUNDLES[0].0, &spec)).await?;
        Ok(())
    }

    /// Waits until all Bundles are synced as they are now.
    pub(crate) async fn until_synced(&self, what: &str) {
        self.until(what, |_| true).await;
    }

    /// The same, with the condition that only rootcast has.
    pub(crate) async fn until_ours(&self, what: &str) {
        self.until(what, |bundle| condition(bundle, SOURCES_COMPLETE).is_some()).await;
    }

    /// The same, when trust-manager has looked at all of them: at one more after them, since it takes them in turn.
    pub(crate) async fn until_theirs(&self, what: &str) -> Result<()> {
        let client = self.node.client();
        let spec = "{sources: [{useDefaultCAs: true}], target: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {no: one}}}}";
        apply(&client, &bundle("last", spec)).await?;
        let bundles = Api::<Bundle>::all(client);
        eventually(what, SLOW, async || {
            ensure!(is_synced(&bundles.get("last").await?), "the last one is not synced");
            Ok(())
        })
        .await;
        bundles.delete("last", &DeleteParams::default()).await?;
        self.until_synced(what).await;
        Ok(())
    }

    async fn until(&self, what: &str, is: fn(&Bundle) -> bool) {
        let bundles = Api::<Bundle>::all(self.node.client());
        eventually(what, SLOW, async || {
            for (name, _) in BUNDLES {
                let found = bundles.get(name).await?;
                ensure!(is_synced(&found) && is(&found), "{name}: {:?}", found.status);
            }
            Ok(())
        })
        .await;
        self.say(what);
    }

    /// Waits until every target of `corporate` holds this PEM.
    pub(crate) async fn until_holding(&self, what: &str, pem: &str) {
        eventually(what, SLOW, async || {
            for target in self.corporate().await? {
                let held = target.data.as_ref().and_then(|data| data.get("ca.pem"));
                ensure!(held.is_some_and(|held| held.trim() == pem.trim()), "{:?}", target.metadata.namespace);
            }
            Ok(())
        })
        .await;
        self.until_synced(what).await;
    }

    /// Waits until every target of `corporate` has its key under the new name, and nothing else.
    pub(crate) async fn until_renamed(&self, what: &str) {
        eventually(what, SLOW, async || {
            for target in self.corporate().await? {
                let keys: BTreeSet<_> = target.data.iter().flat_map(|data| data.keys()).collect();
                ensure!(keys.iter().eq(["roots.pem"].iter()), "{:?}: {keys:?}", target.metadata.namespace);
            }
            Ok(())
        })
        .await;
        self.until_synced(what).await;
    }

    async fn corporate(&self) -> Result<Vec<ConfigMap>> {
        let named = ListParams::default().fields("metadata.name=corporate");
        let targets = Api::<ConfigMap>::all(self.node.client()).list(&named).await?.items;
        ensure!(targets.len() == TENANTS, "{} targets", targets.len());
        Ok(targets)
    }

    /// Waits for a while; fails if anybody wrote a target since the mark, or deleted one.
    pub(crate) async fn writes_nothing(&self, what: &str, since: Mark) -> Result<()> {
        tokio::time::sleep(QUIET).await;
        let entries = self.target_writes(since).await?;
        ensure!(entries.is_empty(), "{what}: {} writes, such as {:#?}", entries.len(), entries[0]);
        self.say(&format!("{what}: 0 writes to {} targets", TENANTS * BUNDLES.len()));
        Ok(())
    }

    /// Every write of a target, by whomever. Fails if our controller was denied anything; trust-manager's pod may still
    /// run when the chart has replaced its role.
    async fn target_writes(&self, since: Mark) -> Result<Vec<Entry>> {
        let mut entries = self.node.audit().since(since).await?;
        let ours = |entry: &&Entry| {
            entry.code == 403
                && entry.user.starts_with("system:serviceaccount:cert-manager:")
                && !entry.is_by(peer::NAME)
        };
        let denied: Vec<_> = entries.iter().filter(ours).collect();
        ensure!(denied.is_empty(), "denied: {denied:#?}");
        entries.retain(|entry| {
            entry.is_write()
                && ["configmaps", "secrets"].contains(&entry.resource.as_str())
                && BUNDLES.iter().any(|(bundle, _)| *bundle == entry.name)
        });
        Ok(entries)
    }

    /// Ends the controller and hands back; so many targets need it.
    pub(crate) async fn hand_back(&self, what: &str, targets: usize) -> Result<()> {
        let scale = ["scale", "deployment", peer::NAME, "--namespace", TRUST_NAMESPACE, "--replicas=0"];
        self.node.kubectl_ok(&scale, "")?;
        let pods = ["wait", "pod", "--namespace", TRUST_NAMESPACE, "--for=delete", "--selector=app=trust-manager"];
        self.node.kubectl_ok(&pods, "")?;
        let mark = self.mark().await?;
        let mut command = tokio::process::Command::new(release_binary().await?);
        let kubeconfig = format!("--kubeconfig={}", self.node.kubeconfig().display());
        let told = command.args(["hand-back", "--write", &kubeconfig]).output().await?;
        ensure!(told.status.success(), "{told:?}");
        let writes = self.target_writes(mark).await?.len();
        ensure!(writes == targets, "{what}: {writes} writes and not {targets}: {told:?}");
        self.say(&format!("{what}: {writes} requests"));
        Ok(())
    }

    /// Notes every moment at which a Bundle is not synced.
    pub(crate) fn watch_conditions(&self) -> Watched {
        let bundles = Api::<Bundle>::all(self.node.client());
        let bad: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = bad.clone();
        let task = tokio::spawn(async move {
            let mut seen = watcher(bundles, watcher::Config::default()).default_backoff().applied_objects().boxed();
            while let Some(bundle) = seen.next().await {
                // As the CRD is replaced the API server ends watches: then all is listed anew.
                let Ok(bundle) = bundle else { continue };
                // One that was just created is not synced yet.
                let bad = condition(&bundle, SYNCED).filter(|one| one.status != "True");
                let note = bad.map(|one| format!("{}: {one:?}", bundle.name_any()));
                noted.lock().expect("no note is half written").extend(note);
            }
        });
        Watched { task, bad }
    }

    /// Asks for a Bundle that no webhook would let pass; returns the refusal.
    pub(crate) fn apply_nonsense(&self) -> Result<String> {
        let nonsense = bundle(
            "nonsense",
            "sources: [{inLine: 'not PEM'}]\ntarget: {configMap: {key: ca.pem}, namespaceSelector: {matchLabels: {'not a key!': ''}}}",
        );
        let told = self.node.kubectl(&["create", "-f", "-"], &nonsense.to_string())?;
        ensure!(!told.status.success(), "it was let pass");
        Ok(String::from_utf8(told.stderr)?.trim().to_owned())
    }

    pub(crate) async fn record(&self, phase: &str) -> Result<()> {
        let client = self.node.client();
        let sources = [
            json!(Api::<ConfigMap>::namespaced(client.clone(), TRUST_NAMESPACE).get("corporate-ca").await?),
            json!(Api::<Secret>::namespaced(client.clone(), TRUST_NAMESPACE).get("sealed-ca").await?),
        ];
        let bundles = Api::<Bundle>::all(client.clone()).list(&ListParams::default()).await?.items;
        let mut targets = Vec::new();
        for (bundle, _) in BUNDLES {
            targets.extend(match bundle {
                "sealed" => Api::<Secret>::namespaced(client.clone(), &tenant(0))
                    .get_opt(bundle)
                    .await?
                    .map(|found| json!(found)),
                _ => Api::<ConfigMap>::namespaced(client.clone(), &tenant(0))
                    .get_opt(bundle)
                    .await?
                    .map(|found| json!(found)),
            });
        }
        recording::write(phase, &sources, &bundles, &targets)
    }
}

/// Conditions under observation.
pub(crate) struct Watched {
    task: JoinHandle<()>,
    bad: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    /// Fails if any Bundle was not synced at any moment.
    pub(crate) fn end(self, when: &str) -> Result<()> {
        self.task.abort();
        let bad = self.bad.lock().expect("no note is half written");
        ensure!(bad.is_empty(), "{when}: {bad:#?}");
        println!("          {when} every Bundle was Synced=True all the time");
        Ok(())
    }
}

fn condition<'a>(bundle: &'a Bundle, type_: &str) -> Option<&'a Condition> {
    bundle.status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|one| one.type_ == type_)
}

/// Whether it says so, and of what it is now.
fn is_synced(bundle: &Bundle) -> bool {
    condition(bundle, SYNCED)
        .is_some_and(|one| one.status == "True" && one.observed_generation == bundle.metadata.generation)
}

fn tenant(number: usize) -> String {
    format!("tenant-{number:02}")
}
