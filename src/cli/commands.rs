//! The root of the command line: [`Cli`] and its commands.

use clap::{Parser, Subcommand};

use super::{controller, diff, hand_back, injector, inspect, render, status, wait};

/// Distribute trust anchors (CA certificates) to every namespace of a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(
    name = "rootcast",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    max_term_width = 110,
    override_usage = "rootcast [COMMAND] [OPTIONS]",
    after_help = "Without a command, rootcast is the controller and takes its flags: see `rootcast controller --help`.",
    mut_args(|flag| flag.hide(true))
)]
pub(super) struct Cli {
    /// Without a command: `controller`.
    #[command(subcommand)]
    pub(super) command: Option<CliCommand>,
    #[command(flatten)]
    controller: controller::Args,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the controller, which keeps the targets of all Bundles in sync (the default command).
    Controller(Box<controller::Args>),
    /// Run the admission webhook that mounts Bundles into pods and points programs at them.
    Injector(Box<injector::Args>),
    /// Print the targets that the controller would write, from files, without a cluster.
    Render(render::Args),
    /// Show the certificates of a file, an object or a server; compare two; verify a server.
    ///
    /// Reads PEM, DER, JKS and PKCS#12. Keystores are tried with the passwords changeit, changeme and none, unless a
    /// password is given. With two places it shows which certificates only one of them trusts, by fingerprint.
    #[command(after_long_help = inspect::EXIT_CODES)]
    Inspect(inspect::Args),
    /// Show the status of Bundles, or of their targets in a namespace.
    ///
    /// Shows whether Bundles are synced, which targets are not in sync and why, and which certificates expire next.
    /// Sources are read and evaluated with the settings of the running controller, as its Pod has them. Objects that you
    /// may not read are named, and the rest is shown.
    #[command(after_long_help = status::EXIT_CODES)]
    Status(Box<status::Args>),
    /// Wait until a certificate of a Bundle is everywhere, or gone.
    ///
    /// For pipelines that rotate a CA: wait for `settled` before an issuer uses the new one. A certificate that nobody
    /// has seen yet is waited for, too, since a fresh edit may not have arrived. What it waits for is said on standard
    /// error whenever that changes. The Bundle must retain certificates (annotation rootcast.dev/retain).
    #[command(after_long_help = wait::EXIT_CODES)]
    Wait(wait::Args),
    /// Show what would change in the cluster if a file were applied: namespaces, CAs added and removed.
    ///
    /// Nothing is written. An object of the file replaces that of the cluster as a whole, with its labels and keys. The
    /// settings are those of the running controller, as for `status`.
    #[command(after_long_help = diff::EXIT_CODES)]
    Diff(Box<diff::Args>),
    /// Prepare all targets for a switch back to trust-manager.
    ///
    /// trust-manager removes from a target only what it has applied (server-side apply). What this controller writes is
    /// recorded as updated: a key that is renamed after the switch would stay forever. This command records it as
    /// applied, with one request for each ConfigMap and Secret that needs it, and changes nothing else. Stop the
    /// controller first: what it writes afterwards is not handed back. Secrets that you may not list are skipped, with a
    /// message. Running this again does no harm. Certificates that trust-manager would drop, since no source holds them
    /// any more, are named first.
    #[command(after_long_help = hand_back::EXIT_CODES)]
    HandBack(hand_back::Args),
    /// Print the CRDs of Bundle and Distrust.
    Crds,
}

impl Cli {
    /// Returns the command that was given, or else the controller.
    #[must_use]
    pub(super) fn into_command(self) -> CliCommand {
        let Self { command, controller } = self;
        command.unwrap_or_else(|| CliCommand::Controller(Box::new(controller)))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, CommandFactory};

    use super::*;

    fn help(words: &[&str]) -> String {
        let words = ["rootcast"].iter().chain(words);
        Cli::try_parse_from(words).expect_err("help is no command to run").to_string()
    }

    fn controller_flags() -> Vec<String> {
        let command = controller::Args::augment_args(Command::new("controller"));
        let flags: Vec<_> =
            command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
        assert!(flags.len() > 25, "{flags:?}");
        flags
    }

    #[test]
    fn the_root_help_is_a_short_list_of_commands() {
        for words in ["--help", "-h", "help"] {
            let text = help(&[words]);
            assert!(text.lines().count() <= 40, "{text}");
            for command in Cli::command().get_subcommands() {
                let name = format!("  {} ", command.get_name());
                assert!(text.lines().any(|line| line.starts_with(&name)), "{name}: {text}");
            }
            for flag in controller_flags() {
                assert!(!text.contains(&flag), "{flag}: {text}");
            }
        }
    }

    #[test]
    fn the_controllers_help_has_all_its_flags() {
        let text = help(&["controller", "--help"]);
        for flag in controller_flags() {
            assert!(text.contains(&format!("{flag} ")) || text.contains(&format!("{flag}[")), "{flag}: {text}");
        }
    }

    #[test]
    fn flags_without_a_command_are_the_controllers() {
        let parsed = |words: &[&str]| {
            let words = ["rootcast"].iter().chain(words);
            match Cli::try_parse_from(words).expect("arguments of the controller").into_command() {
                CliCommand::Controller(arguments) => format!("{arguments:?}"),
                other => panic!("{other:?}"),
            }
        };
        let flags = ["--trust-namespace", "x", "--leader-elect=false", "-v", "5", "--metrics-port=0"];
        assert!(parsed(&flags).contains("trust_namespace: \"x\""), "{}", parsed(&flags));
        assert_eq!(parsed(&flags), parsed(&[&["controller"], &flags[..]].concat()));
        assert_eq!(parsed(&[]), parsed(&["controller"]));
    }
}
