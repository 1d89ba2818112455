//! What is stored and what is refused, and how kubectl shows it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use rootcast::api::MAX_NAME;
use rootcast::limits;
use rootcast_e2e::eventually;
use serde_json::{Value, json};

use crate::specs::{VALID, VIOLATIONS, Violation};
use crate::stage::{
    SOON, TOO_LONG, assert_refused, bundle, bundles, create, installed, refusal, replace_spec, touch, yaml,
};

#[tokio::test]
async fn every_rule_is_kept_on_creation_and_on_update() -> Result<()> {
    let bundles = bundles(&installed().await.client());
    for Violation { name, spec, says } in VIOLATIONS {
        assert_refused(name, says, create(&bundles, name, yaml(spec)).await);
        create(&bundles, name, yaml("{sources: [{inLine: x}]}")).await?;
        assert_refused(name, says, replace_spec(&bundles, name, yaml(spec)).await);
        let applied = bundle(name, &yaml(spec));
        assert_refused(
            name,
            says,
            bundles.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(applied)).await,
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_fits_no_label_is_refused_at_creation() -> Result<()> {
    let bundles = bundles(&installed().await.client());
    let (longest, _) = TOO_LONG.split_at(MAX_NAME);
    create(&bundles, longest, yaml("{sources: [{inLine: x}]}")).await?;
    let says = "metadata: Invalid value: name must be no more than 63 characters: it becomes the value of a label on every target";
    assert_refused("long", says, create(&bundles, TOO_LONG, yaml("{sources: [{inLine: x}]}")).await);
    Ok(())
}

#[tokio::test]
async fn valid_bundles_are_stored_as_they_are() -> Result<()> {
    let bundles = bundles(&installed().await.client());
    for (name, spec) in VALID {
        let stored = create(&bundles, name, yaml(spec)).await.context(*name)?;
        assert_eq!(stored.data["spec"], yaml(spec), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn unset_passwords_are_stored_as_their_defaults_and_null_counts_as_unset() -> Result<()> {
    let bundles = bundles(&installed().await.client());
    let spec = yaml(
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {jks: {key: b}, pkcs12: {key: c, password: null}}}}",
    );
    let stored = create(&bundles, "defaults", spec).await?;
    let formats = &stored.data["spec"]["target"]["additionalFormats"];
    assert_eq!(formats, &json!({"jks": {"key": "b", "password": "changeit"}, "pkcs12": {"key": "c", "password": ""}}));
    Ok(())
}

#[tokio::test]
async fn limits_hold_at_their_edges() -> Result<()> {
    let bundles = bundles(&installed().await.client());
    let text = |length: usize| "x".repeat(length);
    let sources = |count: usize| json!({"sources": vec![json!({"inLine": "x"}); count]});
    let source = |source: Value| json!({"sources": [source]});
    let target = |target: Value| json!({"sources": [{"inLine": "x"}], "target": target});
    let format = |format: Value| target(json!({"configMap": {"key": "k"}, "additionalFormats": format}));
    let cases = [
        ("spec.sources", sources(1), sources(0)),
        ("spec.sources", sources(100), sources(101)),
        ("spec.sources[0].inLine", source(json!({"inLine": "x"})), source(json!({"inLine": ""}))),
        (
            "spec.sources[0].inLine",
            source(json!({"inLine": text(1 << 20)})),
            source(json!({"inLine": text((1 << 20) + 1)})),
        ),
        (
            "spec.sources[0].configMap.name",
            source(json!({"configMap": {"name": text(253), "key": text(253)}})),
            source(json!({"configMap": {"name": text(254), "key": "k"}})),
        ),
        (
            "spec.sources[0].secret.key",
            source(json!({"secret": {"name": "n", "key": text(253)}})),
            source(json!({"secret": {"name": "n", "key": text(254)}})),
        ),
        (
            "spec.target.configMap.key",
            target(json!({"configMap": {"key": text(253)}})),
            target(json!({"configMap": {"key": text(254)}})),
        ),
        (
            "spec.target.secret.metadata.labels",
            target(json!({"secret": {"key": "k", "metadata": {"labels": {"a": ""}}}})),
            target(json!({"secret": {"key": "k", "metadata": {"labels": {}}}})),
        ),
        (
            "spec.target.secret.metadata",
            target(json!({"secret": {"key": "k"}})),
            target(json!({"secret": {"key": "k", "metadata": {}}})),
        ),
        (
            "spec.target.additionalFormats.jks.password",
            format(json!({"jks": {"key": "j", "password": text(128)}})),
            format(json!({"jks": {"key": "j", "password": text(129)}})),
        ),
        (
            "spec.target.additionalFormats.jks.password",
            format(json!({"jks": {"key": "j", "password": "x"}})),
            format(json!({"jks": {"key": "j", "password": ""}})),
        ),
        (
            "spec.target.additionalFormats.pkcs12.password",
            format(json!({"pkcs12": {"key": "j", "password": text(128)}})),
            format(json!({"pkcs12": {"key": "j", "password": text(129)}})),
        ),
        (
            "spec.target.additionalFormats.pkcs12.profile",
            format(json!({"pkcs12": {"key": "j", "profile": "Modern2023"}})),
            format(json!({"pkcs12": {"key": "j", "profile": "Modern2024"}})),
        ),
    ];
    for (case, (field, within, beyond)) in cases.into_iter().enumerate() {
        let name = format!("edge-{case}");
        create(&bundles, &name, within).await.with_context(|| format!("{field} within its limit"))?;
        bundles.delete(&name, &DeleteParams::default()).await?;
        let status = refusal(field, create(&bundles, &name, beyond).await);
        assert!(status.message.contains(&format!("{field}: ")), "{field}: {}", status.message);
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_sources_with_two_thousand_labels_and_annotations_are_not_too_much() -> Result<()> {
    let bundles = bundles(&installed().await.client());
    let many: BTreeMap<_, _> = (0..2000).map(|n| (format!("example.com/number-{n}"), format!("value-{n}"))).collect();
    let metadata = json!({"labels": many, "annotations": many});
    let sources: Vec<_> = (0..100)
        .map(|n| match n % 3 {
            0 => json!({"configMap": {"name": format!("source-{n}"), "key": "k"}}),
            1 => json!({"secret": {"selector": {"matchLabels": {"n": n.to_string()}}, "includeAllKeys": true}}),
            _ => json!({"inLine": "x".repeat(8000)}),
        })
        .collect();
    let mut spec = json!({
        "sources": sources,
        "target": {"configMap": {"key": "k", "metadata": metadata}, "secret": {"key": "k", "metadata": metadata}}
    });
    create(&bundles, "large", spec.clone()).await?;
    touch(&bundles, "large").await?;
    spec["target"]["configMap"]["key"] = "renamed".into();
    replace_spec(&bundles, "large", spec).await?;
    Ok(())
}

#[tokio::test]
async fn what_the_program_would_refuse_for_its_size_is_not_stored() -> Result<()> {
    let plane = installed().await;
    let many = |count: usize| (0..count).map(|n| (format!("k{n}"), json!("not ok"))).collect::<serde_json::Map<_, _>>();
    let expressions = |count: usize| vec![json!({"key": "a", "operator": "Exists"}); count];
    let labels = limits::SELECTOR_TERMS.max;
    let metadata = limits::TARGET_LABELS.max;
    let source = |selector: Value| json!({"sources": [{"configMap": {"selector": selector, "key": "k"}}]});
    let target = |metadata: Value, selector: Value| {
        json!({"sources": [{"inLine": "x"}],
        "target": {"configMap": {"key": "k", "metadata": metadata}, "namespaceSelector": selector}})
    };
    let some = json!({"labels": {"a": "b"}});
    let cases = [
        (
            "spec.target.namespaceSelector.matchLabels",
            target(some.clone(), json!({"matchLabels": many(labels + 1)})),
            labels,
        ),
        (
            "spec.target.namespaceSelector.matchExpressions",
            target(some, json!({"matchExpressions": expressions(labels + 1)})),
            labels,
        ),
        ("spec.sources[0].configMap.selector.matchLabels", source(json!({"matchLabels": many(labels + 1)})), labels),
        ("spec.target.configMap.metadata.labels", target(json!({"labels": many(metadata + 1)}), json!({})), metadata),
        (
            "spec.target.configMap.metadata.annotations",
            target(json!({"annotations": many(metadata + 1)}), json!({})),
            metadata,
        ),
    ];
    let bundles = bundles(&plane.client());
    for (field, spec, max) in cases {
        let says = format!("{field}: Invalid value: must have at most {max} entries");
        assert_refused("oversize", &says, create(&bundles, "oversize", spec).await);
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_prints_the_targets_the_condition_and_its_reason() -> Result<()> {
    let control_plane = installed().await;
    let bundles = bundles(&control_plane.client());
    create(
        &bundles,
        "printed",
        yaml("{sources: [{inLine: x}], target: {configMap: {key: ca.crt}, secret: {key: ca.pem}}}"),
    )
    .await?;
    let columns = |table: &str| -> Vec<Vec<String>> {
        let cells =
            |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
        table.lines().map(cells).collect()
    };
    let header = ["NAME", "CONFIGMAP TARGET", "SECRET TARGET", "SYNCED", "REASON", "AGE"];
    let new = columns(&control_plane.kubectl_ok(&["get", "bundle", "printed"], "")?);
    assert_eq!(new[0], header);
    assert_eq!(new[1][..3], ["printed", "ca.crt", "ca.pem"]);

    touch(&bundles, "printed").await?;
    let synced = columns(&control_plane.kubectl_ok(&["get", "bundle", "printed"], "")?);
    assert_eq!(synced[1][..5], ["printed", "ca.crt", "ca.pem", "False", "InvalidSpec"]);
    Ok(())
}

#[tokio::test]
async fn kubectl_explains_the_fields() -> Result<()> {
    let control_plane = installed().await;
    eventually("the schema is published", SOON, async || {
        let text = control_plane.kubectl_ok(&["explain", "bundle.spec.target"], "")?;
        ensure!(text.contains("All namespaces when unset or empty."), "{text}");
        Ok(())
    })
    .await;
    Ok(())
}
