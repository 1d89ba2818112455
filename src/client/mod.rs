//! Kubernetes I/O: watches, reads, writes, status, leader election. The only module that talks to the API server.

mod api_error;
mod bundle_cache;
mod connection;
mod dial;
mod error_text;
mod fetch_source;
#[cfg(test)]
mod fixture;
mod hand_back;
mod leader_election;
mod ledger;
mod lookups;
mod objects;
mod protobuf;
mod publish;
mod request_body;
mod segmented_body;
mod server_clock;
mod serving_cert;
mod snapshot;
mod uri;
mod watch;
mod write;

pub(crate) use api_error::ApiError;
pub use bundle_cache::{BundleAccess, BundleCache, BundleCacheError};
pub use connection::Connection;
pub use dial::{Dialer, Proxy, ProxyUrlError, Socket};
pub(crate) use fetch_source::{KeyFilter, SourceRead, read_source};
pub use hand_back::{HandBack, HandBackError, HandBackOutcome};
pub use leader_election::{LeaderElector, LeadershipState, LeadershipWatch, LeaseSettings};
pub(crate) use ledger::{
    LedgerObject, LedgerOwner, LedgerRef, delete_ledger, read_ledger, read_target_pem, write_ledger,
};
pub(crate) use publish::{PublishedVersion, Publisher};
pub use serving_cert::{ServingSettings, maintain_serving_cert};
pub use snapshot::{
    ContainerCommand, SnapshotReadError, SnapshotReader, SnapshotScope, SnapshotSources, SnapshotTargets,
    certificate_uses, object_reader,
};
pub(crate) use watch::{
    ApiCollection, ListPager, ListWatchError, MetadataOnly, UnreadableObject, Watch, WatchEvent, WatchResult,
    WatchedBundle, WatchedDistrust, start_watches, watched_metadata,
};
pub(crate) use write::TargetWriter;
