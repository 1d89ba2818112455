//! What an answer changes for its target.

use std::mem::discriminant;

use crate::bundle::{Need, TargetRef};

use super::action::Request;
use super::blame::{Blame, Record};
use super::event::{Answer, Comparison};
use super::fleet::{Fleet, Surroundings, Why};
use super::index::{Bytes, Looks, Witness};
use super::task::{Fault, State, Task};
use super::version::Version;

/// What follows from an answer.
enum Next {
    /// The order is done with: see what else is to be done.
    Consider(Why),
    /// One more order, in its turn.
    Again(Task),
    /// One more order, before all others.
    Anew(Task),
    /// One more order, at its time.
    Later(Task),
}

impl Fleet {
    /// Whom an answer is held against that tells of trouble.
    pub(super) fn blame(&mut self, record: &mut Record, place: &TargetRef) -> Blame {
        let mut task = self.tasks.get(place).cloned();
        let mut before = task.as_ref().and_then(|task| task.trouble);
        let blame = record.bad(place, &mut before);
        if let Some(task) = &mut task {
            task.trouble = before;
            self.tasks.set(place, Some(task.clone()));
        }
        blame
    }

    /// Takes in what became of an order. `blame`: whom it is held against, if it tells of trouble.
    pub(super) fn answered(
        &mut self,
        around: Surroundings<'_>,
        looks: &mut Looks,
        place: &TargetRef,
        answer: Answer,
        blame: Option<Blame>,
        epoch: u32,
    ) {
        let now = around.now;
        let Some(mut task) = self.tasks.get(place).cloned() else { return };
        let before = std::mem::replace(&mut task.state, State::Queued);
        let State::InFlight { under, request, gone } = before else { return };
        let latest = self.wants(&under);
        let fault = match blame {
            Some(Blame::Target { lasting: true }) => Fault::Target,
            _ => Fault::Passing,
        };
        let next = match answer {
            // Finalizers keep it.
            Answer::Is(_) if matches!(request, Request::Delete(_)) && self.holds(around, place) => {
                Next::Later(task.failed(now, Fault::Target, self.kept_by_finalizers(place)))
            }
            Answer::Is(_) if matches!(request, Request::Delete(_)) => self.gone(around, place, task, &request),
            // It may be older than a list that lacks it.
            Answer::Is(_) | Answer::Compared(..) if task.look => {
                if request.is_write() {
                    self.wrote();
                }
                Next::Again(task)
            }
            Answer::Is(observed) => {
                let version = observed.version;
                if gone.is_none_or(|gone| gone <= version) {
                    self.targets.learn(looks, place, observed, (epoch, Witness::Answer), Bytes::Doubtful);
                }
                if request.carries_content() {
                    self.targets.inspected(place, version, Bytes::Right);
                }
                let newest = self.targets.get(place).is_some_and(|entry| entry.version == version);
                if request.is_write() {
                    self.wrote();
                    self.completed(place);
                    self.after_write(around, place, task, &request, latest, newest)
                } else {
                    Next::Again(task)
                }
            }
            Answer::Gone => self.gone(around, place, task, &request),
            Answer::Exists => self.once_more(around, place, task, true),
            Answer::Conflict => {
                let known = self.targets.get(place).is_some_and(|entry| Some(entry.version) > request.version());
                match self.intervention(around, place) {
                    at if at > now => Next::Later(task.to(State::Waiting(at)).looking(!known)),
                    _ => self.once_more(around, place, task, !known),
                }
            }
            Answer::Compared(observed, Comparison { same, holdings }) => {
                let inspected = matches!(self.need(around, place), Some(Need::Inspect) | None);
                let version = observed.version;
                if gone.is_none_or(|gone| gone <= version) {
                    self.targets.learn(looks, place, observed, (epoch, Witness::Answer), Bytes::Doubtful);
                }
                self.targets.inspected(place, version, if same { Bytes::Right } else { Bytes::Wrong });
                if self.has_same_keys(&under, place.kind) {
                    self.targets.holds(place, version, holdings);
                }
                // What has to be known before it is written is not a change of it.
                if inspected { Next::Consider(Why::Changed) } else { self.once_more(around, place, task, false) }
            }
            Answer::NamespaceGone => Next::Later(task.put_off(now)),
            Answer::Busy(wait, cause) if matches!(blame, Some(Blame::Target { .. })) => {
                Next::Later(task.failed(now, fault, cause).not_before(now, wait))
            }
            Answer::Busy(None, _) => Next::Again(task),
            Answer::Busy(wait, _) => Next::Later(task.not_before(now, wait)),
            // A patch may be permitted.
            Answer::Forbidden(_) if matches!(request, Request::Replace(_)) && !around.replace => Next::Again(task),
            Answer::Refused { fixed: true, .. } if self.is_recreated(around, place, &request) => Next::Again(task),
            Answer::Refused { cause, fixed, retry_after } => {
                let cause = if fixed { self.immutable(place, cause) } else { cause };
                // What has no label is not watched: when its time comes it is looked at anew.
                let watched = !self.targets.forget_unlabelled(place, &self.name);
                let fault = if fixed && watched { Fault::Fixed } else { Fault::Target };
                Next::Later(task.failed(now, fault, cause).not_before(now, retry_after))
            }
            Answer::Forbidden(cause) | Answer::Lost(cause) | Answer::TimedOut(cause) | Answer::Failed(cause) => {
                Next::Later(task.failed(now, fault, cause))
            }
        };
        match next {
            Next::Consider(why) => {
                self.tasks.set(place, None);
                self.consider(around, place, why);
            }
            Next::Again(task) => self.resume(around, place, task),
            Next::Anew(task) => self.create_anew(around, place, task),
            Next::Later(task) => {
                self.tasks.set(place, Some(task));
                // Meanwhile it may have become as it should be, or something else may be wanted.
                if !latest || self.request(around, place).is_none() {
                    self.consider(around, place, Why::Decided);
                }
            }
        }
    }

