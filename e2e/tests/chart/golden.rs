//! What the chart renders, kept as files beside the values that it is rendered
//! from, so that a review shows what a change of a template does. `make charts`
//! writes them anew.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rootcast_e2e::{CHART, helm_ok};
use serde_json::{Value, json};

use crate::render::{kind, name, objects, template};

/// Release, and the name of its files in golden/.
pub(crate) const CASES: [(&str, &str); 6] = [
    ("rootcast", "default"),
    ("trust-manager", "trust-manager"),
    ("trust", "full"),
    ("rootcast", "other"),
    ("rootcast", "images"),
    ("rootcast", "bare"),
];

/// Those that say nothing that is not so by default.
const TELLING: [(&str, &str); 4] = [CASES[2], CASES[3], CASES[4], CASES[5]];

/// By what the objects are known that are files of the chart.
const COPIES: [&str; 3] = ["\nkind: CustomResourceDefinition\n", "\nkind: PrometheusRule\n", "\n  rootcast.json: |\n"];

/// Values that have an effect only in a parent chart, or that may have one value only.
const SINGULAR: [&str; 2] = ["/enabled", "/app/webhook/tls/helmCert/enabled"];

#[test]
fn the_chart_renders_what_the_files_say() -> Result<()> {
    for (release, case) in CASES {
        let rendered = without_copies(&template(release, &values(case)?)?);
        let file = golden(&format!("{case}.yaml"));
        if env::var_os("REWRITE").is_some() {
            fs::write(&file, &rendered)?;
        }
        let kept = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        if kept != rendered {
            let differs = kept.lines().zip(rendered.lines()).position(|(kept, rendered)| kept != rendered);
            let line = differs.unwrap_or(kept.lines().count().min(rendered.lines().count())) + 1;
            bail!(
                "the chart no longer renders {} (line {line}): run `make charts` and look at what changed",
                file.display()
            );
        }
    }
    Ok(())
}

#[test]
fn the_crds_are_those_in_crds_and_kept_at_the_end_of_a_release() -> Result<()> {
    for (file, copy) in
        [("trust.cert-manager.io_bundles.yaml", "bundles.yaml"), ("rootcast.dev_distrusts.yaml", "distrusts.yaml")]
    {
        let shipped = fs::read_to_string(root().join("crds").join(file))?;
        let in_chart = fs::read_to_string(root().join(CHART).join("files").join(copy))?;
        ensure!(shipped == in_chart, "the chart's {copy} is not that of crds/: run `make charts`");
        // One number in two spellings.
        let wanted = objects(&shipped.replace("minimum: 0.0\n", "minimum: 0\n"))?.remove(0);
        for (values, keep) in [("", true), ("{crds: {keep: false}}", false)] {
            let rendered = objects(&template("rootcast", values)?)?;
            let is_wanted =
                |object: &Value| kind(object) == "CustomResourceDefinition" && name(object) == name(&wanted);
            let mut crd = rendered.into_iter().find(is_wanted).context("no CRD")?;
            assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", keep);
            crd["metadata"] = wanted["metadata"].clone();
            ensure!(crd == wanted, "the template changes the CRD");
        }
    }
    ensure!(!template("rootcast", "{crds: {enabled: false}}")?.contains("CustomResourceDefinition"));
    Ok(())
}

#[test]
fn alerts_and_dashboard_are_those_of_config() -> Result<()> {
    for file in ["prometheus-rule.yaml", "dashboard.json"] {
        let read = |folder: &str| fs::read_to_string(root().join(folder).join(file));
        let same = read("config/monitoring")? == read("charts/rootcast/files")?;
        ensure!(same, "the chart's {file} is not that of config/monitoring: run `make charts`");
    }
    let rendered = objects(&template("trust", &values("full")?)?)?;
    for (of, called, labels) in [
        ("PrometheusRule", "trust", ["prometheus", "example.com/rules"]),
        ("ConfigMap", "trust-dashboard", ["grafana_dashboard", "example.com/dashboards"]),
    ] {
        let found = rendered.iter().find(|object| kind(object) == of && name(object) == called);
        let found = found.with_context(|| format!("no {of} {called}"))?;
        let given = &found["metadata"]["labels"];
        ensure!(labels.iter().all(|label| given[*label].is_string()), "{of}: {given}");
    }
    Ok(())
}

