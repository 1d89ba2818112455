//! Sources in another namespace than the trust namespace.

use std::collections::BTreeMap;

use anyhow::Result;
use rootcast_e2e::scenario::apply;
use serde_json::json;

use crate::{
    rotating::{Ca, Rotating},
    stage::{Stage, TEAM},
};

#[tokio::test]
async fn a_bundle_reads_all_its_sources_in_the_listed_namespace_that_it_names_and_in_no_other() -> Result<()> {
    let stage = Stage::shared().await;
    let [a, b, c] = &Ca::all(["A", "B", "C"])?;
    let moved = Rotating::begin(stage.control_plane, "moved", 2, "1h", &[a]).await?;
    moved.is_settled(&[a]).await;
    let since = stage.control_plane.revision().await?;
    let annotations = |namespace: &str| json!({"rootcast.dev/retain": "1h", "rootcast.dev/trust-namespace": namespace});
    moved.annotate(&annotations("elsewhere")).await?;
    moved.says("Synced", "False", "InvalidSpec", &["elsewhere"]).await;
    moved.annotate(&annotations(TEAM)).await?;
    moved.says("Synced", "False", "SourceNotFound", &[TEAM, "moved-source"]).await;
    stage.barrier.sync(&moved.client).await?;
    assert_eq!(moved.contents(since, &[a, b]).await?, BTreeMap::new(), "targets stay");

    let source = |ca: &Ca| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moved-source", "namespace": TEAM},
            "data": {"ca.crt": ca.pem()},
        })
    };
    apply(&moved.client, &source(b)).await?;
    moved.holds(&[a, b]).await;
    moved.leaves(a).await;
    moved.says("Synced", "True", "Synced", &[]).await;
    // What is in the trust namespace is not the Bundle's any more, but for its ledger.
    moved.publish(&[c]).await?;
    stage.barrier.sync(&moved.client).await?;
    moved.holds(&[a, b]).await;
    moved.is_settled(&[b]).await;
    apply(&moved.client, &source(c)).await?;
    moved.holds(&[a, b, c]).await;
    moved.remembered_before_it_wrote(&[a, b, c]).await
}
