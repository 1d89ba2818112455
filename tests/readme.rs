//! What the README says is what the program does.

use rootcast::inject;

#[test]
fn the_table_of_runtimes_is_the_programs() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (start, end) = ("<!-- runtimes -->\n", "<!-- /runtimes -->");
    let written = readme.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(table, _)| table);
    let table = inject::markdown_table();
    assert!(written == Some(&table), "README.md: between {start:?} and {end:?} has to be:\n{table}");
}
