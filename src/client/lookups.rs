//! Bounds on the reads of single objects that reviews cause: any client of the webhook's port can cause them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{LOOKUP_MISSES_CACHED, LOOKUPS};

use super::api_error::ApiError;

/// The time for which an absent object is not requested again.
const ABSENT_TTL: Duration = Duration::from_secs(1);

/// The minimum time for which a read holds its permit: it bounds the number of reads per second.
const MIN_PERMIT_HOLD: Duration = Duration::from_millis(100);

/// An object as JSON, `None` where it does not exist, or the error that all who share the read get.
pub(super) type LookupResult = Result<Option<Bytes>, ApiError>;

/// The reads in flight and the objects that were recently absent.
pub(super) struct Lookups {
    permits: Arc<Semaphore>,
    /// The reads in flight, by path; each is shared by all callers that need the object meanwhile.
    reads: Mutex<HashMap<String, Weak<OnceCell<LookupResult>>>>,
    /// The time of the last read of each absent object, by path.
    absent: Mutex<HashMap<String, Instant>>,
}

impl Lookups {
    /// Creates an empty set of lookups.
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(LOOKUPS.max)), reads: Mutex::default(), absent: Mutex::default() }
    }

    /// Reads an object by `request`, unless a read of it is in flight already, or it was recently absent.
    pub(super) async fn read(&self, path: &str, request: impl Future<Output = LookupResult>) -> LookupResult {
        if self.is_absent(path) {
            return Ok(None);
        }
        let read = async {
            let permit = self.acquire().await;
            let found = request.await;
            drop(permit);
            if matches!(found, Ok(None)) {
                self.record_absent(path);
            }
            // Later calls need the object as it is after this read.
            lock(&self.reads).remove(path);
            found
        };
        self.shared(path).get_or_init(|| read).await.clone()
    }

    /// Returns the read of an object that is in flight, or a new one.
    fn shared(&self, path: &str) -> Arc<OnceCell<LookupResult>> {
        let mut reads = lock(&self.reads);
        if let Some(read) = reads.get(path).and_then(Weak::upgrade) {
            return read;
        }
        // Reads without a caller that waits for them were given up.
        reads.retain(|_, read| read.strong_count() > 0);
        let read = Arc::default();
        reads.insert(path.to_owned(), Arc::downgrade(&read));
        read
    }

    /// Returns whether an object was absent less than [`ABSENT_TTL`] ago.
    fn is_absent(&self, path: &str) -> bool {
        lock(&self.absent).get(path).is_some_and(|since| since.elapsed() < ABSENT_TTL)
    }

    /// Records that an object is absent.
    fn record_absent(&self, path: &str) {
        let mut absent = lock(&self.absent);
        if absent.len() >= LOOKUP_MISSES_CACHED.max {
            absent.retain(|_, since| since.elapsed() < ABSENT_TTL);
        }
        if absent.len() < LOOKUP_MISSES_CACHED.max {
            absent.insert(path.to_owned(), Instant::now());
        }
    }

    /// Waits for a permit for one read.
    async fn acquire(&self) -> ReadPermit {
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        ReadPermit { permit: Some(permit), since: Instant::now() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

/// A permit for one read. After its drop it is free again once [`MIN_PERMIT_HOLD`] has passed since its creation.
struct ReadPermit {
    permit: Option<OwnedSemaphorePermit>,
    since: Instant,
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        let (permit, until) = (self.permit.take(), self.since + MIN_PERMIT_HOLD);
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
    async fn an_absent_object_is_requested_once_a_second() {
        let lookups = Lookups::new();
        assert!(!lookups.is_absent("a"));
        lookups.record_absent("a");
        assert!(lookups.is_absent("a") && !lookups.is_absent("b"));
        tokio::time::advance(ABSENT_TTL).await;
        assert!(!lookups.is_absent("a"));
    }

    /// Makes `times` concurrent reads that take a second each; returns the number of requests.
    async fn requests_made(lookups: &Lookups, times: usize, found: LookupResult) -> usize {
        let requests = std::cell::Cell::new(0);
        let read = async |_| {
            let request = async {
                requests.set(requests.get() + 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                found.clone()
            };
            assert_eq!(lookups.read("a", request).await, found);
        };
        futures::future::join_all((0..times).map(read)).await;
        assert!(lookups.reads.lock().unwrap().is_empty());
        requests.get()
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_reads_of_one_object_share_one_request() {
        let lookups = Lookups::new();
        for found in [Ok(None), Ok(Some(Bytes::from("a"))), Err(ApiError::Lost("no answer".to_owned()))] {
            assert_eq!(requests_made(&lookups, 50, found.clone()).await, 1, "{found:?}");
            let again = usize::from(found != Ok(None));
            assert_eq!(requests_made(&lookups, 1, found).await, again);
            tokio::time::advance(ABSENT_TTL).await;
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
    async fn the_number_of_remembered_absences_is_bounded() {
        let lookups = Lookups::new();
        for number in 0..2 * LOOKUP_MISSES_CACHED.max {
            lookups.record_absent(&number.to_string());
        }
        assert_eq!(lookups.absent.lock().unwrap().len(), LOOKUP_MISSES_CACHED.max);
        tokio::time::advance(ABSENT_TTL).await;
        lookups.record_absent("later");
        assert!(lookups.is_absent("later"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_of_reads_is_bounded() {
        let lookups = Arc::new(Lookups::new());
        let began = Instant::now();
        for _ in 0..10 * LOOKUPS.max {
            drop(lookups.acquire().await);
        }
        assert!(began.elapsed() >= 9 * MIN_PERMIT_HOLD, "{:?}", began.elapsed());
    }
}
