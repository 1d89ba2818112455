//! Stored Bundles when the definition changes.

use anyhow::{Context as _, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use rootcast::api::crd_yaml;
use rootcast_e2e::{ControlPlane, eventually, peer};
use serde_json::json;

use crate::specs::{VALID, VIOLATIONS};
use crate::stage::{SOON, TOO_LONG, assert_refused, bundles, create, replace_spec, rules_are_in_force, touch, yaml};

/// Whoever comes from trust-manager has Bundles that our rules would not let in: trust-manager's definition carries only the
/// one-of rules, and its webhook may have been off. Neither the change to our definition nor back may lock them out.
#[tokio::test]
async fn bundles_that_the_rules_would_refuse_outlive_every_change_of_definition() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let bundles = bundles(&control_plane.client());
    control_plane.install_crd(&peer::crd_yaml()).await?;

    let let_in = || VIOLATIONS.iter().filter(|violation| !peer::is_rule(violation.says));
    let mut specs: Vec<(&str, &str)> = let_in().map(|violation| (violation.name, violation.spec)).collect();
    specs.extend(VALID);
    specs.push((TOO_LONG, "{sources: [{inLine: x}]}"));
    let mut stored = Vec::new();
    for (name, spec) in specs {
        stored.push((name, create(&bundles, name, yaml(spec)).await.context(name)?.data["spec"].take()));
    }

    for (definition, has_rules) in [(crd_yaml(), true), (peer::crd_yaml(), false), (crd_yaml(), true)] {
        control_plane.install_crd(&definition).await?;
        rules_are_in_force(&bundles, has_rules).await;
        for (name, spec) in &stored {
            let touched = touch(&bundles, name).await.with_context(|| format!("{name}, rules: {has_rules}"))?;
            assert_eq!(&touched.data["spec"], spec, "{name}");
        }
    }

    let faults: Vec<_> = let_in().collect();
    for (violation, another) in faults.iter().zip(faults.iter().cycle().skip(1)) {
        // Two Bundles that are not their own target are no fault under each other's name.
        let spec = another.spec.replace(another.name, violation.name);
        assert_refused(violation.name, another.says, replace_spec(&bundles, violation.name, yaml(&spec)).await);
        replace_spec(&bundles, violation.name, yaml("{sources: [{inLine: repaired}]}")).await?;
    }
    for (name, _) in &stored {
        bundles.delete(name, &DeleteParams::default()).await?;
        let unlock = json!({"metadata": {"finalizers": null}});
        bundles.patch(name, &PatchParams::default(), &Patch::Merge(unlock)).await?;
    }
    eventually("every Bundle goes", SOON, async || {
        let left = bundles.list_metadata(&kube::api::ListParams::default()).await?;
        ensure!(left.items.is_empty(), "{} are left", left.items.len());
        Ok(())
    })
    .await;
    control_plane.finish().await
}

/// An unrelated edit of the spec lets a root rule look again.
#[tokio::test]
async fn a_stored_bundle_that_is_its_own_source_must_be_repaired_with_the_next_edit() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let bundles = bundles(&control_plane.client());
    control_plane.install_crd(&peer::crd_yaml()).await?;
    let mut spec = yaml("{sources: [{configMap: {name: own, key: k}}], target: {configMap: {key: k}}}");
    create(&bundles, "own", spec.clone()).await?;
    control_plane.install_crd(&crd_yaml()).await?;
    rules_are_in_force(&bundles, true).await;

    spec["target"]["namespaceSelector"] = json!({});
    let says = "spec.sources: Forbidden: cannot define the same source as target";
    assert_refused("own", says, replace_spec(&bundles, "own", spec.clone()).await);
    spec["target"]["configMap"]["key"] = "other".into();
    replace_spec(&bundles, "own", spec).await?;
    control_plane.finish().await
}
