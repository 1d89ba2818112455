//! Least privilege, shown by the audit log: a life in which everything happens that the shipped roles are for.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{
    Balancer, ControlPlane, Controller, Entry, IDENTITY, INJECTOR_IDENTITY, Injector, Install, Launch, Mark,
    eventually,
    proxy::{Effect, On, Proxy, Turns},
    scenario::{SOON, apply, bundle, certificate, source},
};
use serde_json::{Value, json};

const TRUST_NAMESPACE: &str = "cert-manager";

/// Who may do what where: resource, verb, and a namespace unless it is everywhere.
type Permission = (String, String, Option<String>);

/// What an admission plugin asks for in our name (`OwnerReferencesPermissionEnforcement`), and is no request.
const NOT_ASKED_FOR: (&str, &str) = ("bundles/finalizers", "update");

#[tokio::test(flavor = "multi_thread")]
async fn every_permission_of_the_shipped_roles_is_used_and_nothing_else_is_asked_for() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
    let balancer = Balancer::start()?;
    control_plane.install_injector(&balancer, &[])?;
    let lease = ["--secret-targets-enabled", "--leader-elect=true", "--leader-election-namespace=cert-manager"];
    let controller = Controller::start(&control_plane, &lease).await?;
    // Where another replica was faster, it looks at what that one has written.
    let proxy = Proxy::start(&control_plane)?;
    let outrun = ["secrets", "mutatingwebhookconfigurations"].map(|resource| {
        let on = On::default().verbs(&["update", "patch"]).resource(resource);
        proxy.inject(on, Turns::First(1), Effect::refuse(409, "Conflict"))
    });
    let launch = Launch { args: &["--certificate-lifetime=20s"], through: Some(&proxy), ..Launch::default() };
    let injector = Injector::start_with(&control_plane, &balancer, launch).await?;
    life(&control_plane).await?;
    distrust(&control_plane).await?;
    doubt(&control_plane).await;
    let accounts = [
        (IDENTITY, granted(&control_plane, "rootcast", Some("rootcast-injector"))?),
        (INJECTOR_IDENTITY, granted(&control_plane, "rootcast-injector", None)?),
    ];
    for (who, granted) in &accounts {
        eventually(&format!("{who} has used all"), SOON, async || {
            let unused = unused(&control_plane, who, granted).await?;
            ensure!(unused.iter().all(|(_, verb, _)| verb == "watch"), "unused: {unused:#?}");
            Ok(())
        })
        .await;
    }
    ensure!(outrun.iter().all(|fault| fault.hits() > 0), "nobody was faster");
    injector.stop().await?;
    controller.stop().await?;
    // A watch is in the audit log once it has ended.
    for (who, granted) in &accounts {
        assert_eq!(unused(&control_plane, who, granted).await?, [], "{who}");
    }
    control_plane.finish().await
}

/// Targets of both kinds are created, replaced, patched, applied, compared and deleted; a pod is injected.
async fn life(control_plane: &ControlPlane) -> Result<()> {
    let client = control_plane.client();
    for namespace in ["shop", "leaves"] {
        control_plane.namespace(namespace, &[("team", "a")]).await?;
    }
    let targets = |both: &str| {
        format!(
            "{{sources: [{{configMap: {{name: roots, key: ca}}}}, {{secret: {{name: roots, key: ca}}}}],
           target: {{{both}, namespaceSelector: {{matchLabels: {{team: a}}}}}}}}"
        )
    };
    let both = targets("configMap: {key: ca}, secret: {key: ca}");
    let roots = |name| source("ConfigMap", "roots", &[], &[("ca", &certificate(name))]);
    // An object that is there already is looked at and adopted.
    for kind in ["configmap", "secret generic"] {
        let create: Vec<_> = ["create"].into_iter().chain(kind.split(' ')).chain(["life", "-n", "shop"]).collect();
        control_plane.kubectl_ok(&create, "")?;
    }
    apply(&client, &source("Secret", "roots", &[], &[("ca", &certificate("rsa"))])).await?;
    apply(&client, &roots("ec")).await?;
    apply(&client, &bundle("life", &both)).await?;
    hold(control_plane, "they are created", "ec").await;
    apply(&client, &roots("p384")).await?;
    hold(control_plane, "they are updated", "p384").await;
    for kind in ["configmap", "secret"] {
        control_plane.kubectl_ok(&["annotate", kind, "life", "-n", "leaves", "by=somebody"], "")?;
    }
    apply(&client, &roots("ec")).await?;
    hold(control_plane, "they are patched where others have touched them", "ec").await;
    control_plane.kubectl_ok(&["label", "namespace", "leaves", "team-"], "")?;
    control_plane.namespace("leaves", &[]).await?;
    let gone = |kind: &'static str| async move {
        let left = control_plane.kubectl(&["get", kind, "life", "-n", "leaves"], "")?;
        ensure!(!left.status.success(), "{kind} is left");
        Ok(())
    };
    for kind in ["configmap", "secret"] {
        eventually("they go with their namespace's label", SOON, || gone(kind)).await;
    }
    Ok(())
}

