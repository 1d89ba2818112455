//! Somebody edits or deletes a target.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rootcast_e2e::story::{Content, Scene, Story, Target, bundle, certificate, pem_key};
use serde_json::{Value, json};

use crate::stage;

/// An edit, and how many writes heal it.
struct Edit {
    what: &'static str,
    patch: fn() -> Value,
    writes: usize,
}

const EDITS: &[Edit] = &[
    Edit { what: "a value is edited", patch: || json!({"data": {"ca.pem": "edited"}}), writes: 1 },
    Edit {
        what: "a value becomes another certificate",
        patch: || json!({"data": {"ca.pem": certificate("rsa")}}),
        writes: 1,
    },
    Edit { what: "our key is deleted", patch: || json!({"data": {"ca.pem": null}}), writes: 1 },
    Edit { what: "all keys are deleted", patch: || json!({"data": null}), writes: 1 },
    Edit {
        what: "the label is changed",
        patch: || json!({"metadata": {"labels": {"trust.cert-manager.io/bundle": "nobody"}}}),
        writes: 1,
    },
    Edit {
        what: "the label is removed",
        patch: || json!({"metadata": {"labels": {"trust.cert-manager.io/bundle": null}}}),
        writes: 1,
    },
    Edit { what: "the owner is removed", patch: || json!({"metadata": {"ownerReferences": null}}), writes: 1 },
    Edit {
        what: "the hash is changed",
        patch: || json!({"metadata": {"annotations": {"trust.cert-manager.io/hash": "0"}}}),
        writes: 1,
    },
    Edit { what: "all annotations are removed", patch: || json!({"metadata": {"annotations": null}}), writes: 1 },
    Edit {
        what: "our label of the template is changed",
        patch: || json!({"metadata": {"labels": {"kept": "no"}}}),
        writes: 1,
    },
    Edit {
        what: "a foreign label and annotation are added",
        patch: || json!({"metadata": {"labels": {"foreign": "yes"}, "annotations": {"foreign": "yes"}}}),
        writes: 0,
    },
];

#[tokio::test]
async fn one_write_heals_what_somebody_did_to_a_configmap() -> Result<()> {
    let name = "healed";
    let story = Story::begin(stage().await, name, &["a", "b"]).await?;
    let expected = story.synced(&["a", "b"], &pem_key("ca.pem", &["ec"]));
    story.apply(&bundle(name, &spec(name, "configMap"))).await?;
    story.then("the Bundle comes", name, 2, &expected).await?;

    for Edit { what, patch, writes } in EDITS {
        story.edit("ConfigMap", &story.namespace("a"), name, &patch()).await?;
        story.then(what, name, *writes, &expected).await?;
    }
    let edited = Api::<ConfigMap>::namespaced(story.client.clone(), &story.namespace("a")).get(name).await?;
    assert_eq!(edited.metadata.labels.unwrap_or_default()["foreign"], "yes");

    // Not the one that was healed ten times: an eleventh time is a contest.
    story.delete("ConfigMap", &story.namespace("b"), name).await?;
    story.then("the target is deleted", name, 1, &expected).await?;
    Ok(())
}

