//! What the engine hears.

use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{ContentSummary, Desired, Namespace, ObjectKind, TargetRef};

use super::list_scope::{ListPhase, ListScope};
use super::observed::Observed;
use super::resource_version::ResourceVersion;

/// Something that the engine has to know.
#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// A Bundle is there, or no longer: of its targets nothing is kept, and they stay as they are.
    Bundle(String, bool),
    /// A Bundle that is no longer there was deleted.
    Deleted {
        /// Its name.
        bundle: String,
        /// Its uid, if what it completed is to be handed over; `None`: all stays as it is.
        uid: Option<String>,
    },
    /// A Bundle that is there was decided anew. `None`: it is refused, and its targets stay as they are.
    Desired {
        /// Its name.
        bundle: Arc<str>,
        /// What its namespaces are to hold.
        desired: Option<Arc<Desired>>,
        /// Why it was decided, in words.
        cause: String,
    },
    /// A namespace as it is now; `None`: it is gone.
    Namespace(String, Option<Namespace>),
    /// An object with the Bundle label.
    Target {
        /// Its Bundle, going by its name.
        bundle: String,
        /// Where it is.
        target: (ObjectKind, String),
        /// How it is.
        event: TargetEvent,
    },
    /// A watch begins or ends a list of everything that is there: what the list lacks is gone.
    List(ListScope, ListPhase),
    /// A list of one Bundle's targets was answered.
    Listed {
        /// Its Bundle.
        bundle: Arc<str>,
        /// What was listed.
        scope: ListScope,
        /// Its number.
        number: u64,
        /// What it brought.
        result: TargetListResult,
    },
    /// What became of an order.
    OrderDone {
        /// Its Bundle.
        bundle: Arc<str>,
        /// Its place.
        target: TargetRef,
        /// The answer.
        result: WriteResult,
    },
    /// The API server asks for patience, in answer to a request that was no order.
    Busy(Option<Duration>),
    /// Whether this process may write.
    Leading(bool),
    /// Time has passed.
    Tick,
}

/// How a target is, as a watch tells.
#[allow(clippy::large_enum_variant, reason = "made for one event, and taken apart at once")]
#[derive(Clone, Debug)]
pub enum TargetEvent {
    /// It is there and looks like this.
    Applied(Observed),
    /// It is gone, or has lost the Bundle label, as of this version.
    Deleted(ResourceVersion),
}

/// What became of an order.
#[allow(clippy::large_enum_variant, reason = "made for one event, and taken apart at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// Written, or only looked at: the object is now like this.
    Observed(Observed),
    /// The object is not there, or no longer.
    NotFound,
    /// The object that was to be created is there already.
    AlreadyExists,
    /// The object is no longer the version that the order was for.
    Conflict,
    /// The object looks like this, and this is its content beside what is wanted.
    Compared(Observed, Comparison),
    /// The namespace is gone or on its way out.
    NamespaceGone,
    /// We are not permitted to ask for this, or the API server does not know yet that we are.
    Forbidden(String),
    /// The API server refuses this object.
    Refused {
        /// Why, with the object's name.
        cause: String,
        /// Whether it is immutable: nothing helps but to delete it.
        immutable: bool,
        /// How long admission asks to wait.
        retry_after: Option<Duration>,
    },
    /// The API server asks for patience, perhaps for a time, and says why; nothing was done.
    Busy(Option<Duration>, String),
    /// The API server or its etcd failed: the order may have been carried out or not.
    Failed(String),
    /// The connection failed: the order may have been carried out or not.
    Lost(String),
    /// No answer in time: the order may have been carried out or not.
    TimedOut(String),
}

/// An object's content beside what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the bytes are as wanted.
    pub same: bool,
    /// What it holds.
    pub holdings: ContentSummary,
}

/// What a list of one Bundle's targets brought.
#[derive(Clone, Debug)]
pub enum TargetListResult {
    /// The targets in its scope, by namespace.
    Targets(Vec<(String, Observed)>),
    /// Nothing yet: the API server is busy, or did not answer.
    Unavailable,
    /// Nothing: the API server refuses.
    Refused,
}
