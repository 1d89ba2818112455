//! The threads of a process that serves: one for its own work, one for all its servers, and a few for large reviews. What
//! clients do to the servers keeps nobody else waiting.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};

/// How many large reviews there may be room for; the webhook has a smaller budget for each of its paths.
const BLOCKING_THREADS: usize = 4;

/// How long a thread for large reviews is kept when there is nothing to do.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Runs `work` on this thread, with the runtime that servers are to be at home in.
///
/// # Errors
/// That of `work`, or when there can be no threads.
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
