//! Limits on foreign input: one table, which the documentation repeats.
//!
//! A limit is enforced where the input enters. Each row says what somebody sees when it is reached.

/// A bound on something that others send or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is bounded, with its unit.
    pub what: &'static str,
    /// The largest value that is accepted.
    pub max: usize,
    /// The condition, warning or answer that says that the limit is reached.
    pub reached: &'static str,
}

/// Every limit, in the order of the documentation.
pub const ALL: &[Limit] = &[];

/// The table of limits as Markdown, for the documentation.
#[must_use]
pub fn table() -> String {
    let rows = ALL.iter().map(|Limit { what, max, reached }| format!("| {what} | {max} | {reached} |\n"));
    std::iter::once("| What | At most | What is seen when it is reached |\n|---|--:|---|\n".to_owned())
        .chain(rows)
        .collect()
}
