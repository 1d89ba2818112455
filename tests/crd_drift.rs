//! The definitions of Bundle and Distrust: the committed files and the pages are the generated ones, and the shape of
//! Bundle's is trust-manager's.

mod generated;

use std::fmt::Write as _;

use rootcast::api::{crd, crd_yaml, distrust_crd, distrust_crd_yaml};
use serde_json::{Map, Value};

#[test]
fn the_committed_definitions_are_the_generated_ones() {
    for (file, generated) in
        [("trust.cert-manager.io_bundles.yaml", crd_yaml()), ("rootcast.dev_distrusts.yaml", distrust_crd_yaml())]
    {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file);
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == generated, "crds/{file} is out of date: run `make crds`");
    }
}

#[test]
fn the_yaml_form_says_what_the_definition_says() {
    for (yaml, crd) in [(crd_yaml(), crd()), (distrust_crd_yaml(), distrust_crd())] {
        let read: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, serde_json::to_value(crd).unwrap());
    }
}

#[test]
fn the_pages_say_what_the_definitions_say() {
    for (page, crd) in [("docs/reference/bundle.md", crd()), ("docs/reference/distrust.md", distrust_crd())] {
        let crd = serde_json::to_value(crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut fields = "| Field | Type | |\n|---|---|---|\n".to_owned();
        let mut rules = String::new();
        for part in ["spec", "status"] {
            describe(&schema["properties"][part], part, &mut fields, &mut rules);
        }
        generated::check(page, "fields", &fields);
        generated::check(page, "rules", &rules);
    }
}

/// Adds a row for each field below a schema, and a line for each rule.
fn describe(schema: &Value, path: &str, fields: &mut String, rules: &mut String) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        // Of a message that is computed its text.
        let computed = || rule["messageExpression"].as_str()?.split('\'').nth(1);
        let message = rule["message"].as_str().or_else(computed).unwrap().replace("%d", "N");
        let line = format!("- `{path}`: {}\n", message.replace('*', r"\*"));
        if !rules.ends_with(&line) {
            rules.push_str(&line);
        }
    }
    let required = schema["required"].as_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let is_required = required.is_some_and(|names| names.contains(&name.as_str().into()));
        let text = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', r"\|");
        let required = if is_required { "Required. " } else { "" };
        let default = match &field["default"] {
            Value::Null => String::new(),
            Value::String(text) if text.is_empty() => " Default: empty.".to_owned(),
            value => format!(" Default: {}.", code(value)),
        };
        writeln!(fields, "| `{path}` | {} | {required}{text}{default} |", type_of(field)).unwrap();
        describe(field, &path, fields, rules);
    }
    for (mark, below) in [("[]", &schema["items"]), ("{}", &schema["additionalProperties"])] {
        if below["type"] == "object" {
            describe(below, &format!("{path}{mark}"), fields, rules);
        }
    }
}

