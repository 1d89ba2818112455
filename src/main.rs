//! The `rootcast` program.
fn main() {}
