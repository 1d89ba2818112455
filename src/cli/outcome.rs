//! Exit codes.

use std::process::ExitCode;

/// The outcome of a command, which determines the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandOutcome {
    /// The command did its work, and everything is as it should be.
    Success,
    /// `controller`: the leadership was lost. The restarted process takes part in the election again.
    LeadershipLost,
    /// `render`: a Bundle is refused.
    BundleRefused,
    /// `status`: a Bundle is not synced, a target is not in sync, or there is no leader.
    Unhealthy,
    /// `wait`: the state was not reached, or cannot be.
    NotReached,
    /// `diff`, `inspect`: something would change or differs.
    Different,
    /// `hand-back`: some targets could not be handed back.
    Incomplete,
    /// `inspect`: something cannot be used.
    Damaged,
    /// `inspect`: the server would be refused.
    ServerRefused,
    /// `diff`, `inspect`: what was asked for cannot be determined.
    Inconclusive,
    /// Bad usage, input that cannot be read, or no access. clap exits with the same code.
    Failed,
}

impl From<CommandOutcome> for ExitCode {
    fn from(outcome: CommandOutcome) -> Self {
        Self::from(match outcome {
            CommandOutcome::Success => 0,
            CommandOutcome::LeadershipLost
            | CommandOutcome::BundleRefused
            | CommandOutcome::Unhealthy
            | CommandOutcome::NotReached
            | CommandOutcome::Different
            | CommandOutcome::Incomplete
            | CommandOutcome::Damaged
            | CommandOutcome::ServerRefused => 1,
            CommandOutcome::Inconclusive | CommandOutcome::Failed => 2,
        })
    }
}
