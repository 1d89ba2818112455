//! The command line. The controller's flags are trust-manager's, so that an existing Deployment keeps its arguments.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use super::injector::Args;

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
    controller: ControllerArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Keep every Bundle's targets in sync (the default command).
    Controller(Box<ControllerArgs>),
    /// Put bundles into pods: an admission webhook that mounts them and points programs at them.
    Injector(Box<Args>),
    /// Print the targets that the controller would write, from files, without a cluster.
    Render(RenderArgs),
    /// Show the certificates in a file, an object or on a server; compare two; tell whether a server would be accepted.
    ///
    /// Reads PEM, DER, JKS and PKCS#12. Keystores are tried with the passwords changeit, changeme and none, unless one is
    /// given. With two places: what the second trusts that the first does not, and the other way round, by fingerprint.
    #[command(after_long_help = super::inspect::EXIT_CODES)]
    Inspect(super::inspect::Args),
    /// Show how Bundles are: synced or not, where not and why, what ends when; or what a namespace is offered.
    ///
    /// Sources are read and judged anew, with the settings of the running controller, which are those of its Pod. What may
    /// not be read is named, and the rest is shown.
    #[command(after_long_help = super::status::EXIT_CODES)]
    Status(Box<super::status::Args>),
    /// Show what would change in the cluster if objects were as in a file: which namespaces, and which CAs come and go.
    ///
    /// Nothing is written. An object of the file stands in the place of the cluster's, labels and keys and all. The settings
    /// are those of the running controller, as for `status`.
    #[command(after_long_help = super::diff::EXIT_CODES)]
    Diff(Box<super::diff::Args>),
    /// Prepare all targets for trust-manager, before a switch back to it.
    ///
    /// trust-manager takes out of a target only what it has applied. What the controller writes is on record as updated: a
    /// key that is renamed after the switch would stay for ever. This puts it on record as applied, by one request for each
    /// ConfigMap and Secret that needs it, and changes nothing else. Stop the controller first: what it writes afterwards
    /// is not handed back. Secrets that may not be listed are left out, with a message. To run this again does no harm.
    #[command(
        after_long_help = "Exit code 0: all is well; 1: some targets could not be handed back; 2: bad usage, no access, or a controller is running."
    )]
    HandBack(HandBackArgs),
    /// Print the CRD of Bundle.
    Crds,
}

/// Where default CAs come from, unless a package file is named.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DefaultCasChoice {
    /// Mozilla's roots, built into this program.
    Mozilla,
    /// The certificate store of the machine or image.
    System,
    /// None: Bundles with useDefaultCAs are refused.
    None,
}

/// Whose consent it takes to write over values of others.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AdoptChoice {
    /// That of each object: its annotation rootcast.dev/adopt names the Bundle.
    Consent,
    /// Nobody's, as for trust-manager; but Secrets of another type than Opaque are never taken over.
    Always,
}

/// What shapes a decision, for the controller and for `render` alike.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct DecisionArgs {
    /// Namespace that sources are read from.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE")]
    pub(super) trust_namespace: String,
    /// Default CA package, a JSON file; wins over --default-cas.
    #[arg(long, value_name = "FILE")]
    pub(super) default_package_location: Option<PathBuf>,
    /// Default CAs when no package is named.
    #[arg(long, value_enum, default_value = "mozilla", value_name = "SOURCE")]
    pub(super) default_cas: DefaultCasChoice,
    /// Write Secret targets, too.
    #[arg(long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    pub(super) secret_targets_enabled: bool,
    /// Leave out certificates whose time is over.
    #[arg(long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    pub(super) filter_expired_certificates: bool,
    /// Leave out certificates that are not CAs.
    #[arg(long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    pub(super) filter_non_ca_certs: bool,
    /// Only these namespaces may receive targets (comma-separated); default: all.
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES")]
    pub(super) target_namespaces: Vec<String>,
    /// When a target is written over values of others that are neither empty nor certificates.
    #[arg(long, value_enum, default_value = "consent", value_name = "WHEN")]
    pub(super) adopt: AdoptChoice,
    /// Let Bundles have these names (comma-separated), though Kubernetes and others keep objects of their own under them.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(super) allow_names: Vec<String>,
}

