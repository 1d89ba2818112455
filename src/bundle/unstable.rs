//! The instability of a Bundle whose content changes too often.

use std::time::Duration;

use jiff::Timestamp;

use crate::text;

/// Changes of a Bundle's content that are so frequent that its rollouts are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstable {
    /// Number of changes, each less than ten minutes after the one before.
    pub changes: u32,
    /// Time for which the next rollout is held back, if it is.
    pub wait: Option<Duration>,
    /// Whether the rollout is also held back because other rollouts have used up the budget.
    pub over_budget: bool,
    /// The last change and its author, in words.
    pub cause: String,
}

impl Unstable {
    /// The message of condition `SourceUnstable`.
    pub(super) fn message(&self, now: Timestamp) -> String {
        let Self { changes, wait, over_budget, cause } = self;
        let budget = if *over_budget { "rollouts of all Bundles have used up --rollout-bytes-per-5m, so " } else { "" };
        let next = match wait {
            Some(wait) => format!(
                "{budget}the next rollout starts at {:.0}, and until then only new targets, and those that others change, get the newest content",
                now + *wait
            ),
            None => "further changes are held back longer and longer, up to --max-rollout-pause".to_owned(),
        };
        let text = format!(
            "The content has changed {changes} times without ten quiet minutes: {next}; last change: {cause}: find who keeps changing the sources, and stop all but one"
        );
        text::condition_message(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;
    use crate::bundle::fixture::now;
    use crate::bundle::{BundleEvent, LastStatus, ROLLOUT_HELD, Reason, Report, report_held_rollout};

    fn unstable(wait: Option<Duration>) -> Unstable {
        let cause = "source ConfigMap cert-manager/ca changed by field manager \"flapper\"".to_owned();
        Unstable { changes: 5, wait, over_budget: false, cause }
    }

    #[test]
    fn the_report_on_a_held_rollout_states_until_when_and_why_and_keeps_all_else() {
        let synced = LastStatus::default().new_condition(api::SYNCED, "True", "Synced", "well".to_owned(), now());
        let status = api::BundleStatus { conditions: Some(vec![synced.clone()]), default_ca_version: Some("1".into()) };
        let last = LastStatus { generation: Some(3), status };
        let Report { status, events } = report_held_rollout(&unstable(Some(Duration::from_secs(4))), &last, now());
        let conditions = status.conditions.clone().expect("conditions");
        assert_eq!((conditions[0].type_.as_str(), conditions[0].reason.as_str()), (api::RECONCILING, ROLLOUT_HELD));
        assert_eq!((conditions[1].type_.as_str(), conditions[1].status.as_str()), (api::SOURCE_UNSTABLE, "True"));
        assert_eq!(conditions[2], synced);
        let (start, message) = (now() + Duration::from_secs(4), &conditions[1].message);
        assert_eq!(
            *message,
            format!(
                "The content has changed 5 times without ten quiet minutes: the next rollout starts at {start:.0}, and until then only new targets, and those that others change, get the newest content; last change: source ConfigMap cert-manager/ca changed by field manager \"flapper\": find who keeps changing the sources, and stop all but one"
            )
        );
        assert_eq!(status.default_ca_version.as_deref(), Some("1"));
        assert_eq!(events, [BundleEvent { warning: true, reason: Reason::SourceUnstable, note: message.clone() }]);

        let last = LastStatus { status, ..last };
        let again = report_held_rollout(&unstable(Some(Duration::from_secs(8))), &last, now());
        assert_eq!(again.events, [], "it is no news");
        assert_eq!(again.status.conditions.map(|conditions| conditions.len()), Some(3));
    }
}
