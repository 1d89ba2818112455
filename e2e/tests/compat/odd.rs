//! Bundles that our definition would not let in, but an older one did.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Resource as _,
    api::{ListParams, PostParams},
};
use rootcast::api::{Bundle, crd_yaml};
use rootcast_e2e::{
    Barrier, ControlPlane, Controller, eventually,
    scenario::{SOON, bundle, certificate, objects},
};
use serde_json::{Value, from_value, json};

use crate::{create, is_target, writes};

/// Bundles that cannot be carried out: name, spec in YAML, and every problem that the condition must name.
const ODD: &[(&str, &str, &[&str])] = &[
    (
        "a-name-that-is-sixty-four-characters-long-and-so-one-too-many-xx",
        "{sources: [{inLine: x}], target: {configMap: {key: k}}}",
        &["metadata.name: ", "must be no more than 63 characters"],
    ),
    (
        "every-source-is-wrong",
        "{sources: [{}, {configMap: {name: a}}, {secret: {name: a, key: k, includeAllKeys: true}}, {secret: {key: k}}, \
         {useDefaultCAs: true}, {useDefaultCAs: true}]}",
        &[
            "spec.sources[0]: Forbidden: must define exactly one source type for each item but found 0 defined types",
            "spec.sources[1].configMap: ",
            "source configMap key must be defined when includeAllKeys is false",
            "spec.sources[2].secret: ",
            "source secret key cannot be defined when includeAllKeys is true",
            "spec.sources[3].secret: ",
            "must validate one and only one schema (oneOf): [name, selector]. Found none valid",
            "spec.sources: Forbidden: must request default CAs either once or not at all but got 2 requests",
        ],
    ),
    (
        "every-target-is-wrong",
        "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {labels: {trust.cert-manager.io/bundle: x}}}, \
         additionalFormats: {jks: {key: k}, pkcs12: {key: p, profile: Newest}}, \
         namespaceSelector: {matchExpressions: [{key: a, operator: Near}]}}}",
        &[
            "spec.target.configMap.metadata.labels: ",
            "trust.cert-manager.io/* labels are not allowed",
            "spec.target.additionalFormats.jks.key: ",
            "key must be unique across all target output keys",
            "spec.target.additionalFormats.pkcs12.profile: ",
            "spec.target.namespaceSelector.matchExpressions[0].operator: ",
        ],
    ),
    (
        "its-own-source",
        "{sources: [{configMap: {name: its-own-source, key: k}}], target: {configMap: {key: k}}}",
        &["spec.sources: Forbidden: cannot define the same source as target"],
    ),
    ("sources-are-a-word", "{sources: none, target: {configMap: {key: k}}}", &["it cannot be read: "]),
    ("keys-are-numbers", "{sources: [{inLine: 1}], target: {configMap: {key: 2}}}", &["it cannot be read: "]),
];

#[tokio::test]
async fn bundles_that_no_rule_kept_out_are_refused_with_all_their_problems_and_disturb_nobody() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    control_plane.install_crd(&without_rules(&crd_yaml())?).await?;
    let client = control_plane.client();
    let barrier = Barrier::start(&control_plane, false).await?;
    let sound = json!({"sources": [{"inLine": certificate("ec")}], "target": {"configMap": {"key": "k"}}});
    let mut all: Vec<_> = ODD.iter().map(|(name, spec, _)| bundle(name, spec)).collect();
    all.push(bundle("sound", &sound.to_string()));
    for object in &all {
        let probe = from_value(object.clone())?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let bundles = objects(&client, "Bundle", "")?;
        eventually("no rule is in force", SOON, async || Ok(bundles.create(&dry_run, &probe).await?)).await;
    }
    create(&client, all).await?;

    let began = control_plane.audit().mark().await?;
    let controller = Controller::start(&control_plane, &[]).await?;
    for (name, _, problems) in ODD {
        let message = refusal(&control_plane, name).await;
        for problem in *problems {
            assert!(message.contains(problem), "{name}: no {problem:?} in {message:?}");
        }
    }
    barrier.sync(&client).await?;
    let synced = objects(&client, "Bundle", "")?.get("sound").await?;
    assert_eq!(synced.data["status"]["conditions"][1]["reason"], "Synced", "{:?}", synced.data["status"]);
    let written = writes(&control_plane, began).await?;
    let strange: Vec<_> = written.iter().filter(|entry| is_target(entry) && entry.name != "sound").collect();
    ensure!(strange.is_empty(), "targets of Bundles that were refused: {strange:#?}");
    let events = Api::<Event>::all(client.clone()).list(&ListParams::default()).await?;
    for (name, ..) in ODD {
        let about = |event: &&Event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|it| it.name.as_deref() == Some(name) && it.kind.as_deref() == Some(&Bundle::kind(&())))
        };
        let events: Vec<_> = events.iter().filter(about).collect();
        ensure!(events.len() == 1 && events[0].series.is_none(), "{name}: {events:#?}");
        assert_eq!(events[0].reason.as_deref(), Some("InvalidSpec"), "{name}");
    }

    let changed = control_plane.audit().mark().await?;
    control_plane.install_crd(&crd_yaml()).await?;
    barrier.sync(&client).await?;
    assert_eq!(writes(&control_plane, changed).await?, [], "the rules change nothing for what is stored");
    controller.stop().await?;
    control_plane.finish().await
}

/// The message of `Synced`, once it says that the Bundle is invalid.
async fn refusal(control_plane: &ControlPlane, name: &str) -> String {
    let bundles = objects(&control_plane.client(), "Bundle", "").expect("Bundles are known");
    eventually(name, SOON, async || {
        let bundle = bundles.get(name).await?;
        let conditions = bundle.data["status"]["conditions"].as_array().context("no conditions yet")?;
        let synced = conditions.iter().find(|condition| condition["type"] == "Synced").context("no Synced yet")?;
        ensure!(
            synced["status"] == "False"
                && synced["reason"] == "InvalidSpec"
                && synced["observedGeneration"] == json!(bundle.meta().generation),
            "{synced}"
        );
        Ok(synced["message"].as_str().context("a message")?.to_owned())
    })
    .await
}

/// The definition as a careless administrator may have had it: any spec will do.
fn without_rules(definition: &str) -> Result<String> {
    let mut definition: Value = serde_saphyr::from_str(definition)?;
    let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").context("a schema")?;
    schema.as_object_mut().context("a schema is an object")?.remove("x-kubernetes-validations");
    schema["properties"]["spec"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Ok(definition.to_string())
}
