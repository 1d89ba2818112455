//! The command line: arguments in, exit code out.
//!
//! ```text
//! mod (run) -> commands (Cli) -> controller, injector, render, inspect, status, wait, diff, hand_back
//!                                     |
//!                                     v
//!            args, value_parsers, input, overview, connect, output, outcome, log, pod, runtime
//! ```

mod args;
mod cluster_access;
mod commands;
mod connect;
mod controller;
mod diff;
mod hand_back;
mod injector;
mod input;
mod inspect;
mod kubeconfig;
mod log;
mod manifest;
mod outcome;
mod output;
mod overview;
mod plugin;
mod pod;
mod proxy;
mod reference;
mod render;
mod runtime;
mod status;
mod value_parsers;
mod wait;
mod webhook;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use clap::FromArgMatches;

use crate::api;
use crate::text;

use commands::{Cli, CliCommand};
use outcome::CommandOutcome;
pub use reference::flags;

/// Runs the program with the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = injector::cainjector_arguments(std::env::args_os(), |name| std::env::var_os(name));
    let matches = plugin::command(arguments.first().map(OsString::as_os_str)).get_matches_from(arguments);
    let arguments = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = runtime::block_on(run_command(arguments.into_command())).unwrap_or_else(|error| {
        print_diagnostic(&format!("rootcast: {}", causes(&error)));
        CommandOutcome::Failed
    });
    outcome.into()
}

async fn run_command(command: CliCommand) -> anyhow::Result<CommandOutcome> {
    match command {
        CliCommand::Controller(arguments) => controller::run(*arguments).await,
        CliCommand::Injector(arguments) => injector::run(*arguments).await,
        CliCommand::Render(arguments) => render::run(&arguments),
        CliCommand::HandBack(arguments) => hand_back::run(&arguments).await,
        CliCommand::Inspect(arguments) => inspect::run(&arguments).await,
        CliCommand::Status(arguments) => status::run(&arguments).await,
        CliCommand::Wait(arguments) => wait::run(&arguments).await,
        CliCommand::Diff(arguments) => diff::run(&arguments).await,
        CliCommand::Crds => print(api::CRDS).map(|()| CommandOutcome::Success),
    }
}

/// Joins an error and its causes. A cause that the text before it ends with is left out: libraries differ in whether
/// the text of an error includes its cause.
fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |joined, cause| match &*joined {
        "" => cause,
        _ if joined.ends_with(&cause) => joined,
        _ => format!("{joined}: {cause}"),
    })
}

/// Prints to standard output; a closed pipe is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints a line to standard error. Line breaks and control characters are escaped.
fn print_diagnostic(line: &str) {
    eprintln!("{}", text::Escaped(line));
}

/// Strips the colours of a text unless standard output takes them: a terminal does, but `NO_COLOR`
/// (<https://no-color.org>), `CLICOLOR` and `CLICOLOR_FORCE` (<https://bixense.com/clicolors/>) decide before that.
fn paint(text: String) -> String {
    match AutoStream::choice(&std::io::stdout()) {
        ColorChoice::Never => strip_str(&text).to_string(),
        ColorChoice::Auto | ColorChoice::Always | ColorChoice::AlwaysAnsi => text,
    }
}
