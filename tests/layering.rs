//! The shape of `src`: which folder imports what, which folder is pure, and how things are named.

mod syntax;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use syntax::Crate;

static SOURCE: LazyLock<Crate> = LazyLock::new(Crate::read);

/// The folders and files of `src` in the order of imports: each may import from those of the rows before its own.
const LAYERS: &[&[&str]] = &[
    &["limits.rs"],
    &["text.rs"],
    &["trust", "api"],
    &["bundle"],
    &["fanout", "inject", "inspect", "default_cas.rs"],
    &["overview", "webhook"],
    &["serving_cert", "metrics"],
    &["client"],
    &["controller", "admin.rs"],
    &["cli"],
    &["lib.rs", "main.rs"],
];

/// The folders and files that have no client, clock, log, file or environment: what they need is passed in.
const PURE: &[&str] =
    &["limits.rs", "text.rs", "trust", "api", "bundle", "fanout", "inject", "inspect", "overview", "serving_cert"];

/// Paths that no pure folder names, in full or in part.
const IMPURE: &[&str] = &[
    "kube::Client",
    "kube::client",
    "kube::config",
    "kube::runtime",
    "tokio",
    "hyper",
    "hyper_util",
    "tracing",
    "std::env",
    "std::fs",
    "TcpStream",
    "UdpSocket",
    "SystemTime",
    "Instant",
    "Timestamp::now",
];

/// Paths that a folder must not name, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("trust", &["k8s_openapi", "kube"], "certificates know nothing of Kubernetes"),
    ("fanout", &["Timestamp"], "the engine knows no dates: its time is the time since the start of the process"),
    ("webhook", &["kube"], "the server of reviews makes no requests of the API server: pass in what it decides by"),
    ("metrics", &["kube", "tracing"], "metrics are passed in"),
];

/// Paths that only one folder may name, and why.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("client", &["kube::Api", "kube::Client", "kube::api"], "all requests are made by client"),
    ("cli", &["anyhow"], "errors have types where somebody may tell them apart"),
];

/// Words that name nothing.
const METAPHORS: &[&str] = &[
    "desk",
    "fleet",
    "story",
    "stories",
    "crowd",
    "guest",
    "house",
    "sight",
    "glance",
    "stock",
    "witness",
    "wish",
    "hearsay",
    "farewell",
    "neighbourhood",
    "room",
];

/// The most lines of a file before its tests.
const LINES_MAX: usize = 400;

