//! What keeps a pod from being injected.

use crate::text;

use super::annotations::REQUIRED;

/// What keeps a pod, or some of its containers, from being injected.
#[derive(Debug)]
pub(super) struct Blocker {
    /// What is not injected.
    pub(super) what: String,
    /// Why.
    pub(super) why: String,
    /// What to do about it.
    pub(super) remedy: String,
}

impl Blocker {
    /// What keeps the whole pod from being injected.
    pub(super) fn of_pod(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: "pod".to_owned(), why: why.into(), remedy: remedy.into() }
    }

    pub(super) fn denial_message(&self) -> String {
        let Self { what, why, remedy } = self;
        format!("{what} cannot be injected, and annotation {} lets no pod in without: {why}; {remedy}", REQUIRED)
    }

    /// As a warning, in which the cause gives way to the cure.
    pub(super) fn warning(&self, subject: &str) -> String {
        let Self { what, why, remedy } = self;
        let frame = format!("{subject}: {what} not injected: ; {remedy}").chars().count();
        let why = text::truncate_chars(why, text::WARNING_MAX.saturating_sub(frame).max(40));
        text::warning(&format!("{subject}: {what} not injected: {why}; {remedy}"))
    }
}
