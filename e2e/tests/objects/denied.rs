//! A webhook of others that denies the writes of one namespace, with codes that an API server in trouble answers, too.

use anyhow::{Result, ensure};
use rootcast_e2e::{
    Denial, DenyingWebhook, eventually,
    scenario::{apply, certificate},
};

use crate::{crowd, sight::PATIENCE, stage::Stage};

#[tokio::test]
async fn a_namespace_whose_writes_are_denied_with_429_or_503_is_named_alone_and_heals() -> Result<()> {
    let stage = Stage::shared().await;
    let sight = stage.sight().await?;
    for (code, retry_after) in [(429, Some(1)), (503, None)] {
        let name = format!("denied-{code}");
        let [denied, other] = ["a", "b"].map(|short| format!("{name}-{short}"));
        for namespace in [&denied, &other] {
            crowd::join(stage.control_plane, &name, namespace).await?;
        }
        let webhook = DenyingWebhook::start(stage.control_plane, Denial { code, retry_after })?;
        let configuration = webhook.configuration(&name, &denied).to_string();
        stage.control_plane.kubectl_ok(&["apply", "-f", "-"], &configuration)?;
        let text = certificate("ec");
        apply(&sight.client, &crowd::filled(&name, &text)).await?;
        apply(&sight.client, &crowd::reaching_few(&name)).await?;
        eventually("it alone is named", PATIENCE, async || {
            let synced = sight.synced(&name).await?;
            let words = synced.message.contains(&denied) && !synced.message.contains(&other);
            ensure!(synced.status == "False" && words, "{code}: {synced:?}");
            Ok(())
        })
        .await;
        sight.becomes("the other is served", &name, &[other], &crowd::content(&text)).await;
        stage.control_plane.kubectl_ok(&["delete", "validatingwebhookconfiguration", &name], "")?;
        sight.is_synced("the webhook is gone", &name).await;
    }
    Ok(())
}
