//! Very many small objects that carry the label of a Bundle's targets, each of another name.

use std::env;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use rootcast::api::BUNDLE_LABEL;
use serde_json::json;

use crate::stage::{Stage, TENANT, send_ok};

/// As many as CI has time for; `make nightly` has more by this variable.
const SOME: usize = 10_000;
const MORE: &str = "LABELLED_NAMES";

/// How many are created at a time.
const IN_FLIGHT: usize = 64;

#[tokio::test]
async fn names_that_no_bundle_has_cost_nothing_while_they_come_nor_at_a_start() -> Result<()> {
    let count = match env::var(MORE) {
        Ok(count) => count.parse().with_context(|| format!("{MORE} is a number"))?,
        Err(_) => SOME,
    };
    let stage = Stage::set().await?;
    let mallory = stage.mallory();
    let path = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let creations = (0..count).map(async |number| {
        let name = format!("name-{number}");
        let object = json!({"metadata": {"name": name, "labels": {BUNDLE_LABEL: name}}});
        send_ok(&mallory, Method::POST, &path, &object).await.map(drop)
    });
    let mut site = stage.site(&["--leader-elect=true", "--leader-election-namespace=cert-manager"]).await?;
    let all = stream::iter(creations).buffer_unordered(IN_FLIGHT).try_collect::<()>();
    site.lives_during(all).await?;
    // It has to keep its Lease while it starts, too.
    let mut site = site.restarts().await?;
    site.lives().await?;
    site.end(&format!("{count} labelled names")).await
}
