//! How the controller is, for its probes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the controller's loop may go without a turn. It turns at least every [`Vitals::PULSE`].
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What the controller tells of itself. Nothing in it depends on whether the API server answers.
#[derive(Debug)]
pub struct Vitals {
    born: Instant,
    ready: AtomicBool,
    /// When the loop last turned, in milliseconds of our life.
    beat: AtomicU64,
}

impl Vitals {
    /// How often the loop beats when there is nothing else to do.
    pub const PULSE: Duration = Duration::from_secs(5);

    /// The vitals of a controller that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { born: Instant::now(), ready: AtomicBool::new(false), beat: AtomicU64::new(0) }
    }

    /// Whether everything that decisions depend on is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// From now on it is ready. Returns whether that is news.
    pub fn set_ready(&self) -> bool {
        !self.ready.swap(true, Ordering::Relaxed)
    }

    /// The loop has turned.
    pub fn beat(&self) {
        self.beat.store(self.age(Instant::now()), Ordering::Relaxed);
    }

    /// For how long the loop has been stuck, if it has.
    #[must_use]
    pub fn stuck(&self) -> Option<Duration> {
        self.stuck_at(Instant::now())
    }

    fn stuck_at(&self, now: Instant) -> Option<Duration> {
        let silence = self.age(now).saturating_sub(self.beat.load(Ordering::Relaxed));
        Some(Duration::from_millis(silence)).filter(|silence| *silence > STUCK_AFTER)
    }

    fn age(&self, now: Instant) -> u64 {
        u64::try_from((now - self.born).as_millis()).expect("nobody lives for 500 million years")
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_turn_is_stuck_and_one_that_turns_again_is_not() {
        let vitals = Vitals::new();
        let after = |seconds| vitals.born + Duration::from_secs(seconds);
        assert_eq!(vitals.stuck_at(after(30)), None);
        assert_eq!(vitals.stuck_at(after(42)), Some(Duration::from_secs(42)));
        vitals.beat.store(42_000, Ordering::Relaxed);
        assert_eq!(vitals.stuck_at(after(72)), None);
        assert_eq!(vitals.stuck_at(after(73)), Some(Duration::from_secs(31)));
    }
}
