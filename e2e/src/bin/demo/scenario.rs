//! The scenario: a day in the life of a few trust bundles.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use rootcast::api::BUNDLE_LABEL;
use rootcast_e2e::IDENTITY;
use serde_json::json;

use crate::{
    certificates, injector,
    stage::{Stage, say, show, title},
};

/// Chapter by chapter, each on the ground of the ones before. Chapters return how many targets had to be written.
pub(crate) async fn tell(stage: &Stage<'_>) -> Result<()> {
    let audit = stage.control_plane.audit();
    let began = audit.mark().await?;
    let mut due = publish(stage).await?;
    look_closer(stage).await?;
    due += change_a_source(stage).await?;
    due += create_a_namespace(stage).await?;
    due += delete_a_target(stage).await?;
    injector::create_a_pod(stage).await?;
    break_a_source(stage).await?;
    ask_the_impossible(stage)?;

    title("The account");
    let writes = audit.writes_by(IDENTITY, began).await?;
    let targets = writes.iter().filter(|entry| entry.resource == "configmaps").count();
    say(&format!("{due} targets had to be written in this scenario; the controller sent {targets} writes."));
    ensure!(targets == due, "the controller wrote in vain");
    Ok(())
}

async fn publish(stage: &Stage<'_>) -> Result<usize> {
    title("Publish");
    say("Three teams have namespaces; that of payments carries the label team=payments.");
    stage.control_plane.namespace("shop", &[]).await?;
    stage.control_plane.namespace("blog", &[]).await?;
    stage.control_plane.namespace("payments", PAYMENTS).await?;
    say("The samples: two ConfigMaps and a Secret that hold CAs, three Bundles that publish them.");
    stage.kubectl("apply -k config/samples")?;
    for bundle in ["public-and-private", "java", "payments"] {
        stage.reason(bundle, "Synced").await?;
    }
    stage.kubectl("get bundles")?;
    stage.kubectl("get configmaps --all-namespaces --selector trust.cert-manager.io/bundle")?;
    Ok(targets(stage).await?.len())
}

async fn look_closer(stage: &Stage<'_>) -> Result<()> {
    title("What the teams see");
    say("public-and-private: Mozilla's CAs, a ConfigMap, a Secret and a certificate in the Bundle.");
    stage.target("public-and-private", "shop").await?;
    say("java: PEM beside a Java keystore and a PKCS#12 trust store.");
    stage.target("java", "shop").await?;
    say("payments: only where the Bundle's namespaceSelector matches.");
    stage.target("payments", "payments").await
}

async fn change_a_source(stage: &Stage<'_>) -> Result<usize> {
    title("Rotate a CA");
    say("The next root is added to ConfigMap cert-manager/corporate-ca, beside the one in use.");
    let added = certificates::new_ca("Example Corp Root CA 2")?;
    let both = source(stage).await? + &added;
    // The targets' line ends may be others; the lines are the same.
    let line = added.lines().nth(1).context("a certificate has a body")?;
    let holds = |target: &ConfigMap| target.data.iter().flatten().any(|(_, text)| text.contains(line));
    let targets = targets(stage).await?;
    let readers: Vec<_> = targets
        .iter()
        .filter_map(|target| Some((target.metadata.name.as_deref()?, target.metadata.namespace.as_deref()?)))
        .filter(|(name, _)| READERS.contains(name))
        .collect();
    let (first, last) = stage.measure(set_source(stage, &both), &readers, holds).await?;
    let count = readers.len();
    say(&format!(
        "-> The new root is in all {count} targets of two Bundles: first after {first} ms, last after {last} ms."
    ));
    for bundle in READERS {
        stage.reason(bundle, "Synced").await?;
    }
    stage.target("java", "shop").await?;
    Ok(count)
}

