//! Whether this process may write.

use tokio::sync::watch;
use tokio::time::Instant;

/// This process's place in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipState {
    /// Somebody else leads, or nobody yet.
    Standby,
    /// We lead.
    Leading {
        /// When writing must have stopped, unless renewed: the renew deadline after the last renewal was asked for.
        until: Instant,
    },
    /// We led, and never will again.
    Lost,
}

/// The permission to write, for all parts of the process.
#[derive(Clone, Debug)]
pub struct LeadershipWatch(Option<watch::Receiver<LeadershipState>>);

impl LeadershipWatch {
    /// The permission of a process that is alone by its administrator's word.
    #[must_use]
    pub fn always() -> Self {
        Self(None)
    }

    /// The permission that follows an election.
    #[must_use]
    pub fn from_election(leadership: watch::Receiver<LeadershipState>) -> Self {
        Self(Some(leadership))
    }

    /// Whether a write may begin at this very moment. The clock is read each time: a process that stood still, however
    /// long, finds that its time is over before it has heard anything.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        let Some(leadership) = &self.0 else { return true };
        matches!(*leadership.borrow(), LeadershipState::Leading { until } if Instant::now() < until)
    }

    /// Waits for news: a change of leadership or a renewal. For ever, when unopposed.
    pub async fn changed(&mut self) -> LeadershipState {
        match &mut self.0 {
            None => std::future::pending().await,
            Some(leadership) => match leadership.changed().await {
                Ok(()) => *leadership.borrow_and_update(),
                // Whoever was to renew for us is gone.
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