/// The controller's flags.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ControllerArgs {
    #[command(flatten)]
    pub(super) decision: DecisionArgs,

    /// Port of the readiness and health probes.
    #[arg(long, default_value_t = 6060, value_name = "PORT", help_heading = "Serving")]
    pub(super) readiness_probe_port: u16,
    /// Path of the readiness probe; health is always at /healthz.
    #[arg(long, default_value = "/readyz", value_name = "PATH", help_heading = "Serving")]
    pub(super) readiness_probe_path: String,
    /// Port of the metrics (plain HTTP, /metrics); 0 serves none.
    #[arg(long, default_value_t = 9402, value_name = "PORT", help_heading = "Serving")]
    pub(super) metrics_port: u16,

    /// Address that the validating webhook listens on; 0.0.0.0 and :: are every address, of IPv4 and IPv6.
    #[arg(long, default_value = "0.0.0.0", value_name = "HOST", help_heading = "Validating webhook")]
    pub(super) webhook_host: String,
    /// Its port; 0 serves none.
    #[arg(long, default_value_t = 6443, value_name = "PORT", help_heading = "Validating webhook")]
    pub(super) webhook_port: u16,
    /// Folder with its tls.crt and tls.key; it is off as long as they are not there.
    #[arg(long, default_value = "/tls", value_name = "DIR", help_heading = "Validating webhook")]
    pub(super) webhook_certificate_dir: PathBuf,
    /// Its oldest TLS version: `VersionTLS12` (the default) or `VersionTLS13`.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "VERSION",
        help_heading = "Validating webhook"
    )]
    pub(super) tls_min_version: String,
    /// Its cipher suites for TLS 1.2, by their IANA names (comma-separated); default: all that are safe.
    #[arg(long, value_delimiter = ',', value_name = "SUITES", help_heading = "Validating webhook")]
    pub(super) tls_cipher_suites: Vec<String>,

    /// Format of the log.
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT", help_heading = "Logging")]
    pub(super) log_format: LogFormat,
    /// How much to log: 1 and 2 what changes, 3 and 4 every step, 5 everything.
    #[arg(long, short = 'v', default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5), value_name = "LEVEL", help_heading = "Logging")]
    pub(super) log_level: u8,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,

    /// Take part in the election of a leader, who alone writes; false only for a single replica.
    #[arg(long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_name = "BOOL", help_heading = "Leader election")]
    pub(super) leader_elect: bool,
    /// How long standbys wait after the leader's last renewal before one takes over.
    #[arg(long, value_parser = duration, default_value = "15s", value_name = "DURATION", help_heading = "Leader election")]
    pub(super) leader_election_lease_duration: Duration,
    /// How long the leader goes on without a renewal before it ends; shorter than the lease duration.
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "DURATION", help_heading = "Leader election")]
    pub(super) leader_election_renew_deadline: Duration,
    /// Name of the Lease; trust-manager's, so that the two never lead side by side.
    #[arg(
        long,
        default_value = "trust-manager-leader-election",
        value_name = "NAME",
        help_heading = "Leader election"
    )]
    pub(super) leader_election_id: String,
    /// Namespace of the Lease; default: the pod's own.
    #[arg(long, value_name = "NAMESPACE", help_heading = "Leader election")]
    pub(super) leader_election_namespace: Option<String>,

    /// Writes in flight at the same time.
    #[arg(long, default_value = "32", value_name = "NUMBER", help_heading = "Rollouts")]
    pub(super) max_concurrent_writes: NonZeroUsize,
    /// Bytes that are written in a second; 0: as many as the API server takes.
    #[arg(long, default_value_t = 0, value_name = "BYTES", help_heading = "Rollouts")]
    pub(super) max_write_bytes_per_second: u64,
    /// Longest pause before the rollout of a Bundle whose content changes often: more than three changes without ten quiet minutes; 0s: none, and no budget of bytes.
    #[arg(long, value_parser = pause, default_value = "60s", value_name = "DURATION", help_heading = "Rollouts")]
    pub(super) max_rollout_pause: Duration,
    /// Bytes that rollouts of Bundles that change more than once write in 5 minutes before further ones wait for the longest pause; suffixes Ki, Mi, Gi.
    #[arg(long, value_parser = bytes, default_value = "512Mi", value_name = "BYTES", help_heading = "Rollouts")]
    pub(super) rollout_bytes_per_5m: u64,
}

