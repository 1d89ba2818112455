//! Secrets are nobody's business unless a Bundle names them.

use anyhow::{Context as _, Result};
use rootcast_e2e::scenario::{Scenario, bundle, certificate, pem_key, source};

use crate::{
    log::PASSWORD,
    stage::{Stage, requests_for_secrets},
};

#[tokio::test]
async fn only_secrets_that_a_bundle_names_are_read_and_of_the_others_only_metadata_is_asked_for() -> Result<()> {
    let stage = Stage::shared().await;
    let scenario = Scenario::begin(&stage.barrier, "private", &["a"]).await?;
    let secret = |name, pem: &str| source("Secret", name, &[("kind", name)], &[("k", pem), ("password", PASSWORD)]);
    scenario.apply(&secret("private-source", &certificate("ec"))).await?;
    scenario.apply(&secret("nobodys", &certificate("ec"))).await?;
    let spec = "{sources: [{secret: {name: private-source, key: k}}, {secret: {selector: {matchLabels: {kind: picked}}, key: k}}], \
                target: {configMap: {key: k}, namespaceSelector: {matchLabels: {scenario: private}}}}";
    scenario.apply(&bundle("private", spec)).await?;
    scenario.then("the Bundle comes", "private", 1, &scenario.synced(&["a"], &pem_key("k", &["ec"]))).await?;
    scenario.apply(&secret("nobodys", &certificate("p384"))).await?;
    scenario.apply(&secret("picked", &certificate("rsa"))).await?;
    scenario.then("one is picked", "private", 1, &scenario.synced(&["a"], &pem_key("k", &["ec", "rsa"]))).await?;

    let requests = requests_for_secrets(stage.barrier.control_plane()).await?;
    let mut lists = 0;
    for request in &requests {
        let object = &request["objectRef"];
        assert_eq!(object["namespace"], "cert-manager", "Secrets elsewhere are none of its business: {request}");
        let name = object["name"].as_str().unwrap_or_default();
        assert_ne!(name, "nobodys", "no Bundle names it: {request}");
        match request["verb"].as_str().context("a verb")? {
            "get" => assert!(!name.is_empty(), "{request}"),
            "list" => {
                lists += 1;
                assert_eq!(request["responseObject"]["kind"], "PartialObjectMetadataList", "{request}");
            }
            "watch" => {}
            other => panic!("{other}: {request}"),
        }
    }
    assert!(lists > 0 && requests.iter().any(|request| request["verb"] == "get"), "{requests:#?}");
    stage.is_in_order().await
}
