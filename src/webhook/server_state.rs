//! The state that all connections of a server share.

use std::sync::{Mutex, MutexGuard};

use axum::Router;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::ServerLimits;
use super::connection_table::ConnectionTable;

/// The progress of a server's shutdown, as its connections see it.
///
/// `GracefulShutdown` of hyper-util has only the last stage, and only for connections that hyper serves already: those
/// in a handshake, or before their first byte, would need this beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// The server runs.
    Running,
    /// A connection ends after its next response.
    Draining,
    /// A connection ends now, or after the response to the request that it is working on.
    Closing,
}

/// The state that all connections of a server share.
pub(super) struct ServerState {
    /// The acceptor of TLS handshakes; `None` for plain TCP.
    pub(super) acceptor: Option<TlsAcceptor>,
    /// The handlers of requests.
    pub(super) router: Router,
    /// The limits, with the number of connections cut to what the process can open.
    pub(super) limits: ServerLimits,
    /// The open connections; see [`ServerState::table`].
    pub(super) table: Mutex<ConnectionTable<AbortHandle>>,
    /// The progress of the shutdown.
    pub(super) shutdown: watch::Receiver<Shutdown>,
}

impl ServerState {
    /// Locks the table of connections.
    pub(super) fn table(&self) -> MutexGuard<'_, ConnectionTable<AbortHandle>> {
        self.table.lock().expect("no holder of the lock panics")
    }
}
