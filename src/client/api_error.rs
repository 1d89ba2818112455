//! Failures of requests to the API server.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use kube::core::Status;
use tower::BoxError;

use crate::text;

use super::error_text::is_admission_refusal;

/// A failure of a request, by what is known of the request's effect.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ApiError {
    /// The API server refused the request.
    #[error("{}", text::cause(&.0.message))]
    Refused(Box<Status>),
    /// The API server is overloaded (429, 503) and did nothing; the time is that of `Retry-After`.
    #[error("{1}")]
    Busy(Option<Duration>, String),
    /// The API server or its etcd failed (other 5xx): the request may have been carried out or not.
    #[error("{0}")]
    Failed(String),
    /// The connection failed: the request may have been carried out or not.
    #[error("{0}")]
    Lost(String),
    /// No response came in time: the request may have been carried out or not.
    #[error("{0}")]
    TimedOut(String),
}

impl ApiError {
    /// Returns the refusal of a request that cannot even be built: a name in it is none.
    pub(super) fn bad_request(error: &dyn ToString) -> Self {
        Self::Refused(Box::new(Status::failure(&error.to_string(), "BadRequest").with_code(400)))
    }

    /// Returns whether others have created, changed or deleted the object meanwhile.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_conflict() || status.is_already_exists())
    }

    /// Classifies a response that is no success.
    pub(super) fn from_response(code: StatusCode, headers: &HeaderMap, body: &Bytes) -> Self {
        let unexplained = |_| Status::failure(&text::cause(&String::from_utf8_lossy(body).trim()), "Unexplained");
        let status: Status = serde_json::from_slice(body).unwrap_or_else(unexplained);
        let status = status.with_code(code.as_u16());
        let cause = || text::cause(&status.message);
        match code {
            _ if is_admission_refusal(&status) => Self::Refused(Box::new(status)),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let cause = if status.message.is_empty() { "the API server is busy".to_owned() } else { cause() };
                Self::Busy(retry_after(headers), cause)
            }
            StatusCode::GATEWAY_TIMEOUT => Self::TimedOut(cause()),
            _ if code.is_server_error() => Self::Failed(cause()),
            _ => Self::Refused(Box::new(status)),
        }
    }
}

impl From<BoxError> for ApiError {
    fn from(error: BoxError) -> Self {
        Self::Lost(text::error_chain(&*error))
    }
}

/// The failures of a client from [`Connection::bounded_client`](super::connection::Connection::bounded_client).
impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            kube::Error::Service(error) => error.downcast().map_or_else(Self::from, |failure| *failure),
            kube::Error::BuildRequest(error) => Self::bad_request(&error),
            other => Self::Lost(text::error_chain(&other)),
        }
    }
}

/// Reads the seconds of `Retry-After`, the only form that Kubernetes uses (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_and_anything_else_is_ignored() {
        let parsed = |value: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(parsed("3"), Some(Duration::from_secs(3)));
        assert_eq!(parsed("soon"), None);
        let plain = ApiError::from_response(
            StatusCode::TOO_MANY_REQUESTS,
            &HeaderMap::new(),
            &Bytes::from_static(b"Too many requests."),
        );
        assert!(matches!(plain, ApiError::Busy(None, text) if text == "Too many requests."));
    }

    #[test]
    fn a_refusal_in_plain_text_is_quoted() {
        let refused =
            ApiError::from_response(StatusCode::CONFLICT, &HeaderMap::new(), &Bytes::from_static(b"not now\n"));
        let ApiError::Refused(status) = refused else { panic!("{refused:?}") };
        assert_eq!((status.code, status.message.as_str()), (409, "not now"));
    }

    #[test]
    fn an_admission_refusal_is_no_server_failure_whatever_its_code() {
        let denied = "admission webhook \"w.example.com\" denied the request: slow down";
        let called = "Internal error occurred: failed calling webhook \"w.example.com\": context deadline exceeded";
        let policed =
            "configmaps \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no";
        let rows = [
            (429, denied, "refused"),
            (503, denied, "refused"),
            (504, denied, "refused"),
            (500, denied, "refused"),
            (409, denied, "refused"),
            (500, called, "refused"),
            (422, policed, "refused"),
            (403, "configmaps \"b\" is forbidden: exceeded quota: q", "refused"),
            (500, "Internal error occurred: resource quota evaluation timed out", "refused"),
            (422, "ConfigMap \"b\" is invalid", "refused"),
            (429, "storage is (re)initializing", "busy"),
            (503, "apiserver is shutting down", "busy"),
            (504, "Timeout: request did not complete within requested timeout", "timed out"),
            (500, "etcdserver: request timed out", "failed"),
            (500, "etcdserver: too many requests", "failed"),
            (500, "etcdserver: leader changed", "failed"),
            (502, "no backend", "failed"),
        ];
        for (code, message, expected) in rows {
            let status = Status::failure(message, "").with_code(code);
            let body = serde_json::to_vec(&status).expect("JSON");
            let failure = ApiError::from_response(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), &body.into());
            let word = match &failure {
                ApiError::Refused(status) => {
                    assert_eq!(status.code, code);
                    "refused"
                }
                ApiError::Busy(..) => "busy",
                ApiError::TimedOut(_) => "timed out",
                ApiError::Failed(_) => "failed",
                ApiError::Lost(_) => "lost",
            };
            assert_eq!((word, failure.to_string().as_str()), (expected, message), "{code}");
        }
    }
}
