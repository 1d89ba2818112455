//! HTTP/1.1 server: accepts connections, evicts the least useful ones at a limit, and drains when it stops.
//!
//! Reviews come over TLS, probes and scrapes over plain TCP.

use std::convert::Infallible;
use std::fs;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{error, warn};

use super::connection::{ConnectionGuard, serve_connection};
use super::connection_table::ConnectionTable;
use super::server_state::{ServerState, Shutdown};
use super::{ReloadableCertificate, ServerLimits, TlsSettings};

/// The time between two searches for connections that exceed their time.
const REAP_INTERVAL: Duration = Duration::from_millis(250);

/// The time until the next attempt to accept after one has failed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// The number of connections that are evicted when accepting fails: as a rule too many files are open.
const SHED_COUNT: usize = 16;

/// Serves HTTP/1.1 over TLS until `stop`, and then until the last request in flight is answered.
///
/// That takes at most [`ServerLimits::shutdown_delay`] and [`ServerLimits::drain_timeout`] longer. Requests get to
/// `router` with their bodies complete.
pub async fn serve(
    listener: TcpListener,
    certificate: ReloadableCertificate,
    tls: &TlsSettings,
    router: Router,
    limits: ServerLimits,
    stop: impl Future<Output = ()>,
) {
    run(listener, Some(TlsAcceptor::from(tls.server(certificate))), router, limits, stop).await;
}

/// Serves HTTP/1.1 without TLS as [`serve`] does; never ends.
pub async fn serve_plain(listener: TcpListener, router: Router, limits: ServerLimits) {
    run(listener, None, router, limits, std::future::pending()).await;
}

async fn run(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limits: ServerLimits,
    stop: impl Future<Output = ()>,
) {
    let (shutdown, shutdown_receiver) = watch::channel(Shutdown::Running);
    let (delay, drain) = (limits.shutdown_delay, limits.drain_timeout);
    let connections = limits.max_connections.min(open_files().map_or(usize::MAX, |files| files / limits.fd_divisor));
    let server = Arc::new(ServerState {
        acceptor,
        // Bodies get here complete, and no larger than they may be.
        router: router.layer(DefaultBodyLimit::disable()),
        limits: ServerLimits { max_connections: connections, ..limits },
        table: Mutex::new(ConnectionTable::new()),
        shutdown: shutdown_receiver,
    });
    let mut connections = JoinSet::new();
    {
        let mut accepting = pin!(accept(&listener, &server, &mut connections));
        tokio::select! {
            never = &mut accepting => match never {},
            () = stop => {}
        }
        shutdown.send_replace(Shutdown::Draining);
        let Err(_elapsed) = timeout(delay, accepting).await;
    }
    drop(listener);
    shutdown.send_replace(Shutdown::Closing);
    let drained = timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!("{} connections were cut: they took longer than {drain:?} to end", connections.len());
    }
}

async fn accept(listener: &TcpListener, server: &Arc<ServerState>, connections: &mut JoinSet<()>) -> Infallible {
    let mut reap_ticks = interval(REAP_INTERVAL);
    reap_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    server.spawn_connection(stream, connections);
                    // Open connections run before the next one is accepted: many that come at once do not evict one
                    // whose request has arrived.
                    yield_now().await;
                }
                Err(cause) => {
                    if !failing {
                        error!("connections cannot be accepted, and are as soon as possible: {cause}");
                    }
                    failing = true;
                    server.shed_load();
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(cause) = ended && cause.is_panic() {
                    error!("a connection ended in a panic: {cause}");
                }
            }
            _ = reap_ticks.tick() => server.reap_expired(),
        }
    }
}

impl ServerState {
    fn spawn_connection(self: &Arc<Self>, stream: TcpStream, connections: &mut JoinSet<()>) {
        let (id, evicted) = self.table().insert(Instant::now(), &self.limits);
        evicted.iter().for_each(AbortHandle::abort);
        let end = connections.spawn(serve_connection(stream, ConnectionGuard { server: self.clone(), id }));
        self.table().set_abort_handle(id, end);
    }

    fn shed_load(&self) {
        let mut table = self.table();
        let evicted: Vec<_> = (0..SHED_COUNT).map_while(|_| table.pop_eviction_candidate()).collect();
        drop(table);
        evicted.iter().for_each(AbortHandle::abort);
    }

    fn reap_expired(&self) {
        let late = self.table().take_expired(Instant::now(), &self.limits);
        late.iter().for_each(AbortHandle::abort);
    }
}

/// Returns how many files this process may have open
/// (<https://man7.org/linux/man-pages/man5/proc_pid_limits.5.html>); `None` where that is unknown.
fn open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
