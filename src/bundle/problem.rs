//! What is wrong with a field, in the words that the Kubernetes API server uses for its own field errors.

use std::fmt;

/// One mistake in a Bundle, with the path of the field that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    path: String,
    fault: Fault,
    detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Invalid(String),
    Forbidden,
    Required,
}

impl Problem {
    pub(super) fn invalid(path: impl Into<String>, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), fault: Fault::Invalid(value.into()), detail: detail.into() }
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
            Fault::Invalid(value) => write!(f, "{path}: Invalid value: {value:?}: {detail}"),
            Fault::Forbidden => write!(f, "{path}: Forbidden: {detail}"),
            Fault::Required => write!(f, "{path}: Required value: {detail}"),
        }
    }
}
