//! What the API server itself accepts and refuses, with nothing installed but the definition of Bundle.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, Status},
};
use rootcast::api::{Bundle, FIELD_MANAGER, MAX_NAME, crd_yaml};
use rootcast::limits;
use rootcast_e2e::{ControlPlane, eventually, peer};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const SOON: Duration = Duration::from_secs(30);

/// One character more than a Bundle's name may have.
const TOO_LONG: &str = "a-name-that-is-sixty-four-characters-long-and-so-one-too-many-xx";

/// Breaks one rule of a Bundle: its name, its spec in YAML, and the answer it must get.
struct Violation {
    name: &'static str,
    spec: &'static str,
    says: &'static str,
}

const VIOLATIONS: &[Violation] = &[
    Violation {
        name: "no-type",
        spec: "{sources: [{}, {inLine: x}]}",
        says: "spec.sources[0]: Invalid value: exactly one of the fields in [configMap secret inLine useDefaultCAs] must be set",
    },
    Violation {
        name: "two-types",
        spec: "{sources: [{inLine: x, configMap: {name: a, key: k}}]}",
        says: "spec.sources[0]: Invalid value: exactly one of the fields in [configMap secret inLine useDefaultCAs] must be set",
    },
    Violation {
        name: "configmap-unnamed",
        spec: "{sources: [{configMap: {key: k}}]}",
        says: "spec.sources[0].configMap: Invalid value: exactly one of the fields in [name selector] must be set",
    },
    Violation {
        name: "configmap-named-and-selected",
        spec: "{sources: [{configMap: {name: a, selector: {}, key: k}}]}",
        says: "spec.sources[0].configMap: Invalid value: exactly one of the fields in [name selector] must be set",
    },
    Violation {
        name: "secret-unnamed",
        spec: "{sources: [{inLine: x}, {secret: {key: k}}]}",
        says: "spec.sources[1].secret: Invalid value: exactly one of the fields in [name selector] must be set",
    },
    Violation {
        name: "no-target-object",
        spec: "{sources: [{inLine: x}], target: {namespaceSelector: {}}}",
        says: "spec.target: Invalid value: at least one of the fields in [configMap secret] must be set",
    },
    Violation {
        name: "no-format",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {}}}",
        says: "spec.target.additionalFormats: Invalid value: at least one of the fields in [jks pkcs12] must be set",
    },
    Violation {
        name: "configmap-without-key",
        spec: "{sources: [{configMap: {name: a}}]}",
        says: "spec.sources[0].configMap: Invalid value: source configMap key must be defined when includeAllKeys is false",
    },
    Violation {
        name: "configmap-without-key-told",
        spec: "{sources: [{inLine: x}, {configMap: {selector: {}, includeAllKeys: false}}]}",
        says: "spec.sources[1].configMap: Invalid value: source configMap key must be defined when includeAllKeys is false",
    },
    Violation {
        name: "configmap-key-and-all",
        spec: "{sources: [{configMap: {name: a, key: k, includeAllKeys: true}}]}",
        says: "spec.sources[0].configMap: Invalid value: source configMap key cannot be defined when includeAllKeys is true",
    },
    Violation {
        name: "secret-without-key",
        spec: "{sources: [{secret: {name: a}}]}",
        says: "spec.sources[0].secret: Invalid value: source secret key must be defined when includeAllKeys is false",
    },
    Violation {
        name: "secret-key-and-all",
        spec: "{sources: [{secret: {selector: {matchLabels: {a: b}}, key: k, includeAllKeys: true}}]}",
        says: "spec.sources[0].secret: Invalid value: source secret key cannot be defined when includeAllKeys is true",
    },
    Violation {
        name: "no-source",
        spec: "{sources: [{useDefaultCAs: false}]}",
        says: "spec.sources: Forbidden: must define at least one source",
    },
    Violation {
        name: "default-cas-twice",
        spec: "{sources: [{useDefaultCAs: true}, {useDefaultCAs: true}]}",
        says: "spec.sources: Forbidden: must request default CAs either once or not at all but got 2 requests",
    },
    Violation {
        name: "default-cas-yes-and-no-and-no",
        spec: "{sources: [{useDefaultCAs: true}, {useDefaultCAs: false}, {useDefaultCAs: false}]}",
        says: "spec.sources: Forbidden: must request default CAs either once or not at all but got 3 requests",
    },
    Violation {
        name: "own-configmap",
        spec: "{sources: [{inLine: x}, {configMap: {name: own-configmap, key: k}}], target: {configMap: {key: k}}}",
        says: "spec.sources: Forbidden: cannot define the same source as target",
    },
    Violation {
        name: "own-secret",
        spec: "{sources: [{secret: {name: own-secret, key: k}}], target: {secret: {key: k}, configMap: {key: other}}}",
        says: "spec.sources: Forbidden: cannot define the same source as target",
    },
    Violation {
        name: "jks-over-configmap",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {jks: {key: k}}}}",
        says: "spec.target.additionalFormats.jks.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "jks-over-secret",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: a}, secret: {key: k}, additionalFormats: {jks: {key: k}}}}",
        says: "spec.target.additionalFormats.jks.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "pkcs12-over-configmap",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {pkcs12: {key: k}}}}",
        says: "spec.target.additionalFormats.pkcs12.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "pkcs12-over-secret",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k}, additionalFormats: {pkcs12: {key: k}}}}",
        says: "spec.target.additionalFormats.pkcs12.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "pkcs12-over-jks",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k}, additionalFormats: {jks: {key: f}, pkcs12: {key: f}}}}",
        says: "spec.target.additionalFormats.pkcs12.key: Invalid value: key must be unique across all target output keys",
    },
    Violation {
        name: "configmap-annotation",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {annotations: {trust.cert-manager.io/hash: x}}}}}",
        says: "spec.target.configMap.metadata.annotations: Invalid value: trust.cert-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "configmap-annotation-v2",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {annotations: {trust-manager.io/hash: x}}}}}",
        says: "spec.target.configMap.metadata.annotations: Invalid value: trust-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "configmap-label",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {labels: {a: b, trust.cert-manager.io/bundle: x}}}}}",
        says: "spec.target.configMap.metadata.labels: Invalid value: trust.cert-manager.io/* labels are not allowed",
    },
    Violation {
        name: "configmap-label-v2",
        spec: "{sources: [{inLine: x}], target: {configMap: {key: k, metadata: {labels: {trust-manager.io/bundle: x}}}}}",
        says: "spec.target.configMap.metadata.labels: Invalid value: trust-manager.io/* labels are not allowed",
    },
    Violation {
        name: "secret-annotation",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {annotations: {trust.cert-manager.io/x: x}}}}}",
        says: "spec.target.secret.metadata.annotations: Invalid value: trust.cert-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "secret-annotation-v2",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {annotations: {trust-manager.io/x: x}}}}}",
        says: "spec.target.secret.metadata.annotations: Invalid value: trust-manager.io/* annotations are not allowed",
    },
    Violation {
        name: "secret-label",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {labels: {trust.cert-manager.io/bundle: x}}}}}",
        says: "spec.target.secret.metadata.labels: Invalid value: trust.cert-manager.io/* labels are not allowed",
    },
    Violation {
        name: "secret-label-v2",
        spec: "{sources: [{inLine: x}], target: {secret: {key: k, metadata: {labels: {trust-manager.io/bundle: x}}}}}",
        says: "spec.target.secret.metadata.labels: Invalid value: trust-manager.io/* labels are not allowed",
    },
];

