//! The reference of the command line in Markdown, for the documentation.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use super::commands::Cli;

/// The heading of flags without a help heading.
const GENERAL: &str = "General";

/// Returns all commands with their flags and defaults, in Markdown.
#[must_use]
pub fn flags() -> String {
    let mut program = Cli::command();
    program.build();
    let mut text = String::new();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, "## rootcast {}\n\n{}.\n", command.get_name(), about.trim_end_matches('.'))
            .expect("writing to a String never fails");
        for heading in headings(command) {
            writeln!(text, "**{heading}**\n\n| Flag | Default | |\n|---|---|---|")
                .expect("writing to a String never fails");
            for arg in shown(command).filter(|arg| heading_of(arg) == heading) {
                writeln!(text, "| {} | {} | {} |", name(arg), default(arg), help(arg))
                    .expect("writing to a String never fails");
            }
            text.push('\n');
        }
    }
    text
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str()))
}

fn heading_of(arg: &Arg) -> &str {
    arg.get_help_heading().unwrap_or(GENERAL)
}

/// Returns the headings in the order of their first flags.
fn headings(command: &Command) -> Vec<&str> {
    let mut headings = Vec::new();
    for heading in shown(command).map(heading_of) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

fn name(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    let Some(long) = arg.get_long() else { return format!("`{}`", cell(&values)) };
    let long = match (takes_value(arg), arg.is_require_equals_set()) {
        (false, _) => format!("--{long}"),
        (true, true) => format!("--{long}[={values}]"),
        (true, false) => format!("--{long}={values}"),
    };
    let short = arg.get_short().map(|short| format!(", `-{short}`")).unwrap_or_default();
    format!("`{}`{short}", cell(&long))
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|count| count.takes_values())
}

fn default(arg: &Arg) -> String {
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let is_shown = !arg.is_hide_default_value_set() && takes_value(arg) && !defaults.is_empty();
    if is_shown { format!("`{}`", cell(&defaults.join(","))) } else { String::new() }
}

/// Returns the help of a flag with the meaning of each possible value.
fn help(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let explained = values.iter().filter(|value| !value.is_hide_set()).filter_map(|value| {
        let meaning = value.get_help()?.to_string();
        Some(format!("`{}`: {}", value.get_name(), meaning.trim_end_matches('.')))
    });
    let sentences: Vec<_> = std::iter::once(help.trim_end_matches('.').to_owned()).chain(explained).collect();
    cell(&sentences.join(". "))
}

/// Escapes a text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', r"\|").replace('\n', " ")
}
