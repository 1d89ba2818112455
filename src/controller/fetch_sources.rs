//! Fetches the sources that a Bundle needs before it can be decided. The asynchronous half of [`mod@super::reconcile`].

use tracing::warn;

use crate::bundle::{BundleId, SourceId};
use crate::client::{ApiError, KeyFilter, SourceRead, read_source};

use crate::metrics::ReconcileFailure;

use super::{Controller, TaskOutput};

/// Maximum of fetches in a row that fail without an effect; after one more the sources count as unreadable.
const MAX_SILENT_FAILURES: u32 = 4;

/// Starts to fetch source objects. The Bundle is not reconciled before they are there.
pub(super) fn fetch(controller: &mut Controller, id: BundleId, cause: String, unread: Vec<(SourceId, KeyFilter)>) {
    let state = controller.states.entry(id.clone()).or_default();
    state.fetching = true;
    let silent = state.fetch_failures < MAX_SILENT_FAILURES;
    let connection = controller.connection.clone();
    controller.tasks.spawn(async move {
        let (mut reads, mut last_failure) = (Vec::new(), None);
        for (key, filter) in unread {
            match read_source(&connection, &key, filter.clone()).await {
                Ok(read) => reads.push((key, read)),
                Err(error) => {
                    if !silent {
                        reads.push((key, SourceRead::unreadable(&error.to_string(), filter)));
                    }
                    last_failure = Some(error);
                }
            }
        }
        TaskOutput::Fetched { id, cause, reads, last_failure }
    });
}

/// Caches fetched sources and queues the Bundle again; after a failure once its time has come.
pub(super) fn on_fetched(
    controller: &mut Controller,
    id: BundleId,
    cause: String,
    reads: Vec<(SourceId, SourceRead)>,
    last_failure: Option<ApiError>,
) {
    for (key, read) in reads {
        let affected = controller.cache.apply_read(&key, read);
        controller.enqueue(affected);
    }
    let Some(state) = controller.states.get_mut(&id) else { return };
    state.fetching = false;
    if let Some(error) = last_failure {
        controller.metrics.reconciles.count_failure(ReconcileFailure::UnreadableSource);
        warn!(bundle = &**id.name(), cause, "sources not read: {error}");
        let silent = state.fetch_failures < MAX_SILENT_FAILURES;
        state.retry_fetching();
        controller.note_server_health(&error);
        if silent {
            return;
        }
    }
    controller.queue.insert(id, cause);
}
