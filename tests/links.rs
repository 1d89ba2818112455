//! Links of all Markdown files lead somewhere: to files that are there, and to headings of theirs. Nothing is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders that hold no text of this repository.
const FOREIGN: &[&str] = &["target", ".git", "node_modules"];

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading_of_it() {
    let root = root();
    let files = files(&root, "md");
    assert!(files.len() > 20, "{files:?}");
    let anchors: BTreeMap<_, _> = files.iter().map(|file| (file.clone(), anchors(&read(file)))).collect();
    let mut broken = Vec::new();
    for file in &files {
        for (line, link) in links(&read(file)) {
            let (path, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let folder = file.parent().expect("a file is in a folder");
            let target = if path.is_empty() { file.clone() } else { plain(&folder.join(path)) };
            let is_there = target.exists() && target.starts_with(&root);
            let has_anchor = anchor.is_none_or(|anchor| anchors.get(&target).is_some_and(|all| all.contains(anchor)));
            if !is_there || !has_anchor {
                broken.push(format!("{}:{line}: {link}", file.strip_prefix(&root).expect("below the root").display()));
            }
        }
    }
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn what_we_wrote_ourselves_is_as_long_as_it_says_and_has_its_evidence() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let (_, section) = text.split_once("## What we wrote ourselves").expect("the section");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What ")).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let cells: Vec<_> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [what, files, stated, instead, evidence] = cells[..] else { panic!("five cells: {row}") };
        let named = links(files);
        let counted: usize = named.iter().map(|(_, file)| code_lines(&root().join(file))).sum();
        let stated: usize = stated.replace(',', "").parse().expect(row);
        assert!(counted.abs_diff(stated) * 4 <= stated, "{what}: it has {counted} lines instead of {stated}");
        let has_version = instead.contains(|c: char| c.is_ascii_digit()) || instead == "the same";
        assert!(!named.is_empty() && has_version && evidence.len() > 40, "files, a version and evidence: {row}");
    }
}

/// The number of lines before the tests, of a file or of all files below a folder.
fn code_lines(path: &Path) -> usize {
    let files = if path.is_dir() { files(path, "rs") } else { vec![path.to_owned()] };
    files.iter().map(|file| read(file).lines().take_while(|line| *line != "#[cfg(test)]").count()).sum()
}

#[test]
fn the_list_of_pages_has_every_page() {
    let docs = root().join("docs");
    let list = docs.join("README.md");
    let linked: BTreeSet<_> =
        links(&read(&list)).into_iter().map(|(_, link)| plain(&docs.join(link.split('#').next().unwrap()))).collect();
    let missing: Vec<_> =
        files(&docs, "md").into_iter().filter(|page| *page != list && !linked.contains(page)).collect();
    assert!(missing.is_empty(), "docs/README.md does not list {missing:?}");
}

#[test]
fn every_page_says_first_what_it_is_for() {
    for page in files(&root().join("docs"), "md") {
        let text = read(&page);
        let mut lines = text.lines();
        let title = lines.next().unwrap_or_default();
        let purpose = lines.find(|line| !line.is_empty()).unwrap_or_default();
        assert!(title.starts_with("# "), "{}: a title first", page.display());
        assert!(
            purpose.starts_with(char::is_alphanumeric),
            "{}: after the title what it is for: {purpose:?}",
            page.display()
        );
    }
}

/// Comments, messages and values name pages by their path from the root of the repository.
#[test]
fn pages_that_other_files_name_are_there() {
    let root = root();
    let mut missing = Vec::new();
    for end in ["rs", "yaml", "json", "tpl", "txt", "toml"] {
        for file in files(&root, end) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            for (at, _) in text.match_indices("docs/") {
                let is_part = text[..at].ends_with(|before: char| before.is_alphanumeric() || "/.-_".contains(before));
                let name: String =
                    text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c)).collect();
                if !is_part && Path::new(&name).extension().is_some_and(|end| end == "md") && !root.join(&name).exists()
                {
                    missing.push(format!("{}: {name}", file.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn anchors_are_those_that_github_makes() {
    let text = "# A `Bundle`'s name\n## What differs, on purpose\n```\n# no heading\n```\n## Limits\n### Limits\n## [Linked](x.md) `--flag_a`\n";
    let expected = ["a-bundles-name", "what-differs-on-purpose", "limits", "limits-1", "linked---flag_a"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
    let text =
        "[a](b.md) `[c](d.md)` [`e`](f.md#g)\n```\n[h](i.md)\n```\n![j](k.png) [l](https://example.com)\n[m]: n.md\n";
    let found: Vec<_> = links(text).into_iter().map(|(line, link)| format!("{line} {link}")).collect();
    assert_eq!(found, ["1 b.md", "1 f.md#g", "5 k.png", "6 n.md"]);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All files below a folder that end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && !FOREIGN.contains(&name.as_str()) {
            found.extend(files(&path, end));
        } else if path.is_file() && path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((index + 1, line))
    })
}

/// The targets of all links that name no other host, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut code) = (Vec::new(), false);
    for (number, line) in prose(text) {
        // A span of code may go on in the next line, but not beyond its paragraph.
        code &= !line.is_empty();
        let mut line = line.to_owned();
        line.retain(|character| {
            code ^= character == '`';
            !code && character != '`'
        });
        let inline =
            line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned());
        let reference =
            line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.to_owned());
        let targets =
            inline.chain(reference).filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        found.extend(targets.map(|target| (number, target)));
    }
    found
}

/// The anchors of a text's headings, as GitHub names them: lower case, letters, digits, `-` and `_` alone, spaces as `-`, and
/// a number for those that come again.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter_map(|(_, line)| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| heading.strip_prefix(' ')).flatten()
    });
    headings
        .map(|heading| {
            let name: String = shown(heading.trim())
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
        })
        .collect()
}

/// A heading without the targets of its links.
fn shown(heading: &str) -> String {
    let mut parts = heading.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, rest| text + rest.split_once(')').map_or("", |(_, after)| after))
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}