#[test]
fn imports_follow_the_order_of_folders() {
    let layer = |part: &str| LAYERS.iter().position(|layer| layer.contains(&part));
    let mut found = Vec::new();
    for (file, imported) in SOURCE.imports() {
        let from = part_of(&file);
        let Some(own) = layer(from) else {
            found.push(format!("src/{from} is in no layer: add it to tests/layering.rs"));
            continue;
        };
        for to in imported {
            let part = part_of(&to);
            if part != from && layer(part).is_some_and(|layer| layer >= own) {
                found.push(format!("src/{file} imports from src/{to}, which is not in a layer before {from}"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn imports_have_no_circles() {
    let mut imports = SOURCE.imports();
    for (file, imported) in &mut imports {
        imported.retain(|to| !is_parent(to, file));
    }
    let circles = circles(&imports);
    assert!(circles.is_empty(), "files that import from each other:\n{}", circles.join("\n"));
}

#[test]
fn a_folder_names_only_what_it_may() {
    let mut found = BTreeSet::new();
    for (file, path) in SOURCE.paths() {
        let part = part_of(file);
        let names = |pattern: &&&str| contains(&path, pattern);
        let impure = IMPURE.iter().filter(|_| PURE.contains(&part)).find(names);
        found.extend(impure.map(|_| format!("src/{file}: {}: {part} is pure: pass it in", path.join("::"))));
        for (_, patterns, why) in FORBIDDEN.iter().filter(|(folder, ..)| *folder == part) {
            found.extend(patterns.iter().find(names).map(|_| format!("src/{file}: {}: {why}", path.join("::"))));
        }
        for (_, patterns, why) in ONLY.iter().filter(|(folder, ..)| *folder != part) {
            found.extend(patterns.iter().find(names).map(|_| format!("src/{file}: {}: {why}", path.join("::"))));
        }
    }
    assert!(found.is_empty(), "\n{}", found.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn one_word_names_one_public_type() {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for found in &SOURCE.public_types {
        files.entry(&found.name).or_default().push(&found.file);
    }
    assert!(!files.contains_key("Error"), "an error says whose it is: {:?}", files["Error"]);
    // Each command has its own arguments, which only its own file names.
    files.retain(|name, files| files.len() > 1 && *name != "Args");
    assert!(files.is_empty(), "types of the same name: {files:#?}");
}

#[test]
fn names_are_no_metaphors() {
    let mut found = Vec::new();
    for (file, text) in &SOURCE.files {
        for (index, line) in text.lines().enumerate() {
            for word in words(line).filter(|word| METAPHORS.iter().any(|metaphor| is_form_of(word, metaphor))) {
                found.push(format!("src/{file}:{}: {word}", index + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    // What is compiled for tests only is no module.
    let modules = SOURCE.imports();
    for (file, text) in SOURCE.files.iter().filter(|(file, _)| modules.contains_key(*file)) {
        let before_tests = text.split("#[cfg(test)]\nmod tests").next().expect("a split has a first part");
        let lines = before_tests.lines().count();
        if lines > LINES_MAX {
            found.push(format!("src/{file}: {lines} lines"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn errors_have_types() {
    let found = SOURCE.string_errors();
    assert!(found.is_empty(), "`Result<_, String>` in:\n{}", found.join("\n"));
}

#[test]
fn the_drawing_of_the_crate_names_what_exists() {
    let types: BTreeSet<_> = SOURCE.public_types.iter().map(|found| found.name.as_str()).collect();
    let drawing = SOURCE.files["lib.rs"].split("```text").nth(1).and_then(|rest| rest.split("```").next());
    let drawing = drawing.expect("lib.rs has a drawing").replace("//!", "");
    let name = |character: char| !(character.is_ascii_alphanumeric() || character == '_' || character == ':');
    for name in drawing.split(name).map(|name| name.trim_matches(':')).filter(|name| !name.is_empty()) {
        let is_type = name.starts_with(|first: char| first.is_ascii_uppercase()) && !name.contains("::");
        assert!(!is_type || types.contains(name), "lib.rs draws {name}, which is no type");
        let is_path = name.contains("::");
        assert!(!is_path || SOURCE.has(name), "lib.rs draws {name}, which does not exist");
    }
}

#[test]
fn every_folder_is_described() {
    let page = include_str!("../ARCHITECTURE.md");
    for folder in LAYERS.iter().copied().flatten().filter(|part| !part.contains('.')) {
        assert!(page.contains(&format!("\n| `{folder}` | ")), "ARCHITECTURE.md does not describe src/{folder}");
    }
}

/// The files that a change passes through, as ARCHITECTURE.md lists them, can be followed by imports.
#[test]
fn the_listed_way_of_a_change_can_be_followed() {
    let page = include_str!("../ARCHITECTURE.md");
    let section = page.split("\n## The way of a changed ConfigMap\n").nth(1).expect("ARCHITECTURE.md has the section");
    let section = section.split("\n## ").next().expect("a split has a first part");
    let links = section.split("](src/").skip(1).map(|rest| rest.split(')').next().expect("a link ends"));
    let mut files: Vec<&str> = Vec::new();
    for file in links {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    assert!((2..=25).contains(&files.len()), "{} files", files.len());
    let imports = SOURCE.imports();
    let follows = |from: &str, to: &str| imports[from].contains(to);
    for (index, file) in files.iter().enumerate() {
        assert!(imports.contains_key(*file), "src/{file} does not exist");
        let known = files[..index].iter().any(|earlier| follows(earlier, file) || follows(file, earlier));
        assert!(index == 0 || known, "src/{file} has no import in common with the files before it");
    }
}

/// The folder or file directly below `src`.
fn part_of(file: &str) -> &str {
    file.split_once('/').map_or(file, |(folder, _)| folder)
}

/// Whether a file is the parent module of another.
fn is_parent(parent: &str, file: &str) -> bool {
    let module = file.strip_suffix("/mod.rs").or_else(|| file.strip_suffix(".rs")).expect("a Rust file");
    match module.rsplit_once('/') {
        Some((folder, _)) => parent == format!("{folder}/mod.rs"),
        None => parent == "lib.rs",
    }
}

fn contains(path: &[String], pattern: &str) -> bool {
    let pattern: Vec<_> = pattern.split("::").collect();
    path.windows(pattern.len()).any(|window| window == pattern)
}

/// The words of a line: those of `snake_case` and of `CamelCase` one by one.
fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(|character: char| !character.is_ascii_alphabetic()).flat_map(|name| {
        let mut words: Vec<String> = Vec::new();
        let mut lower = false;
        for character in name.chars() {
            if words.is_empty() || (character.is_ascii_uppercase() && lower) {
                words.push(String::new());
            }
            lower = character.is_ascii_lowercase();
            words.last_mut().expect("there is a word").push(character.to_ascii_lowercase());
        }
        words
    })
}

fn is_form_of(word: &str, singular: &str) -> bool {
    word == singular
        || word.strip_prefix(singular).is_some_and(|end| end == "s" || (end == "es" && singular.ends_with(['s', 'h'])))
}

/// The groups of files that reach each other by imports.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reach: BTreeMap<_, _> = imports.keys().map(|file| (file, reached(imports, file))).collect();
    let mut groups = BTreeSet::new();
    for (file, reached) in &reach {
        if reached.contains(file) {
            let group = reached.iter().filter(|other| reach.get(**other).is_some_and(|back| back.contains(file)));
            groups.insert(group.map(|file| file.as_str()).collect::<Vec<_>>().join(" "));
        }
    }
    groups.into_iter().collect()
}

/// The files that a file imports from, directly or through others.
fn reached<'a>(imports: &'a BTreeMap<String, BTreeSet<String>>, from: &'a String) -> BTreeSet<&'a String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(imports.get(file).into_iter().flatten().filter(|to| found.insert(*to)));
    }
    found
}
