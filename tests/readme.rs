//! What README and `docs` say is what the program does.

mod absent;
mod generated;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use absent::absent;
use rootcast::{api::Bundle, bundle::Intent, cli, inject, limits};
use serde_json::Value;

#[test]
fn the_table_of_runtimes_is_the_programs() {
    generated::check("docs/inject.md", "runtimes", &inject::markdown_table());
}

#[test]
fn the_table_of_limits_is_the_programs() {
    generated::check("docs/reference/limits.md", "limits", &limits::table());
}

#[test]
fn the_list_of_flags_is_the_programs() {
    generated::check("docs/reference/flags.md", "flags", &cli::flags());
}

#[test]
fn every_command_has_a_page() {
    let commands: Vec<_> =
        cli::flags().lines().filter_map(|line| Some(line.strip_prefix("## rootcast ")?.to_owned())).collect();
    assert!(commands.len() > 7, "{commands:?}");
    for command in commands {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands").join(format!("{command}.md"));
        assert!(page.exists(), "docs/commands/{command}.md is missing");
    }
}

#[test]
fn every_bundle_is_one_that_the_controller_takes() {
    let pages = pages();
    let blocks =
        pages.iter().flat_map(|page| page.split("```yaml\n").skip(1)).map(|rest| rest.split("```").next().unwrap());
    let mut taken = 0;
    for block in blocks.filter(|block| block.contains("\nkind: Bundle\n")) {
        let documents: Vec<Value> = serde_saphyr::from_multiple(block).unwrap();
        for document in documents.into_iter().filter(|document| document["kind"] == "Bundle") {
            let bundle: Bundle = serde_json::from_value(document).unwrap_or_else(|error| panic!("{error}: {block}"));
            let problems = Intent::parse(&bundle, &"cert-manager".into()).err();
            assert!(problems.is_none(), "{problems:?}: {block}");
            taken += 1;
        }
    }
    assert!(taken >= 2, "README and docs show {taken} Bundles");
}

/// README and all pages below `docs`.
fn pages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["docs", "docs/commands", "docs/reference"].map(|folder| root.join(folder));
    let inside = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let files = inside.filter(|file| file.extension().is_some_and(|end| end == "md")).chain([root.join("README.md")]);
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn argo_cd_is_told_when_a_bundle_is_healthy() {
    let page = include_str!("../docs/gitops.md");
    let (_, rest) = page.split_once("health.trust.cert-manager.io_Bundle: |\n").unwrap();
    let (check, _) = rest.split_once("```").unwrap();
    let synced = |status, generation| {
        format!("{{ type = 'Synced', status = '{status}', observedGeneration = {generation}, message = 'synced' }}")
    };
    let reconciling = "{ type = 'Reconciling', status = 'True', message = 'rolling out' }".to_owned();
    for (conditions, expected) in [
        (vec![synced("True", 2)], "Healthy synced"),
        (vec![synced("False", 2)], "Degraded synced"),
        (vec![reconciling.clone(), synced("True", 2)], "Progressing rolling out"),
        (vec![synced("True", 2), reconciling], "Progressing rolling out"),
        // Of the spec before this one.
        (vec![synced("True", 1)], "Progressing the controller has not seen it yet"),
        (vec![], "Progressing the controller has not seen it yet"),
    ] {
        let bundle = format!(
            "{{ metadata = {{ generation = 2 }}, status = {{ conditions = {{ {} }} }} }}",
            conditions.join(", ")
        );
        let script = format!(
            "local function check(obj)\n{check}end\nlocal health = check({bundle})\nprint(health.status .. ' ' .. health.message)"
        );
        // Argo CD's own interpreter speaks Lua 5.1.
        let Ok(output) = Command::new("lua5.1").args(["-e", &script]).output() else {
            return absent("lua5.1");
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected, "{output:?}");
    }
}

/// Each reason has a heading that a link can name.
#[test]
fn troubleshooting_has_a_heading_for_every_reason() {
    let page = include_str!("../docs/troubleshooting.md");
    let words = include_str!("../src/bundle/reason.rs")
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.split('"').next());
    let reasons: Vec<_> = words
        .chain(["Complete", "NeedsAttention", "SourcesNotRead", "RollingOut", "RolloutHeld", "FrequentChanges"])
        .collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    for reason in reasons {
        assert!(page.contains(&format!("\n### {reason}\n")), "docs/troubleshooting.md has no heading {reason}");
    }
}

/// The messages that it quotes are those that the program gives, but for names.
#[test]
fn troubleshooting_quotes_the_messages_of_refused_bundles() {
    let page = include_str!("../docs/troubleshooting.md");
    let source = "configMap: {name: corporate-ca, key: ca.crt}";
    let pem = include_str!("cases/certs/ec.pem");
    let cut = format!("# Example Corp\n\n{pem}{}", pem.lines().take(3).collect::<Vec<_>>().join("\n"));
    let object = |key: &str, value: &str| {
        let data = serde_json::json!({ key: value });
        let metadata = serde_json::json!({ "name": "corporate-ca", "namespace": "cert-manager" });
        serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data }).to_string()
    };
    let config_map = "configMap: {key: ca-bundle.crt}";
    for (source, target, object) in [
        (source, config_map, None),
        (source, config_map, Some(object("other", pem))),
        (source, config_map, Some(object("ca.crt", "nothing"))),
        (source, config_map, Some(object("ca.crt", &cut))),
        (
            "configMap: {name: corporate-ca}",
            "{configMap: {key: ca-bundle.crt}, additionalFormats: {jks: {key: ca-bundle.crt}}}",
            None,
        ),
        ("useDefaultCAs: true", "secret: {key: ca-bundle.crt}", None),
    ] {
        let target = if target.starts_with('{') { target.to_owned() } else { format!("{{{target}}}") };
        let bundle = format!(
            "apiVersion: trust.cert-manager.io/v1alpha1\nkind: Bundle\nmetadata: {{name: corporate}}\nspec: {{sources: [{{{source}}}], target: {target}}}\n"
        );
        let message = refusal(&format!("{bundle}---\n{}\n", object.unwrap_or_else(|| "{}".to_owned())));
        let cause = message.rsplit_once(": ").map_or(&*message, |(_, cause)| cause);
        assert!(page.contains(&message) || page.contains(cause), "docs/troubleshooting.md does not quote {message:?}");
    }
}

/// What `render` says of the Bundle of an input.
fn refusal(input: &str) -> String {
    let mut render = Command::new(env!("CARGO_BIN_EXE_rootcast"))
        .arg("render")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    render.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = render.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let (_, message) = told.lines().next().unwrap_or_default().split_once(": ").unwrap_or_default();
    message.split_once(": ").map_or_else(|| panic!("no refusal: {told:?}"), |(_, message)| message.to_owned())
}
