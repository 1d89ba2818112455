//! Reads objects of others in the place of targets.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::bundle::BundleId;
use crate::client::SnapshotReader;
use crate::overview::Snapshot;

/// The number of reads at the same time.
const CONCURRENCY: usize = 8;

impl Snapshot {
    /// Reads the objects in the place of these Bundles' targets, in one namespace or in all. Errors are kept for
    /// [`Snapshot::foreign_objects_unread`].
    pub(in crate::cli) async fn read_foreign_objects(
        &mut self,
        reader: &SnapshotReader<'_>,
        bundles: &BTreeSet<BundleId>,
        namespace: Option<&str>,
        now: Timestamp,
    ) {
        let to_create = self.targets_to_create(bundles, now);
        let lists = to_create.iter().map(|((kind, bundle), targets)| async move {
            (bundle, targets, reader.objects_named(*kind, bundle.name(), namespace).await)
        });
        let lists: Vec<_> = stream::iter(lists).buffered(CONCURRENCY).collect().await;
        for (bundle, targets, listed) in lists {
            match listed {
                Ok(mut found) => {
                    for target in targets {
                        if let Some(object) = found.remove(target) {
                            self.record_target(bundle, target.clone(), Some(object));
                        }
                    }
                }
                Err(error) => self.unread.foreign_objects = Some(error.to_string()),
            }
        }
        let to_read = self.targets_to_read(bundles, now);
        let reads = to_read
            .iter()
            .map(|(bundle, desired, target)| async move { (bundle, target, reader.object_at(desired, target).await) });
        let reads: Vec<_> = stream::iter(reads).buffered(CONCURRENCY).collect().await;
        for (bundle, target, read) in reads {
            match read {
                Ok(found) => self.record_target(bundle, target.clone(), found),
                Err(error) => self.unread.foreign_objects = Some(error.to_string()),
            }
        }
    }
}
