//! `rootcast hand-back`: prepares all targets for a switch back to trust-manager.

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::bundle::ObjectKind;
use crate::client::{Connection, HandBack, HandBackError, HandBackOutcome, SnapshotReader};
use crate::overview::describe_dropped;
use crate::text;

use super::args::ClusterArgs;
use super::outcome::CommandOutcome;
use super::{print, print_diagnostic};

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: success; 1: some targets could not be handed back; 2: bad usage, no access, or a \
controller is running.";

/// The flags of `hand-back`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Write the changes; without it, only print what would be done.
    #[arg(long)]
    write: bool,
    /// Namespace of the targets to hand back; repeatable; default: all.
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Namespace of the ledgers, which show what trust-manager would drop: the controller's trust namespace.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE")]
    trust_namespace: String,
    /// Namespace of the Lease that shows whether a controller is running.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE")]
    leader_election_namespace: String,
    /// Name of that Lease.
    #[arg(long, default_value = "trust-manager-leader-election", value_name = "NAME")]
    leader_election_id: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs `rootcast hand-back`.
pub(super) async fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let connection = arguments.cluster.connect().await?;
    let hand_back = HandBack::new(&connection, arguments.write);
    check_no_leader(arguments, &hand_back).await?;
    print_dropped(&connection, &arguments.trust_namespace).await?;
    let (mut due, mut failed) = (0, 0);
    for kind in ObjectKind::ALL {
        match hand_back_kind(&hand_back, kind, &arguments.namespaces).await {
            Ok(count) => {
                print(&count.summary(kind, arguments.write))?;
                due += count.due;
                failed += count.failed;
            }
            // Without Secret targets the permission to list Secrets is not needed.
            Err(refused) if kind == ObjectKind::Secret && refused.forbidden => {
                print_diagnostic(&format!("rootcast: Secret targets, if there are any, are left out: {refused}"));
            }
            Err(error) => return Err(error).with_context(|| format!("list {}", kind.plural())),
        }
    }
    if due > 0 {
        print("Nothing was changed. Stop the controller, then run this again with --write.\n")?;
    }
    Ok(if failed == 0 { CommandOutcome::Success } else { CommandOutcome::Incomplete })
}

/// Prints which certificates trust-manager would drop: it publishes what the sources hold, and nothing else.
async fn print_dropped(connection: &Connection, trust_namespace: &str) -> anyhow::Result<()> {
    match SnapshotReader::new(connection, &|_, _| {}).ledgers(trust_namespace).await {
        Ok(ledgers) => ledgers
            .iter()
            .filter_map(|(bundle, ledger)| describe_dropped(bundle, ledger))
            .try_for_each(|text| print(&text)),
        Err(error) => {
            print_diagnostic(&format!("rootcast: whether trust-manager would drop certificates is not known: {error}"));
            Ok(())
        }
    }
}

/// Refuses to write while a controller is running: it would go on writing as before.
async fn check_no_leader(arguments: &Args, hand_back: &HandBack) -> anyhow::Result<()> {
    let Args { leader_election_namespace: namespace, leader_election_id: lease, write, .. } = arguments;
    match hand_back.current_leader(namespace, lease, Timestamp::now()).await {
        Ok(None) => {}
        Ok(Some(holder)) if *write => {
            bail!("a controller is running: {holder} holds the Lease {namespace}/{lease}; stop it first");
        }
        Ok(Some(holder)) => {
            print_diagnostic(&format!(
                "rootcast: a controller is running: {holder} holds the Lease {namespace}/{lease}"
            ));
        }
        Err(error) => {
            print_diagnostic(&format!(
                "rootcast: make sure that no controller is running, which cannot be told: {error}"
            ));
        }
    }
    Ok(())
}

/// The number of targets of a kind, by result.
#[derive(Default)]
struct Count {
    all: usize,
    due: usize,
    done: usize,
    failed: usize,
}

async fn hand_back_kind(hand_back: &HandBack, kind: ObjectKind, namespaces: &[String]) -> Result<Count, HandBackError> {
    let mut count = Count::default();
    let everywhere = namespaces.is_empty().then_some(None);
    for namespace in everywhere.into_iter().chain(namespaces.iter().map(|name| Some(name.as_str()))) {
        count.all += hand_back.hand_back_all(kind, namespace, |target, result| count.record(&target, &result)).await?;
    }
    Ok(count)
}

impl Count {
    fn record(&mut self, target: &str, result: &HandBackOutcome) {
        let words = match result {
            HandBackOutcome::Due => {
                self.due += 1;
                "to be handed back"
            }
            HandBackOutcome::Done => {
                self.done += 1;
                "handed back"
            }
            HandBackOutcome::Failed(cause) => {
                self.failed += 1;
                cause
            }
        };
        // The work goes on where nobody reads the output.
        drop(print(&format!("{}\n", text::Escaped(&format!("{target}: {words}")))));
    }

    fn summary(&self, kind: ObjectKind, write: bool) -> String {
        let Self { all, due, done, failed } = self;
        let kind = kind.as_str();
        if write {
            format!("{done} of {all} {kind} targets handed back, {failed} failed\n")
        } else {
            format!("{due} of {all} {kind} targets to be handed back\n")
        }
    }
}
