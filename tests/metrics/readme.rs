//! README.md lists what is served.

use std::fmt::Write as _;

use crate::catalogue::{Metric, catalogue};

#[test]
fn the_table_of_metrics_is_what_is_served() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (start, end) = ("<!-- metrics -->\n", "<!-- /metrics -->");
    let written = readme.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(table, _)| table);
    let table = table(&catalogue());
    assert!(written == Some(&table), "README.md: between {start:?} and {end:?} has to be:\n{table}");
}

fn table(metrics: &[Metric]) -> String {
    let mut table = "| metric | kind | labels | of | what it tells |\n|---|---|---|---|---|\n".to_owned();
    for Metric { name, kind, help, labels, programs } in metrics {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let program = if programs.len() == 2 { "both" } else { programs.first().expect("somebody serves it") };
        writeln!(table, "| `{name}` | {kind} | {labels} | {program} | {help} |").unwrap();
    }
    table
}
