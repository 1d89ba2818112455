//! The refusal of a Bundle.

use jiff::Timestamp;

use crate::text;

use super::field_error::FieldError;
use super::finding::Finding;
use super::reason::Reason;

/// The refusal of a Bundle that cannot be carried out as it stands; its targets stay as they are.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Reason of condition `Synced`.
    pub reason: Reason,
    /// Message of condition `Synced`.
    pub message: String,
    /// Findings in the sources, if they could be read.
    pub findings: Option<Vec<Finding>>,
    /// When the refusal may change by time alone.
    pub requeue_at: Option<Timestamp>,
    /// Whether the cause is a failure of the cluster that may pass by itself.
    pub retry: bool,
}

impl Refusal {
    /// Returns a refusal whose message is escaped and truncated, so that no more of it is ever kept.
    pub(super) fn new(reason: Reason, message: &str) -> Self {
        Self { reason, message: text::condition_message(message), findings: None, requeue_at: None, retry: false }
    }

    /// Returns the refusal of a Bundle whose targets nevertheless lose what is denied.
    #[must_use]
    pub fn with_denials_enforced(self) -> Self {
        let message =
            format!("{}; what is distrusted or excluded is taken out of its targets all the same", self.message);
        Self { message: text::condition_message(&message), ..self }
    }

    /// Returns the refusal of a Bundle that breaks rules.
    #[must_use]
    pub fn invalid_spec(problems: &[FieldError]) -> Self {
        let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self::new(Reason::InvalidSpec, &format!("Bundle is invalid: {}", list.join("; ")))
    }

    /// Returns the refusal of a Bundle whose ledger, the ConfigMap with what is remembered of its certificates, could
    /// not be written.
    #[must_use]
    pub fn ledger_not_written(namespace: &str, name: &str, cause: &str) -> Self {
        let message = format!(
            "ConfigMap {namespace}/{name} could not be written, and what is published has to be recorded in it first, so targets stay as they are: {}; let rootcast create and update ConfigMaps in namespace {namespace}, or mend what refuses it",
            text::cause(&cause)
        );
        Self { retry: true, ..Self::new(Reason::LedgerNotWritten, &message) }
    }

    /// Returns the refusal of a Bundle whose decision panicked.
    #[must_use]
    pub fn panicked() -> Self {
        let message =
            "Failed to build bundle sources: rootcast itself failed on them: this is a bug, its log has the place";
        Self::new(Reason::SourceBuildError, message)
    }

    /// Returns the refusal of a Bundle that does not fit the wire types.
    #[must_use]
    pub fn unreadable(cause: &str) -> Self {
        Self::new(Reason::InvalidSpec, &format!("Bundle is invalid: it cannot be read: {}", text::cause(&cause)))
    }
}