/// Valid Bundles: their name and spec.
const VALID: &[(&str, &str)] = &[
    ("without-target", "{sources: [{inLine: x}]}"),
    ("configmap-by-name", "{sources: [{configMap: {name: a, key: k}}], target: {configMap: {key: ca.crt}}}"),
    (
        "configmap-by-name-all-keys",
        "{sources: [{configMap: {name: a, includeAllKeys: true}}], target: {secret: {key: ca.crt}}}",
    ),
    (
        "configmap-by-labels",
        "{sources: [{configMap: {selector: {matchLabels: {a: b}}, key: k, includeAllKeys: false}}]}",
    ),
    ("secret-by-name", "{sources: [{secret: {name: a, key: k}}]}"),
    (
        "secret-by-expressions",
        "{sources: [{secret: {selector: {matchExpressions: [{key: a, operator: In, values: [b, c]}]}, includeAllKeys: true}}]}",
    ),
    ("selector-of-everything", "{sources: [{configMap: {selector: {}, key: k}}]}"),
    ("default-cas", "{sources: [{useDefaultCAs: true}]}"),
    ("default-cas-declined", "{sources: [{useDefaultCAs: false}, {inLine: x}]}"),
    ("both-kinds-one-key", "{sources: [{inLine: x}], target: {configMap: {key: k}, secret: {key: k}}}"),
    (
        "all-formats",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, secret: {key: b}, additionalFormats: {jks: {key: c, password: p}, pkcs12: {key: d, password: p}}}}",
    ),
    (
        "legacy-rc2",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {pkcs12: {key: d, password: '', profile: LegacyRC2}}}}",
    ),
    (
        "legacy-des",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {pkcs12: {key: d, password: '', profile: LegacyDES}}}}",
    ),
    (
        "modern-2023",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, additionalFormats: {pkcs12: {key: d, password: '', profile: Modern2023}}}}",
    ),
    (
        "metadata",
        "{sources: [{inLine: x}], target: {configMap: {key: a, metadata: {labels: {a: b}, annotations: {c: d}}}, secret: {key: a, metadata: {labels: {trust.cert-manager.iox/a: b}}}}}",
    ),
    (
        "namespaces",
        "{sources: [{inLine: x}], target: {configMap: {key: a}, namespaceSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: DoesNotExist}]}}}",
    ),
    ("all-namespaces", "{sources: [{inLine: x}], target: {configMap: {key: a}, namespaceSelector: {}}}"),
    // Not its own target: another key, another kind, another name, or no target at all.
    ("chained", "{sources: [{configMap: {name: chained, key: other}}], target: {configMap: {key: k}}}"),
    ("crossed", "{sources: [{configMap: {name: crossed, key: k}}], target: {secret: {key: k}}}"),
    ("untargeted", "{sources: [{configMap: {name: untargeted, key: k}}]}"),
    ("own-by-labels", "{sources: [{configMap: {selector: {}, key: k}}], target: {configMap: {key: k}}}"),
];

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

