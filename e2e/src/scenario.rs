//! Scenarios: something happens to Bundles, sources, namespaces or targets, and then every target holds the right bytes,
//! and no target was written that did not have to be.
//!
//! ```text
//! Barrier::start ──▶ Scenario::begin ──▶ apply, edit, delete ──▶ then(when, bundle, writes, Scene) ──▶ apply, … ──▶ then …
//! ```

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::ApiResource,
};
use rootcast::{
    api::{BUNDLE_LABEL, Bundle, SYNCED},
    trust::{Anchors, Fingerprint, pem},
};
use serde_json::{Value, json};

use crate::{Barrier, ControlPlane, Entry, IDENTITY, Mark, eventually};

/// How long a change may take to arrive everywhere on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The namespace that sources are in.
pub const TRUST_NAMESPACE: &str = "cert-manager";

/// As whom scenarios change objects.
const SOMEBODY: &str = "somebody";

/// A place for one scenario: namespaces of its own, `<scenario>-a` and so on, labelled `scenario: <scenario>`.
pub struct Scenario<'a> {
    /// To see and do what a [`Scenario`] has no word for.
    pub client: Client,
    control_plane: &'a ControlPlane,
    barrier: &'a Barrier<'a>,
    name: String,
    mark: Cell<Mark>,
}

/// How a Bundle and all objects of its name are, or must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The reason of condition `Synced`; only `Synced` goes with the status `True`.
    pub reason: String,
    /// Every ConfigMap of the Bundle's name, by namespace.
    pub config_maps: BTreeMap<String, Target>,
    /// Every Secret of the Bundle's name, by namespace.
    pub secrets: BTreeMap<String, Target>,
}

/// One object of a Bundle's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// All its keys.
    pub content: Content,
    /// Whether it is the Bundle's: labelled, and owned by the Bundle's present uid and by nobody else.
    pub ours: bool,
}

/// The keys of an object and their bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<String, Vec<u8>>);

impl<'a> Scenario<'a> {
    /// Begins a scenario in new namespaces, `<name>-a` for `a`; counts writes from here on.
    pub async fn begin(barrier: &'a Barrier<'a>, name: &str, namespaces: &[&str]) -> Result<Self> {
        let control_plane = barrier.control_plane();
        let mark = Cell::new(control_plane.audit().mark().await?);
        let scenario = Self { client: control_plane.client(), control_plane, barrier, name: name.to_owned(), mark };
        for namespace in namespaces {
            scenario.join(namespace).await?;
        }
        Ok(scenario)
    }

    /// The name of a namespace of this scenario.
    #[must_use]
    pub fn namespace(&self, short: &str) -> String {
        format!("{}-{short}", self.name)
    }

    /// Creates a namespace of this scenario, or gives it back the label.
    pub async fn join(&self, short: &str) -> Result<Namespace> {
        self.control_plane.namespace(&self.namespace(short), &[("scenario", &self.name)]).await
    }

    /// Takes the scenario's label off a namespace, or creates one without.
    pub async fn leave(&self, short: &str) -> Result<Namespace> {
        self.control_plane.namespace(&self.namespace(short), &[]).await
    }

    /// Creates an object or makes it be so (server-side apply): what an earlier call said and this one does not, goes.
    pub async fn apply(&self, object: &Value) -> Result<DynamicObject> {
        apply(&self.client, object).await
    }

