//! The threads of the commands. The controller and the injector have one for their own work, one for all servers, and a
//! few for large reviews: load on the servers never delays the other work.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};

/// Maximum number of threads for large reviews; the webhook's budget for each of its paths is smaller.
const BLOCKING_THREADS: usize = 4;

/// How long an idle thread for large reviews is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Runs a command that serves nothing, on this thread.
///
/// # Errors
/// Those of `command`, and when the runtime cannot be started.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    Builder::new_current_thread().enable_all().build().context("start the runtime")?.block_on(command)
}

/// Runs `work` on this thread, with a handle to the runtime of the servers.
///
/// # Errors
/// Those of `work`, and when threads cannot be started.
pub(super) fn run<T>(work: impl AsyncFnOnce(Handle) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_name("servers")
        .enable_all()
        .build()
        .context("start the runtime of the servers")?;
    let own = Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let done = own.block_on(work(servers.handle().clone()));
    servers.shutdown_background();
    done
}
