//! Which folder of `src` may name what. Data and imports flow one way; a pure folder stays pure.

use std::fs;
use std::path::{Path, PathBuf};

/// Words of clients, clocks, logs, files and the environment.
const IMPURE: &[&str] = &[
    "kube::",
    "tokio",
    "tracing",
    "std::env",
    "std::fs",
    "TcpStream",
    "UdpSocket",
    "SystemTime",
    "Instant",
    "Timestamp::now",
];

/// Words that a folder must not contain, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("trust", &["k8s_openapi", "kube::", "crate::api", "crate::bundle"], "certificates know nothing of Kubernetes"),
    ("trust", IMPURE, "certificates are a pure function of their input: pass it in"),
    (
        "api",
        &["tokio", "tracing", "std::env", "std::fs", "kube::Client", "kube::Api", "crate::trust", "crate::bundle"],
        "the wire types are only types",
    ),
    ("bundle", IMPURE, "a decision has no client, no clock and no log: put what it needs into World, or pass `now`"),
    (
        "bundle",
        &["crate::client", "crate::cli", "crate::admin", "crate::default_cas"],
        "decisions do not know who obeys them",
    ),
    ("fanout", IMPURE, "the step is pure: pass time and answers as events, ask for requests by actions"),
    ("fanout", &["Timestamp"], "the step knows no dates: its time is the time since the start of the process"),
    (
        "fanout",
        &["crate::client", "crate::cli", "crate::admin", "crate::default_cas"],
        "the step does not know who carries out its orders",
    ),
    ("inject", IMPURE, "a decision about a pod has no client, no clock and no log: pass in what it needs"),
    (
        "inject",
        &["crate::client", "crate::webhook", "crate::fanout", "crate::cli", "crate::admin", "crate::default_cas"],
        "decisions do not know who obeys them",
    ),
    ("inspect", IMPURE, "what is shown depends on what was read and the time alone: pass both in"),
    (
        "inspect",
        &["crate::client", "crate::webhook", "crate::fanout", "crate::cli", "crate::admin", "crate::default_cas"],
        "what is shown does not depend on who reads it",
    ),
    ("overview", IMPURE, "what is shown of a cluster depends on what was read and the time alone: pass both in"),
    (
        "overview",
        &["crate::client", "crate::webhook", "crate::fanout", "crate::cli", "crate::admin", "crate::default_cas"],
        "what is shown does not depend on who reads it",
    ),
    (
        "webhook",
        &["kube::", "crate::client", "crate::fanout", "crate::cli", "crate::admin", "crate::default_cas"],
        "who serves reviews is told what to decide by, and makes no requests of the API server",
    ),
    ("bundle", &["crate::inject", "crate::webhook"], "what is wanted does not depend on who mounts it"),
    ("bundle", &["crate::fanout"], "what is wanted does not depend on how it gets there"),
    (
        "metrics",
        &["kube::", "tracing", "crate::client", "crate::cli", "crate::admin", "crate::default_cas"],
        "metrics tell what they are told, and do not know by whom",
    ),
    ("limits.rs", IMPURE, "a table"),
    ("limits.rs", &["crate::"], "every folder may use it"),
    ("text.rs", IMPURE, "what a text becomes depends on the text alone"),
    (
        "text.rs",
        &["crate::api", "crate::trust", "crate::bundle", "crate::client", "crate::cli"],
        "every folder may use it",
    ),
    ("client", &["crate::cli", "crate::admin", "crate::default_cas"], "the cluster side is told what to do by cli"),
    ("cli", &["kube::Api", "kube::api"], "only the cluster folder makes requests"),
];

#[test]
fn no_folder_imports_what_it_must_not() {
    let mut found = Vec::new();
    for (folder, words, why) in FORBIDDEN {
        for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)) {
            let text = fs::read_to_string(&file).expect("a source file is text");
            for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    found.push(format!("{}:{}: {word}: {why}", file.display(), index + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_source_file_lives_in_a_known_folder() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders =
        ["api", "trust", "bundle", "fanout", "inject", "inspect", "overview", "webhook", "metrics", "client", "cli"];
    let top = ["lib.rs", "main.rs", "admin.rs", "default_cas.rs", "limits.rs", "text.rs"];
    let page = include_str!("../ARCHITECTURE.md");
    for folder in folders {
        assert!(page.contains(&format!("\n| `{folder}` | ")), "ARCHITECTURE.md does not tell of src/{folder}");
    }
    for file in files(&source) {
        let inside = file.strip_prefix(&source).expect("a file of src");
        let folder = inside.iter().next().expect("a path has a first part").to_string_lossy();
        assert!(
            folders.contains(&&*folder) || top.contains(&&*folder),
            "src/{folder} is no known folder: add it to tests/layers.rs with what it must not import"
        );
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