    /// Changes an object as somebody else (JSON merge patch).
    pub async fn edit(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Result<DynamicObject> {
        let params = PatchParams { field_manager: Some(SOMEBODY.to_owned()), ..PatchParams::default() };
        let objects = objects(&self.client, kind, namespace)?;
        objects.patch(name, &params, &Patch::Merge(patch)).await.with_context(|| format!("editing {kind} {name}"))
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let objects = objects(&self.client, kind, namespace)?;
        objects.delete(name, &DeleteParams::default()).await.with_context(|| format!("deleting {kind} {name}"))?;
        Ok(())
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Result<String> {
        self.control_plane.kubectl_ok(args, stdin)
    }

    /// A scene in which the Bundle is synced and each of these namespaces has a ConfigMap of this content.
    #[must_use]
    pub fn synced(&self, namespaces: &[&str], content: &Content) -> Scene {
        Scene { reason: SYNCED.to_owned(), config_maps: self.everywhere(namespaces, content), secrets: BTreeMap::new() }
    }

    /// Targets of one content in these namespaces.
    #[must_use]
    pub fn everywhere(&self, namespaces: &[&str], content: &Content) -> BTreeMap<String, Target> {
        let target = Target { content: content.clone(), ours: true };
        namespaces.iter().map(|short| (self.namespace(short), target.clone())).collect()
    }

    /// [`Scenario::then_all`] for one Bundle; returns the writes.
    pub async fn then(&self, when: &str, bundle: &str, writes: usize, expected: &Scene) -> Result<Vec<Entry>> {
        self.then_all(when, &[(bundle, writes, expected)]).await
    }

    /// Waits until the scene of each Bundle is as expected, and then until the controller has nothing more to do. The
    /// scenes must stay, and since the last time (or the beginning) so many targets of each Bundle must have been
    /// written, none in vain. Returns the writes in the order of the Bundles.
    ///
    /// # Panics
    /// With `when`, if it does not come to this.
    pub async fn then_all(&self, when: &str, bundles: &[(&str, usize, &Scene)]) -> Result<Vec<Entry>> {
        for (bundle, _, expected) in bundles {
            self.becomes(when, bundle, expected).await;
        }
        self.barrier.sync(&self.client).await?;
        let mut all = Vec::new();
        for (bundle, writes, expected) in bundles {
            let written = self.written(bundle).await.with_context(|| when.to_owned())?;
            assert_eq!(&&self.scene(bundle).await?, expected, "{when}: {bundle} did not stay so");
            assert_eq!(written.len(), *writes, "{when}: writes to targets of {bundle}: {written:#?}");
            all.extend(written);
        }
        self.count_from_here().await?;
        Ok(all)
    }

    /// Waits until the scene is as expected.
    ///
    /// # Panics
    /// With `when`, if it does not come to this.
    pub async fn becomes(&self, when: &str, bundle: &str, expected: &Scene) {
        eventually(when, SOON, async || {
            let scene = self.scene(bundle).await?;
            ensure!(&scene == expected, "{scene:#?} is not {expected:#?}");
            Ok(())
        })
        .await;
    }

    /// Forgets the writes so far. [`Scenario::then`] does so itself.
    pub async fn count_from_here(&self) -> Result<()> {
        self.mark.set(self.control_plane.audit().mark().await?);
        Ok(())
    }

    /// The controller's writes to targets of that name, in the order in which they were answered. Fails if one was in
    /// vain, or if the controller was denied anything.
    pub async fn written(&self, bundle: &str) -> Result<Vec<Entry>> {
        let since = self.control_plane.audit().since(self.mark.get()).await?;
        let ours = since.into_iter().filter(|entry| entry.user == IDENTITY);
        let (denied, mut writes): (Vec<_>, Vec<_>) = ours.partition(Entry::is_denied);
        ensure!(denied.is_empty(), "the controller was denied: {denied:#?}");
        writes.retain(|entry| {
            entry.is_write() && ["configmaps", "secrets"].contains(&entry.resource.as_str()) && entry.name == bundle
        });
        // An object that lacks our label is watched by nobody: that it is there is what a POST is answered.
        writes.retain(|entry| !(entry.verb == "create" && entry.code == 409));
        let in_vain: Vec<_> = writes.iter().filter(|entry| entry.code >= 300).collect();
        ensure!(in_vain.is_empty(), "writes in vain: {in_vain:#?}");
        Ok(writes)
    }

    /// How a Bundle and the objects of its name are.
    pub async fn scene(&self, name: &str) -> Result<Scene> {
        let bundle = Api::<Bundle>::all(self.client.clone()).get_opt(name).await?;
        let uid = bundle.as_ref().and_then(|bundle| bundle.metadata.uid.clone());
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let target = |metadata: &ObjectMeta, content| Target { content, ours: is_ours(metadata, name, uid.as_deref()) };
        let place = |metadata: &ObjectMeta| metadata.namespace.clone().unwrap_or_default();
        let config_maps = Api::<ConfigMap>::all(self.client.clone()).list(&params).await?;
        let secrets = Api::<Secret>::all(self.client.clone()).list(&params).await?;
        Ok(Scene {
            reason: reason(bundle.as_ref()),
            config_maps: config_maps
                .into_iter()
                .map(|found| (place(&found.metadata), target(&found.metadata, Content::of_config_map(&found))))
                .collect(),
            secrets: secrets
                .into_iter()
                .map(|found| (place(&found.metadata), target(&found.metadata, Content::of_secret(&found))))
                .collect(),
        })
    }

    /// A condition of a Bundle, once it is about the present spec.
    pub async fn condition(&self, bundle: &str, type_: &str) -> Result<Condition> {
        let bundle = Api::<Bundle>::all(self.client.clone()).get(bundle).await?;
        condition(&bundle, type_).with_context(|| format!("no condition {type_} yet"))
    }
}

/// Server-side apply of a whole object.
pub async fn apply(client: &Client, object: &Value) -> Result<DynamicObject> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let objects = objects(client, kind, text("/metadata/namespace"))?;
    let params = PatchParams::apply(SOMEBODY).force();
    objects.patch(name, &params, &Patch::Apply(object)).await.with_context(|| format!("applying {kind} {name}"))
}

/// The objects of a kind; the namespace does not matter for those that have none.
pub fn objects(client: &Client, kind: &str, namespace: &str) -> Result<Api<DynamicObject>> {
    let namespaced = |resource| Api::namespaced_with(client.clone(), namespace, &resource);
    Ok(match kind {
        "Bundle" => Api::all_with(client.clone(), &ApiResource::erase::<Bundle>(&())),
        "Namespace" => Api::all_with(client.clone(), &ApiResource::erase::<Namespace>(&())),
        "ConfigMap" => namespaced(ApiResource::erase::<ConfigMap>(&())),
        "Secret" => namespaced(ApiResource::erase::<Secret>(&())),
        _ => anyhow::bail!("scenarios know no {kind}"),
    })
}

fn is_ours(metadata: &ObjectMeta, bundle: &str, uid: Option<&str>) -> bool {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(BUNDLE_LABEL));
    // What holds keys of others has its namespace as second owner.
    let owners = metadata.owner_references.iter().flatten().filter(|owner| owner.kind != "Namespace");
    let owners: Vec<_> = owners.collect();
    label.is_some_and(|label| label == bundle)
        && matches!(&owners[..], [owner] if owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

fn reason(bundle: Option<&Bundle>) -> String {
    let Some(bundle) = bundle else { return "no Bundle".to_owned() };
    match condition(bundle, SYNCED) {
        Some(Condition { status, reason, .. }) if (status == "True") == (reason == SYNCED) => reason,
        Some(odd) => format!("{odd:?}"),
        None => "no condition yet".to_owned(),
    }
}

fn condition(bundle: &Bundle, type_: &str) -> Option<Condition> {
    let mut conditions = bundle.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.find(|condition| condition.type_ == type_)?;
    (found.observed_generation == bundle.metadata.generation).then(|| found.clone())
}

impl Content {
    /// One key.
    #[must_use]
    pub fn key(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().and(name, bytes)
    }

    /// One key more.
    #[must_use]
    pub fn and(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(name.to_owned(), bytes.into());
        self
    }

    /// The names of the keys.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// What a ConfigMap holds, as text or not.
    #[must_use]
    pub fn of_config_map(found: &ConfigMap) -> Self {
        let text = found.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let binary = found.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
        Self(text.chain(binary).collect())
    }

    /// What a Secret holds.
    #[must_use]
    pub fn of_secret(found: &Secret) -> Self {
        Self(found.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect())
    }
}

/// Length and digest of each key: enough to tell contents apart, and readable.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.iter().map(|(key, bytes)| (key, (bytes.len(), Fingerprint::of(bytes).short())));
        f.debug_map().entries(keys).finish()
    }
}

