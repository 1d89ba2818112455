//! Bounds on the reads of single objects that reviews cause: whoever reaches the webhook's port can cause them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{LOOKUPS, LOOKUPS_REMEMBERED};

/// The time for which an object that is not there is not asked for again.
const ABSENT_FOR: Duration = Duration::from_secs(1);

/// The time for which a read takes its place at least: it bounds how many there are in a second.
const PLACE_FOR: Duration = Duration::from_millis(100);

/// An object as it is, if it is there, or why that cannot be told.
pub(super) type Found = Result<Option<Bytes>, String>;

/// The reads that are in flight, and the objects that were not there just now.
pub(super) struct Lookups {
    places: Arc<Semaphore>,
    /// By path; each is shared by all who ask for the object meanwhile.
    reads: Mutex<HashMap<String, Weak<OnceCell<Found>>>>,
    absent: Mutex<HashMap<String, Instant>>,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS.max)), reads: Mutex::default(), absent: Mutex::default() }
    }

    /// Reads an object, unless somebody is doing so already, or it was not there just now.
    pub(super) async fn read(&self, path: &str, ask: impl Future<Output = Found>) -> Found {
        if self.is_absent(path) {
            return Ok(None);
        }
        let read = async {
            let place = self.place().await;
            let found = ask.await;
            drop(place);
            if matches!(found, Ok(None)) {
                self.found_absent(path);
            }
            // Who asks from now on wants to know what is there from now on.
            lock(&self.reads).remove(path);
            found
        };
        self.shared(path).get_or_init(|| read).await.clone()
    }

    /// The read of an object that is in flight, or a new one.
    fn shared(&self, path: &str) -> Arc<OnceCell<Found>> {
        let mut reads = lock(&self.reads);
        if let Some(read) = reads.get(path).and_then(Weak::upgrade) {
            return read;
        }
        // What nobody waits for any more was given up.
        reads.retain(|_, read| read.strong_count() > 0);
        let read = Arc::default();
        reads.insert(path.to_owned(), Arc::downgrade(&read));
        read
    }

    /// Whether an object was found absent so short a time ago that it is taken to be so still.
    fn is_absent(&self, path: &str) -> bool {
        lock(&self.absent).get(path).is_some_and(|since| since.elapsed() < ABSENT_FOR)
    }

    /// Remembers that an object is not there.
    fn found_absent(&self, path: &str) {
        let mut absent = lock(&self.absent);
        if absent.len() >= LOOKUPS_REMEMBERED.max {
            absent.retain(|_, since| since.elapsed() < ABSENT_FOR);
        }
        if absent.len() < LOOKUPS_REMEMBERED.max {
            absent.insert(path.to_owned(), Instant::now());
        }
    }

    /// A place for one read, once there is one.
    async fn place(&self) -> Place {
        let permit = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        Place { permit: Some(permit), since: Instant::now() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

/// A place for one read, which is free again some time after the read has begun and not before it has ended.
struct Place {
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

    /// Reads so often at the same time, where the API server takes a second to answer; returns how often it was asked.
    async fn asked(lookups: &Lookups, times: usize, found: Found) -> usize {
        let asked = std::cell::Cell::new(0);
        let read = async |_| {
            let ask = async {
                asked.set(asked.get() + 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                found.clone()
            };
            assert_eq!(lookups.read("a", ask).await, found);
        };
        futures::future::join_all((0..times).map(read)).await;
        assert!(lookups.reads.lock().unwrap().is_empty());
        asked.get()
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_the_same_time_share_one_read() {
        let lookups = Lookups::new();
        for found in [Ok(None), Ok(Some(Bytes::from("a"))), Err("no answer".to_owned())] {
            assert_eq!(asked(&lookups, 50, found.clone()).await, 1, "{found:?}");
            let again = usize::from(found != Ok(None));
            assert_eq!(asked(&lookups, 1, found).await, again);
            tokio::time::advance(ABSENT_FOR).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_given_up_is_made_by_another() {
        let lookups = Lookups::new();
        let never = lookups.read("a", std::future::pending());
        let (given_up, other) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(1), never),
            lookups.read("a", async { Ok(Some(Bytes::from("a"))) }),
        );
        assert!(given_up.is_err());
        assert_eq!(other, Ok(Some(Bytes::from("a"))));
        assert!(lookups.reads.lock().unwrap().is_empty());
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
