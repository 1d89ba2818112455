//! What an answer changes for its target.

use std::mem::discriminant;

use crate::bundle::Place;

use super::action::Request;
use super::event::Answer;
use super::fleet::{Fleet, Surroundings, Why};
use super::index::{Bytes, Looks};
use super::task::{Fault, State, Task};
use super::version::Version;

/// What follows from an answer.
enum Next {
    /// The order is done with: see what else is to be done.
    Consider(Why),
    /// One more order, in its turn.
    Again(Task),
    /// One more order, at its time.
    Later(Task),
}

impl Fleet {
    /// Takes in what became of an order.
    pub(super) fn answered(
        &mut self,
        around: Surroundings<'_>,
        looks: &mut Looks,
        place: &Place,
        answer: Answer,
        epoch: u32,
    ) {
        let now = around.now;
        let Some(mut task) = self.tasks.get(place).cloned() else { return };
        let before = std::mem::replace(&mut task.state, State::Queued);
        let State::InFlight { under, request, gone } = before else { return };
        let latest = self.wants(&under);
        let next = match answer {
            Answer::Is(observed) => {
                let version = observed.version;
                if gone.is_none_or(|gone| gone <= version) {
                    self.targets.learn(looks, place, observed, epoch, Bytes::Doubtful);
                }
                if request.carries_content() {
                    self.targets.inspected(place, version, Bytes::Right);
                }
                let newest = self.targets.get(place).is_some_and(|entry| entry.version == version);
                if request.is_write() {
                    self.wrote();
                    self.after_write(around, place, task, &request, latest, newest)
                } else {
                    Next::Again(task)
                }
            }
            Answer::Gone => {
                self.targets.lose(place, request.version().unwrap_or(Version::NEWEST));
                if matches!(request, Request::Delete(_)) {
                    self.wrote();
                }
                Next::Again(task)
            }
            Answer::Exists => self.once_more(around, place, task, true),
            Answer::Conflict => {
                let known = self.targets.get(place).is_some_and(|entry| Some(entry.version) > request.version());
                match self.intervention(around, place) {
                    at if at > now => Next::Later(task.to(State::Waiting(at)).looking(!known)),
                    _ => self.once_more(around, place, task, !known),
                }
            }
            Answer::Compared(version, same) => {
                self.targets.inspected(place, version, if same { Bytes::Right } else { Bytes::Wrong });
                Next::Consider(Why::Changed)
            }
            Answer::NamespaceGone => Next::Later(task.put_off(now)),
            Answer::Busy(_) => Next::Again(task),
            // A patch may be permitted.
            Answer::Forbidden(_) if matches!(request, Request::Replace(_)) && !around.replace => Next::Again(task),
            Answer::Refused { cause, fixed } => {
                // What has no label is not watched: when its time comes it is looked at anew.
                let watched = !self.targets.forget_unlabelled(place, &self.name);
                Next::Later(task.failed(now, if fixed && watched { Fault::Fixed } else { Fault::Target }, cause))
            }
            Answer::Forbidden(cause) | Answer::Lost(cause) | Answer::TimedOut(cause) => {
                Next::Later(task.failed(now, Fault::Passing, cause))
            }
        };
        match next {
            Next::Consider(why) => {
                self.tasks.set(place, None);
                self.consider(around, place, why);
            }
            Next::Again(task) => self.resume(around, place, task),
            Next::Later(task) => {
                self.tasks.set(place, Some(task));
                // Meanwhile it may have become as it should be, or something else may be wanted.
                if !latest || self.request(around, place).is_none() {
                    self.consider(around, place, Why::Decided);
                }
            }
        }
    }

    /// A target was written, under what is wanted still (`latest`); and nobody has changed it since (`newest`).
    fn after_write(
        &mut self,
        around: Surroundings<'_>,
        place: &Place,
        task: Task,
        request: &Request,
        latest: bool,
        newest: bool,
    ) -> Next {
        match self.request(around, place) {
            _ if !latest => Next::Consider(Why::Decided),
            Some(_) if !newest => Next::Consider(Why::Changed),
            // Taking ownership and taking out what is stale are two requests.
            Some(next) if discriminant(&next) != discriminant(request) => self.once_more(around, place, task, false),
            Some(_) => Next::Later(task.failed(around.now, Fault::Target, self.not_as_written(place))),
            None => Next::Consider(Why::Turn),
        }
    }

    /// A try takes one more request, unless others are faster than we are.
    fn once_more(&mut self, around: Surroundings<'_>, place: &Place, task: Task, look: bool) -> Next {
        if task.is_exhausted() {
            let cause = self.lost_to_others(around, place);
            return Next::Later(task.failed(around.now, Fault::Target, cause));
        }
        Next::Again(task.again(look))
    }
}
