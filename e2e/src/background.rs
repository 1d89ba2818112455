//! A server of the harness's own, in a thread of its own: neither a test that waits for a program nor the end of a
//! test's runtime stops it.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

/// A running server. Dropping it closes every connection.
pub(crate) struct Background {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Serves on a free port of the loopback address, on a runtime that it has to itself.
    pub(crate) fn start<F>(
        name: &str,
        serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = ()>,
    {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), name, serve)
    }

    /// The same, on another address of this machine.
    pub(crate) fn start_on<F>(
        address: IpAddr,
        name: &str,
        serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = ()>,
    {
        let listener =
            TcpListener::bind((address, 0)).with_context(|| format!("a port of {address} for the {name}"))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener that does not block");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { port, stop: Some(stop), thread: Some(thread) })
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _: thread::Result<()> = thread.join();
        }
    }
}
