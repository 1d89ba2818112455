//! Groups of flags that several commands share.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use jiff::SignedDuration;

use crate::bundle::{
    AdoptionPolicy, DecisionSettings, EvidenceSource, RetentionDefaults, TrustNamespaces, parse_retention_time,
};
use crate::default_cas::{self, DefaultCasProvider};

/// Where default CAs come from, unless a package file is named.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DefaultCasChoice {
    /// Mozilla's roots, built into this program.
    Mozilla,
    /// The certificate store of the machine or image.
    System,
    /// No default CAs: Bundles with useDefaultCAs are refused.
    None,
}

/// Which objects of others may be overwritten.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AdoptChoice {
    /// Those whose annotation rootcast.dev/adopt names the Bundle.
    Consent,
    /// All, as with trust-manager; Secrets of a type other than Opaque are never taken over.
    Always,
}

/// What shows that a certificate is in use.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum EvidenceChoice {
    /// CertificateRequests of cert-manager.
    #[value(name = "certificaterequests")]
    CertificateRequests,
}

/// What shapes a decision, for the controller and for `render` alike.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct DecisionArgs {
    /// Namespace to read sources from.
    #[arg(long, default_value = "cert-manager", value_name = "NAMESPACE")]
    pub(super) trust_namespace: String,
    /// Namespaces that Bundles may have their sources read in instead, by annotation rootcast.dev/trust-namespace
    /// (comma-separated).
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES")]
    pub(super) additional_trust_namespaces: Vec<String>,
    /// JSON file with a default CA package; takes precedence over --default-cas.
    #[arg(long, value_name = "FILE")]
    pub(super) default_package_location: Option<PathBuf>,
    /// Default CAs if no package is given.
    #[arg(long, value_enum, default_value = "mozilla", value_name = "SOURCE")]
    pub(super) default_cas: DefaultCasChoice,
    /// Enable targets that are Secrets.
    #[arg(
        long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_name = "BOOL"
    )]
    pub(super) secret_targets_enabled: bool,
    /// Leave out expired certificates.
    #[arg(
        long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_name = "BOOL"
    )]
    pub(super) filter_expired_certificates: bool,
    /// Leave out certificates that are not CAs.
    #[arg(
        long, value_parser = BoolishValueParser::new(), num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_name = "BOOL"
    )]
    pub(super) filter_non_ca_certs: bool,
    /// Namespaces that may receive targets (comma-separated); default: all.
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES")]
    pub(super) target_namespaces: Vec<String>,
    /// Which objects of others may be overwritten if they hold values that are neither empty nor certificates.
    #[arg(long, value_enum, default_value = "consent", value_name = "WHEN")]
    pub(super) adopt: AdoptChoice,
    /// Protected names that Bundles may have nevertheless (comma-separated); Kubernetes and other programs keep objects
    /// of their own under those names.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(super) allow_names: Vec<String>,
    /// How long a certificate stays published at least after the last source has lost it, for Bundles without
    /// annotation rootcast.dev/retain; default: it goes at once.
    #[arg(long, value_parser = parse_retention_time, value_name = "DURATION")]
    default_retain: Option<SignedDuration>,
    /// Time after which the nodes have rewritten the files of a target that was written.
    #[arg(long, value_parser = parse_retention_time, default_value = "3m", value_name = "DURATION")]
    settle: SignedDuration,
    /// What shows that a certificate which sources have lost is still in use, so that it stays published; default:
    /// nothing.
    #[arg(long, value_enum, value_name = "SOURCE")]
    evidence: Option<EvidenceChoice>,
}

/// Which cluster to talk to, and as whom.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ClusterArgs {
    /// Kubeconfig file; default: KUBECONFIG, ~/.kube/config, then the pod's service account.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, value_name = "CONTEXT", help_heading = "Cluster")]
    pub(super) context: Option<String>,
    /// User to impersonate.
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    pub(super) impersonate: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl DecisionArgs {
    /// Returns these flags as settings of decisions.
    pub(super) fn settings(&self) -> DecisionSettings {
        DecisionSettings {
            secret_targets: self.secret_targets_enabled,
            filter_expired: self.filter_expired_certificates,
            filter_non_ca: self.filter_non_ca_certs,
            target_namespaces: namespace_set(&self.target_namespaces),
            adopt: match self.adopt {
                AdoptChoice::Consent => AdoptionPolicy::Consent,
                AdoptChoice::Always => AdoptionPolicy::Always,
            },
            allow_names: self.allow_names.iter().cloned().collect(),
            retention: RetentionDefaults { retain: self.default_retain, settle: self.settle },
            evidence: self.evidence.map(|EvidenceChoice::CertificateRequests| EvidenceSource::CertificateRequests),
        }
    }

    /// Returns the namespaces that these flags have sources read in.
    pub(super) fn trust_namespaces(&self) -> TrustNamespaces {
        TrustNamespaces::new(&self.trust_namespace, &self.additional_trust_namespaces)
    }

    /// Loads the default CAs that these flags name.
    ///
    /// # Errors
    /// When they cannot be read in full.
    pub(super) fn load_default_cas(&self) -> Result<default_cas::LoadedDefaultCas, default_cas::DefaultCasError> {
        let provider = match (&self.default_package_location, self.default_cas) {
            (Some(path), _) => DefaultCasProvider::Package(path.clone()),
            (None, DefaultCasChoice::Mozilla) => DefaultCasProvider::Mozilla,
            (None, DefaultCasChoice::System) => DefaultCasProvider::System,
            (None, DefaultCasChoice::None) => DefaultCasProvider::None,
        };
        default_cas::load(&provider)
    }
}

/// Returns the namespaces of a flag as a set; `None`, for all namespaces, where the flag is not given.
pub(super) fn namespace_set(namespaces: &[String]) -> Option<BTreeSet<String>> {
    (!namespaces.is_empty()).then(|| namespaces.iter().cloned().collect())
}
