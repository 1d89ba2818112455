//! Access to a cluster: its address, credentials and proxy.

use anyhow::Context;
use kube::config::Config;

use crate::client::{Connection, Proxy};

/// Address, credentials and proxy of a cluster.
pub(super) struct ClusterAccess {
    /// Address and credentials.
    pub(super) config: Config,
    /// The proxy on the way, if there is one.
    pub(super) proxy: Option<Proxy>,
    /// What the access was read from, for messages.
    pub(super) origin: String,
}

impl ClusterAccess {
    /// Returns a connection by this access. Nothing is sent yet.
    pub(super) fn connect(self) -> anyhow::Result<Connection> {
        let Self { config, proxy, origin } = self;
        Connection::new(&config, proxy).with_context(|| format!("prepare the connection to the cluster by {origin}"))
    }
}
