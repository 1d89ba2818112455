//! What the engine asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{Desired, RolloutOutcome, RolloutProgress, TargetRef, Unstable};

use super::list_scope::ListScope;
use super::resource_version::ResourceVersion;

/// Something to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a request; its [`Answer`](super::Answer) must come back, whatever happens.
    Send(Order),
    /// List the targets of one Bundle, by the value of their label; an [`Event::Listed`](super::Event::Listed) must come
    /// back, whatever happens.
    List {
        /// The Bundle's name.
        bundle: Arc<str>,
        /// Where.
        scope: ListScope,
        /// The list's number.
        number: u64,
    },
    /// A Bundle has nothing left that can be done now: say what became of it.
    Report {
        /// Its name.
        bundle: Arc<str>,
        /// What became of its targets.
        outcome: RolloutOutcome,
        /// What began it, in words.
        cause: String,
    },
    /// A rollout goes on: say how far it is.
    Progress {
        /// The Bundle's name.
        bundle: Arc<str>,
        /// How far.
        progress: RolloutProgress,
    },
    /// A rollout is held back, since the content changes too often: say until when.
    Held {
        /// The Bundle's name.
        bundle: Arc<str>,
        /// How the content changes.
        unstable: Unstable,
    },
    /// Somebody keeps changing a target: say who.
    Contested {
        /// The Bundle's name.
        bundle: Arc<str>,
        /// The target.
        target: TargetRef,
        /// The field manager and the key that it took, if metadata tells.
        conflicting_manager: Option<(String, String)>,
    },
    /// An object of others was completed: say so, once.
    Completed {
        /// The Bundle's name.
        bundle: Arc<str>,
        /// The target.
        target: TargetRef,
    },
    /// PUT is not permitted: from now on objects are patched.
    PutForbidden,
}

/// One request about one target.
#[derive(Clone, Debug)]
pub struct Order {
    /// The Bundle's name, which is the target's.
    pub bundle: Arc<str>,
    /// The target.
    pub target: TargetRef,
    /// What it is to hold.
    pub desired: Arc<Desired>,
    /// What to ask for.
    pub request: TargetRequest,
}

/// What to ask of the API server. Every change of an object that exists is for one version of it, so that a request that
/// comes late cannot undo what came after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetRequest {
    /// POST.
    Create,
    /// PUT of the whole object, which nobody else has touched.
    Replace(ResourceVersion),
    /// Strategic merge patch: our keys and metadata, leaving alone what others have.
    Merge {
        /// The version.
        version: ResourceVersion,
        /// What is ours and no longer wanted.
        stale: OwnedFields,
        /// Uid of the owner that ours takes the place of.
        former_owner: Option<String>,
        /// Uid of its namespace, where the object holds keys of others.
        second_owner: Option<Arc<str>>,
    },
    /// Server-side apply with force: takes ownership of a value that is right already.
    Apply {
        /// The version.
        version: ResourceVersion,
        /// Uid of its namespace, where the object holds keys of others.
        second_owner: Option<Arc<str>>,
    },
    /// Strategic merge patch that takes out what is ours.
    HandOver(ResourceVersion, OwnedFields),
    /// DELETE.
    Delete(ResourceVersion),
    /// GET of the metadata.
    GetMetadata,
    /// GET of the content, to compare it with what is wanted.
    GetContent,
}

/// The fields of an object that are ours alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedFields {
    /// Keys below `data` and `binaryData`.
    pub keys: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeSet<String>,
    /// Annotations.
    pub annotations: BTreeSet<String>,
    /// Uids of the namespaces that own it beside the Bundle.
    pub namespaces: BTreeSet<String>,
}

impl TargetRequest {
    /// Whether it may change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::GetMetadata | Self::GetContent)
    }

    /// The version of the object that it is for.
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

    /// The uid of the namespace that it makes a second owner of an object with keys of others.
    #[must_use]
    pub fn second_owner(&self) -> Option<&str> {
        match self {
            Self::Merge { second_owner, .. } | Self::Apply { second_owner, .. } => second_owner.as_deref(),
            _ => None,
        }
    }

    /// Whether it carries content.
    #[must_use]
    pub fn carries_content(&self) -> bool {
        matches!(self, Self::Create | Self::Replace(_) | Self::Merge { .. } | Self::Apply { .. })
    }
}