/// A Distrust is reported on, of a certificate that no Bundle has.
async fn distrust(control_plane: &ControlPlane) -> Result<()> {
    let distrust = json!({
        "apiVersion": "rootcast.dev/v1alpha1", "kind": "Distrust", "metadata": {"name": "nothing"},
        "spec": {"reason": "a test", "certificates": [{"sha256": "0".repeat(64)}]},
    });
    control_plane.kubectl_ok(&["apply", "--filename=-"], &distrust.to_string())?;
    eventually("it is enforced", SOON, async || {
        let status = "--output=jsonpath={.status.conditions[?(@.type==\"Enforced\")].status}";
        let enforced = control_plane.kubectl_ok(&["get", "distrust", "nothing", status], "")?;
        ensure!(enforced == "True", "{enforced:?}");
        Ok(())
    })
    .await;
    Ok(())
}

/// A pod asks for a Bundle that is not there: whoever has not heard of it asks again.
async fn doubt(control_plane: &ControlPlane) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"inject.rootcast.dev/bundle": "ghost"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    eventually("the injector is asked", SOON, async || {
        let answer = control_plane.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string())?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(said.contains("no such Bundle"), "{said}");
        Ok(())
    })
    .await;
}

/// Both targets in both namespaces hold the certificate.
async fn hold(control_plane: &ControlPlane, when: &str, certificate_of: &str) {
    let expected = certificate(certificate_of);
    let expected = expected.trim();
    eventually(when, SOON, async || {
        for namespace in ["shop", "leaves"] {
            for (kind, field) in [("configmap", "{.data.ca}"), ("secret", "{.data.ca | base64decode}")] {
                let template = format!("--output=go-template={{{field}}}");
                let held = control_plane.kubectl_ok(&["get", kind, "life", "-n", namespace, &template], "")?;
                ensure!(held.contains(expected), "{kind} {namespace}/life holds something else");
            }
        }
        Ok(())
    })
    .await;
}

/// What the installed roles of these names grant.
fn granted(control_plane: &ControlPlane, prefix: &str, others: Option<&str>) -> Result<BTreeSet<Permission>> {
    let roles = control_plane.kubectl_ok(&["get", "clusterroles,roles", "--all-namespaces", "--output=json"], "")?;
    let roles: Value = serde_json::from_str(&roles)?;
    let mut granted = BTreeSet::new();
    for role in roles["items"].as_array().context("a list")? {
        let name = role["metadata"]["name"].as_str().context("a name")?;
        if !name.starts_with(prefix) || others.is_some_and(|others| name.starts_with(others)) {
            continue;
        }
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        for rule in role["rules"].as_array().into_iter().flatten() {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]).filter(|verb| (resource, *verb) != NOT_ASKED_FOR) {
                    granted.insert((resource.to_owned(), verb.to_owned(), namespace.clone()));
                }
            }
        }
    }
    ensure!(!granted.is_empty(), "there is no role {prefix}");
    Ok(granted)
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What was never asked for, in vain or not. Fails if anything was denied.
async fn unused(control_plane: &ControlPlane, who: &str, granted: &BTreeSet<Permission>) -> Result<Vec<Permission>> {
    let mut entries = control_plane.audit().since(Mark::default()).await?;
    entries.retain(|entry| entry.user == who && !entry.resource.is_empty());
    let denied: Vec<_> = entries.iter().filter(|entry| entry.code == 403).collect();
    ensure!(denied.is_empty(), "denied: {denied:#?}");
    Ok(granted.iter().filter(|one| !entries.iter().any(|entry| is_use(one, entry))).cloned().collect())
}

/// A role of one namespace is used there; one for everywhere is used where no other grants the same.
fn is_use((resource, verb, namespace): &Permission, entry: &Entry) -> bool {
    let place = match namespace {
        Some(namespace) => entry.namespace == *namespace,
        None => entry.namespace != TRUST_NAMESPACE || resource == "events",
    };
    let slash = if entry.subresource.is_empty() { "" } else { "/" };
    place && entry.verb == *verb && format!("{}{slash}{}", entry.resource, entry.subresource) == *resource
}
