//! What the README says is what the program does.

use std::{io::Write as _, process::Command};

use rootcast::{api::Bundle, bundle::Intent, inject, limits};
use serde_json::Value;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

#[test]
fn the_table_of_runtimes_is_the_programs() {
    let readme = readme();
    let (start, end) = ("<!-- runtimes -->\n", "<!-- /runtimes -->");
    let written = readme.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(table, _)| table);
    let table = inject::markdown_table();
    assert!(written == Some(&table), "README.md: between {start:?} and {end:?} has to be:\n{table}");
}

#[test]
fn the_table_of_limits_is_the_programs() {
    let readme = readme();
    let (start, end) = ("<!-- limits -->\n", "<!-- /limits -->");
    let written = readme.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(table, _)| table);
    let table = limits::table();
    assert!(written == Some(&table), "README.md: between {start:?} and {end:?} has to be:\n{table}");
}

#[test]
fn every_bundle_is_one_that_the_controller_takes() {
    let readme = readme();
    let blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut taken = 0;
    for block in blocks.filter(|block| block.contains("\nkind: Bundle\n")) {
        let documents: Vec<Value> = serde_saphyr::from_multiple(block).unwrap();
        for document in documents.into_iter().filter(|document| document["kind"] == "Bundle") {
            let bundle: Bundle = serde_json::from_value(document).unwrap_or_else(|error| panic!("{error}: {block}"));
            let problems = Intent::parse(&bundle, "cert-manager").err();
            assert!(problems.is_none(), "{problems:?}: {block}");
            taken += 1;
        }
    }
    assert!(taken >= 2, "the README shows {taken} Bundles");
}

#[test]
fn argo_cd_is_told_when_a_bundle_is_healthy() {
    let readme = readme();
    let (_, rest) = readme.split_once("health.trust.cert-manager.io_Bundle: |\n").unwrap();
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
            std::io::stderr().write_all(b"lua5.1: absent, not checked\n").unwrap();
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected, "{output:?}");
    }
}