/// Which cluster to talk to, and as whom.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ClusterArgs {
    /// Kubeconfig file; default: KUBECONFIG, ~/.kube/config, then the pod's service account.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "CONTEXT", help_heading = "Cluster")]
    pub(super) context: Option<String>,
    /// User to impersonate.
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    pub(super) impersonate: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The flags of `render`.
#[derive(clap::Args, Debug)]
pub(super) struct RenderArgs {
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
    /// YAML or JSON with Bundles, ConfigMaps, Secrets and Namespaces: a file, a directory (its .yaml, .yml and .json files), or - for standard input.
    #[arg(long = "filename", short, value_name = "FILE|DIR|-", default_value = "-")]
    pub(super) filenames: Vec<PathBuf>,
    /// Namespace to render for when the input holds no matching Namespace; repeatable.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", default_value = "default")]
    pub(super) namespaces: Vec<String>,
    /// Form of the output.
    #[arg(long, short, value_enum, default_value = "yaml", value_name = "FORM")]
    pub(super) output: RenderFormat,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RenderFormat {
    /// YAML documents.
    Yaml,
    /// One JSON List.
    Json,
}

/// The flags of `hand-back`.
#[derive(clap::Args, Debug)]
pub(super) struct HandBackArgs {
    /// Do it; otherwise only print what would be done.
    #[arg(long)]
    pub(super) write: bool,
    /// Only the targets in this namespace; repeatable; default: all.
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    pub(super) namespaces: Vec<String>,
    /// Namespace of the Lease that tells whether a controller is running.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE")]
    pub(super) leader_election_namespace: String,
    /// Name of that Lease.
    #[arg(long, default_value = "trust-manager-leader-election", value_name = "NAME")]
    pub(super) leader_election_id: String,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

impl Cli {
    /// The command: what was named, or the controller.
    #[must_use]
    pub(super) fn into_command(self) -> CliCommand {
        let Self { command, controller } = self;
        command.unwrap_or_else(|| CliCommand::Controller(Box::new(controller)))
    }
}

/// A duration as Go writes it, such as `1m30s` or `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    parsed
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give a number and a unit, such as 15s, 1m30s or 500ms".to_owned())
}

/// As [`duration`], or none.
fn pause(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text) { Ok(Duration::ZERO) } else { duration(text) }
}

/// A number of bytes as Kubernetes writes it, such as `512Mi`
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = ["", "Ki", "Mi", "Gi"].iter().position(|known| *known == unit);
    let scaled =
        number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << (10 * shift)));
    scaled.ok_or_else(|| "give a number of bytes, such as 536870912 or 512Mi".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_may_be_none_and_bytes_have_suffixes() {
        assert_eq!(pause("0s"), Ok(Duration::ZERO));
        assert_eq!(pause("1m"), Ok(Duration::from_mins(1)));
        let rows = [("0", Some(0)), ("1000", Some(1000)), ("1Ki", Some(1024)), ("512Mi", Some(512 << 20))];
        let bad = ["", "Mi", "1M", "-1", "1.5Gi", "99999999999Gi"].map(|text| (text, None));
        for (text, expected) in rows.into_iter().chain(bad) {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, millis) in [
            ("15s", Some(15_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5s", Some(1_500)),
            ("1h2m3s", Some(3_723_000)),
            ("15", None),
            ("0s", None),
            ("-15s", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
    }
}
