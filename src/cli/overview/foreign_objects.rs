//! A look at the objects that stand where targets are to be.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;

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
        names: &BTreeSet<String>,
        namespace: Option<&str>,
        now: Timestamp,
    ) {
        let to_create = self.targets_to_create(names, now);
        let lists = to_create.iter().map(|((kind, name), places)| async move {
            (name, places, reader.objects_named(*kind, name, namespace).await)
        });
        let lists: Vec<_> = stream::iter(lists).buffered(CONCURRENCY).collect().await;
        for (name, places, listed) in lists {
            match listed {
                Ok(mut found) => {
                    for place in places {
                        if let Some(target) = found.remove(place) {
                            self.record_target(name, place.clone(), Some(target));
                        }
                    }
                }
                Err(error) => self.unread.foreign_objects = Some(error.to_string()),
            }
        }
        let to_read = self.targets_to_read(names, now);
        let reads = to_read
            .iter()
            .map(|(desired, place)| async move { (desired, place, reader.object_at(desired, place).await) });
        let reads: Vec<_> = stream::iter(reads).buffered(CONCURRENCY).collect().await;
        for (desired, place, read) in reads {
            match read {
                Ok(found) => self.record_target(&desired.name, place.clone(), found),
                Err(error) => self.unread.foreign_objects = Some(error.to_string()),
            }
        }
    }
}
