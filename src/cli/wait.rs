//! `rootcast wait`: waits until a certificate of a Bundle is settled, or retired.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bundle::is_dns_subdomain;
use crate::client::{SnapshotReadError, SnapshotReader};
use crate::overview::{AwaitedCertificate, AwaitedState, WaitVerdict};
use crate::trust::Fingerprint;

use super::args::ClusterArgs;
use super::outcome::CommandOutcome;
use super::print_diagnostic;
use super::value_parsers::parse_duration;

/// The meaning of the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit code 0: the certificate has reached the state; 1: the time is over, or it will never reach it, since it is \
excluded or distrusted; 2: bad usage, there is no such Bundle, it does not retain certificates, or it or its ledger may not be read.";

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// The flags of `wait`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Bundle whose certificate it is.
    #[arg(value_name = "bundle/NAME")]
    bundle: BundleName,
    /// SHA-256 fingerprint of the certificate: 64 digits, or as openssl prints it.
    #[arg(long, value_name = "SHA256")]
    certificate: Fingerprint,
    /// State to wait for.
    #[arg(long = "for", value_enum, value_name = "STATE")]
    state: StateChoice,
    /// How long to wait at most.
    #[arg(long, value_parser = parse_duration, default_value = "15m", value_name = "DURATION")]
    timeout: Duration,
    /// Namespace of the ledger: the controller's trust namespace.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE")]
    trust_namespace: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The states that can be waited for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateChoice {
    /// All targets have it for so long that every node has written it to files: an issuer may use it once programs that
    /// read it once were restarted.
    Settled,
    /// No target has it any more, unless it is one of the default CAs.
    Retired,
}

/// The name of a Bundle, as `NAME` or `bundle/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BundleName(String);

/// The error of a text that names no Bundle.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("give bundle/NAME or NAME, with the name of a Bundle")]
struct InvalidBundleNameError;

impl FromStr for BundleName {
    type Err = InvalidBundleNameError;

    fn from_str(text: &str) -> Result<Self, InvalidBundleNameError> {
        let name = text.strip_prefix("bundle/").unwrap_or(text);
        if is_dns_subdomain(name) { Ok(Self(name.to_owned())) } else { Err(InvalidBundleNameError) }
    }
}

/// Runs `rootcast wait`.
pub(super) async fn run(arguments: &Args) -> anyhow::Result<CommandOutcome> {
    let Args { bundle: BundleName(bundle), certificate, state, timeout, trust_namespace, cluster } = arguments;
    let state = match state {
        StateChoice::Settled => AwaitedState::Settled,
        StateChoice::Retired => AwaitedState::Retired,
    };
    let awaited = AwaitedCertificate { fingerprint: *certificate, state };
    let connection = cluster.connect().await?;
    let reader = SnapshotReader::new(&connection, &|_, _| {});
    let look = || async {
        let Some(mut snapshot) = reader.rotation(bundle, trust_namespace, Timestamp::now()).await? else {
            return Ok::<_, SnapshotReadError>(None);
        };
        snapshot.denials = reader.denials().await.ok();
        Ok(Some(awaited.verdict(&snapshot)))
    };
    let say = |words: &str| {
        print_diagnostic(&format!("rootcast: Bundle {bundle}, certificate {}: {words}", certificate.short()));
    };
    let deadline = Instant::now() + *timeout;
    let mut waits_for: Option<String> = None;
    loop {
        let next = Instant::now() + INTERVAL;
        let now_waits_for = match timeout_at(deadline, look()).await {
            Err(_) => waits_for.clone(),
            Ok(Ok(None)) => bail!("there is no Bundle {bundle}"),
            Ok(Ok(Some(WaitVerdict::NotAskable(cause)))) => bail!("Bundle {bundle}: {cause}"),
            Ok(Ok(Some(WaitVerdict::Reached(words)))) => {
                say(&format!("{state}: {words}"));
                return Ok(CommandOutcome::Success);
            }
            Ok(Ok(Some(WaitVerdict::Impossible(cause)))) => {
                say(&format!("never {state}: {cause}"));
                return Ok(CommandOutcome::NotReached);
            }
            Ok(Ok(Some(WaitVerdict::Waiting(cause)))) => Some(cause),
            // What cannot be asked at first cannot be asked at all; later the API server may be restarting.
            Ok(Err(error)) if waits_for.is_none() || error.forbidden => return Err(error.into()),
            Ok(Err(error)) => Some(error.to_string()),
        };
        if now_waits_for != waits_for {
            say(&format!("not {state} yet: {}", now_waits_for.as_deref().unwrap_or_default()));
            waits_for = now_waits_for;
        }
        if next >= deadline {
            sleep_until(deadline).await;
            say(&format!("not {state} within {:#}", SignedDuration::try_from(*timeout).unwrap_or(SignedDuration::MAX)));
            return Ok(CommandOutcome::NotReached);
        }
        sleep_until(next).await;
    }
}