#[test]
fn nothing_that_is_secret_or_certified_is_ever_rendered() -> Result<()> {
    for (release, case) in CASES {
        let rendered = objects(&template(release, &values(case)?)?)?;
        for object in &rendered {
            ensure!(kind(object) != "Secret", "{case} renders a Secret");
            let text = object.to_string();
            // A policy is about both, and holds neither: every PEM or DER certificate begins with these letters in base64.
            let is_policy = kind(object) == "ValidatingAdmissionPolicy";
            let may_say_ca_bundle = is_policy || kind(object) == "CustomResourceDefinition";
            ensure!(may_say_ca_bundle || !text.contains("caBundle"), "{case}: {text}");
            ensure!(is_policy || !text.contains("-----BEGIN"), "{case}: {text}");
            ensure!(!text.contains("MII"), "{case}: {text}");
        }
        assert_eq!(template(release, &values(case)?)?, template(release, &values(case)?)?, "{case}");
    }
    Ok(())
}

#[test]
fn every_value_is_set_in_some_case_and_has_an_effect() -> Result<()> {
    let known: BTreeSet<_> = leaves(&defaults()?).into_iter().collect();
    let mut seen: BTreeSet<_> = SINGULAR.map(str::to_owned).into();
    let mut idle = Vec::new();
    for (release, case) in TELLING {
        let values: Value = serde_saphyr::from_str(&values(case)?)?;
        let whole = template(release, &values.to_string())?;
        let set = leaves(&values);
        seen.extend(set.iter().cloned());
        for leaf in &set {
            // To be refused without it is an effect.
            if template(release, &removed(&values, leaf).to_string()).is_ok_and(|rendered| rendered == whole) {
                idle.push(format!("{case}: {leaf}"));
            }
        }
    }
    assert_eq!(idle, Vec::<String>::new(), "values without an effect (or equal to the default)");
    let never: Vec<_> = known.iter().filter(|leaf| !seen.iter().any(|set| set.starts_with(*leaf))).collect();
    assert_eq!(never, Vec::<&String>::new(), "values that no case sets");
    Ok(())
}

#[test]
fn helm_finds_nothing_to_complain_about() -> Result<()> {
    for (_, case) in CASES {
        let said = helm_ok(&["lint", "--strict", CHART, "--values", "-"], &values(case)?)?;
        ensure!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{case}: {said}");
    }
    Ok(())
}

/// Paths of all values that are no map with something in it.
fn leaves(values: &Value) -> Vec<String> {
    fn walk(at: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    walk(&format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), value, found);
                }
            }
            _ => found.push(at.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk("", values, &mut found);
    found
}

/// The values without one of their leaves.
fn removed(values: &Value, leaf: &str) -> Value {
    let mut values = values.clone();
    let (parent, key) = leaf.rsplit_once('/').expect("a path begins with a slash");
    let parent = values.pointer_mut(parent).and_then(Value::as_object_mut).expect("a leaf is in a map");
    parent.remove(&key.replace("~1", "/").replace("~0", "~"));
    values
}

fn defaults() -> Result<Value> {
    let text = fs::read_to_string(root().join(CHART).join("values.yaml"))?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// The values of a case; the first has none.
pub(crate) fn values(case: &str) -> Result<String> {
    if case == "default" {
        return Ok(json!({}).to_string());
    }
    let file = golden(&format!("{case}.values.yaml"));
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// CRD, alerts and dashboard are hundreds of lines that are files already, and have tests of their own.
fn without_copies(rendered: &str) -> String {
    let documents = rendered.split_inclusive("\n---\n");
    let is_copy = |document: &str| COPIES.iter().any(|words| document.contains(words));
    documents.filter(|document| !is_copy(document)).collect()
}

fn golden(file: &str) -> PathBuf {
    root().join("e2e/tests/chart/golden").join(file)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
