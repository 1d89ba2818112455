//! The output of the engine: requests to send, and what is to be reported.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{BundleId, Desired, RolloutOutcome, RolloutProgress, TargetRef, Unstable};

use super::list_scope::ListScope;
use super::resource_version::ResourceVersion;

/// Something that the controller has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// A request to send; its [`WriteResult`](super::WriteResult) must come back, whatever happens.
    Send(Order),
    /// A list of one Bundle's targets, by the value of their label; an
    /// [`EngineEvent::Listed`](super::EngineEvent::Listed) must come back, whatever happens.
    List {
        /// The Bundle.
        bundle: BundleId,
        /// Kind and namespace to list.
        scope: ListScope,
        /// Number of the list, which its result names.
        number: u64,
    },
    /// The outcome of a rollout: nothing is left that can be done for the Bundle now.
    Report {
        /// The Bundle.
        bundle: BundleId,
        /// State of the Bundle's targets.
        outcome: RolloutOutcome,
        /// The event that began the work, in words.
        cause: String,
    },
    /// The progress of a rollout that goes on.
    Progress {
        /// The Bundle.
        bundle: BundleId,
        /// The number of namespaces that are done.
        progress: RolloutProgress,
    },
    /// A rollout that is held back, since the content changes too often.
    Held {
        /// The Bundle.
        bundle: BundleId,
        /// The rate at which the content changes, and the end of the rollout's wait.
        unstable: Unstable,
    },
    /// A target that others keep changing.
    Contested {
        /// The Bundle.
        bundle: BundleId,
        /// The target.
        target: TargetRef,
        /// The field manager and the key that it took, if metadata shows them.
        conflicting_manager: Option<(String, String)>,
    },
    /// An object of others that was completed; reported once.
    Completed {
        /// The Bundle.
        bundle: BundleId,
        /// The target.
        target: TargetRef,
    },
    /// PUT is not permitted: from now on objects are patched.
    PutForbidden,
}

/// A request for one target.
#[derive(Clone, Debug)]
pub struct Order {
    /// The Bundle.
    pub bundle: BundleId,
    /// The target.
    pub target: TargetRef,
    /// Desired state of the Bundle's targets.
    pub desired: Arc<Desired>,
    /// The request to send.
    pub request: TargetRequest,
}

/// A request to the API server. Every change of an object that exists is for one version of it, so that a request that
/// arrives late cannot undo later changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRequest {
    /// POST.
    Create,
    /// PUT of the whole object, which has fields of ours alone.
    Replace(ResourceVersion),
    /// Strategic merge patch of our keys and metadata; fields of others stay.
    Merge {
        /// Version of the object.
        version: ResourceVersion,
        /// Fields of ours that are no longer desired.
        stale: OwnedFields,
        /// Uid of the owner that ours replaces.
        former_owner: Option<String>,
        /// Uid of the namespace, if the object holds keys of others.
        second_owner: Option<Arc<str>>,
    },
    /// Server-side apply with force: takes ownership of a value that is already as desired.
    Apply {
        /// Version of the object.
        version: ResourceVersion,
        /// Uid of the namespace, if the object holds keys of others.
        second_owner: Option<Arc<str>>,
    },
    /// Strategic merge patch that removes our fields.
    HandOver(ResourceVersion, OwnedFields),
    /// DELETE.
    Delete(ResourceVersion),
    /// GET of the metadata.
    GetMetadata,
    /// GET of the content, to compare it with the desired one.
    GetContent,
}

/// The fields of an object that this program alone owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedFields {
    /// Keys below `data` and `binaryData`.
    pub keys: BTreeSet<String>,
    /// Names of labels.
    pub labels: BTreeSet<String>,
    /// Names of annotations.
    pub annotations: BTreeSet<String>,
    /// Uids of the namespaces that own the object beside the Bundle.
    pub namespaces: BTreeSet<String>,
}

impl TargetRequest {
    /// Returns whether the request may change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::GetMetadata | Self::GetContent)
    }

    /// Version of the object that the request is for.
    #[must_use]
    pub fn version(&self) -> Option<ResourceVersion> {
        match self {
            Self::Replace(version)
            | Self::Merge { version, .. }
            | Self::Apply { version, .. }
            | Self::HandOver(version, _)
            | Self::Delete(version) => Some(*version),
            Self::Create | Self::GetMetadata | Self::GetContent => None,
        }
    }

    /// Uid of the namespace that the request makes a second owner of an object with keys of others.
    #[must_use]
    pub fn second_owner(&self) -> Option<&str> {
        match self {
            Self::Merge { second_owner, .. } | Self::Apply { second_owner, .. } => second_owner.as_deref(),
            _ => None,
        }
    }

    /// Returns whether the request carries content.
    #[must_use]
    pub fn carries_content(&self) -> bool {
        matches!(self, Self::Create | Self::Replace(_) | Self::Merge { .. } | Self::Apply { .. })
    }
}
