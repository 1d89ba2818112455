//! The state beside one Bundle's targets that work on them depends on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::DecisionSettings;

use super::namespaces::Namespaces;

/// The state outside of one Bundle's targets that its rollout depends on.
#[derive(Clone, Copy)]
pub(super) struct RolloutContext<'a> {
    pub(super) settings: &'a DecisionSettings,
    pub(super) namespaces: &'a Namespaces,
    /// Whether PUT is permitted.
    pub(super) put_allowed: bool,
    /// Namespaces whose requests take long.
    pub(super) slow_namespaces: &'a BTreeSet<Arc<str>>,
    /// Time since the start of the process.
    pub(super) now: Duration,
}
