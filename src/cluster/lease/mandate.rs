//! Whether this process may write.

use tokio::sync::watch;
use tokio::time::Instant;

/// This process's place in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
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
pub struct Mandate(Option<watch::Receiver<Leadership>>);

impl Mandate {
    /// The permission of a process that is alone by its administrator's word.
    #[must_use]
    pub fn unopposed() -> Self {
        Self(None)
    }

    /// The permission that follows an election.
    #[must_use]
    pub fn elected(leadership: watch::Receiver<Leadership>) -> Self {
        Self(Some(leadership))
    }

    /// Whether a write may begin at this very moment. The clock is read each time: a process that stood still, however
    /// long, finds that its time is over before it has heard anything.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Some(leadership) = &self.0 else { return true };
        matches!(*leadership.borrow(), Leadership::Leading { until } if Instant::now() < until)
    }

    /// Waits for news: a change of leadership or a renewal. For ever, when unopposed.
    pub async fn changed(&mut self) -> Leadership {
        match &mut self.0 {
            None => std::future::pending().await,
            Some(leadership) => match leadership.changed().await {
                Ok(()) => *leadership.borrow_and_update(),
                // Whoever was to renew for us is gone.
                Err(_) => Leadership::Lost,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mandate_ends_by_the_clock_even_if_nobody_says_so() {
        let (sender, receiver) = watch::channel(Leadership::Standby);
        let mut mandate = Mandate::elected(receiver);
        assert!(!mandate.holds());
        let until = Instant::now() + Duration::from_secs(10);
        sender.send_replace(Leadership::Leading { until });
        assert_eq!(mandate.changed().await, Leadership::Leading { until });
        assert!(mandate.holds());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!mandate.holds());
    }

    #[tokio::test]
    async fn a_mandate_without_an_elector_is_lost() {
        let (sender, receiver) = watch::channel(Leadership::Standby);
        let mut mandate = Mandate::elected(receiver);
        drop(sender);
        assert_eq!(mandate.changed().await, Leadership::Lost);
        assert!(Mandate::unopposed().holds());
    }
}