#[tokio::test]
async fn one_write_heals_what_somebody_did_to_a_secret() -> Result<()> {
    let name = "healed-secret";
    let story = Story::begin(stage().await, name, &["a", "b"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    let expected = Scene { secrets: story.everywhere(&["a", "b"], &content), ..story.synced(&[], &content) };
    story.apply(&bundle(name, &spec(name, "secret"))).await?;
    story.then("the Bundle comes", name, 2, &expected).await?;

    for (what, patch) in [
        ("a value is edited", json!({"data": {"ca.pem": "AAAA"}})),
        ("our key is deleted", json!({"data": {"ca.pem": null}})),
        ("the owner is removed", json!({"metadata": {"ownerReferences": null}})),
    ] {
        story.edit("Secret", &story.namespace("a"), name, &patch).await?;
        story.then(what, name, 1, &expected).await?;
    }
    story.delete("Secret", &story.namespace("a"), name).await?;
    story.then("the target is deleted", name, 1, &expected).await?;

    let stripped = json!({"metadata": {"labels": {"trust.cert-manager.io/bundle": null}}});
    story.edit("Secret", &story.namespace("a"), name, &stripped).await?;
    let mut stays = Scene { reason: "SyncSecretTargetFailed".to_owned(), ..expected };
    stays.secrets.get_mut(&story.namespace("a")).expect("a target").ours = false;
    story.then("the label is removed: whose it is cannot be told", name, 0, &stays).await?;
    Ok(())
}

#[tokio::test]
async fn keys_of_others_stay_beside_ours() -> Result<()> {
    let name = "neighbours";
    let story = Story::begin(stage().await, name, &["a", "b"]).await?;
    let ours = pem_key("ca.pem", &["ec"]);
    story.apply(&bundle(name, &spec(name, "configMap"))).await?;
    story.then("the Bundle comes", name, 2, &story.synced(&["a", "b"], &ours)).await?;

    let shared = |content: &Content| {
        let mut scene = story.synced(&["a", "b"], &ours);
        scene.config_maps.insert(story.namespace("a"), Target { content: content.clone(), ours: true });
        scene
    };
    story.edit("ConfigMap", &story.namespace("a"), name, &json!({"data": {"theirs": "text"}})).await?;
    let with_theirs = ours.clone().and("theirs", "text");
    story.then("somebody adds a key", name, 0, &shared(&with_theirs)).await?;

    story.edit("ConfigMap", &story.namespace("a"), name, &json!({"data": {"ca.pem": "edited"}})).await?;
    story.then("somebody edits our key", name, 1, &shared(&with_theirs)).await?;

    story.edit("ConfigMap", &story.namespace("a"), name, &json!({"data": {"theirs": null}})).await?;
    story.then("somebody takes the key away", name, 0, &story.synced(&["a", "b"], &ours)).await?;

    story.edit("ConfigMap", &story.namespace("a"), name, &json!({"data": {"bare": ""}})).await?;
    story.then("somebody adds an empty key", name, 0, &shared(&ours.clone().and("bare", ""))).await?;
    Ok(())
}

/// A key may be in `data` or in `binaryData`, not in both, and what others put there is not ours to take out.
#[tokio::test]
async fn a_key_of_others_in_the_place_of_ours_is_named_and_holds_up_no_other_namespace() -> Result<()> {
    let name = "in-the-way";
    let story = Story::begin(stage().await, name, &["a", "b"]).await?;
    let healed = story.synced(&["a", "b"], &pem_key("ca.pem", &["ec"]));
    story.apply(&bundle(name, &spec(name, "configMap"))).await?;
    story.then("the Bundle comes", name, 2, &healed).await?;

    let moved = json!({"data": {"ca.pem": null}, "binaryData": {"ca.pem": "AAAA"}});
    story.edit("ConfigMap", &story.namespace("a"), name, &moved).await?;
    let mut stuck = Scene { reason: "SyncConfigMapTargetFailed".to_owned(), ..healed.clone() };
    let theirs = Target { content: Content::key("ca.pem", [0, 0, 0]), ours: true };
    stuck.config_maps.insert(story.namespace("a"), theirs);
    story.becomes("it cannot be written", name, &stuck).await;
    let message = story.condition(name, "Synced").await?.message;
    assert!(message.contains("ConfigMap in-the-way-a/in-the-way") && message.contains("ca.pem"), "{message}");

    story.delete("ConfigMap", &story.namespace("b"), name).await?;
    story.becomes("the other namespace is healed", name, &stuck).await;
    story.edit("ConfigMap", &story.namespace("a"), name, &json!({"binaryData": null})).await?;
    story.becomes("it is out of the way", name, &healed).await;
    story.count_from_here().await?;
    story.then("all is well", name, 0, &healed).await?;
    Ok(())
}

fn spec(story: &str, field: &str) -> String {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    format!(
        "{{sources: [{{inLine: {certificate}}}],
           target: {{{field}: {{key: ca.pem, metadata: {{labels: {{kept: 'yes'}}}}}},
                     namespaceSelector: {{matchLabels: {{story: {story}}}}}}}}}"
    )
}
