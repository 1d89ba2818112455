//! Words for the state of a Bundle.

use std::fmt;

use super::finding::Observation;

/// One word for the state of a Bundle, used in conditions, events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All targets are as they should be.
    Synced,
    /// A source is not there, or there is no certificate at all.
    SourceNotFound,
    /// A source is there but cannot be used.
    SourceBuildError,
    /// The Bundle breaks a rule that an older CRD did not know.
    InvalidSpec,
    /// The result is larger than an object may be.
    TargetTooLarge,
    /// The Bundle wants Secrets, which this process may not write.
    SecretTargetsDisabled,
    /// A ConfigMap could not be written.
    SyncConfigMapTargetFailed,
    /// A Secret could not be written.
    SyncSecretTargetFailed,
    /// Another field manager keeps changing a target. Only in events: the target is healed each time.
    TargetContested,
    /// An object of others has got the keys of the Bundle beside its own. Only in events.
    TargetCompleted,
    /// The time of a certificate is over. Only in events, as those below: condition `SourcesComplete` says the same.
    CertificateExpired,
    /// The time of a certificate is nearly over.
    CertificateExpiresSoon,
    /// The time of a certificate has not begun.
    CertificateNotYetValid,
    /// A certificate was left out.
    CertificateLeftOut,
    /// A source, or a part of it, was not read.
    SourceIgnored,
    /// The content changes too often, so that rollouts are held back: condition `SourceUnstable` says the same.
    SourceUnstable,
}

impl Reason {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::SourceNotFound => "SourceNotFound",
            Self::SourceBuildError => "SourceBuildError",
            Self::InvalidSpec => "InvalidSpec",
            Self::TargetTooLarge => "TargetTooLarge",
            Self::SecretTargetsDisabled => "SecretTargetsDisabled",
            Self::SyncConfigMapTargetFailed => "SyncConfigMapTargetFailed",
            Self::SyncSecretTargetFailed => "SyncSecretTargetFailed",
            Self::TargetContested => "TargetContested",
            Self::TargetCompleted => "TargetCompleted",
            Self::CertificateExpired => "CertificateExpired",
            Self::CertificateExpiresSoon => "CertificateExpiresSoon",
            Self::CertificateNotYetValid => "CertificateNotYetValid",
            Self::CertificateLeftOut => "CertificateLeftOut",
            Self::SourceIgnored => "SourceIgnored",
            Self::SourceUnstable => "SourceUnstable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Observation {
    /// The word that its event goes by.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Expired(..) | Self::LeftOutExpired(..) => Reason::CertificateExpired,
            Self::ExpiresSoon { .. } => Reason::CertificateExpiresSoon,
            Self::NotYetValid(..) => Reason::CertificateNotYetValid,
            Self::LeftOutNonCa(_) | Self::LeftOutRejected(_) | Self::NotForJava(..) => Reason::CertificateLeftOut,
            Self::NoPem(_) | Self::OwnOutput => Reason::SourceIgnored,
        }
    }
}
