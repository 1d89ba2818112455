//! How soon an object may be written again.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after a first write, and the longest: somebody else who keeps changing the object back, or an API server
/// that keeps refusing, gets so much rest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The pauses between writes of one object: they double while writes follow each other at once.
#[derive(Debug)]
pub(super) struct DecayingBackoff {
    shortest: Duration,
    last: Duration,
    until: Option<Instant>,
}

impl DecayingBackoff {
    /// For an object that, if all is well, is written a few times in a certificate's lifetime.
    pub(super) fn new(lifetime: Duration) -> Self {
        let shortest = PAUSE.min(lifetime / 60);
        Self { shortest, last: shortest, until: None }
    }

    /// How long there must be no write yet.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    /// There was one.
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
