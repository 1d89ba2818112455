//! The injector's flags. Those of cainjector keep their names and meaning.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;

use super::super::args::{ClusterArgs, LogFormat};
use super::super::value_parsers::{InvalidDurationError, parse_duration};

/// The injector's flags.
#[derive(clap::Args, Clone, Debug)]
pub(in crate::cli) struct Args {
    /// Port of the webhook (HTTPS): /inject for Bundles, /mutate for cainjector's rules.
    #[arg(long, default_value_t = 8443, value_name = "PORT", help_heading = "Serving")]
    pub(super) port: u16,
    /// Port of the readiness and health probes, /readyz and /healthz.
    #[arg(long, default_value_t = 6060, value_name = "PORT", help_heading = "Serving")]
    pub(super) readiness_probe_port: u16,
    /// Port of the metrics (plain HTTP, /metrics); 0 disables them.
    #[arg(long, default_value_t = 9402, value_name = "PORT", help_heading = "Serving")]
    pub(super) metrics_port: u16,
    /// How long to keep serving after SIGTERM, while API servers learn that the pod is terminating.
    #[arg(long, value_parser = parse_duration, default_value = "5s", value_name = "DURATION", help_heading = "Serving")]
    pub(super) shutdown_delay: Duration,

    /// Directory with tls.crt and tls.key, reloaded when they change; default: the injector issues its own certificate.
    #[arg(long, value_name = "DIR", help_heading = "Certificate")]
    pub(super) cert_dir: Option<PathBuf>,
    /// Secret that stores the injector's own certificate, shared by all replicas.
    #[arg(long, default_value = "rootcast-injector-tls", value_name = "NAME", help_heading = "Certificate")]
    pub(super) tls_secret: String,
    /// `MutatingWebhookConfiguration` whose caBundle is kept up to date.
    #[arg(long, default_value = "rootcast-injector", value_name = "NAME", help_heading = "Certificate")]
    pub(super) webhook_configuration: String,
    /// Service through which API servers reach the webhook.
    #[arg(long, default_value = "rootcast-injector", value_name = "NAME", help_heading = "Certificate")]
    pub(super) service: String,
    /// Namespace of the Secret and the Service; default: the pod's own.
    #[arg(long, value_name = "NAMESPACE", help_heading = "Certificate")]
    pub(super) namespace: Option<String>,
    /// Lifetime of a certificate; it is renewed after two thirds of that.
    #[arg(
        long, value_parser = parse_lifetime, default_value = "2160h", value_name = "DURATION",
        help_heading = "Certificate"
    )]
    pub(super) certificate_lifetime: Duration,

    /// Whether access to Bundles is required.
    #[arg(long, value_enum, default_value = "required", value_name = "NEED", help_heading = "Bundles")]
    pub(super) bundles: BundleAccessChoice,
    /// Namespace that the controller reads sources from.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE", help_heading = "Bundles")]
    pub(super) trust_namespace: String,
    /// The controller's --target-namespaces: pods of other namespaces have nothing to mount.
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES", help_heading = "Bundles")]
    pub(super) target_namespaces: Vec<String>,
    /// The controller's --secret-targets-enabled: whether Bundles whose only target is a Secret can be mounted.
    #[arg(
        long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_name = "BOOL", help_heading = "Bundles"
    )]
    pub(super) secret_targets_enabled: bool,
    /// The controller's --allow-names: protected names whose Bundles can be mounted nevertheless.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help_heading = "Bundles")]
    pub(super) allow_names: Vec<String>,

    /// cainjector's configuration file, reloaded when it changes; if it does not exist, only annotations count.
    #[arg(long, default_value = "/etc/webhook/config.yaml", value_name = "FILE", help_heading = "cainjector")]
    pub(super) config: PathBuf,
    /// First part of the prefix of cainjector's annotations; default: `OPERATOR_NAME`, or cainjector.
    #[arg(long, value_name = "NAME", help_heading = "cainjector")]
    pub(super) operator_name: Option<String>,
    /// Second part of that prefix; default: `OPERATOR_DOMAIN`, or lestak.sh.
    #[arg(long, value_name = "DOMAIN", help_heading = "cainjector")]
    pub(super) operator_domain: Option<String>,

    /// Format of the log.
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT", help_heading = "Logging")]
    pub(super) log_format: LogFormat,
    /// Log level; default: `LOG_LEVEL`, or info.
    #[arg(long, value_enum, ignore_case = true, value_name = "LEVEL", help_heading = "Logging")]
    pub(super) log_level: Option<LogLevel>,

    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// The shortest lifetime of a certificate: a successor takes about a second to reach API servers and replicas.
const LIFETIME_MIN: Duration = Duration::from_secs(9);

/// The error of a text that is no lifetime of a certificate.
#[derive(Debug, thiserror::Error)]
enum InvalidLifetimeError {
    /// The text is no duration.
    #[error(transparent)]
    Duration(#[from] InvalidDurationError),
    /// The lifetime is shorter than [`LIFETIME_MIN`].
    #[error("give at least {} s", LIFETIME_MIN.as_secs())]
    TooShort,
}

/// Parses a lifetime of at least [`LIFETIME_MIN`].
fn parse_lifetime(text: &str) -> Result<Duration, InvalidLifetimeError> {
    let lifetime = parse_duration(text)?;
    if lifetime < LIFETIME_MIN {
        return Err(InvalidLifetimeError::TooShort);
    }
    Ok(lifetime)
}

/// Whether access to Bundles is required.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum BundleAccessChoice {
    /// The injector is not ready until it can read Bundles.
    Required,
    /// Without the permission to read Bundles only cainjector's rules apply.
    Optional,
}

/// What is logged, in cainjector's words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogLevel {
    /// Errors only.
    #[value(aliases = ["panic", "fatal"])]
    Error,
    /// Errors and warnings.
    #[value(alias = "warning")]
    Warn,
    /// Also changes.
    Info,
    /// Also every step.
    Debug,
    /// Everything.
    Trace,
}
