//! Errors of sources.

use std::fmt;
use std::sync::Arc;

use crate::api;
use crate::trust::PemError;

use super::id::{BundleId, SourceId};
use super::object_kind::ObjectKind;
use super::reason::Reason;
use super::refusal::Refusal;

/// Why a source cannot be used.
pub(super) enum SourceError {
    NoDefaultCas,
    InlinePem(Box<PemError>),
    NoObject(SourceId),
    Unreadable { object: SourceId, cause: String },
    UnreadableNamespace { kind: ObjectKind, namespace: Arc<str>, cause: String },
    NoKey { object: SourceId, key: String },
    Undecodable { object: SourceId, key: String, cause: String },
    ObjectPem { object: SourceId, key: String, error: Box<PemError> },
    AllKeysOfTls(SourceId),
    Cycle(Vec<BundleId>),
    NoCertificates,
}

impl SourceError {
    fn reason(&self) -> Reason {
        match self {
            Self::NoDefaultCas | Self::NoObject(_) | Self::NoKey { .. } | Self::NoCertificates => {
                Reason::SourceNotFound
            }
            Self::InlinePem(_)
            | Self::Unreadable { .. }
            | Self::UnreadableNamespace { .. }
            | Self::Undecodable { .. }
            | Self::ObjectPem { .. }
            | Self::AllKeysOfTls(_)
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
            Self::NoObject(object) => {
                write!(f, "failed to get {object}: {} {:?} not found", object.kind.as_str(), object.name)
            }
            Self::Unreadable { object, cause } => write!(f, "failed to get {object}: {cause}"),
            Self::UnreadableNamespace { kind, namespace, cause } => {
                let kind = kind.as_str();
                write!(f, "{kind}s of trust namespace {namespace} may not be read: {cause}: create the namespace and a Role there that lets rootcast get, list and watch {kind}s (chart app.trust.additionalNamespaces), or take it out of annotation {}", api::TRUST_NAMESPACE_ANNOTATION)
            }
            Self::NoKey { object, key } => write!(f, "no data found in {object} at key {key:?}"),
            Self::Undecodable { object, key, cause } => {
                write!(f, "invalid value in {object} at key {key:?}: {cause}")
            }
            Self::ObjectPem { object, key, error } => {
                write!(f, "invalid PEM data in {object} at key {key:?}: {error}")
            }
            Self::AllKeysOfTls(SourceId { namespace, name, .. }) => {
                write!(f, "includeAllKeys is not supported for TLS Secrets such as {namespace}/{name}")
            }
            Self::Cycle(bundles) => {
                let names: Vec<_> = bundles.iter().map(|bundle| &**bundle.name()).collect();
                let way = names.join(" -> ");
                write!(f, "Bundles read each other's targets in a cycle: {way}; take the source out of one of them")
            }
            Self::NoCertificates => f.write_str("couldn't find any valid certificates in bundle"),
        }
    }
}

/// Returns the refusal for errors of sources. The first one gives the reason; the message has all of them.
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
