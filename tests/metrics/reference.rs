//! The reference lists what is served.

use std::fmt::Write as _;

use crate::catalogue::{Metric, catalogue};
use crate::generated;

#[test]
fn the_table_of_metrics_is_what_is_served() {
    generated::check("docs/reference/metrics.md", "metrics", &table(&catalogue()));
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