async fn create_a_namespace(stage: &Stage<'_>) -> Result<usize> {
    title("A namespace is born");
    say("Namespace payments-test is created, with the label team=payments.");
    let create = async {
        stage.control_plane.namespace("payments-test", PAYMENTS).await?;
        Ok(())
    };
    let targets = ["public-and-private", "java", "payments"].map(|bundle| (bundle, "payments-test"));
    let (first, last) = stage.measure(create, &targets, |_| true).await?;
    say(&format!("-> Its 3 ConfigMaps are there: first after {first} ms, last after {last} ms."));
    stage.kubectl("get configmaps --namespace payments-test --selector trust.cert-manager.io/bundle")?;
    Ok(targets.len())
}

async fn delete_a_target(stage: &Stage<'_>) -> Result<usize> {
    title("Somebody deletes a target");
    say("ConfigMap shop/java is deleted.");
    let config_maps = stage.config_maps("shop");
    let old = config_maps.get("java").await?.uid();
    let delete = async {
        config_maps.delete("java", &DeleteParams::default()).await?;
        Ok(())
    };
    let (_, back) = stage.measure(delete, &[("java", "shop")], |target| target.uid() != old).await?;
    say(&format!("-> It is back after {back} ms."));
    Ok(1)
}

async fn break_a_source(stage: &Stage<'_>) -> Result<()> {
    title("A mistake");
    say("Somebody pastes only a part of the file into ConfigMap cert-manager/corporate-ca.");
    let whole = source(stage).await?;
    let before = versions(stage).await?;
    set_source(stage, &whole[..whole.len() - 300]).await?;
    let message = stage.reason("java", "SourceBuildError").await?;
    stage.reason("public-and-private", "SourceBuildError").await?;
    stage.kubectl("get bundles")?;
    say("The condition of Bundle java says what is wrong, and where:");
    show(&message);
    say("The source is mended.");
    set_source(stage, &whole).await?;
    for bundle in READERS {
        stage.reason(bundle, "Synced").await?;
    }
    ensure!(versions(stage).await? == before, "a target was touched");
    say("-> Both Bundles are synced again, and meanwhile not one target was touched.");
    Ok(())
}

fn ask_the_impossible(stage: &Stage<'_>) -> Result<()> {
    title("A Bundle that cannot be");
    say("The rules are in the CRD: the API server itself refuses, with no webhook to run.");
    stage.refused(IMPOSSIBLE)
}

const IMPOSSIBLE: &str = "\
apiVersion: trust.cert-manager.io/v1alpha1
kind: Bundle
metadata:
  name: impossible
spec:
  sources:
    - useDefaultCAs: true
    - useDefaultCAs: true
  target:
    configMap:
      key: ca.crt
";

/// The label that Bundle payments selects namespaces by.
const PAYMENTS: &[(&str, &str)] = &[("team", "payments")];

/// The source that changes.
const SOURCE: &str = "corporate-ca";
const SOURCE_KEY: &str = "ca.crt";

/// The Bundles that read it.
const READERS: [&str; 2] = ["public-and-private", "java"];

async fn source(stage: &Stage<'_>) -> Result<String> {
    let object = stage.config_maps("cert-manager").get(SOURCE).await?;
    object.data.and_then(|mut data| data.remove(SOURCE_KEY)).context("the source has its key")
}

async fn set_source(stage: &Stage<'_>, text: &str) -> Result<()> {
    let patch = Patch::Merge(json!({ "data": { SOURCE_KEY: text } }));
    stage.config_maps("cert-manager").patch(SOURCE, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn targets(stage: &Stage<'_>) -> Result<Vec<ConfigMap>> {
    let everywhere = Api::<ConfigMap>::all(stage.client.clone());
    Ok(everywhere.list(&ListParams::default().labels(BUNDLE_LABEL)).await?.items)
}

/// Every target with its resource version: equal means that nobody wrote.
async fn versions(stage: &Stage<'_>) -> Result<Vec<(Option<String>, String, Option<String>)>> {
    let targets = targets(stage).await?;
    Ok(targets.iter().map(|target| (target.namespace(), target.name_any(), target.resource_version())).collect())
}
