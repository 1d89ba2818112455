//! Programs of others that judge what we make, on machines that lack them.

use std::env;
use std::io::Write as _;

/// Leaves out what an absent program judges, and says so. In CI, which sets `CI`, the test that needs it fails.
pub(crate) fn absent(program: &str) {
    let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!in_ci, "{program}: absent; this test needs it where CI is set");
    unchecked(&format!("{program}: absent"));
}

/// Says what was not checked, past the capture of test output.
pub(crate) fn unchecked(why: &str) {
    std::io::stderr().write_all(format!("{why}, not checked\n").as_bytes()).expect("standard error");
}
