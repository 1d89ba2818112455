//! The request of a mode for a pod, and the verdict that answers the review.

use crate::text;

use super::blocker::Blocker;
use super::injection::Injection;
use super::patch::JsonPatch;
use super::patch_pod::PatchedPod;

/// The decision about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InjectionVerdict {
    /// The changes of the pod; empty if it is denied.
    pub patch: JsonPatch,
    /// Warnings for the user, each of at most 256 characters: the API server cuts longer ones.
    pub warnings: Vec<String>,
    /// The denial of the pod, if it is denied.
    pub denial: Option<Denial>,
}

/// The denial of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The HTTP status of the response to the user's request.
    pub code: u16,
    /// The cause and the remedy.
    pub message: String,
}

/// The injection that a mode requests for a pod.
#[derive(Debug)]
pub(super) struct InjectionRequest<'a> {
    /// The Bundle or the operator that messages begin with.
    pub(super) subject: String,
    /// Whether the pod is denied if it cannot be injected.
    pub(super) required: bool,
    /// Warnings that do not depend on the action.
    pub(super) warnings: Vec<String>,
    /// The requested action.
    pub(super) action: InjectionAction<'a>,
}

/// The action that a mode requests for a pod.
#[derive(Debug)]
pub(super) enum InjectionAction<'a> {
    /// No injection is requested.
    Nothing,
    /// The pod is to be injected.
    Inject(Injection<'a>),
    /// Injection is requested, but impossible.
    Blocked(Blocker),
    /// The pod is denied because its annotations contradict each other.
    Deny(Denial),
}

impl InjectionRequest<'_> {
    /// Returns the verdict; `patch_pod` applies the injection to the pod.
    pub(super) fn into_verdict(self, patch_pod: impl FnOnce(&Injection<'_>) -> PatchedPod) -> InjectionVerdict {
        let Self { subject, required, mut warnings, action } = self;
        let PatchedPod { patch, blockers, notes } = match action {
            InjectionAction::Nothing => PatchedPod::default(),
            InjectionAction::Inject(injection) => patch_pod(&injection),
            InjectionAction::Blocked(blocker) => PatchedPod { blockers: vec![blocker], ..PatchedPod::default() },
            InjectionAction::Deny(denial) => {
                return InjectionVerdict { denial: Some(denial), ..InjectionVerdict::default() };
            }
        };
        warnings.extend(notes.iter().map(|note| text::warning(&format!("{subject}: {note}"))));
        if required && !blockers.is_empty() {
            let causes: Vec<_> = blockers.iter().map(Blocker::denial_message).collect();
            let message = format!("{subject}: {}", causes.join("; "));
            return InjectionVerdict {
                patch: JsonPatch::default(),
                warnings,
                denial: Some(Denial { code: 403, message }),
            };
        }
        warnings.extend(blockers.iter().map(|blocker| blocker.warning(&subject)));
        InjectionVerdict { patch, warnings, denial: None }
    }
}
