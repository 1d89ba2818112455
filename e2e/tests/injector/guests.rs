//! Ephemeral containers, which join a pod that runs.

use anyhow::{Result, ensure};
use http::Method;
use rootcast_e2e::{CallOutcome, Mark, eventually, scenario::SOON};
use serde_json::json;

use crate::{
    pods::{call, pod, pods, send, trust, trusts},
    stage::{BUNDLE, BY_ANNOTATION, BY_NAMESPACE, Play, REQUIRED},
};

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "takes the API server's audit log")]
async fn a_guest_of_an_injected_pod_trusts_what_the_pod_trusts() -> Result<()> {
    let play = Play::begin("guests", &[]).await?;
    play.create(&pod("host", &[(BUNDLE, "corporate"), REQUIRED])).await?.object()?;
    for (containers, guest) in [(&["app", "first"][..], "first"), (&["app", "first", "second"], "second")] {
        let answer = play.debug("host", guest).await?;
        assert_eq!(trusts(&answer.object()?), trust("corporate", containers, &[]));
    }
    let entries = play.stage.control_plane.audit().since(Mark::default()).await?;
    let ours = entries.iter().filter(|entry| entry.namespace == "guests" && entry.subresource == "ephemeralcontainers");
    for entry in ours {
        assert_eq!(entry.webhooks, [call(BY_ANNOTATION, CallOutcome::Changed)]);
    }
    play.end().await
}

#[tokio::test]
#[cfg_attr(existing_cluster, ignore = "takes the API server's audit log")]
async fn a_guest_of_another_pod_joins_as_it_is_with_a_warning() -> Result<()> {
    let play = Play::begin("strangers", &[]).await?;
    play.create(&pod("host", &[])).await?.object()?;
    let annotate = json!({"metadata": {"annotations": {BUNDLE: "corporate"}}});
    let path = format!("{}/host", pods(play.namespace));
    send(&play.client, Method::PATCH, &path, "application/merge-patch+json", &annotate).await?.object()?;
    let answer = play.debug("host", "guest").await?;
    ensure!(answer.warnings.iter().any(|warning| warning.contains("guest")), "{:?}", answer.warnings);
    assert!(!trusts(&answer.object()?).is_in_part());

    // A namespace that gets its label later has such pods, too.
    play.create(&pod("older", &[])).await?.object()?;
    play.stage.control_plane.namespace("strangers", &[(BUNDLE, "corporate")]).await?;
    let answer = eventually("the label counts", SOON, async || {
        let guest =
            format!("guest-{}", play.read("older").await?["metadata"]["resourceVersion"].as_str().unwrap_or("0"));
        let answer = play.debug("older", &guest).await?;
        ensure!(answer.warnings.iter().any(|warning| warning.contains(&guest)), "{:?}", answer.warnings);
        Ok(answer)
    })
    .await;
    assert!(!trusts(&answer.object()?).is_in_part());
    let entries = play.stage.control_plane.audit().since(Mark::default()).await?;
    let last =
        entries.iter().rfind(|entry| entry.namespace == "strangers" && entry.name == "older" && entry.verb == "patch");
    assert_eq!(last.map(|entry| &entry.webhooks[..]), Some(&[call(BY_NAMESPACE, CallOutcome::Unchanged)][..]));
    play.end().await
}
