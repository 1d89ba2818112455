//! etcd is restored from a backup under a controller that runs: versions that were seen come again, with other content.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};
use rootcast_e2e::{
    eventually,
    scenario::{SOON, apply, bundle, certificate},
};

use crate::stage::{Stage, Way, control_plane};

/// How many changes the backup does not have.
const LOST: usize = 100;

#[tokio::test]
async fn a_controller_goes_on_with_what_a_restored_backup_holds() -> Result<()> {
    let control_plane = control_plane(&[]).await?;
    let mut stage = Stage::set(&control_plane, Way::Direct, None).await?;
    // A server that has just started knows no roles yet.
    stage.controller.expect_denials();
    let spec =
        |of: &str| format!("{{sources: [{{inLine: {:?}}}], target: {{configMap: {{key: k}}}}}}", certificate(of));
    let client = control_plane.client();
    let targets = |namespace: &str| Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let holds = async |namespace: &str, bundle: &str, of: &str| {
        eventually(&format!("{namespace}/{bundle} holds {of}"), SOON, async || {
            let target = targets(namespace).get(bundle).await?;
            let text = target.data.unwrap_or_default().remove("k").unwrap_or_default();
            ensure!(text.trim() == certificate(of).trim(), "{text}");
            Ok(())
        })
        .await;
    };
    control_plane.namespace("one", &[]).await?;
    apply(&client, &bundle("corporate", &spec("ec"))).await?;
    holds("one", "corporate", "ec").await;
    let backup = control_plane.backup().await?;

    apply(&client, &bundle("corporate", &spec("rsa"))).await?;
    holds("one", "corporate", "rsa").await;
    control_plane.namespace("lost", &[]).await?;
    holds("lost", "corporate", "rsa").await;
    for number in 0..LOST {
        control_plane.namespace("lost", &[("number", &number.to_string())]).await?;
    }
    control_plane.restore(&backup, Duration::ZERO).await?;

    // The old spec is there again, and watches are heard although versions are lower.
    holds("one", "corporate", "ec").await;
    targets("one").delete("corporate", &DeleteParams::default()).await?;
    holds("one", "corporate", "ec").await;
    control_plane.namespace("late", &[]).await?;
    holds("late", "corporate", "ec").await;
    apply(&client, &bundle("later", &spec("p384"))).await?;
    holds("one", "later", "p384").await;
    apply(&client, &bundle("corporate", &spec("p384"))).await?;
    holds("late", "corporate", "p384").await;
    stage.controller.is_alive()
}
