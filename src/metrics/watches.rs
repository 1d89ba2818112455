//! Metrics of watches: the time of the last event of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::prefixed;

/// The time of a watch without events, which has no sample.
const NEVER: i64 = i64::MIN;

/// Metrics of the watches of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct WatchMetrics(Arc<Mutex<Vec<WatchEntry>>>);

/// A watch; its activity is dropped when it ends.
#[derive(Debug)]
struct WatchEntry {
    watch: &'static str,
    last_event: Weak<AtomicI64>,
}

/// A handle by which a watch records its events; dropping it ends the series.
#[derive(Debug)]
pub struct WatchActivity(Arc<AtomicI64>);

impl WatchMetrics {
    /// Registers the time of the last event of each watch.
    ///
    /// Of several watches of one name, in different namespaces, the one that has been silent for longest is served.
    pub fn register(&self, registry: &mut Registry) {
        prefixed(registry).register_collector(Box::new(self.clone()));
    }

    /// Adds a watch, which is served from its first event on.
    #[must_use]
    pub fn add(&self, watch: &'static str) -> WatchActivity {
        let last_event = Arc::new(AtomicI64::new(NEVER));
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.last_event.strong_count() > 0);
        members.push(WatchEntry { watch, last_event: Arc::downgrade(&last_event) });
        WatchActivity(last_event)
    }

    /// Returns the time of the last event of each watch, as Unix time.
    fn last(&self) -> BTreeMap<&'static str, i64> {
        let mut last = BTreeMap::new();
        for member in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let last_event = member.last_event.upgrade().map_or(NEVER, |time| time.load(Ordering::Relaxed));
            if last_event != NEVER {
                last.entry(member.watch)
                    .and_modify(|least: &mut i64| *least = last_event.min(*least))
                    .or_insert(last_event);
            }
        }
        last
    }
}

impl WatchActivity {
    /// Records an event: an object, a bookmark, or the end of a list.
    pub fn record_event(&self) {
        self.0.store(Timestamp::now().as_second(), Ordering::Relaxed);
    }

    /// Ends the series until the next event.
    pub fn pause(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }
}

impl Collector for WatchMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = (
            "watch_last_heard_timestamp_seconds",
            "When a watch of the API server last told something, bookmarks among it, as Unix time",
        );
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.last().into_iter().try_for_each(|(watch, at)| metric.encode_family(&[("watch", watch)])?.encode_gauge(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_watches_the_one_that_has_been_silent_for_longest_is_served_as_long_as_it_lives() {
        let watches = WatchMetrics::default();
        let [one, two, other] = ["targets", "targets", "bundles"].map(|watch| watches.add(watch));
        assert!(watches.last().is_empty(), "there was no event");
        for (activity, at) in [(&one, 30), (&two, 10), (&other, 20)] {
            activity.0.store(at, Ordering::Relaxed);
        }
        assert_eq!(watches.last(), [("bundles", 20), ("targets", 10)].into());
        two.pause();
        assert_eq!(watches.last()["targets"], 30);
        two.record_event();
        assert!(watches.last()["targets"] == 30 && two.0.load(Ordering::Relaxed) > 1_700_000_000);
        drop((one, two));
        assert_eq!(watches.last(), [("bundles", 20)].into());
    }
}