/// A Bundle whose spec is given in YAML.
///
/// # Panics
/// When it is no YAML.
#[must_use]
pub fn bundle(name: &str, spec: &str) -> Value {
    let spec: Value = serde_saphyr::from_str(spec).expect("a scenario's YAML");
    json!({"apiVersion": rootcast::api::API_VERSION, "kind": "Bundle", "metadata": {"name": name}, "spec": spec})
}

/// A ConfigMap or Secret in the trust namespace.
#[must_use]
pub fn source(kind: &str, name: &str, labels: &[(&str, &str)], data: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    let value = |text: &str| if kind == "Secret" { json!(ByteString(text.into())) } else { json!(text) };
    let data: BTreeMap<_, _> = data.iter().map(|(key, text)| (key, value(text))).collect();
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": TRUST_NAMESPACE, "labels": labels},
        "data": data,
    })
}

/// The text of a recorded certificate.
///
/// # Panics
/// When there is none of that name.
#[must_use]
pub fn certificate(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cases/certs/{name}.pem"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Recorded certificates in the order in which targets hold them.
///
/// # Panics
/// When there is no such certificate.
#[must_use]
pub fn anchors(names: &[&str]) -> Anchors {
    let blocks = names.iter().flat_map(|name| pem::read(certificate(name).as_bytes()).expect("a recorded certificate"));
    let anchors = blocks.map(|block| block.certificate.expect("a usable certificate"));
    Anchors::collect(anchors).expect("at least one certificate")
}

/// One key with these certificates, as targets hold them.
#[must_use]
pub fn pem_key(key: &str, certificates: &[&str]) -> Content {
    Content::key(key, anchors(certificates).to_pem())
}
