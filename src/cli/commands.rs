//! The root of the command line: [`Cli`] and its commands.

use clap::{Parser, Subcommand};

use super::{controller, diff, hand_back, injector, inspect, render, status};

/// Distributes trust anchors (CA certificates) to every namespace of a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(
    name = "rootcast",
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    max_term_width = 110
)]
pub(super) struct Cli {
    /// Without a command: `controller`.
    #[command(subcommand)]
    pub(super) command: Option<CliCommand>,
    #[command(flatten)]
    controller: controller::Args,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Keep every Bundle's targets in sync (the default command).
    Controller(Box<controller::Args>),
    /// Put bundles into pods: an admission webhook that mounts them and points programs at them.
    Injector(Box<injector::Args>),
    /// Print the targets that the controller would write, from files, without a cluster.
    Render(render::Args),
    /// Show the certificates in a file, an object or on a server; compare two; tell whether a server would be accepted.
    ///
    /// Reads PEM, DER, JKS and PKCS#12. Keystores are tried with the passwords changeit, changeme and none, unless one
    /// is
    /// given. With two places: what the second trusts that the first does not, and the other way round, by fingerprint.
    #[command(after_long_help = inspect::EXIT_CODES)]
    Inspect(inspect::Args),
    /// Show how Bundles are: synced or not, where not and why, what ends when; or what a namespace is offered.
    ///
    /// Sources are read and judged anew, with the settings of the running controller, which are those of its Pod. What
    /// may
    /// not be read is named, and the rest is shown.
    #[command(after_long_help = status::EXIT_CODES)]
    Status(Box<status::Args>),
    /// Show what would change in the cluster if objects were as in a file: which namespaces, and which CAs come and go.
    ///
    /// Nothing is written. An object of the file stands in the place of the cluster's, labels and keys and all. The
    /// settings
    /// are those of the running controller, as for `status`.
    #[command(after_long_help = diff::EXIT_CODES)]
    Diff(Box<diff::Args>),
    /// Prepare all targets for trust-manager, before a switch back to it.
    ///
    /// trust-manager takes out of a target only what it has applied. What the controller writes is on record as
    /// updated: a
    /// key that is renamed after the switch would stay for ever. This puts it on record as applied, by one request for
    /// each
    /// ConfigMap and Secret that needs it, and changes nothing else. Stop the controller first: what it writes
    /// afterwards
    /// is not handed back. Secrets that may not be listed are left out, with a message. To run this again does no harm.
    #[command(
        after_long_help = "Exit code 0: all is well; 1: some targets could not be handed back; 2: bad usage, no access, or a controller is running."
    )]
    HandBack(hand_back::Args),
    /// Print the CRD of Bundle.
    Crds,
}

impl Cli {
    /// The command: what was named, or the controller.
    #[must_use]
    pub(super) fn into_command(self) -> CliCommand {
        let Self { command, controller } = self;
        command.unwrap_or_else(|| CliCommand::Controller(Box::new(controller)))
    }
}
