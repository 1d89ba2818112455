//! Readiness and liveness of the controller, for its probes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time without a heartbeat after which the loop counts as stalled; one is due every [`Liveness::HEARTBEAT_INTERVAL`].
const STALL_THRESHOLD: Duration = Duration::from_secs(30);

/// State of the controller's probes. None of it depends on whether the API server responds.
#[derive(Debug)]
pub struct Liveness {
    started: Instant,
    ready: AtomicBool,
    /// Time of the last heartbeat, in milliseconds since the start.
    last_heartbeat: AtomicU64,
}

impl Liveness {
    /// Interval of heartbeats while nothing else happens.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

    /// Returns the state of a controller that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now(), ready: AtomicBool::new(false), last_heartbeat: AtomicU64::new(0) }
    }

    /// Whether all caches are filled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Marks the controller as ready. Returns whether it was not before.
    pub fn set_ready(&self) -> bool {
        !self.ready.swap(true, Ordering::Relaxed)
    }

    /// Records a turn of the loop.
    pub fn heartbeat(&self) {
        self.last_heartbeat.store(self.millis_since_start(Instant::now()), Ordering::Relaxed);
    }

    /// Time since the last heartbeat, if the loop is stalled.
    #[must_use]
    pub fn stalled_for(&self) -> Option<Duration> {
        self.stalled_for_at(Instant::now())
    }

    fn stalled_for_at(&self, now: Instant) -> Option<Duration> {
        let silence = self.millis_since_start(now).saturating_sub(self.last_heartbeat.load(Ordering::Relaxed));
        Some(Duration::from_millis(silence)).filter(|silence| *silence > STALL_THRESHOLD)
    }

    fn millis_since_start(&self, now: Instant) -> u64 {
        u64::try_from((now - self.started).as_millis()).expect("process uptime in ms fits in u64")
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
