//! Targets that who may edit ConfigMaps in a namespace makes their own: immutable, or given to another controller.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use rootcast_e2e::{
    ControlPlane, eventually,
    scenario::{apply, certificate},
};
use serde_json::{Value, from_value, json};

use crate::{crowd, sight::PATIENCE, stage::Stage};

const NAME: &str = "recreated";

/// A namespace for each deed, and the tenant who may edit ConfigMaps there and nothing else.
const SEALED: &str = "recreated-sealed";
const USURPED: &str = "recreated-usurped";
const DISOWNED: &str = "recreated-disowned";
const SHARED: &str = "recreated-shared";
const TENANT: &str = "recreated-tenant";

/// The field manager of the tenant.
const MANAGER: &str = "tenant";

#[tokio::test]
async fn a_target_that_a_tenant_made_immutable_or_took_over_is_healed_and_one_with_others_keys_is_named() -> Result<()>
{
    let stage = Stage::shared().await;
    let sight = stage.sight().await?;
    let namespaces = [SEALED, USURPED, DISOWNED, SHARED].map(str::to_owned);
    for namespace in &namespaces {
        crowd::join(stage.control_plane, NAME, namespace).await?;
        permit(stage.control_plane, namespace)?;
    }
    let tenant = stage.control_plane.client_as(TENANT, &[]);
    let text = certificate("ec");
    let ours = crowd::content(&text);
    apply(&sight.client, &crowd::filled(NAME, &text)).await?;
    apply(&sight.client, &crowd::reaching_few(NAME)).await?;
    sight.becomes("all have theirs", NAME, &namespaces, &ours).await;
    let before = sight.places(NAME).await?;

    let data = json!({"ca.pem": "their own root"});
    edit(&tenant, SEALED, &json!({"immutable": true, "data": data})).await?;
    edit(&tenant, USURPED, &json!({"metadata": {"ownerReferences": [owner(&tenant, USURPED).await?]}, "data": data}))
        .await?;
    edit(&tenant, DISOWNED, &json!({"metadata": {"managedFields": [{}]}, "immutable": true, "data": data})).await?;
    let healed = [SEALED, USURPED, DISOWNED];
    eventually("they are healed", PATIENCE, async || {
        let found = sight.contents(NAME).await?;
        let wrong: Vec<_> = healed.iter().filter(|name| found.get(**name) != Some(&ours)).collect();
        ensure!(wrong.is_empty(), "{wrong:?}");
        Ok(())
    })
    .await;
    stage.barrier.sync(&sight.client).await?;
    let after = sight.places(NAME).await?;
    for name in healed {
        ensure!(after[name].uid != before[name].uid, "{name} is the same object");
    }
    sight.is_synced("all is well", NAME).await;

    edit(&tenant, SHARED, &json!({"data": {"theirs": "x"}})).await?;
    edit(&tenant, SHARED, &json!({"immutable": true, "data": data})).await?;
    let words = [SHARED, "immutable", "delete the object", "theirs", MANAGER];
    sight.complains("what holds a key of others is named, with the cure", NAME, &words).await;
    ensure!(sight.places(NAME).await?[SHARED].uid == before[SHARED].uid, "it was deleted");
    config_maps(&tenant, SHARED).delete(NAME, &DeleteParams::default()).await?;
    sight.becomes("the cure helps", NAME, &namespaces, &ours).await;
    sight.is_synced("the condition follows", NAME).await;

    for _ in 0..15 {
        // It may be gone just now.
        let _ = edit(&tenant, SEALED, &json!({"immutable": true, "data": data})).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    sight.complains("who does it again and again is named", NAME, &[SEALED, "keeps"]).await;
    sight.becomes("the tenant gives up", NAME, &namespaces, &ours).await;
    let quiet = Instant::now();
    sight.is_synced("a while after", NAME).await;
    ensure!(quiet.elapsed() < PATIENCE, "it took {:?}", quiet.elapsed());
    Ok(())
}

/// What the role `edit` grants on ConfigMaps, to the tenant in one namespace.
fn permit(control_plane: &ControlPlane, namespace: &str) -> Result<()> {
    let verbs = "--verb=get,list,watch,create,update,patch,delete,deletecollection";
    control_plane.kubectl_ok(&["-n", namespace, "create", "role", TENANT, verbs, "--resource=configmaps"], "")?;
    let (role, user) = (format!("--role={TENANT}"), format!("--user={TENANT}"));
    control_plane.kubectl_ok(&["-n", namespace, "create", "rolebinding", TENANT, &role, &user], "")?;
    Ok(())
}

/// Another controller: a ConfigMap of the tenant's.
async fn owner(tenant: &Client, namespace: &str) -> Result<Value> {
    let theirs = from_value(json!({"metadata": {"name": "the-operator"}}))?;
    let theirs = config_maps(tenant, namespace).create(&PostParams::default(), &theirs).await?;
    let uid = theirs.uid().context("a stored object has a uid")?;
    Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": theirs.name_any(), "uid": uid, "controller": true}))
}

async fn edit(tenant: &Client, namespace: &str, change: &Value) -> Result<()> {
    let as_tenant = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    config_maps(tenant, namespace).patch(NAME, &as_tenant, &Patch::Merge(change)).await?;
    Ok(())
}

fn config_maps(client: &Client, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), namespace)
}
