//! Kubernetes I/O: watches, reads, writes, status, leader election. The only module that talks to the API server.

mod bundle_cache;
pub(crate) mod connection;
mod dial;
pub(crate) mod fetch_source;
mod hand_back;
mod leader_election;
mod lookups;
mod protobuf;
pub(crate) mod publish;
mod request_body;
mod serving_cert;
pub mod snapshot;
pub(crate) mod watch;
pub(crate) mod write;

pub use bundle_cache::{BundleAccess, BundleCache, BundleCacheError};
pub use connection::Connection;
pub use dial::{Dialer, Proxy, ProxyUrlError, Socket};
pub use hand_back::{HandBack, HandBackError, HandBackOutcome, current_leader};
pub use leader_election::{LeaderElector, LeadershipState, LeadershipWatch, LeaseSettings};
pub use serving_cert::{ServingSettings, maintain_serving_cert};
