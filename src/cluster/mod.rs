//! The world: the only room that talks to an API server.

mod bundle_cache;
mod cache;
mod connection;
mod controller;
mod dial;
mod fetch_source;
mod hand_back;
mod lease;
mod liveness;
mod lookups;
pub mod object_reader;
mod protobuf;
mod publish;
mod reconcile_state;
mod request_body;
mod serving_cert;
pub mod snapshot;
mod source_cache;
mod watch;
mod write;

pub use bundle_cache::{BundleAccess, BundleCache};
pub use connection::Connection;
pub use controller::{Controller, RunEnd};
pub use dial::{Dialer, Proxy, ProxyUrlError, Socket};
pub use hand_back::{HandBack, HandBackError, HandBackOutcome, current_leader};
pub use lease::{LeaderElector, LeadershipState, LeadershipWatch, LeaseSettings};
pub use liveness::Liveness;
pub use serving_cert::{ServingSettings, maintain_serving_cert};
