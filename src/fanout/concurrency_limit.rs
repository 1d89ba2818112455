//! Process-wide limit on requests in flight, adjusted by additive increase and multiplicative decrease (AIMD, RFC
//! 5681).

use std::num::NonZeroU64;
use std::time::Duration;

use super::backoff::ExponentialBackoff;
use super::damping::Damping;

/// The limit at the start of the process.
const INITIAL_LIMIT: f64 = 8.0;

/// The maximum pause on request of the API server (`Retry-After`).
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The divisor of the maximum for the share that slow requests may hold, and that the bulk of a rollout leaves free
/// while there are any.
const SLOW_SHARE_DIVISOR: usize = 4;

/// The pauses after failed connections in a row, or "busy" without a time.
const PAUSE: ExponentialBackoff = ExponentialBackoff { first: Duration::from_millis(250), max: PAUSE_MAX };
/// The maximum pause without a `Retry-After`.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The least time between two decreases: requests in flight at the same time fail for the same cause.
const DECREASE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The limits on writes that an administrator sets.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits {
    /// Maximum number of requests in flight, at least one.
    pub max_concurrent_writes: usize,
    /// Maximum bytes of content written per second, over all targets; `None` for no limit.
    pub max_write_bytes_per_second: Option<NonZeroU64>,
    /// Bounds on how often existing content is rewritten.
    pub damping: Damping,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self { max_concurrent_writes: 32, max_write_bytes_per_second: None, damping: Damping::default() }
    }
}

/// The state of the API server, as a response shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerHealth {
    /// The API server works.
    Healthy,
    /// The API server did not respond in time, or failed.
    Slow,
    /// The API server is busy, perhaps for a given time, or cannot be reached.
    Unavailable(Option<Duration>),
}

/// The priority of an order; earlier lanes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Single events.
    Urgent,
    /// Rollouts.
    Bulk,
    /// Orders of either that are likely to take long.
    Slow,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Urgent, Self::Bulk, Self::Slow];
}

/// The requests in flight of the process, and how many more may be sent.
#[derive(Debug)]
pub(super) struct AimdLimit {
    limits: WriteLimits,
    in_flight: usize,
    /// The number of these that are slow.
    slow_in_flight: usize,
    /// The number that may be in flight; grows by one for each round of responses.
    limit: f64,
    /// The time before which nothing is sent.
    paused_until: Duration,
    /// Pauses in a row.
    pauses: u32,
    /// The time of the last decrease.
    decreased_at: Option<Duration>,
    /// The time from which on the byte rate allows the next request.
    bytes_paid_until: Duration,
}

impl AimdLimit {
    pub(super) fn new(limits: WriteLimits) -> Self {
        let max = limits.max_concurrent_writes.max(1);
        #[allow(clippy::cast_precision_loss, reason = "a number of connections")]
        let limit = INITIAL_LIMIT.min(max as f64);
        Self {
            limits: WriteLimits { max_concurrent_writes: max, ..limits },
            in_flight: 0,
            slow_in_flight: 0,
            limit,
            paused_until: Duration::ZERO,
            pauses: 0,
            decreased_at: None,
            bytes_paid_until: Duration::ZERO,
        }
    }

    /// The number of requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The number of requests that may be in flight at present.
    pub(super) fn limit(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the maximum")]
        let limit = self.limit as usize;
        limit
    }

    /// Returns whether sending is paused for the API server.
    pub(super) fn is_paused(&self, now: Duration) -> bool {
        now < self.paused_until
    }

    /// Returns whether one more request may be sent now. Slow ones have a share of their own: they do not count against
    /// what others may send, as long as the maximum allows.
    pub(super) fn allows(&self, now: Duration, lane: Lane) -> bool {
        let max = self.limits.max_concurrent_writes;
        let share = (max / SLOW_SHARE_DIVISOR).max(1);
        let has_capacity = match lane {
            Lane::Slow => self.slow_in_flight < share.min(self.limit()),
            _ => self.in_flight - self.slow_in_flight.min(share) < self.limit(),
        };
        let reserved = if lane == Lane::Bulk && self.slow_in_flight > 0 { share.min(max - 1) } else { 0 };
        has_capacity && self.in_flight < max - reserved && self.resumes_at().is_none_or(|at| at <= now)
    }

    /// Counts one slow request more or less.
    pub(super) fn count_slow(&mut self, more: bool) {
        self.slow_in_flight = if more { self.slow_in_flight + 1 } else { self.slow_in_flight.saturating_sub(1) };
    }

    /// The time at which requests may be sent again; `None` if only responses are waited for.
    pub(super) fn resumes_at(&self) -> Option<Duration> {
        let paid = self.limits.max_write_bytes_per_second.map_or(Duration::ZERO, |_| self.bytes_paid_until);
        Some(self.paused_until.max(paid)).filter(|at| !at.is_zero())
    }

    /// Records that a request with so many bytes of content was sent.
    pub(super) fn on_sent(&mut self, now: Duration, bytes: usize) {
        self.in_flight += 1;
        if let Some(rate) = self.limits.max_write_bytes_per_second {
            let nanos = bytes as u64 * 1_000_000_000 / rate;
            self.bytes_paid_until = self.bytes_paid_until.max(now) + Duration::from_nanos(nanos);
        }
    }

    /// Records the response to a request, with the state of the API server that it shows.
    pub(super) fn on_response(&mut self, now: Duration, health: ServerHealth) {
        self.on_ended();
        self.note_server_health(now, health);
    }

