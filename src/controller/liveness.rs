//! How the controller is, for its probes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the controller's loop may go without a turn. It turns at least every [`Vitals::PULSE`].
const STALL_THRESHOLD: Duration = Duration::from_secs(30);

/// What the controller tells of itself. Nothing in it depends on whether the API server answers.
#[derive(Debug)]
pub struct Liveness {
    started: Instant,
    ready: AtomicBool,
    /// When the loop last turned, in milliseconds of our life.
    last_heartbeat: AtomicU64,
}

impl Liveness {
    /// How often the loop beats when there is nothing else to do.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

    /// The vitals of a controller that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now(), ready: AtomicBool::new(false), last_heartbeat: AtomicU64::new(0) }
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
    pub fn heartbeat(&self) {
        self.last_heartbeat.store(self.millis_since_start(Instant::now()), Ordering::Relaxed);
    }

    /// For how long the loop has been stuck, if it has.
    #[must_use]
    pub fn stalled_for(&self) -> Option<Duration> {
        self.stalled_for_at(Instant::now())
    }

    fn stalled_for_at(&self, now: Instant) -> Option<Duration> {
        let silence = self.millis_since_start(now).saturating_sub(self.last_heartbeat.load(Ordering::Relaxed));
        Some(Duration::from_millis(silence)).filter(|silence| *silence > STALL_THRESHOLD)
    }

    fn millis_since_start(&self, now: Instant) -> u64 {
        u64::try_from((now - self.started).as_millis()).expect("nobody lives for 500 million years")
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_without_heartbeats_is_stalled_until_the_next_one() {
        let liveness = Liveness::new();
        let after = |seconds| liveness.started + Duration::from_secs(seconds);
        assert_eq!(liveness.stalled_for_at(after(30)), None);
        assert_eq!(liveness.stalled_for_at(after(42)), Some(Duration::from_secs(42)));
        liveness.last_heartbeat.store(42_000, Ordering::Relaxed);
        assert_eq!(liveness.stalled_for_at(after(72)), None);
        assert_eq!(liveness.stalled_for_at(after(73)), Some(Duration::from_secs(31)));
    }
}
