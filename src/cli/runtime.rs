//! The threads of the commands. Each command runs on the thread of the process. The controller and the injector have one
//! more for all servers, and a few for large reviews: load on the servers never delays the other work.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

/// Maximum number of threads for large reviews; the webhook's budget for each of its paths is smaller.
const BLOCKING_THREADS: usize = 4;

/// How long an idle thread for large reviews is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Runs a command on this thread.
///
/// # Errors
/// Those of `command`, and when the runtime cannot be started.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    Builder::new_current_thread().enable_all().build().context("start the runtime")?.block_on(command)
}

/// The threads of the servers. They end when this is dropped.
pub(super) struct ServerThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl ServerThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("servers")
            .enable_all()
            .build()
            .context("start the runtime of the servers")?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Returns a handle to spawn tasks on these threads.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ServerThreads {
    fn drop(&mut self) {
        // A runtime that is dropped as it is waits for its threads, which a task must not do.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