    /// A target is gone; if that was for it to be created anew, it is, and if not, whatever is to be done is.
    fn gone(&mut self, around: Surroundings<'_>, place: &TargetRef, task: Task, request: &Request) -> Next {
        self.targets.lose(place, request.version().unwrap_or(Version::NEWEST));
        if !matches!(request, Request::Delete(_)) {
            return Next::Again(task);
        }
        self.wrote();
        if self.request(around, place) == Some(Request::Create) { Next::Anew(task) } else { Next::Again(task) }
    }

    /// A target turned out to be immutable; whether it is deleted and created anew.
    fn is_recreated(&mut self, around: Surroundings<'_>, place: &TargetRef, request: &Request) -> bool {
        self.targets.seal(place, request.version());
        let next = self.request(around, place);
        self.holds(around, place) && next.is_some_and(|next| matches!(next, Request::Delete(_) | Request::Compare))
    }

    /// A target was written, under what is wanted still (`latest`); and nobody has changed it since (`newest`).
    fn after_write(
        &mut self,
        around: Surroundings<'_>,
        place: &TargetRef,
        task: Task,
        request: &Request,
        latest: bool,
        newest: bool,
    ) -> Next {
        match self.request(around, place) {
            _ if !latest => Next::Consider(Why::Decided),
            Some(_) if !newest => Next::Consider(Why::Changed),
            // It came back as one that would have to be created anew.
            Some(Request::Delete(_)) if self.holds(around, place) => {
                Next::Later(task.failed(around.now, Fault::Target, self.not_as_written(place)))
            }
            // Taking ownership and taking out what is stale are two requests.
            Some(next) if discriminant(&next) != discriminant(request) => self.once_more(around, place, task, false),
            Some(_) => Next::Later(task.failed(around.now, Fault::Target, self.not_as_written(place))),
            None => Next::Consider(Why::Turn),
        }
    }

    /// A try takes one more request, unless others are faster than we are.
    fn once_more(&mut self, around: Surroundings<'_>, place: &TargetRef, task: Task, look: bool) -> Next {
        if task.is_exhausted() {
            let cause = self.lost_to_others(around, place);
            return Next::Later(task.failed(around.now, Fault::Target, cause));
        }
        Next::Again(task.again(look))
    }
}
