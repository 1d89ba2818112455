//! An HTTP proxy that connects to the API server, which nobody else can: only the proxy knows where its name leads.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    ControlPlane,
    access::{Access, Caller},
    background::Background,
};

/// The name that the API server has behind the proxy; no resolver knows it (RFC 6761, section 6.4).
pub(crate) const SERVER_NAME: &str = "apiserver.invalid";

/// A running proxy for `CONNECT`. Dropping it closes every connection.
pub struct Tunnel {
    server: Background,
    access: Access,
    connections: Arc<AtomicUsize>,
}

impl Tunnel {
    /// Starts a proxy in front of the API server.
    ///
    /// # Errors
    /// When there is no port, or no thread.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let access = Access { host: Some(SERVER_NAME), ..control_plane.access.clone() };
        let connections = Arc::<AtomicUsize>::default();
        let (server, count) = (access.server, connections.clone());
        let server = Background::start("tunnel", move |listener| serve(listener, server, count))?;
        Ok(Self { server, access, connections })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.server.port())
    }

    /// How many connections it made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The administrator's kubeconfig for the name behind it, which does not name the proxy.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        self.access.kubeconfig(Caller::Admin)
    }

    pub(crate) fn access(&self) -> Access {
        self.access.clone()
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, connections: Arc<AtomicUsize>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let connections = connections.clone();
        // Either side may end it in any way.
        tokio::spawn(async move { drop(connect(client, server, &connections).await) });
    }
}

/// Reads the request, and hands on bytes in both directions if it is for the API server.
async fn connect(client: TcpStream, server: SocketAddr, connections: &AtomicUsize) -> Result<()> {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while client.read_line(&mut head).await? > 2 {}
    if !head.starts_with(&format!("CONNECT {SERVER_NAME}:{} HTTP/1.1\r\n", server.port())) {
        return Ok(client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await?);
    }
    let mut server = TcpStream::connect(server).await?;
    connections.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
