//! From what is wished for a pod to what the API server is told.

use crate::text;

use super::fit::Fitted;
use super::injection::Injection;
use super::patch::Patch;

/// What becomes of the pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The changes; none where the pod is not let in.
    pub patch: Patch,
    /// What the user should know, each of at most 256 characters: the API server cuts longer ones.
    pub warnings: Vec<String>,
    /// Why the pod is not let in, if it is not.
    pub refusal: Option<Refusal>,
}

/// Why a pod is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status that the user's request ends with.
    pub code: u16,
    /// The cause and its cure.
    pub message: String,
}

/// What a mode makes of a pod.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    /// Who speaks in warnings: the Bundle or the operator.
    pub(super) subject: String,
    /// Whether the pod may not start without what is wished.
    pub(super) required: bool,
    /// What the user should know whatever happens.
    pub(super) warnings: Vec<String>,
    /// What is to be done.
    pub(super) what: What<'a>,
}

/// What is to be done to a pod.
#[derive(Debug)]
pub(super) enum What<'a> {
    /// Nothing: nobody asked for it.
    Nothing,
    /// This is asked for.
    Inject(Injection<'a>),
    /// It is asked for, and cannot be done.
    Hindered(Hindrance),
    /// The pod contradicts itself.
    Refuse(Refusal),
}

/// What keeps a pod, or some of its containers, from being injected.
#[derive(Debug)]
pub(super) struct Hindrance {
    /// What is not injected.
    pub(super) what: String,
    /// Why.
    pub(super) why: String,
    /// What to do about it.
    pub(super) cure: String,
}

impl Wish<'_> {
    /// The verdict, with `fit` to work out how the injection fits the pod.
    pub(super) fn carry_out(self, fit: impl FnOnce(&Injection<'_>) -> Fitted) -> Verdict {
        let Self { subject, required, mut warnings, what } = self;
        let Fitted { patch, hindrances, notes } = match what {
            What::Nothing => Fitted::default(),
            What::Inject(injection) => fit(&injection),
            What::Hindered(hindrance) => Fitted { hindrances: vec![hindrance], ..Fitted::default() },
            What::Refuse(refusal) => return Verdict { refusal: Some(refusal), ..Verdict::default() },
        };
        warnings.extend(notes.iter().map(|note| text::warning(&format!("{subject}: {note}"))));
        if required && !hindrances.is_empty() {
            let causes: Vec<_> = hindrances.iter().map(Hindrance::in_full).collect();
            let message = format!("{subject}: {}", causes.join("; "));
            return Verdict { patch: Patch::default(), warnings, refusal: Some(Refusal { code: 403, message }) };
        }
        warnings.extend(hindrances.iter().map(|hindrance| hindrance.warning(&subject)));
        Verdict { patch, warnings, refusal: None }
    }
}

impl Hindrance {
    /// What keeps the whole pod from being injected.
    pub(super) fn of_pod(why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: "pod".to_owned(), why: why.into(), cure: cure.into() }
    }

    fn in_full(&self) -> String {
        let Self { what, why, cure } = self;
        format!("{what} cannot be injected, and annotation {} lets no pod in without: {why}; {cure}", super::REQUIRED)
    }

    /// As a warning, in which the cause gives way to the cure.
    fn warning(&self, subject: &str) -> String {
        let Self { what, why, cure } = self;
        let frame = format!("{subject}: {what} not injected: ; {cure}").chars().count();
        let why = text::shorten(why, text::WARNING_MAX.saturating_sub(frame).max(40));
        text::warning(&format!("{subject}: {what} not injected: {why}; {cure}"))
    }
}
