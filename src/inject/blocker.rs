//! Reasons why a pod is not injected.

use crate::text;

use super::annotations::REQUIRED;

/// A reason why a pod, or some of its containers, cannot be injected.
#[derive(Debug)]
pub(super) struct Blocker {
    /// The pod or the containers that are not injected, as a message names them.
    pub(super) affected: String,
    /// The cause, in words.
    pub(super) cause: String,
    /// The remedy, in words.
    pub(super) remedy: String,
}

impl Blocker {
    /// A reason why the whole pod cannot be injected.
    pub(super) fn of_pod(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { affected: "pod".to_owned(), cause: cause.into(), remedy: remedy.into() }
    }

    /// Formats the reason for the denial of a pod that requires injection.
    pub(super) fn denial_message(&self) -> String {
        let Self { affected, cause, remedy } = self;
        format!("{affected} cannot be injected, and annotation {REQUIRED} lets no pod in without: {cause}; {remedy}")
    }

    /// Formats the reason as a warning, in which the cause is cut before the remedy.
    pub(super) fn warning(&self, subject: &str) -> String {
        let Self { affected, cause, remedy } = self;
        let frame = format!("{subject}: {affected} not injected: ; {remedy}").chars().count();
        let cause = text::truncate_chars(cause, text::WARNING_MAX.saturating_sub(frame).max(40));
        text::warning(&format!("{subject}: {affected} not injected: {cause}; {remedy}"))
    }
}
