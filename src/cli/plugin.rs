//! Use as a plugin of kubectl, which runs `kubectl-rootcast` for `kubectl rootcast`
//! (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>).

use std::ffi::OsStr;
use std::path::Path;

use clap::builder::Resettable;
use clap::{Command, CommandFactory};

use super::commands::Cli;

/// The file name of a plugin.
const PLUGIN: &str = "kubectl-rootcast";

/// Returns the command line for the name that the program was started by. As a plugin it requires a command, and never
/// becomes a controller.
pub(super) fn command(program: Option<&OsStr>) -> Command {
    let command = Cli::command();
    let name = program.and_then(|program| Path::new(program).file_name());
    if name.is_none_or(|name| name != PLUGIN) {
        return command;
    }
    command
        .bin_name("kubectl rootcast")
        .override_usage("kubectl rootcast <COMMAND>")
        .after_help(Resettable::Reset)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .mut_subcommands(|command| {
            let serves = ["controller", "injector"].contains(&command.get_name());
            command.hide(serves)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_plugin_it_is_called_so_and_never_becomes_a_controller() {
        let error_text = |words: &[&str]| {
            let words = ["/somewhere/kubectl-rootcast"].iter().chain(words);
            let command = command(Some(OsStr::new("/somewhere/kubectl-rootcast")));
            command.try_get_matches_from(words).expect_err("no command").to_string()
        };
        for words in [&[] as &[&str], &["--trust-namespace=x"]] {
            let text = error_text(words);
            assert!(text.contains("Usage: kubectl rootcast") && !text.contains("[default: cert-manager]"), "{text}");
        }
        assert!(error_text(&["diff"]).contains("Usage: kubectl rootcast diff --filename"), "{}", error_text(&["diff"]));
        let usual = command(Some(OsStr::new("rootcast"))).try_get_matches_from(["rootcast"]).expect("a controller");
        assert_eq!(usual.subcommand_name(), None);
    }
}
