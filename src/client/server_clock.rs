//! The clock of the API server, as its responses show it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::{HeaderMap, header};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

/// The clock of the API server: the `Date` of its last response, carried forward by the monotonic clock. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerClock(Arc<Mutex<Option<(Instant, Timestamp)>>>);

impl ServerClock {
    /// Records the date of a response (RFC 9110, 6.6.1), to the second.
    pub(super) fn observe(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| rfc2822::parse(date).ok()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), date.timestamp()));
        }
    }

    /// Returns the time of the API server; `None` before the first response with a date.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let (at, date) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
        Some(date.checked_add(passed).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_date_counts_and_what_is_none_does_not() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        let observe = |date: &str| clock.observe(&HeaderMap::from_iter([(header::DATE, date.parse().expect("ASCII"))]));
        observe("Sun, 06 Nov 1994 08:49:37 GMT");
        observe("yesterday");
        let date = "1994-11-06T08:49:37Z".parse::<Timestamp>().expect("a time");
        let passed = clock.now().expect("a time").duration_since(date);
        assert!(passed >= SignedDuration::ZERO && passed < SignedDuration::from_mins(1), "{passed:?}");
    }
}
