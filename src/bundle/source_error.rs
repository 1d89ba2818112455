//! Why sources cannot be used.

use std::fmt;

use crate::trust::PemError;

use super::intent::ObjectKind;
use super::reason::Reason;
use super::report::Refusal;

/// Why a source cannot be used.
pub(super) enum SourceError {
    NoDefaultCas,
    InlinePem(Box<PemError>),
    NoObject { kind: ObjectKind, namespace: String, name: String },
    Unreadable { kind: ObjectKind, namespace: String, name: String, cause: String },
    NoKey { kind: ObjectKind, namespace: String, name: String, key: String },
    Undecodable { kind: ObjectKind, namespace: String, name: String, key: String, cause: String },
    ObjectPem { kind: ObjectKind, namespace: String, name: String, key: String, error: Box<PemError> },
    AllKeysOfTls { namespace: String, name: String },
    Cycle(Vec<String>),
    NoCertificates,
}

impl SourceError {
    fn reason(&self) -> Reason {
        match self {
            Self::NoDefaultCas | Self::NoObject { .. } | Self::NoKey { .. } | Self::NoCertificates => {
                Reason::SourceNotFound
            }
            Self::InlinePem(_)
            | Self::Unreadable { .. }
            | Self::Undecodable { .. }
            | Self::ObjectPem { .. }
            | Self::AllKeysOfTls { .. }
            | Self::Cycle(_) => Reason::SourceBuildError,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDefaultCas => {
                f.write_str("no default package was specified when rootcast was started; default CAs not available: start it with --default-cas=mozilla, --default-cas=system or --default-package-location")
            }
            Self::InlinePem(error) => write!(f, "inline source contains invalid PEM data: {error}"),
            Self::NoObject { kind, namespace, name } => {
                let kind = kind.as_str();
                write!(f, "failed to get {kind} {namespace}/{name}: {kind} {name:?} not found")
            }
            Self::Unreadable { kind, namespace, name, cause } => {
                write!(f, "failed to get {} {namespace}/{name}: {cause}", kind.as_str())
            }
            Self::NoKey { kind, namespace, name, key } => {
                write!(f, "no data found in {} {namespace}/{name} at key {key:?}", kind.as_str())
            }
            Self::Undecodable { kind, namespace, name, key, cause } => {
                write!(f, "invalid value in {} {namespace}/{name} at key {key:?}: {cause}", kind.as_str())
            }
            Self::ObjectPem { kind, namespace, name, key, error } => {
                write!(f, "invalid PEM data in {} {namespace}/{name} at key {key:?}: {error}", kind.as_str())
            }
            Self::AllKeysOfTls { namespace, name } => {
                write!(f, "includeAllKeys is not supported for TLS Secrets such as {namespace}/{name}")
            }
            Self::Cycle(names) => write!(
                f,
                "Bundles read each other's targets in a cycle: {}; take the source out of one of them",
                names.join(" -> ")
            ),
            Self::NoCertificates => f.write_str("couldn't find any valid certificates in bundle"),
        }
    }
}

/// The first fault gives the reason; the others follow in the message, so that one look shows all there is to mend.
pub(super) fn refusal_for(errors: &[SourceError]) -> Refusal {
    let first = errors.first().expect("a refusal has a fault");
    let reason = first.reason();
    let opening = match reason {
        Reason::SourceNotFound => "Bundle source was not found",
        _ => "Failed to build bundle sources",
    };
    let causes: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let retry = errors.iter().any(|fault| matches!(fault, SourceError::Unreadable { .. }));
    Refusal { retry, ..Refusal::new(reason, &format!("{opening}: {}", causes.join("; also: "))) }
}