    /// Records the end of a request whose response shows nothing of the API server.
    pub(super) fn on_ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Adjusts the limit to the state of the API server.
    pub(super) fn note_server_health(&mut self, now: Duration, health: ServerHealth) {
        match health {
            ServerHealth::Healthy => {
                self.pauses = 0;
                #[allow(clippy::cast_precision_loss, reason = "a number of connections")]
                let max = self.limits.max_concurrent_writes as f64;
                self.limit = (self.limit + 1.0 / self.limit).min(max);
            }
            ServerHealth::Slow => {
                self.decrease(now);
            }
            ServerHealth::Unavailable(retry_after) => {
                if self.decrease(now) || now >= self.paused_until {
                    self.pauses = self.pauses.saturating_add(1);
                }
                let pause = PAUSE.pause(self.pauses.saturating_sub(1));
                let until = now + retry_after.map_or(pause, |asked| asked.min(RETRY_AFTER_MAX));
                self.paused_until = self.paused_until.max(until);
            }
        }
    }

    /// Halves the limit; returns `false` if it was halved just now.
    fn decrease(&mut self, now: Duration) -> bool {
        let due = self.decreased_at.is_none_or(|last| now >= last + DECREASE_INTERVAL_MIN);
        if due {
            self.decreased_at = Some(now);
            self.limit = (self.limit / 2.0).max(1.0);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn aimd(max: usize) -> AimdLimit {
        AimdLimit::new(WriteLimits { max_concurrent_writes: max, ..WriteLimits::default() })
    }

    /// The number of requests that may still be sent.
    fn capacity(aimd: &mut AimdLimit, now: Duration) -> usize {
        let before = aimd.in_flight;
        while aimd.allows(now, Lane::Bulk) {
            aimd.on_sent(now, 0);
        }
        let capacity = aimd.in_flight - before;
        aimd.in_flight = before;
        capacity
    }

    #[test]
    fn it_starts_low_and_grows_to_the_maximum_while_all_is_well() {
        let mut aimd = aimd(32);
        assert_eq!(capacity(&mut aimd, S), 8);
        for _ in 0..1000 {
            aimd.on_sent(S, 0);
            aimd.on_response(S, ServerHealth::Healthy);
        }
        assert_eq!(capacity(&mut aimd, S), 32);
        assert_eq!(capacity(&mut self::aimd(3), S), 3, "the maximum holds from the start");
    }

    #[test]
    fn many_failures_of_one_moment_halve_it_once_and_it_never_falls_to_nothing() {
        let mut aimd = aimd(32);
        for _ in 0..8 {
            aimd.on_sent(S, 0);
        }
        for _ in 0..8 {
            aimd.on_response(S, ServerHealth::Slow);
        }
        assert_eq!(capacity(&mut aimd, S), 4);
        for second in 2..20 {
            aimd.on_response(S * second, ServerHealth::Slow);
        }
        assert_eq!(capacity(&mut aimd, 20 * S), 1);
    }

    #[test]
    fn slow_requests_hold_a_share_and_leave_the_rest_to_others() {
        // The maximum, how many are slow, and how many more of each lane may be sent: urgent, bulk, slow.
        let rows = [
            (32, 0, [8, 8, 8]),
            (32, 1, [8, 8, 7]),
            (32, 8, [8, 8, 0]),
            (32, 24, [0, 0, 0]),
            (8, 2, [6, 4, 0]),
            (2, 1, [1, 0, 0]),
            (1, 0, [1, 1, 1]),
            (1, 1, [0, 0, 0]),
        ];
        for (max, slow, expected) in rows {
            let lanes = Lane::ALL.map(|lane| {
                let mut aimd = aimd(max);
                for _ in 0..slow {
                    aimd.on_sent(S, 0);
                    aimd.count_slow(true);
                }
                let before = aimd.in_flight;
                while aimd.allows(S, lane) {
                    aimd.on_sent(S, 0);
                    if lane == Lane::Slow {
                        aimd.count_slow(true);
                    }
                }
                aimd.in_flight - before
            });
            assert_eq!(lanes, expected, "{slow} of {max} are slow");
        }
    }

    #[test]
    fn nothing_is_sent_before_the_time_that_the_server_asked_for() {
        let mut aimd = aimd(32);
        aimd.on_response(S, ServerHealth::Unavailable(Some(3 * S)));
        aimd.on_response(S, ServerHealth::Unavailable(Some(S)));
        assert_eq!(capacity(&mut aimd, 3 * S), 0, "a shorter pause does not undo a longer one");
        assert_eq!(aimd.resumes_at(), Some(4 * S));
        assert_eq!(capacity(&mut aimd, 4 * S), 4);
        aimd.on_response(4 * S, ServerHealth::Unavailable(Some(3600 * S)));
        assert_eq!(aimd.resumes_at(), Some(64 * S), "nobody can stop it for good");
    }

    #[test]
    fn pauses_without_a_time_double_until_all_is_well_again() {
        let mut aimd = aimd(32);
        let mut now = S;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            aimd.on_response(now, ServerHealth::Unavailable(None));
            let resumes_at = aimd.resumes_at().expect("closed");
            pauses.push(resumes_at.saturating_sub(now).as_millis());
            now = resumes_at;
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        aimd.on_response(now, ServerHealth::Healthy);
        aimd.on_response(now, ServerHealth::Unavailable(None));
        assert_eq!(aimd.resumes_at(), Some(now + PAUSE.first));
    }

    #[test]
    fn bytes_are_paid_for_before_the_next_request() {
        let mut aimd =
            AimdLimit::new(WriteLimits { max_write_bytes_per_second: NonZeroU64::new(1000), ..WriteLimits::default() });
        aimd.on_sent(S, 2000);
        assert!(!aimd.allows(2 * S, Lane::Urgent));
        assert!(aimd.allows(3 * S, Lane::Urgent));
        aimd.on_sent(10 * S, 500);
        assert_eq!(aimd.resumes_at(), Some(10 * S + S / 2), "an idle time is no credit");
    }
}
