//! A look at the objects that stand where targets are to be.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::cluster::survey::Surveyor;
use crate::survey::Snapshot;

/// How many reads are out at the same time.
const CONCURRENCY: usize = 8;

impl Snapshot {
    /// Looks at what stands where targets of these Bundles are to be, in one namespace or in all. What cannot be read is told
    /// by [`Snapshot::others_unread`].
    pub(in crate::cli) async fn look_at_others(
        &mut self,
        surveyor: &Surveyor<'_>,
        names: &BTreeSet<String>,
        namespace: Option<&str>,
        now: Timestamp,
    ) {
        let to_create = self.to_create(names, now);
        let lists = to_create
            .iter()
            .map(|((kind, name), places)| async move { (name, places, surveyor.named(*kind, name, namespace).await) });
        let lists: Vec<_> = stream::iter(lists).buffered(CONCURRENCY).collect().await;
        for (name, places, listed) in lists {
            match listed {
                Ok(mut found) => {
                    for place in places {
                        if let Some(target) = found.remove(place) {
                            self.found(name, place.clone(), Some(target));
                        }
                    }
                }
                Err(unseen) => self.unread.others = Some(unseen.to_string()),
            }
        }
        let unseen = self.unseen(names, now);
        let reads =
            unseen.iter().map(|(wanted, place)| async move { (wanted, place, surveyor.held(wanted, place).await) });
        let reads: Vec<_> = stream::iter(reads).buffered(CONCURRENCY).collect().await;
        for (wanted, place, read) in reads {
            match read {
                Ok(found) => self.found(&wanted.name, place.clone(), found),
                Err(unseen) => self.unread.others = Some(unseen.to_string()),
            }
        }
    }
}