/// The shared control plane, with the definition of Bundle.
async fn installed() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let control_plane = ControlPlane::shared().await;
    INSTALLED
        .get_or_init(|| async { control_plane.install_crd(&crd_yaml()).await.expect("the definition is accepted") })
        .await;
    control_plane
}

/// Bundles as plain data, so that a test can say what the types cannot.
fn bundles(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<Bundle>(&()))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("a test's YAML")
}

fn bundle(name: &str, spec: &Value) -> DynamicObject {
    let mut bundle = DynamicObject::new(name, &ApiResource::erase::<Bundle>(&()));
    bundle.data = json!({"spec": spec});
    bundle
}

async fn create(bundles: &Api<DynamicObject>, name: &str, spec: Value) -> kube::Result<DynamicObject> {
    bundles.create(&PostParams::default(), &bundle(name, &spec)).await
}

async fn replace_spec(bundles: &Api<DynamicObject>, name: &str, spec: Value) -> kube::Result<DynamicObject> {
    let mut changed = bundles.get(name).await?;
    changed.data["spec"] = spec;
    bundles.replace(name, &PostParams::default(), &changed).await
}

/// Everything that may happen to a Bundle beside a change of its spec: a status as the controller writes it, a label, a finalizer.
async fn touch(bundles: &Api<DynamicObject>, name: &str) -> Result<DynamicObject> {
    let generation = bundles.get_metadata(name).await?.meta().generation;
    let condition = json!({
        "type": "Synced", "status": "False", "reason": "InvalidSpec", "message": "told", "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z"
    });
    let mut status = json!({"apiVersion": Bundle::api_version(&()), "kind": Bundle::kind(&())});
    status["status"] = json!({"conditions": [condition]});
    let manager = PatchParams::apply(FIELD_MANAGER).force();
    let told = bundles.patch_status(name, &manager, &Patch::Apply(status)).await.context("applying a status")?;
    ensure!(told.data["status"]["conditions"] == json!([condition]), "the status is {}", told.data["status"]);

    let count = told.labels().get("touched").map_or(0, |count| count.parse().expect("a count"));
    let label =
        json!({"metadata": {"labels": {"touched": (count + 1).to_string()}, "finalizers": ["example.com/kept"]}});
    let labelled =
        bundles.patch(name, &PatchParams::default(), &Patch::Merge(label)).await.context("setting a label")?;
    ensure!(labelled.metadata.generation == generation, "the spec changed");
    Ok(labelled)
}

fn refusal(what: &str, answer: kube::Result<DynamicObject>) -> Box<Status> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 422 => status,
        Err(error) => panic!("{what}: {error}"),
        Ok(accepted) => panic!("{what}: accepted {:?}", accepted.data),
    }
}

/// The server refuses for one reason, in these words and for this field.
fn assert_refused(name: &str, says: &str, answer: kube::Result<DynamicObject>) {
    let status = refusal(name, answer);
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    let causes: Vec<_> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    assert_eq!(causes, [says], "{name}");
    assert!(status.message.ends_with(says), "{name}: {}", status.message);
}

/// The server takes up a new definition a moment after it was stored.
async fn rules_are_in_force(bundles: &Api<DynamicObject>, expected: bool) {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let probe = bundle("probe", &yaml("{sources: [{useDefaultCAs: false}]}"));
    eventually("the new definition is in force", SOON, async || {
        let refused = bundles.create(&dry_run, &probe).await.is_err();
        ensure!(refused == expected, "the probe was refused: {refused}");
        Ok(())
    })
    .await;
}
