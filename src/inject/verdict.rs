//! From what is wished for a pod to what the API server is told.

use crate::text;

use super::blocker::Blocker;
use super::injection::Injection;
use super::patch::JsonPatch;
use super::patch_pod::PatchedPod;

/// What becomes of the pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InjectionVerdict {
    /// The changes; none where the pod is not let in.
    pub patch: JsonPatch,
    /// What the user should know, each of at most 256 characters: the API server cuts longer ones.
    pub warnings: Vec<String>,
    /// Why the pod is not let in, if it is not.
    pub denial: Option<Denial>,
}

/// Why a pod is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The HTTP status that the user's request ends with.
    pub code: u16,
    /// The cause and its cure.
    pub message: String,
}

/// What a mode makes of a pod.
#[derive(Debug)]
pub(super) struct InjectionRequest<'a> {
    /// Who speaks in warnings: the Bundle or the operator.
    pub(super) subject: String,
    /// Whether the pod may not start without what is wished.
    pub(super) required: bool,
    /// What the user should know whatever happens.
    pub(super) warnings: Vec<String>,
    /// What is to be done.
    pub(super) action: InjectionAction<'a>,
}

/// What is to be done to a pod.
#[derive(Debug)]
pub(super) enum InjectionAction<'a> {
    /// Nothing: nobody asked for it.
    Nothing,
    /// This is asked for.
    Inject(Injection<'a>),
    /// It is asked for, and cannot be done.
    Blocked(Blocker),
    /// The pod contradicts itself.
    Deny(Denial),
}

impl InjectionRequest<'_> {
    /// The verdict, with `fit` to work out how the injection fits the pod.
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
