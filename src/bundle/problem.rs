//! What is wrong with a field, in the words that the Kubernetes API server uses for its own field errors.

use std::fmt;

use crate::limits;
use crate::text;

/// One mistake in a Bundle, with the path of the field that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    path: String,
    fault: Fault,
    detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// The value, in quotes.
    Invalid(String),
    Forbidden,
    Required,
    /// So many problems are not named.
    More(usize),
}

/// The problems of one Bundle: the first [`limits::PROBLEMS`], and the count of the others.
#[derive(Debug, Default)]
pub struct Problems {
    named: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.named.len() < limits::PROBLEMS.max {
            self.named.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Fails if there are any.
    pub(super) fn end(&mut self) -> Result<(), Vec<Problem>> {
        let Self { mut named, more } = std::mem::take(self);
        if more > 0 {
            named.push(Problem { path: String::new(), fault: Fault::More(more), detail: String::new() });
        }
        if named.is_empty() { Ok(()) } else { Err(named) }
    }
}

impl Problem {
    pub(super) fn invalid(path: impl Into<String>, value: impl AsRef<str>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            fault: Fault::Invalid(text::quote(value.as_ref(), limits::PROBLEM_VALUE.max)),
            detail: detail.into(),
        }
    }

    pub(super) fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), fault: Fault::Forbidden, detail: detail.into() }
    }

    pub(super) fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), fault: Fault::Required, detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, fault, detail } = self;
        match fault {
            Fault::Invalid(value) => write!(f, "{path}: Invalid value: {value}: {detail}"),
            Fault::Forbidden => write!(f, "{path}: Forbidden: {detail}"),
            Fault::More(count) => write!(f, "and {count} more"),
            Fault::Required => write!(f, "{path}: Required value: {detail}"),
        }
    }
}
