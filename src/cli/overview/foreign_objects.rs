//! A look at the objects that stand where targets are to be.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::bundle::BundleId;
use crate::client::SnapshotReader;
use crate::overview::Snapshot;

/// How many reads are out at the same time.
const CONCURRENCY: usize = 8;

impl Snapshot {
    /// Looks at what stands where targets of these Bundles are to be, in one namespace or in all. What cannot be read is told
    /// by [`Snapshot::others_unread`].
    pub(in crate::cli) async fn read_foreign_objects(
        &mut self,
        reader: &SnapshotReader<'_>,
        bundles: &BTreeSet<BundleId>,
        namespace: Option<&str>,
        now: Timestamp,
    ) {
        let to_create = self.targets_to_create(bundles, now);
        let lists = to_create.iter().map(|((kind, bundle), places)| async move {
            (bundle, places, reader.objects_named(*kind, bundle.name(), namespace).await)
        });
        let lists: Vec<_> = stream::iter(lists).buffered(CONCURRENCY).collect().await;
        for (bundle, places, listed) in lists {
            match listed {
                Ok(mut found) => {
                    for place in places {
                        if let Some(target) = found.remove(place) {
                            self.record_target(bundle, place.clone(), Some(target));
                        }
                    }
                }
                Err(error) => self.unread.foreign_objects = Some(error.to_string()),
            }
        }
        let to_read = self.targets_to_read(bundles, now);
        let reads = to_read
            .iter()
            .map(|(bundle, desired, place)| async move { (bundle, place, reader.object_at(desired, place).await) });
        let reads: Vec<_> = stream::iter(reads).buffered(CONCURRENCY).collect().await;
        for (bundle, place, read) in reads {
            match read {
                Ok(found) => self.record_target(bundle, place.clone(), found),
                Err(error) => self.unread.foreign_objects = Some(error.to_string()),
            }
        }
    }
}
