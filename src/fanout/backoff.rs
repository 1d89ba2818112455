//! Pauses that double.

use std::time::Duration;

/// The most times that a pause doubles, however long the longest one may be.
const DOUBLINGS_MAX: u32 = 10;

/// A pause that doubles with each time in a row, up to a longest one.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialBackoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl ExponentialBackoff {
    /// Returns the pause after it has doubled so many times.
    #[must_use]
    pub fn pause(self, doublings: u32) -> Duration {
        self.first.saturating_mul(1 << doublings.min(DOUBLINGS_MAX)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_ten_times_at_most() {
        let backoff = |max| ExponentialBackoff { first: Duration::from_millis(200), max: Duration::from_secs(max) };
        let millis = |max| [0, 1, 2, 4, 5, 10, 11, u32::MAX].map(|times| backoff(max).pause(times).as_millis());
        assert_eq!(millis(5), [200, 400, 800, 3_200, 5_000, 5_000, 5_000, 5_000]);
        assert_eq!(millis(3_600), [200, 400, 800, 3_200, 6_400, 204_800, 204_800, 204_800]);
        assert_eq!(millis(0), [0; 8]);
    }
}
