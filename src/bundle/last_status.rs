//! The last status of a Bundle, from which the next one is made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api;

/// Generation and status of a Bundle as last read.
#[derive(Clone, Debug, Default)]
pub struct LastStatus {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Status of the Bundle.
    pub status: api::BundleStatus,
}

impl LastStatus {
    /// `lastTransitionTime` moves only with the status
    /// (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md>).
    pub(super) fn new_condition(
        &self,
        type_: &str,
        status: &str,
        reason: &str,
        message: String,
        now: Timestamp,
    ) -> Condition {
        let since =
            self.condition(type_).filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or_else(|| Time(whole_second(now))),
        }
    }

    pub(super) fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
    }
}

/// Kubernetes keeps times in whole seconds: a finer one would never equal what comes back.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("a second of a valid time is valid")
}
