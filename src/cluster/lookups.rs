//! Bounds on the reads of single objects that reviews cause: whoever reaches the webhook's port can cause them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{LOOKUPS, LOOKUPS_REMEMBERED};

/// The time for which an object that is not there is not asked for again.
const ABSENT_FOR: Duration = Duration::from_secs(1);

/// The time for which a read takes its place at least: it bounds how many there are in a second.
const PLACE_FOR: Duration = Duration::from_millis(100);

/// The reads that are in flight, and the objects that were not there just now.
pub(super) struct Lookups {
    places: Arc<Semaphore>,
    absent: Mutex<HashMap<String, Instant>>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS.max)), absent: Mutex::default() }
    }

    /// Whether an object was found absent so short a time ago that it is taken to be so still.
    pub(super) fn is_absent(&self, path: &str) -> bool {
        let absent = self.absent.lock().expect("no holder of the lock panics");
        absent.get(path).is_some_and(|since| since.elapsed() < ABSENT_FOR)
    }

    /// Remembers that an object is not there.
    pub(super) fn found_absent(&self, path: &str) {
        let mut absent = self.absent.lock().expect("no holder of the lock panics");
        if absent.len() >= LOOKUPS_REMEMBERED.max {
            absent.retain(|_, since| since.elapsed() < ABSENT_FOR);
        }
        if absent.len() < LOOKUPS_REMEMBERED.max {
            absent.insert(path.to_owned(), Instant::now());
        }
    }

    /// A place for one read, once there is one.
    pub(super) async fn place(&self) -> Place {
        let permit = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        Place { permit: Some(permit), since: Instant::now() }
    }
}

/// A place for one read, which is free again some time after the read has begun and not before it has ended.
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let (permit, until) = (self.permit.take(), self.since + PLACE_FOR);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_absent_is_asked_for_once_a_second() {
        let lookups = Lookups::new();
        assert!(!lookups.is_absent("a"));
        lookups.found_absent("a");
        assert!(lookups.is_absent("a") && !lookups.is_absent("b"));
        tokio::time::advance(ABSENT_FOR).await;
        assert!(!lookups.is_absent("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_remembered_than_may_be() {
        let lookups = Lookups::new();
        for number in 0..2 * LOOKUPS_REMEMBERED.max {
            lookups.found_absent(&number.to_string());
        }
        assert_eq!(lookups.absent.lock().unwrap().len(), LOOKUPS_REMEMBERED.max);
        tokio::time::advance(ABSENT_FOR).await;
        lookups.found_absent("later");
        assert!(lookups.is_absent("later"));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_reads_begin_in_a_second_whatever_is_asked() {
        let lookups = Arc::new(Lookups::new());
        let began = Instant::now();
        for _ in 0..10 * LOOKUPS.max {
            drop(lookups.place().await);
        }
        assert!(began.elapsed() >= 9 * PLACE_FOR, "{:?}", began.elapsed());
    }
}
