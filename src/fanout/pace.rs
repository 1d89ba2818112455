//! How much may be in flight: one limit for the process, that feels its way up and yields at once
//! (additive increase, multiplicative decrease, as TCP does: RFC 5681).

use std::num::NonZeroU64;
use std::time::Duration;

use super::damping::Damping;

/// How many requests are in flight at first.
const START: f64 = 8.0;

/// The longest pause that the API server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The part of the requests in flight that slow ones may hold, and that the bulk of a rollout leaves free while there are
/// any: one in so many.
const SHARE: usize = 4;

/// The pause after the first failed connection, or the first "busy" without a time; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often the limit is lowered at most: requests in flight at the same time tell of the same trouble.
const CUT_EVERY: Duration = Duration::from_secs(1);

/// What an administrator allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most requests in flight at the same time, at least one.
    pub max_concurrent_writes: usize,
    /// The most bytes of content written in a second, over all targets; `None`: no limit.
    pub max_write_bytes_per_second: Option<NonZeroU64>,
    /// How often content that is there is rewritten.
    pub damping: Damping,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_concurrent_writes: 32, max_write_bytes_per_second: None, damping: Damping::default() }
    }
}

/// What an answer says of the API server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It does its work.
    Fine,
    /// It did not answer in time, or failed.
    Slow,
    /// It asks for patience, perhaps for a time, or cannot be reached.
    Closed(Option<Duration>),
}

/// What goes before what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Single events.
    Urgent,
    /// Rollouts.
    Bulk,
    /// What is likely to take long, of either.
    Slow,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Urgent, Self::Bulk, Self::Slow];
}

