//! The input of the engine.

use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{BundleId, ContentSummary, Desired, Namespace, TargetRef};

use super::list_scope::{ListPhase, ListScope};
use super::observed::Observed;
use super::resource_version::ResourceVersion;

/// An event that the engine takes in.
#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// A Bundle exists, or no longer does: then its targets are forgotten and left as they are.
    Bundle(BundleId, bool),
    /// The deletion of a Bundle that no longer exists.
    Deleted {
        /// The Bundle.
        bundle: BundleId,
        /// Uid of the Bundle, if the objects that it completed are to be handed over; `None` if all stay as they are.
        uid: Option<String>,
    },
    /// A decision about a Bundle that exists.
    Desired {
        /// The Bundle.
        bundle: BundleId,
        /// Desired state of the targets; `None` if the Bundle is refused and its targets stay as they are.
        desired: Option<Arc<Desired>>,
        /// The cause of the decision, in words.
        cause: String,
        /// Whether the rollout must not wait, however often the content changes: something is denied anew.
        urgent: bool,
    },
    /// A namespace as it is now; `None` if it is gone.
    Namespace(String, Option<Namespace>),
    /// The state of an object with the Bundle label.
    Target {
        /// The Bundle of the object.
        bundle: BundleId,
        /// The object.
        target: TargetRef,
        /// State of the object.
        event: TargetEvent,
    },
    /// The start or the end of a watch's list of all objects in a scope: those that the list lacks are gone.
    List(ListScope, ListPhase),
    /// The result of a list of one Bundle's targets.
    Listed {
        /// The Bundle.
        bundle: BundleId,
        /// Kind and namespace that were listed.
        scope: ListScope,
        /// Number of the list.
        number: u64,
        /// Result of the list.
        result: TargetListResult,
    },
    /// The result of an order.
    OrderDone {
        /// The Bundle.
        bundle: BundleId,
        /// Target of the order.
        target: TargetRef,
        /// Result of the order.
        result: WriteResult,
    },
    /// A response of the API server to a request that was no order: it is busy, perhaps for a given time.
    Busy(Option<Duration>),
    /// Whether this process is the leader and may write.
    Leading(bool),
    /// Only time has passed.
    Tick,
}

/// A watch event of a target.
#[allow(clippy::large_enum_variant, reason = "made for one event, and taken apart at once")]
#[derive(Clone, Debug)]
pub enum TargetEvent {
    /// The target exists with this version and metadata.
    Applied(Observed),
    /// The target is gone, or has lost the Bundle label, as of this version.
    Deleted(ResourceVersion),
}

/// The result of an order.
#[allow(clippy::large_enum_variant, reason = "made for one event, and taken apart at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// The object was written or read, and has this version and metadata.
    Observed(Observed),
    /// The object does not exist.
    NotFound,
    /// The object that was to be created exists already.
    AlreadyExists,
    /// The object is no longer the version that the order was for.
    Conflict,
    /// The object was read, and its content compared with the desired one.
    Compared(Observed, Comparison),
    /// The namespace is gone or being deleted.
    NamespaceGone,
    /// The request is not permitted, or the API server does not know yet that it is.
    Forbidden(String),
    /// The API server or its admission refuses this object.
    Refused {
        /// The cause, with the object's name.
        cause: String,
        /// Whether the object is immutable: only its deletion helps.
        immutable: bool,
        /// The minimum wait before a retry, if admission set one.
        retry_after: Option<Duration>,
    },
    /// The API server is busy, perhaps for a given time, with its message; nothing was done.
    Busy(Option<Duration>, String),
    /// The API server or its etcd failed: the order may have been carried out or not.
    Failed(String),
    /// The connection failed: the order may have been carried out or not.
    Lost(String),
    /// No answer in time: the order may have been carried out or not.
    TimedOut(String),
}

/// The comparison of an object's content with the desired one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the bytes are as desired.
    pub same: bool,
    /// Summary of what the object holds.
    pub holdings: ContentSummary,
}

/// The result of a list of one Bundle's targets.
#[derive(Clone, Debug)]
pub enum TargetListResult {
    /// The targets in the scope, each with its namespace.
    Targets(Vec<(String, Observed)>),
    /// No list yet: the API server is busy, or did not respond.
    Unavailable,
    /// No list: the API server refuses.
    Refused,
}
