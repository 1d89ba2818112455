//! Sources of Bundles are read when they are needed.

use tracing::warn;

use super::{Controller, Done, PATIENCE};
use crate::cluster::connection::Failure;
use crate::cluster::contents::{Read, SourceKey, Wanted};
use crate::cluster::source;

impl Controller {
    /// Reads source objects; their Bundle is decided once they are there.
    pub(super) fn read(&mut self, name: String, cause: String, unread: Vec<(SourceKey, Wanted)>) {
        let desk = self.desks.entry(name.clone()).or_default();
        desk.reading = true;
        let patient = desk.failed < PATIENCE;
        let (connection, namespace) = (self.connection.clone(), self.trust_namespace.clone());
        self.tasks.spawn(async move {
            let (mut reads, mut trouble) = (Vec::new(), None);
            for (key, wanted) in unread {
                match source::read(&connection, &namespace, &key, wanted.clone()).await {
                    Ok(read) => reads.push((key, read)),
                    Err(failure) => {
                        if !patient {
                            reads.push((key, source::unreadable(&failure.to_string(), wanted)));
                        }
                        trouble = Some(failure);
                    }
                }
            }
            Done::Read { name, cause, reads, trouble }
        });
    }

    /// Takes in what a read brought.
    pub(super) fn finish_reading(
        &mut self,
        name: String,
        cause: String,
        reads: Vec<(SourceKey, Read)>,
        trouble: Option<Failure>,
    ) {
        for (key, read) in reads {
            let touched = self.state.read(&key, read);
            self.enqueue(touched);
        }
        let Some(desk) = self.desks.get_mut(&name) else { return };
        desk.reading = false;
        if let Some(failure) = trouble {
            warn!(bundle = name, cause, "sources not read: {failure}");
            let patient = desk.failed < PATIENCE;
            desk.retry();
            self.heed(&failure);
            if patient {
                return;
            }
        }
        self.queue.insert(name, cause);
    }
}