/// The pace of the process.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    in_flight: usize,
    /// How many of these are slow.
    slow: usize,
    /// How many may be in flight; grows by one for each round of answers.
    limit: f64,
    /// Nothing is sent before this time.
    closed_until: Duration,
    /// Pauses in a row.
    pauses: u32,
    /// When the limit was last lowered.
    cut: Option<Duration>,
    /// When the bytes that were sent so far are paid for.
    paid: Duration,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        let max = limits.max_concurrent_writes.max(1);
        #[allow(clippy::cast_precision_loss, reason = "a number of connections")]
        let limit = START.min(max as f64);
        Self {
            limits: Limits { max_concurrent_writes: max, ..limits },
            in_flight: 0,
            slow: 0,
            limit,
            closed_until: Duration::ZERO,
            pauses: 0,
            cut: None,
            paid: Duration::ZERO,
        }
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many may be in flight at present.
    pub(super) fn limit(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the maximum")]
        let limit = self.limit as usize;
        limit
    }

    /// Whether nothing is sent for the API server's sake.
    pub(super) fn is_paused(&self, now: Duration) -> bool {
        now < self.closed_until
    }

    /// Whether one more request may be sent now. Slow ones have a share of their own: they do not count against what
    /// others may send, as long as the maximum allows.
    pub(super) fn is_open(&self, now: Duration, lane: Lane) -> bool {
        let max = self.limits.max_concurrent_writes;
        let share = (max / SHARE).max(1);
        let room = match lane {
            Lane::Slow => self.slow < share.min(self.limit()),
            _ => self.in_flight - self.slow.min(share) < self.limit(),
        };
        let reserved = if lane == Lane::Bulk && self.slow > 0 { share.min(max - 1) } else { 0 };
        room && self.in_flight < max - reserved && self.opens().is_none_or(|at| at <= now)
    }

    /// A request in flight, one more or one less, is slow.
    pub(super) fn slow(&mut self, more: bool) {
        self.slow = if more { self.slow + 1 } else { self.slow.saturating_sub(1) };
    }

    /// When time alone lets requests through again; `None`: there is nothing to wait for but answers.
    pub(super) fn opens(&self) -> Option<Duration> {
        let paid = self.limits.max_write_bytes_per_second.map_or(Duration::ZERO, |_| self.paid);
        Some(self.closed_until.max(paid)).filter(|at| !at.is_zero())
    }

    /// A request was sent with so many bytes of content.
    pub(super) fn sent(&mut self, now: Duration, bytes: usize) {
        self.in_flight += 1;
        if let Some(rate) = self.limits.max_write_bytes_per_second {
            let nanos = bytes as u64 * 1_000_000_000 / rate;
            self.paid = self.paid.max(now) + Duration::from_nanos(nanos);
        }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, now: Duration, health: Health) {
        self.ended();
        self.heed(now, health);
    }

    /// A request was answered, and that tells nothing of the API server.
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Takes in how the API server is.
    pub(super) fn heed(&mut self, now: Duration, health: Health) {
        match health {
            Health::Fine => {
                self.pauses = 0;
                #[allow(clippy::cast_precision_loss, reason = "a number of connections")]
                let max = self.limits.max_concurrent_writes as f64;
                self.limit = (self.limit + 1.0 / self.limit).min(max);
            }
            Health::Slow => {
                self.lower(now);
            }
            Health::Closed(retry_after) => {
                if self.lower(now) || now >= self.closed_until {
                    self.pauses = self.pauses.saturating_add(1);
                }
                let pause = PAUSE.saturating_mul(1 << (self.pauses.saturating_sub(1)).min(10)).min(PAUSE_MAX);
                let until = now + retry_after.map_or(pause, |asked| asked.min(RETRY_AFTER_MAX));
                self.closed_until = self.closed_until.max(until);
            }
        }
    }

    /// Halves the limit; `false` if it was halved just now.
    fn lower(&mut self, now: Duration) -> bool {
        let due = self.cut.is_none_or(|last| now >= last + CUT_EVERY);
        if due {
            self.cut = Some(now);
            self.limit = (self.limit / 2.0).max(1.0);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn pace(max: usize) -> Pace {
        Pace::new(Limits { max_concurrent_writes: max, ..Limits::default() })
    }

    /// How many more requests may be sent.
    fn room(pace: &mut Pace, now: Duration) -> usize {
        let before = pace.in_flight;
        while pace.is_open(now, Lane::Bulk) {
            pace.sent(now, 0);
        }
        let room = pace.in_flight - before;
        pace.in_flight = before;
        room
    }

    #[test]
    fn it_starts_low_and_grows_to_the_maximum_while_all_is_well() {
        let mut pace = pace(32);
        assert_eq!(room(&mut pace, S), 8);
        for _ in 0..1000 {
            pace.sent(S, 0);
            pace.answered(S, Health::Fine);
        }
        assert_eq!(room(&mut pace, S), 32);
        assert_eq!(room(&mut self::pace(3), S), 3, "the maximum holds from the start");
    }

    #[test]
    fn many_complaints_of_one_moment_halve_it_once_and_it_never_falls_to_nothing() {
        let mut pace = pace(32);
        for _ in 0..8 {
            pace.sent(S, 0);
        }
        for _ in 0..8 {
            pace.answered(S, Health::Slow);
        }
        assert_eq!(room(&mut pace, S), 4);
        for second in 2..20 {
            pace.answered(S * second, Health::Slow);
        }
        assert_eq!(room(&mut pace, 20 * S), 1);
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
                let mut pace = pace(max);
                for _ in 0..slow {
                    pace.sent(S, 0);
                    pace.slow(true);
                }
                let before = pace.in_flight;
                while pace.is_open(S, lane) {
                    pace.sent(S, 0);
                    if lane == Lane::Slow {
                        pace.slow(true);
                    }
                }
                pace.in_flight - before
            });
            assert_eq!(lanes, expected, "{slow} of {max} are slow");
        }
    }

    #[test]
    fn nothing_is_sent_before_the_time_that_the_server_asked_for() {
        let mut pace = pace(32);
        pace.answered(S, Health::Closed(Some(3 * S)));
        pace.answered(S, Health::Closed(Some(S)));
        assert_eq!(room(&mut pace, 3 * S), 0, "a shorter wish does not undo a longer one");
        assert_eq!(pace.opens(), Some(4 * S));
        assert_eq!(room(&mut pace, 4 * S), 4);
        pace.answered(4 * S, Health::Closed(Some(3600 * S)));
        assert_eq!(pace.opens(), Some(64 * S), "nobody can stop it for good");
    }

    #[test]
    fn pauses_without_a_time_double_until_all_is_well_again() {
        let mut pace = pace(32);
        let mut now = S;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pace.answered(now, Health::Closed(None));
            let opens = pace.opens().expect("closed");
            pauses.push(opens.saturating_sub(now).as_millis());
            now = opens;
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        pace.answered(now, Health::Fine);
        pace.answered(now, Health::Closed(None));
        assert_eq!(pace.opens(), Some(now + PAUSE));
    }

    #[test]
    fn bytes_are_paid_for_before_the_next_request() {
        let mut pace = Pace::new(Limits { max_write_bytes_per_second: NonZeroU64::new(1000), ..Limits::default() });
        pace.sent(S, 2000);
        assert!(!pace.is_open(2 * S, Lane::Urgent));
        assert!(pace.is_open(3 * S, Lane::Urgent));
        pace.sent(10 * S, 500);
        assert_eq!(pace.opens(), Some(10 * S + S / 2), "an idle time is no credit");
    }
}
