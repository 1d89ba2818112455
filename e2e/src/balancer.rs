//! What a Service does for its pods: one address, behind which connections go to those in turn that are ready.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::{background::Background, existing::address};

/// A running balancer. Dropping it closes every connection.
pub struct Balancer {
    address: Ipv4Addr,
    server: Background,
    state: Arc<State>,
}

/// A replica's place behind a balancer, which it has until this is dropped. Connections that it was given stay open.
pub struct Place {
    replica: Replica,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Those that get connections.
    replicas: Mutex<Vec<Replica>>,
    /// How many connections came.
    came: AtomicUsize,
}

#[derive(Clone)]
struct Replica {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Balancer {
    /// Starts a balancer in front of nobody.
    ///
    /// # Errors
    /// When there is no port, or no thread.
    pub fn start() -> Result<Self> {
        let state = Arc::new(State::default());
        let address = address()?;
        let server = {
            let state = state.clone();
            Background::start_on(address.into(), "balancer", |listener| serve(listener, state))?
        };
        Ok(Self { address, server, state })
    }

    /// The one address, which `ROOTCAST_E2E_ADDRESS` names; by default, the loopback address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many connections came, those included that nobody took.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.came.load(Ordering::Relaxed)
    }

    /// A place for what listens on this port; it gets connections once the place is opened.
    #[must_use]
    pub fn place(&self, port: u16) -> Place {
        Place { replica: Replica { port, connections: Arc::default() }, state: self.state.clone() }
    }
}

impl Place {
    /// From now on it gets connections.
    pub fn open(&self) {
        let mut replicas = self.state.replicas();
        replicas.retain(|replica| replica.port != self.replica.port);
        replicas.push(self.replica.clone());
    }

    /// The port of who has it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.replica.port
    }

    /// How many connections it got.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.replica.connections.load(Ordering::Relaxed)
    }
}

impl State {
    fn replicas(&self) -> std::sync::MutexGuard<'_, Vec<Replica>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody, the one whose turn it is first.
    fn in_turn(&self) -> Vec<Replica> {
        let mut replicas = self.replicas().clone();
        let turn = self.came.fetch_add(1, Ordering::Relaxed);
        if let Some(turn) = turn.checked_rem(replicas.len()) {
            replicas.rotate_left(turn);
        }
        replicas
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let replicas = state.in_turn();
        tokio::spawn(async move {
            for replica in replicas {
                let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, replica.port)).await else { continue };
                replica.connections.fetch_add(1, Ordering::Relaxed);
                // Either side may end it in any way.
                drop(copy_bidirectional(&mut client, &mut server).await);
                return;
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.replicas().retain(|replica| replica.port != self.replica.port);
    }
}
