//! Sources of Bundles are read when they are needed.

use tracing::warn;

use super::{Controller, MAX_SILENT_READ_FAILURES, TaskOutput};
use crate::client::connection::ApiError;
use crate::client::fetch_source::{self, KeyFilter, SourceKey, SourceRead};

impl Controller {
    /// Reads source objects; their Bundle is decided once they are there.
    pub(super) fn read_sources(&mut self, name: String, cause: String, unread: Vec<(SourceKey, KeyFilter)>) {
        let state = self.states.entry(name.clone()).or_default();
        state.reading = true;
        let silent = state.read_failures < MAX_SILENT_READ_FAILURES;
        let (connection, namespace) = (self.connection.clone(), self.trust_namespace.clone());
        self.tasks.spawn(async move {
            let (mut reads, mut last_failure) = (Vec::new(), None);
            for (key, filter) in unread {
                match fetch_source::fetch(&connection, &namespace, &key, filter.clone()).await {
                    Ok(read) => reads.push((key, read)),
                    Err(failure) => {
                        if !silent {
                            reads.push((key, fetch_source::unreadable(&failure.to_string(), filter)));
                        }
                        last_failure = Some(failure);
                    }
                }
            }
            TaskOutput::Read { name, cause, reads, last_failure }
        });
    }

    /// Takes in what a read brought.
    pub(super) fn on_sources_read(
        &mut self,
        name: String,
        cause: String,
        reads: Vec<(SourceKey, SourceRead)>,
        last_failure: Option<ApiError>,
    ) {
        for (key, read) in reads {
            let affected = self.cache.apply_read(&key, read);
            self.enqueue(affected);
        }
        let Some(state) = self.states.get_mut(&name) else { return };
        state.reading = false;
        if let Some(failure) = last_failure {
            warn!(bundle = name, cause, "sources not read: {failure}");
            let silent = state.read_failures < MAX_SILENT_READ_FAILURES;
            state.retry();
            self.note_server_health(&failure);
            if silent {
                return;
            }
        }
        self.queue.insert(name, cause);
    }
}
