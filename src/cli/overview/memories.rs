//! Reads what is remembered of the certificates of Bundles that retain them.

use futures::stream::{self, StreamExt};

use crate::bundle::ledger_name;
use crate::client::SnapshotReader;
use crate::overview::{LedgerState, Snapshot};

/// The number of reads at the same time.
const CONCURRENCY: usize = 8;

impl Snapshot {
    /// Reads the ledgers of the Bundles that retain certificates. Errors are kept for [`Snapshot::memories_unread`].
    pub(in crate::cli) async fn read_memories(&mut self, reader: &SnapshotReader<'_>, trust_namespace: &str) {
        let retaining: Vec<_> = self.retaining().filter(|intent| self.bundles.contains_key(&intent.id)).collect();
        let reads = retaining.into_iter().map(|intent| async move {
            let name = format!("ledger ConfigMap {trust_namespace}/{}", ledger_name(&intent.id));
            let state = reader.ledger(&intent.id, trust_namespace).await;
            let state = state.map(|data| LedgerState::of(data.as_ref(), Some(&intent.uid)));
            let memory = match state {
                Ok(LedgerState::Held(memory)) => Ok(memory),
                Ok(LedgerState::Absent) => Err(format!("there is no {name}")),
                Ok(LedgerState::Foreign) => Err(format!("the {name} is of another Bundle of this name")),
                Ok(LedgerState::Invalid(error)) => Err(format!("the {name}: {error}")),
                Err(error) => Err(format!("the {name} cannot be read: {error}")),
            };
            (intent.id.clone(), memory)
        });
        let reads: Vec<_> = stream::iter(reads).buffered(CONCURRENCY).collect().await;
        for (bundle, memory) in reads {
            match memory {
                Ok(memory) => drop(self.memories.insert(bundle, memory)),
                Err(cause) => drop(self.unread.memories.insert(bundle, cause)),
            }
        }
    }
}
