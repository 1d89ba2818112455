//! The leadership of this process, as seen by its other parts.

use tokio::sync::watch;
use tokio::time::Instant;

/// The state of this process in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipState {
    /// Another process leads, or none yet.
    Standby,
    /// This process leads.
    Leading {
        /// The end of all writes, unless renewed: the renew deadline after the request of the last renewal.
        until: Instant,
    },
    /// This process has led, and never will again.
    Lost,
}

/// A guard for writes: whether this process leads at the moment.
#[derive(Clone, Debug)]
pub struct LeadershipWatch(Option<watch::Receiver<LeadershipState>>);

impl LeadershipWatch {
    /// Creates a guard that always allows writes; for a controller started with `--leader-elect=false`.
    #[must_use]
    pub fn always() -> Self {
        Self(None)
    }

    /// Creates a guard that follows an election.
    #[must_use]
    pub fn from_election(leadership: watch::Receiver<LeadershipState>) -> Self {
        Self(Some(leadership))
    }

    /// Returns whether a write may begin now. The clock is read each time: after a standstill of the process, the end
    /// of its leadership is noticed without a message of the election.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        let Some(leadership) = &self.0 else { return true };
        matches!(*leadership.borrow(), LeadershipState::Leading { until } if Instant::now() < until)
    }

    /// Waits for a change of leadership or a renewal; for ever without an election.
    pub async fn changed(&mut self) -> LeadershipState {
        match &mut self.0 {
            None => std::future::pending().await,
            Some(leadership) => match leadership.changed().await {
                Ok(()) => *leadership.borrow_and_update(),
                // The elector, which renews the Lease, is gone.
                Err(_) => LeadershipState::Lost,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn leadership_ends_by_the_clock_without_a_message() {
        let (sender, receiver) = watch::channel(LeadershipState::Standby);
        let mut leadership = LeadershipWatch::from_election(receiver);
        assert!(!leadership.is_leader());
        let until = Instant::now() + Duration::from_secs(10);
        sender.send_replace(LeadershipState::Leading { until });
        assert_eq!(leadership.changed().await, LeadershipState::Leading { until });
        assert!(leadership.is_leader());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!leadership.is_leader());
    }

    #[tokio::test]
    async fn leadership_is_lost_when_the_elector_is_gone() {
        let (sender, receiver) = watch::channel(LeadershipState::Standby);
        let mut leadership = LeadershipWatch::from_election(receiver);
        drop(sender);
        assert_eq!(leadership.changed().await, LeadershipState::Lost);
        assert!(LeadershipWatch::always().is_leader());
    }
}
