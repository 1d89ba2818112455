//! The `rootcast` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    rootcast::cli::run()
}
