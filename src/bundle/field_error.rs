//! Errors of fields, in the words that the Kubernetes API server uses for its own.

use std::fmt;

use crate::limits;
use crate::text;

/// An error in a field of a Bundle, with the field's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    path: String,
    error_type: ErrorType,
    detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ErrorType {
    /// The value, in quotes.
    Invalid(String),
    Forbidden,
    Required,
    /// Errors beyond the limit: only their number.
    Omitted(usize),
}

/// The field errors of one Bundle: the first [`limits::FIELD_ERRORS`], and the number of the others.
#[derive(Debug, Default)]
pub struct FieldErrors {
    named: Vec<FieldError>,
    more: usize,
}

impl FieldErrors {
    pub(super) fn push(&mut self, problem: FieldError) {
        if self.named.len() < limits::FIELD_ERRORS.max {
            self.named.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Returns the errors, if there are any.
    pub(super) fn end(&mut self) -> Result<(), Vec<FieldError>> {
        let Self { mut named, more } = std::mem::take(self);
        if more > 0 {
            named.push(FieldError { path: String::new(), error_type: ErrorType::Omitted(more), detail: String::new() });
        }
        if named.is_empty() { Ok(()) } else { Err(named) }
    }
}

impl FieldError {
    pub(super) fn invalid(path: impl Into<String>, value: impl AsRef<str>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            error_type: ErrorType::Invalid(text::quote(value.as_ref(), limits::FIELD_ERROR_VALUE.max)),
            detail: detail.into(),
        }
    }

    pub(super) fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), error_type: ErrorType::Forbidden, detail: detail.into() }
    }

    pub(super) fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), error_type: ErrorType::Required, detail: detail.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error_type, detail } = self;
        match error_type {
            ErrorType::Invalid(value) => write!(f, "{path}: Invalid value: {value}: {detail}"),
            ErrorType::Forbidden => write!(f, "{path}: Forbidden: {detail}"),
            ErrorType::Omitted(count) => write!(f, "and {count} more"),
            ErrorType::Required => write!(f, "{path}: Required value: {detail}"),
        }
    }
}
