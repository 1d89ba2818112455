//! The pauses between writes of one object.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after a first write, and the longest: the latter where another writer keeps changing the object back, or
/// the API server keeps refusing.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// A backoff that doubles while writes follow each other at once, and starts again after a quiet period.
#[derive(Debug)]
pub(super) struct DecayingBackoff {
    shortest: Duration,
    last: Duration,
    until: Option<Instant>,
}

impl DecayingBackoff {
    /// Creates the backoff for an object that is normally written a few times in a certificate's lifetime.
    pub(super) fn new(lifetime: Duration) -> Self {
        let shortest = PAUSE.min(lifetime / 60);
        Self { shortest, last: shortest, until: None }
    }

    /// Returns the time until the next write is allowed; `None` if it is allowed now.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    /// Records a write.
    pub(super) fn record_write(&mut self, now: Instant) {
        let at_once = self.until.is_some_and(|until| now < until + 2 * self.last);
        self.last = if at_once { (2 * self.last).min(PAUSE_MAX) } else { self.shortest };
        self.until = Some(now + self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contested_writes_slow_down_to_one_a_minute_until_a_quiet_period() {
        let mut backoff = DecayingBackoff::new(Duration::from_hours(2160));
        let mut now = Instant::now();
        assert_eq!(backoff.remaining(now), None);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.record_write(now);
            let pause = Duration::from_secs(seconds);
            assert_eq!(backoff.remaining(now), Some(pause));
            now += pause;
            assert_eq!(backoff.remaining(now), None);
        }
        backoff.record_write(now + 2 * PAUSE_MAX);
        assert_eq!(backoff.remaining(now + 2 * PAUSE_MAX), Some(PAUSE));
    }
}
