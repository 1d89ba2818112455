//! Somebody edits or deletes a target.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rootcast_e2e::scenario::{Content, Scenario, Scene, Target, bundle, certificate, pem_key};
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
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let expected = scenario.synced(&["a", "b"], &pem_key("ca.pem", &["ec"]));
    scenario.apply(&bundle(name, &spec(name, "configMap"))).await?;
    scenario.then("the Bundle comes", name, 2, &expected).await?;

    for Edit { what, patch, writes } in EDITS {
        scenario.edit("ConfigMap", &scenario.namespace("a"), name, &patch()).await?;
        scenario.then(what, name, *writes, &expected).await?;
    }
    let edited = Api::<ConfigMap>::namespaced(scenario.client.clone(), &scenario.namespace("a")).get(name).await?;
    assert_eq!(edited.metadata.labels.unwrap_or_default()["foreign"], "yes");

    // Not the one that was healed ten times: an eleventh time is a contest.
    scenario.delete("ConfigMap", &scenario.namespace("b"), name).await?;
    scenario.then("the target is deleted", name, 1, &expected).await?;
    Ok(())
}

#[tokio::test]
async fn one_write_heals_what_somebody_did_to_a_secret() -> Result<()> {
    let name = "healed-secret";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let content = pem_key("ca.pem", &["ec"]);
    let expected = Scene { secrets: scenario.everywhere(&["a", "b"], &content), ..scenario.synced(&[], &content) };
    scenario.apply(&bundle(name, &spec(name, "secret"))).await?;
    scenario.then("the Bundle comes", name, 2, &expected).await?;

    for (what, patch) in [
        ("a value is edited", json!({"data": {"ca.pem": "AAAA"}})),
        ("our key is deleted", json!({"data": {"ca.pem": null}})),
        ("the owner is removed", json!({"metadata": {"ownerReferences": null}})),
    ] {
        scenario.edit("Secret", &scenario.namespace("a"), name, &patch).await?;
        scenario.then(what, name, 1, &expected).await?;
    }
    scenario.delete("Secret", &scenario.namespace("a"), name).await?;
    scenario.then("the target is deleted", name, 1, &expected).await?;

    let stripped = json!({"metadata": {"labels": {"trust.cert-manager.io/bundle": null}}});
    scenario.edit("Secret", &scenario.namespace("a"), name, &stripped).await?;
    let mut stays = Scene { reason: "SyncSecretTargetFailed".to_owned(), ..expected };
    stays.secrets.get_mut(&scenario.namespace("a")).expect("a target").ours = false;
    scenario.then("the label is removed: whose it is cannot be told", name, 0, &stays).await?;
    Ok(())
}

#[tokio::test]
async fn keys_of_others_stay_beside_ours() -> Result<()> {
    let name = "neighbours";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let ours = pem_key("ca.pem", &["ec"]);
    scenario.apply(&bundle(name, &spec(name, "configMap"))).await?;
    scenario.then("the Bundle comes", name, 2, &scenario.synced(&["a", "b"], &ours)).await?;

    let shared = |content: &Content| {
        let mut scene = scenario.synced(&["a", "b"], &ours);
        scene.config_maps.insert(scenario.namespace("a"), Target { content: content.clone(), ours: true });
        scene
    };
    scenario.edit("ConfigMap", &scenario.namespace("a"), name, &json!({"data": {"theirs": "text"}})).await?;
    let with_theirs = ours.clone().and("theirs", "text");
    scenario.then("somebody adds a key", name, 0, &shared(&with_theirs)).await?;

    scenario.edit("ConfigMap", &scenario.namespace("a"), name, &json!({"data": {"ca.pem": "edited"}})).await?;
    scenario.then("somebody edits our key", name, 1, &shared(&with_theirs)).await?;

    scenario.edit("ConfigMap", &scenario.namespace("a"), name, &json!({"data": {"theirs": null}})).await?;
    scenario.then("somebody takes the key away", name, 0, &scenario.synced(&["a", "b"], &ours)).await?;

    scenario.edit("ConfigMap", &scenario.namespace("a"), name, &json!({"data": {"bare": ""}})).await?;
    scenario.then("somebody adds an empty key", name, 0, &shared(&ours.clone().and("bare", ""))).await?;
    Ok(())
}

/// A key may be in `data` or in `binaryData`, not in both, and what others put there is not ours to take out.
#[tokio::test]
async fn a_key_of_others_in_the_place_of_ours_is_named_and_holds_up_no_other_namespace() -> Result<()> {
    let name = "in-the-way";
    let scenario = Scenario::begin(stage().await, name, &["a", "b"]).await?;
    let healed = scenario.synced(&["a", "b"], &pem_key("ca.pem", &["ec"]));
    scenario.apply(&bundle(name, &spec(name, "configMap"))).await?;
    scenario.then("the Bundle comes", name, 2, &healed).await?;

    let moved = json!({"data": {"ca.pem": null}, "binaryData": {"ca.pem": "AAAA"}});
    scenario.edit("ConfigMap", &scenario.namespace("a"), name, &moved).await?;
    let mut stuck = Scene { reason: "SyncConfigMapTargetFailed".to_owned(), ..healed.clone() };
    let theirs = Target { content: Content::key("ca.pem", [0, 0, 0]), ours: true };
    stuck.config_maps.insert(scenario.namespace("a"), theirs);
    scenario.becomes("it cannot be written", name, &stuck).await;
    let message = scenario.condition(name, "Synced").await?.message;
    assert!(message.contains("ConfigMap in-the-way-a/in-the-way") && message.contains("ca.pem"), "{message}");

    scenario.delete("ConfigMap", &scenario.namespace("b"), name).await?;
    scenario.becomes("the other namespace is healed", name, &stuck).await;
    scenario.edit("ConfigMap", &scenario.namespace("a"), name, &json!({"binaryData": null})).await?;
    scenario.becomes("it is out of the way", name, &healed).await;
    scenario.count_from_here().await?;
    scenario.then("all is well", name, 0, &healed).await?;
    Ok(())
}

fn spec(scenario: &str, field: &str) -> String {
    let certificate = serde_json::to_string(&certificate("ec")).expect("text");
    format!(
        "{{sources: [{{inLine: {certificate}}}],
           target: {{{field}: {{key: ca.pem, metadata: {{labels: {{kept: 'yes'}}}}}},
                     namespaceSelector: {{matchLabels: {{scenario: {scenario}}}}}}}}}"
    )
}