/// A value as code.
fn code(value: &Value) -> String {
    format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The type of a field with its bounds.
fn type_of(field: &Value) -> String {
    let kind = field["type"].as_str().unwrap();
    let inside = |name: &str| field[name]["type"].as_str().map(str::to_owned);
    let kind = match (kind, inside("items"), inside("additionalProperties")) {
        (_, Some(items), _) => format!("list of {items}s"),
        (_, _, Some(values)) => format!("map of {values}s"),
        _ => kind.to_owned(),
    };
    let values: Vec<_> = field["enum"].as_array().into_iter().flatten().map(code).collect();
    let most = [("maxItems", "items"), ("maxLength", "characters")];
    let bounds = most.iter().filter_map(|(name, unit)| Some(format!("at most {} {unit}", field[*name].as_u64()?)));
    std::iter::once(kind)
        .chain((!values.is_empty()).then(|| values.join(" or ")))
        .chain(bounds)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Either definition can replace the other on a cluster: an object that one of them stored means the same under the other.
#[test]
fn every_property_limit_and_default_is_trust_managers() {
    let crd = serde_json::to_value(crd()).unwrap();
    let mut outline = String::new();
    draw(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "Bundle", 0, &mut outline);
    for (ours, theirs) in outline.lines().zip(TRUST_MANAGER.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(outline, TRUST_MANAGER);
}

#[test]
fn names_scope_and_printed_columns_are_trust_managers() {
    let crd = serde_json::to_value(crd()).unwrap();
    let spec = &crd["spec"];
    let names =
        serde_json::json!({"kind": "Bundle", "listKind": "BundleList", "plural": "bundles", "singular": "bundle"});
    assert_eq!(crd["metadata"]["name"], "bundles.trust.cert-manager.io");
    assert_eq!(
        (&spec["group"], &spec["scope"], &spec["names"]),
        (&"trust.cert-manager.io".into(), &"Cluster".into(), &names)
    );
    let version = &spec["versions"][0];
    assert_eq!(spec["versions"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&version["name"], &version["served"], &version["storage"]),
        (&"v1alpha1".into(), &true.into(), &true.into())
    );
    assert_eq!(version["subresources"], serde_json::json!({"status": {}}));
    let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
    let columns: Vec<_> =
        columns.map(|c| ["name", "type", "jsonPath"].map(|field| c[field].as_str().unwrap())).collect();
    assert_eq!(
        columns,
        [
            ["ConfigMap Target", "string", ".spec.target.configMap.key"],
            ["Secret Target", "string", ".spec.target.secret.key"],
            ["Synced", "string", r#".status.conditions[?(@.type == "Synced")].status"#],
            ["Reason", "string", r#".status.conditions[?(@.type == "Synced")].reason"#],
            ["Age", "date", ".metadata.creationTimestamp"],
        ]
    );
}

#[test]
fn a_distrust_is_cluster_scoped_has_a_status_and_shows_what_is_true_and_why() {
    let crd = serde_json::to_value(distrust_crd()).unwrap();
    let (spec, version) = (&crd["spec"], &crd["spec"]["versions"][0]);
    assert_eq!(crd["metadata"]["name"], "distrusts.rootcast.dev");
    assert_eq!((&spec["scope"], &version["name"]), (&"Cluster".into(), &"v1alpha1".into()));
    assert_eq!(version["subresources"], serde_json::json!({"status": {}}));
    let mut outline = String::new();
    draw(&version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec", 0, &mut outline);
    assert_eq!(outline, DISTRUST);
    let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
    let columns: Vec<_> = columns.map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Enforced", "Status", "Reason", "Age"]);
}

/// The outline of a Distrust's spec.
const DISTRUST: &str = r#"spec object
  certificates! array maxItems=100 minItems=1 list-type="atomic"
    [] object map-type="atomic"
      publicKeySHA256 string maxLength=256
      sha256 string maxLength=256
  reason string maxLength=1024
"#;

#[test]
fn every_field_is_explained() {
    fn look(schema: &Value, path: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(path.is_empty() || property["description"].is_string(), "{path}.{name} has no description");
            look(property, &format!("{path}.{name}"));
        }
    }
    for crd in [crd(), distrust_crd()] {
        let crd = serde_json::to_value(crd).unwrap();
        look(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
    }
}

/// Draws a schema as an indented outline: name (`!` when required), type, and every keyword but prose and rules.
fn draw(schema: &Value, name: &str, depth: usize, outline: &mut String) {
    let mut rest: Map<String, Value> = schema.as_object().unwrap().clone();
    for prose in ["description", "x-kubernetes-validations"] {
        rest.remove(prose);
    }
    let mut take = |keyword| rest.remove(keyword).unwrap_or_default();
    let (kind, properties, required) = (take("type"), take("properties"), take("required"));
    let (items, values) = (take("items"), take("additionalProperties"));
    write!(outline, "{}{name} {}", "  ".repeat(depth), kind.as_str().unwrap()).unwrap();
    for (keyword, value) in rest {
        write!(outline, " {}={value}", keyword.trim_start_matches("x-kubernetes-")).unwrap();
    }
    outline.push('\n');
    for (name, property) in properties.as_object().into_iter().flatten() {
        let required = required.as_array().is_some_and(|names| names.contains(&name.as_str().into()));
        draw(property, &format!("{name}{}", if required { "!" } else { "" }), depth + 1, outline);
    }
    for (name, below) in [("[]", items), ("{}", values)] {
        if below.is_object() {
            draw(&below, name, depth + 1, outline);
        }
    }
}

/// The outline of trust-manager's definition.
const TRUST_MANAGER: &str = r#"Bundle object
  apiVersion string
  kind string
  metadata object
  spec! object
    sources! array maxItems=100 minItems=1 list-type="atomic"
      [] object map-type="atomic"
        configMap object map-type="atomic"
          includeAllKeys boolean
          key string maxLength=253 minLength=1
          name string maxLength=253 minLength=1
          selector object map-type="atomic"
            matchExpressions array list-type="atomic"
              [] object
                key! string
                operator! string
                values array list-type="atomic"
                  [] string
            matchLabels object
              {} string
        inLine string maxLength=1048576 minLength=1
        secret object map-type="atomic"
          includeAllKeys boolean
          key string maxLength=253 minLength=1
          name string maxLength=253 minLength=1
          selector object map-type="atomic"
            matchExpressions array list-type="atomic"
              [] object
                key! string
                operator! string
                values array list-type="atomic"
                  [] string
            matchLabels object
              {} string
        useDefaultCAs boolean
    target object
      additionalFormats object
        jks object minProperties=1 map-type="atomic"
          key! string maxLength=253 minLength=1
          password string default="changeit" maxLength=128 minLength=1
        pkcs12 object minProperties=1 map-type="atomic"
          key! string maxLength=253 minLength=1
          password string default="" maxLength=128 minLength=0
          profile string enum=["LegacyRC2","LegacyDES","Modern2023"]
      configMap object
        key! string maxLength=253 minLength=1
        metadata object minProperties=1
          annotations object minProperties=1
            {} string
          labels object minProperties=1
            {} string
      namespaceSelector object map-type="atomic"
        matchExpressions array list-type="atomic"
          [] object
            key! string
            operator! string
            values array list-type="atomic"
              [] string
        matchLabels object
          {} string
      secret object
        key! string maxLength=253 minLength=1
        metadata object minProperties=1
          annotations object minProperties=1
            {} string
          labels object minProperties=1
            {} string
  status object minProperties=1
    conditions array maxItems=10 minItems=0 list-map-keys=["type"] list-type="map"
      [] object
        lastTransitionTime! string format="date-time"
        message! string maxLength=32768
        observedGeneration integer format="int64" minimum=0.0
        reason! string maxLength=1024 minLength=1 pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
        status! string enum=["True","False","Unknown"]
        type! string maxLength=316 pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
    defaultCAVersion string maxLength=253 minLength=1
"#;
