//! The control plane, and Bundles as plain data.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, Status},
};
use rootcast::api::{Bundle, FIELD_MANAGER, crd_yaml};
use rootcast_e2e::{ControlPlane, eventually};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// One character more than a Bundle's name may have.
pub(crate) const TOO_LONG: &str = "a-name-that-is-sixty-four-characters-long-and-so-one-too-many-xx";

/// The shared control plane, with the definition of Bundle.
pub(crate) async fn installed() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let control_plane = ControlPlane::shared().await;
    INSTALLED
        .get_or_init(|| async { control_plane.install_crd(&crd_yaml()).await.expect("the definition is accepted") })
        .await;
    control_plane
}

/// Bundles as plain data, so that a test can say what the types cannot.
pub(crate) fn bundles(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<Bundle>(&()))
}

pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("a test's YAML")
}

pub(crate) fn bundle(name: &str, spec: &Value) -> DynamicObject {
    let mut bundle = DynamicObject::new(name, &ApiResource::erase::<Bundle>(&()));
    bundle.data = json!({"spec": spec});
    bundle
}

pub(crate) async fn create(bundles: &Api<DynamicObject>, name: &str, spec: Value) -> kube::Result<DynamicObject> {
    bundles.create(&PostParams::default(), &bundle(name, &spec)).await
}

pub(crate) async fn replace_spec(bundles: &Api<DynamicObject>, name: &str, spec: Value) -> kube::Result<DynamicObject> {
    let mut changed = bundles.get(name).await?;
    changed.data["spec"] = spec;
    bundles.replace(name, &PostParams::default(), &changed).await
}

/// Everything that may happen to a Bundle beside a change of its spec: a status as the controller writes it, a label, a finalizer.
pub(crate) async fn touch(bundles: &Api<DynamicObject>, name: &str) -> Result<DynamicObject> {
    let generation = bundles.get_metadata(name).await?.meta().generation;
    let condition = json!({
        "type": "Synced", "status": "False", "reason": "InvalidSpec", "message": "told", "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z"
    });
    let mut status = json!({"apiVersion": Bundle::api_version(&()), "kind": Bundle::kind(&())});
    status["status"] = json!({"conditions": [condition]});
    let manager = PatchParams::apply(FIELD_MANAGER).force();
    let told = bundles.patch_status(name, &manager, &Patch::Apply(status)).await.context("applying a status")?;
    ensure!(told.data["status"]["conditions"] == json!([condition]), "the status is {}", told.data["status"]);

    let count = told.labels().get("touched").map_or(0, |count| count.parse().expect("a count"));
    let label =
        json!({"metadata": {"labels": {"touched": (count + 1).to_string()}, "finalizers": ["example.com/kept"]}});
    let labelled =
        bundles.patch(name, &PatchParams::default(), &Patch::Merge(label)).await.context("setting a label")?;
    ensure!(labelled.metadata.generation == generation, "the spec changed");
    Ok(labelled)
}

pub(crate) fn refusal(what: &str, answer: kube::Result<DynamicObject>) -> Box<Status> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 422 => status,
        Err(error) => panic!("{what}: {error}"),
        Ok(accepted) => panic!("{what}: accepted {:?}", accepted.data),
    }
}

/// The server refuses for one reason, in these words and for this field.
pub(crate) fn assert_refused(name: &str, says: &str, answer: kube::Result<DynamicObject>) {
    let status = refusal(name, answer);
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    let causes: Vec<_> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    assert_eq!(causes, [says], "{name}");
    assert!(status.message.ends_with(says), "{name}: {}", status.message);
}

/// The server takes up a new definition a moment after it was stored.
pub(crate) async fn rules_are_in_force(bundles: &Api<DynamicObject>, expected: bool) {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let probe = bundle("probe", &yaml("{sources: [{useDefaultCAs: false}]}"));
    eventually("the new definition is in force", SOON, async || {
        let refused = bundles.create(&dry_run, &probe).await.is_err();
        ensure!(refused == expected, "the probe was refused: {refused}");
        Ok(())
    })
    .await;
}
