//! The server: it lets connections in, lets the least useful go, and drains when it is to stop. Reviews come over TLS,
//! probes and scrapes over plain TCP.

use std::convert::Infallible;
use std::fs;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{error, warn};

use super::connection::{Farewell, Seat, attend};
use super::crowd::Crowd;
use super::{Certificate, TlsSettings};
use crate::limits;

/// What a server gives to its clients at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
    /// The part of the files that the process may have open which connections take at most: one in so many.
    pub share: usize,
    /// Bytes of the head of a request, and how much is read at once; at least 8 KiB.
    pub buffer: usize,
    /// Bytes of one body.
    pub body: usize,
    /// Bytes of all bodies in memory.
    pub bodies: usize,
    /// Time for the TLS handshake; without TLS, for the first byte.
    pub handshake: Duration,
    /// Time for the head of a request, from its first byte.
    pub head: Duration,
    /// Time without a request. Longer than the 90 seconds after which an API server closes a connection itself: a request
    /// must not meet a closed door.
    pub idle: Duration,
    /// Time for a body and the decision on it, and again for the answer.
    pub request: Duration,
    /// How long connections are still accepted when the server is to stop, each for one answer: the news that it stops
    /// takes time to get around.
    pub linger: Duration,
    /// Time for the requests that are in flight then.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::REVIEW_CONNECTIONS.max,
            share: 2,
            buffer: limits::REVIEW_HEAD.max,
            body: limits::REVIEW_BODY.max,
            bodies: limits::REVIEW_BODIES.max,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            request: Duration::from_secs(10),
            linger: Duration::ZERO,
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The limits of probes and metrics: little is asked there, and soon answered.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            connections: limits::ADMIN_CONNECTIONS.max,
            share: 8,
            buffer: limits::ADMIN_HEAD.max,
            body: limits::ADMIN_BODY.max,
            bodies: limits::ADMIN_CONNECTIONS.max * limits::ADMIN_BODY.max,
            handshake: Duration::from_secs(2),
            head: Duration::from_secs(2),
            drain: Duration::ZERO,
            ..Self::default()
        }
    }
}

/// How often connections are looked through for those that take too long.
const ROUND: Duration = Duration::from_millis(250);

/// How long nobody is accepted after that has failed, and how many go then: as a rule too many files are open.
const BACK_OFF: Duration = Duration::from_millis(10);
const RETREAT: usize = 16;

/// What all connections of a server share.
pub(super) struct House {
    /// What makes a connection one over TLS, where it is to be one.
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) router: Router,
    pub(super) limits: Limits,
    crowd: Mutex<Crowd<AbortHandle>>,
    pub(super) farewell: watch::Receiver<Farewell>,
}

/// Serves HTTP/1.1 over TLS until `stop`, and then until the last request in flight is answered, at most
/// [`Limits::linger`] and [`Limits::drain`] longer. Requests get to `router` with their bodies complete.
pub async fn serve(
    listener: TcpListener,
    certificate: Certificate,
    tls: &TlsSettings,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    run(listener, Some(TlsAcceptor::from(tls.server(certificate))), router, limits, stop).await;
}

/// Serves HTTP/1.1 without TLS, for as long as it is polled, as [`serve`] does.
pub async fn serve_plain(listener: TcpListener, router: Router, limits: Limits) {
    run(listener, None, router, limits, std::future::pending()).await;
}

async fn run(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let (farewell, others) = watch::channel(Farewell::NotYet);
    let (linger, drain) = (limits.linger, limits.drain);
    let connections = limits.connections.min(open_files().map_or(usize::MAX, |files| files / limits.share));
    let house = Arc::new(House {
        acceptor,
        // Bodies get here complete, and no larger than they may be.
        router: router.layer(DefaultBodyLimit::disable()),
        limits: Limits { connections, ..limits },
        crowd: Mutex::new(Crowd::new()),
        farewell: others,
    });
    let mut connections = JoinSet::new();
    {
        let mut accepting = pin!(accept(&listener, &house, &mut connections));
        tokio::select! {
            never = &mut accepting => match never {},
            () = stop => {}
        }
        farewell.send_replace(Farewell::WithNextAnswer);
        if let Ok(never) = timeout(linger, accepting).await {
            match never {}
        }
    }
    drop(listener);
    farewell.send_replace(Farewell::Now);
    let drained = timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!("{} connections were cut: they took longer than {drain:?} to end", connections.len());
    }
}

async fn accept(listener: &TcpListener, house: &Arc<House>, connections: &mut JoinSet<()>) -> Infallible {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    house.welcome(stream, connections);
                    // Whoever is in has a turn before the next one comes: a crowd that comes at once pushes nobody out
                    // whose request has arrived.
                    yield_now().await;
                }
                Err(cause) => {
                    if !failing {
                        error!("connections cannot be accepted, and are as soon as possible: {cause}");
                    }
                    failing = true;
                    house.retreat();
                    sleep(BACK_OFF).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(cause) = ended && cause.is_panic() {
                    error!("a connection ended in a panic: {cause}");
                }
            }
            _ = rounds.tick() => house.look_around(),
        }
    }
}

impl House {
    pub(super) fn crowd(&self) -> MutexGuard<'_, Crowd<AbortHandle>> {
        self.crowd.lock().expect("nothing panics with the crowd")
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, connections: &mut JoinSet<()>) {
        let (number, leaving) = self.crowd().enter(Instant::now(), &self.limits);
        leaving.iter().for_each(AbortHandle::abort);
        let end = connections.spawn(attend(stream, Seat { house: self.clone(), number }));
        self.crowd().arm(number, end);
    }

    fn retreat(&self) {
        let mut crowd = self.crowd();
        let leaving: Vec<_> = (0..RETREAT).map_while(|_| crowd.least_useful()).collect();
        drop(crowd);
        leaving.iter().for_each(AbortHandle::abort);
    }

    fn look_around(&self) {
        let late = self.crowd().overdue(Instant::now(), &self.limits);
        late.iter().for_each(AbortHandle::abort);
    }
}

/// How many files this process may have open
/// (<https://man7.org/linux/man-pages/man5/proc_pid_limits.5.html>); `None` where nobody says.
fn open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
