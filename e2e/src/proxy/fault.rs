//! Faults as values: on which requests, in which of their turns, to what effect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;

use super::request::{On, Request};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Effect {
    /// It waits so long before the API server hears of it.
    Delay(Duration),
    /// Nothing moves as long as the fault lasts, and no connection closes: new requests wait, open watches are silent.
    Stall,
    /// The connection closes and the API server never hears of it.
    Cut,
    /// The API server carries it out, and then the connection closes without an answer.
    LoseAnswer,
    /// So many lines of the answer's body arrive, and a part of the next; then the connection closes. A watch event is
    /// a line, any other answer is one.
    CutLine(usize),
    /// It is answered here, and the API server never hears of it.
    Answer(Answer),
}

/// An answer of the proxy's own.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<u32>,
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

impl Effect {
    /// 429 as API priority and fairness answers it: plain text, to be tried again after so many seconds.
    #[must_use]
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self::Answer(Answer {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry_after: Some(retry_after),
            content_type: "text/plain; charset=utf-8",
            text: "Too many requests, please try again later.\n".to_owned(),
        })
    }

    /// Any other refusal, as a `Status` with this reason, such as `Forbidden`.
    ///
    /// # Panics
    /// When `code` is no HTTP status.
    #[must_use]
    pub fn refuse(code: u16, reason: &str) -> Self {
        Self::Answer(Answer {
            status: StatusCode::from_u16(code).expect("an HTTP status"),
            retry_after: None,
            content_type: "application/json",
            text: status(code, reason, "refused by the fault proxy").to_string(),
        })
    }

    /// What a watch is answered that asks for a version which is no longer remembered: a stream, and in it an error.
    #[must_use]
    pub fn expire() -> Self {
        let expired = status(410, "Expired", "too old resource version: 1 (2)");
        Self::Answer(Answer {
            status: StatusCode::OK,
            retry_after: None,
            content_type: "application/json",
            text: format!("{}\n", json!({"type": "ERROR", "object": expired})),
        })
    }
}

fn status(code: u16, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "code": code, "reason": reason, "message": message,
    })
}

/// Which of the requests that a fault is about it happens to, counted from 1.
#[derive(Clone, Copy, Debug)]
pub enum Turns {
    /// All.
    Each,
    /// So many, and then no more.
    First(usize),
    /// Exactly this one.
    Nth(usize),
    /// Each so-manieth.
    Every(usize),
}

impl Turns {
    fn include(self, turn: usize) -> bool {
        match self {
            Self::Each => true,
            Self::First(count) => turn <= count,
            Self::Nth(nth) => turn == nth,
            Self::Every(period) => turn.is_multiple_of(period),
        }
    }
}

/// A fault in force. Dropping it ends it.
#[must_use = "a fault ends when this is dropped"]
pub struct Fault {
    rule: Arc<Rule>,
    table: Table,
}

impl Fault {
    /// How many requests it has happened to so far.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.rule.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.table.0.send_modify(|rules| rules.retain(|rule| !Arc::ptr_eq(rule, &self.rule)));
    }
}

struct Rule {
    on: On,
    turns: Turns,
    effect: Effect,
    asked: AtomicUsize,
    hits: AtomicUsize,
}

/// The faults in force, oldest first.
#[derive(Clone, Default)]
pub(super) struct Table(watch::Sender<Vec<Arc<Rule>>>);

impl Table {
    pub(super) fn inject(&self, on: On, turns: Turns, effect: Effect) -> Fault {
        let rule = Arc::new(Rule { on, turns, effect, asked: AtomicUsize::new(0), hits: AtomicUsize::new(0) });
        self.0.send_modify(|rules| rules.push(rule.clone()));
        Fault { rule, table: self.clone() }
    }

    /// What happens to a new request, once: this counts its turn.
    pub(super) fn effect(&self, request: &Request) -> Option<Effect> {
        let rules = self.0.borrow().clone();
        let mut due = rules.iter().filter(|rule| rule.on.matches(request) && rule.is_due());
        let rule = due.next()?;
        rule.hits.fetch_add(1, Ordering::SeqCst);
        Some(rule.effect.clone())
    }

    /// Waits while a fault stalls what is under way.
    pub(super) async fn moves(&self, request: &Request) {
        let stalls = |rule: &Arc<Rule>| matches!(rule.effect, Effect::Stall) && rule.on.matches(request);
        let moves = |rules: &Vec<Arc<Rule>>| !rules.iter().any(stalls);
        self.0.subscribe().wait_for(moves).await.expect("we hold a sender");
    }
}

impl Rule {
    fn is_due(&self) -> bool {
        self.turns.include(self.asked.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_from_one() {
        let included = |turns: Turns| (1..=6).filter(|&turn| turns.include(turn)).collect::<Vec<_>>();
        assert_eq!(included(Turns::Each), [1, 2, 3, 4, 5, 6]);
        assert_eq!(included(Turns::First(2)), [1, 2]);
        assert_eq!(included(Turns::Nth(2)), [2]);
        assert_eq!(included(Turns::Every(3)), [3, 6]);
    }
}
