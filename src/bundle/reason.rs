//! Reasons of conditions, events and metrics.

use std::fmt;

use super::finding::Observation;

/// The reason of a condition or an event of a Bundle, also a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All targets are in sync.
    Synced,
    /// A source does not exist, or there is no certificate at all.
    SourceNotFound,
    /// A source is there but cannot be used.
    SourceBuildError,
    /// The Bundle breaks a rule that an older CRD did not know.
    InvalidSpec,
    /// The result is larger than an object may be.
    TargetTooLarge,
    /// The Bundle has a Secret target, which this process may not write.
    SecretTargetsDisabled,
    /// Every certificate is denied, so the targets hold none.
    EverythingDistrusted,
    /// A ConfigMap could not be written.
    SyncConfigMapTargetFailed,
    /// A Secret could not be written.
    SyncSecretTargetFailed,
    /// Another field manager keeps changing a target. Only in events: the target is healed each time.
    TargetContested,
    /// A foreign object received the keys of the Bundle beside its own. Only in events.
    TargetCompleted,
    /// A certificate has expired. Only in events, as those below: condition `SourcesComplete` has the same.
    CertificateExpired,
    /// A certificate expires soon.
    CertificateExpiresSoon,
    /// A certificate is not valid yet.
    CertificateNotYetValid,
    /// A certificate was left out.
    CertificateLeftOut,
    /// A source, or a part of it, was not read.
    SourceIgnored,
    /// An annotation of the Bundle means nothing here.
    AnnotationIgnored,
    /// The content changes too often, so that rollouts are held back: condition `SourceUnstable` has the same.
    SourceUnstable,
    /// What has to be remembered of the Bundle's certificates is larger than an object may be.
    LedgerTooLarge,
    /// What has to be remembered of the Bundle's certificates could not be written.
    LedgerNotWritten,
    /// What was remembered is lost. Only in events, as those below: condition `Retiring` has the same.
    LedgerLost,
    /// What was stored is not to be believed, in whole or in part.
    LedgerDiscarded,
    /// The last source has lost a certificate, which stays published.
    CertificateLeaving,
    /// A certificate is in a source again.
    CertificateReturned,
    /// A certificate is no longer published.
    CertificateWithdrawn,
    /// A certificate of a source, or one that was published, is distrusted or excluded.
    CertificateDenied,
    /// A Distrust was deleted, or names less than before. The event is about the Distrust.
    DistrustLifted,
}

impl Reason {
    /// Returns the reason as conditions and events have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::SourceNotFound => "SourceNotFound",
            Self::SourceBuildError => "SourceBuildError",
            Self::InvalidSpec => "InvalidSpec",
            Self::TargetTooLarge => "TargetTooLarge",
            Self::SecretTargetsDisabled => "SecretTargetsDisabled",
            Self::EverythingDistrusted => "EverythingDistrusted",
            Self::SyncConfigMapTargetFailed => "SyncConfigMapTargetFailed",
            Self::SyncSecretTargetFailed => "SyncSecretTargetFailed",
            Self::TargetContested => "TargetContested",
            Self::TargetCompleted => "TargetCompleted",
            Self::CertificateExpired => "CertificateExpired",
            Self::CertificateExpiresSoon => "CertificateExpiresSoon",
            Self::CertificateNotYetValid => "CertificateNotYetValid",
            Self::CertificateLeftOut => "CertificateLeftOut",
            Self::SourceIgnored => "SourceIgnored",
            Self::AnnotationIgnored => "AnnotationIgnored",
            Self::SourceUnstable => "SourceUnstable",
            Self::LedgerTooLarge => "LedgerTooLarge",
            Self::LedgerNotWritten => "LedgerNotWritten",
            Self::LedgerLost => "LedgerLost",
            Self::LedgerDiscarded => "LedgerDiscarded",
            Self::CertificateLeaving => "CertificateLeaving",
            Self::CertificateReturned => "CertificateReturned",
            Self::CertificateWithdrawn => "CertificateWithdrawn",
            Self::CertificateDenied => "CertificateDenied",
            Self::DistrustLifted => "DistrustLifted",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Observation {
    /// Returns the reason of the event about the finding.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Expired(..) | Self::LeftOutExpired(..) => Reason::CertificateExpired,
            Self::ExpiresSoon { .. } => Reason::CertificateExpiresSoon,
            Self::NotYetValid(..) => Reason::CertificateNotYetValid,
            Self::LeftOutNonCa(_) | Self::LeftOutRejected(_) | Self::NotForJava(..) => Reason::CertificateLeftOut,
            Self::Denied(..) => Reason::CertificateDenied,
            Self::NoPem(_) | Self::OwnOutput => Reason::SourceIgnored,
            Self::UnknownAnnotation => Reason::AnnotationIgnored,
        }
    }
}
