//! What a tenant can do to the target in its own namespace.

use anyhow::{Result, ensure};
use http::Method;
use rootcast_e2e::{eventually, scenario::SOON, scenario::certificate};
use serde_json::{Value, json};

use crate::stage::{BUNDLE, KEY, Stage, TENANT, send_ok};

/// The target that the tenant may write.
fn target() -> String {
    format!("/api/v1/namespaces/{TENANT}/configmaps/{BUNDLE}")
}

/// A controlling owner of the tenant's: a ConfigMap that exists, so that it is not collected as garbage.
async fn owner(mallory: &kube::Client) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{TENANT}/configmaps");
    let owner = json!({"metadata": {"name": "owner"}});
    let uid = send_ok(mallory, Method::POST, &path, &owner).await?["metadata"]["uid"].clone();
    Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": true}))
}

#[tokio::test]
async fn a_target_that_was_made_immutable_or_got_another_owner_comes_back_right() -> Result<()> {
    let stage = Stage::shared().await;
    let mallory = stage.mallory();
    let mut site = stage.site(&[]).await?;
    let owner = owner(&mallory).await?;
    let theirs = json!({"data": {KEY: certificate("p384")}});
    let taken = json!({"metadata": {"ownerReferences": [owner]}, "data": theirs["data"]});
    let both = json!({"metadata": {"ownerReferences": [owner]}, "data": theirs["data"], "immutable": true});
    let hijacks = [json!({"immutable": true, "data": theirs["data"]}), taken, both];
    for hijack in hijacks {
        site.target_becomes_right(TENANT).await;
        send_ok(&mallory, Method::PATCH, &target(), &hijack).await?;
        site.target_becomes_right(TENANT).await;
        eventually("the Bundle is synced", SOON, async || {
            let (status, message) = site.synced(BUNDLE).await?;
            ensure!(status == "True", "{hijack}: {message}");
            Ok(())
        })
        .await;
        site.lives().await?;
    }
    send_ok(&mallory, Method::DELETE, &format!("/api/v1/namespaces/{TENANT}/configmaps/owner"), &Value::Null).await?;
    site.end("a hijacked target").await
}

#[tokio::test]
async fn a_hijacked_target_with_keys_of_others_is_kept_and_named_and_all_others_go_on() -> Result<()> {
    let stage = Stage::shared().await;
    let mallory = stage.mallory();
    let mut site = stage.site(&[]).await?;
    site.target_becomes_right(TENANT).await;
    let hijack = json!({"immutable": true, "data": {KEY: certificate("p384"), "of-theirs": "x"}});
    send_ok(&mallory, Method::PATCH, &target(), &hijack).await?;
    eventually("it is named", SOON, async || {
        let (status, message) = site.synced(BUNDLE).await?;
        ensure!(status == "False" && message.contains(TENANT), "{status}: {message}");
        Ok(())
    })
    .await;
    site.lives().await?;
    let kept = send_ok(&mallory, Method::GET, &target(), &Value::Null).await?;
    ensure!(kept["data"]["of-theirs"] == "x", "{kept:#}");
    send_ok(&mallory, Method::DELETE, &target(), &Value::Null).await?;
    site.target_becomes_right(TENANT).await;
    site.end("a hijacked target with keys of others").await
}

#[tokio::test]
async fn nothing_that_a_tenant_writes_is_a_line_of_its_own_in_log_or_status() -> Result<()> {
    const LINE: &str = "2026-11-28T05:00:00.000000Z ERROR all targets lost: run";
    let stage = Stage::shared().await;
    let mallory = stage.mallory();
    let mut site = stage.site(&["--log-format=text"]).await?;
    site.target_becomes_right(TENANT).await;
    for separator in ["\n", "\r", "\u{1b}[2K\r", "\u{2028}", "\u{85}", "\u{0b}"] {
        let kind = format!("x{separator}{LINE}");
        let owner = json!({"apiVersion": format!("v1{separator}{LINE}"), "kind": kind, "name": "o", "uid": "u"});
        let mut owner = owner;
        owner["controller"] = true.into();
        // With a key of theirs it cannot be made anew, so that somebody has to be told of the owner.
        let data = json!({KEY: certificate("p384"), "of-theirs": "x"});
        let hijack = json!({"metadata": {"ownerReferences": [owner]}, "data": data});
        let patched = crate::stage::send(&mallory, Method::PATCH, &target(), &hijack).await?;
        if patched.code >= 300 {
            // The API server takes no version of that form: then the kind alone.
            let mut tame = hijack.clone();
            tame["metadata"]["ownerReferences"][0]["apiVersion"] = "v1".into();
            send_ok(&mallory, Method::PATCH, &target(), &tame).await?;
        }
        eventually("the target is named", SOON, async || {
            let (status, message) = site.synced(BUNDLE).await?;
            ensure!(status == "False" && message.contains(TENANT), "{status}: {message}");
            Ok(message)
        })
        .await;
        let (_, message) = site.synced(BUNDLE).await?;
        let odd = |text: &str| text.chars().any(|one| one.is_control() || one == '\u{2028}' || one == '\u{2029}');
        ensure!(!odd(&message), "{separator:?}: {message:?}");
        let log = site.controller.logs()?;
        let forged = log.split(['\n', '\r', '\u{2028}', '\u{85}', '\u{0b}']).find(|line| line.starts_with(LINE));
        ensure!(forged.is_none(), "{separator:?}: {forged:?}");
        ensure!(!log.lines().any(odd), "{separator:?}: a control character is in the log");
        send_ok(&mallory, Method::DELETE, &target(), &Value::Null).await?;
        site.target_becomes_right(TENANT).await;
    }
    site.lives().await?;
    site.end("lines of a tenant's").await
}
