//! Requests and responses of the `AdmissionReview` API.
//!
//! Requests are read only as far as decisions need and without copies of the objects
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::text::truncate_bytes;
use crate::{api, inject};

/// The most bytes of a field of a review's span: the length of the longest name in Kubernetes.
const SPAN_FIELD_MAX: usize = 253;

/// Returns a new span for one review, without its fields.
///
/// Its level is DEBUG, as that of the controller's spans: lines at the default level are without it.
pub(super) fn review_span() -> Span {
    debug_span!("review", uid = Empty, namespace = Empty, pod = Empty)
}

/// A request for admission, as the API server sends it.
#[derive(Debug)]
pub struct AdmissionReview<'a> {
    version: ReviewVersion,
    request: AdmissionRequest<'a>,
}

/// The versions of `AdmissionReview`, which do not differ in what is read here; a response has that of its request.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum ReviewVersion {
    #[serde(rename = "admission.k8s.io/v1")]
    V1,
    #[serde(rename = "admission.k8s.io/v1beta1")]
    V1Beta1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    api_version: ReviewVersion,
    kind: Kind,
    #[serde(borrow)]
    request: AdmissionRequest<'a>,
}

#[derive(Deserialize)]
enum Kind {
    AdmissionReview,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "Request", rename_all = "camelCase")]
struct AdmissionRequest<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    kind: GroupVersionKind<'a>,
    #[serde(borrow, default)]
    sub_resource: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "ObjectKind")]
struct GroupVersionKind<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// The object that a review is about.
#[derive(Debug)]
pub enum ReviewSubject<'a> {
    /// A pod that is created, or ephemeral containers that are added to one.
    Pod(inject::PodReview<'a>),
    /// A Bundle that is created or updated, as JSON.
    Bundle(&'a str),
    /// Another object or operation, which is allowed.
    Other,
}

/// The response to a review.
#[derive(Debug, Default)]
pub struct ReviewResponse {
    /// The patch of the object; empty for none.
    pub patch: inject::JsonPatch,
    /// The warnings for the user, of allowed and of refused requests.
    pub warnings: Vec<String>,
    /// The reason why the request is refused; `None` if it is allowed.
    pub refusal: Option<inject::Denial>,
}

/// The reason why bytes are no `AdmissionReview` that can be decided.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReviewError {
    /// The bytes are no JSON of an `AdmissionReview`.
    #[error("this is no AdmissionReview: {0}")]
    Json(serde_json::Error),
    /// The request has no UID.
    #[error("this is no AdmissionReview: request.uid is empty")]
    EmptyUid,
    /// A field of the request is missing that its operation has.
    #[error("this is no AdmissionReview: request.{0} is missing")]
    MissingField(&'static str),
    /// The request is for a pod and has no namespace.
    #[error("this is no AdmissionReview of a pod: request.namespace is missing")]
    MissingNamespace,
}

impl<'a> AdmissionReview<'a> {
    /// Reads a review from the body of a request.
    ///
    /// # Errors
    /// When the body is no JSON of an `AdmissionReview`, or the request has no UID.
    pub fn read(body: &'a [u8]) -> Result<Self, InvalidReviewError> {
        let envelope = serde_json::from_slice(body).map_err(InvalidReviewError::Json)?;
        let Envelope { api_version, kind: Kind::AdmissionReview, request } = envelope;
        if request.uid.is_empty() {
            return Err(InvalidReviewError::EmptyUid);
        }
        Ok(Self { version: api_version, request })
    }

    /// Records the UID of the request, and namespace and name of its pod, in the current span.
    pub(super) fn record_in_span(&self) {
        let (span, AdmissionRequest { uid, kind, namespace, name, .. }) = (Span::current(), &self.request);
        if span.is_disabled() {
            return;
        }
        let is_pod = kind.group.is_empty() && kind.kind == "Pod";
        for (field, value) in [("uid", uid), ("namespace", namespace), ("pod", name)] {
            if !value.is_empty() && (is_pod || field == "uid") {
                span.record(field, truncate_bytes(value, SPAN_FIELD_MAX));
            }
        }
    }

    /// Returns the namespace of the request, in which an object without one is created.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.request.namespace
    }

    /// Returns the name of the object; empty while the API server has yet to generate one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.request.name
    }

    /// Returns the object that the request is about.
    ///
    /// # Errors
    /// When a field is missing that the request must have.
    pub fn subject(&self) -> Result<ReviewSubject<'_>, InvalidReviewError> {
        let AdmissionRequest { kind, sub_resource, operation, object, old_object, .. } = &self.request;
        let object = || object.map(RawValue::get).ok_or(InvalidReviewError::MissingField("object"));
        let kind = (kind.group.as_ref(), kind.version.as_ref(), kind.kind.as_ref());
        Ok(match (operation.as_ref(), kind, sub_resource.as_ref()) {
            ("CREATE", ("", "v1", "Pod"), "") => ReviewSubject::Pod(self.pod(object()?, None)?),
            ("UPDATE", ("", "v1", "Pod"), "ephemeralcontainers") => {
                let old = old_object.map(RawValue::get).ok_or(InvalidReviewError::MissingField("oldObject"))?;
                ReviewSubject::Pod(self.pod(object()?, Some(old))?)
            }
            ("CREATE" | "UPDATE", (group, version, api::KIND), "")
                if Some((group, version)) == api::API_VERSION.split_once('/') =>
            {
                ReviewSubject::Bundle(object()?)
            }
            _ => ReviewSubject::Other,
        })
    }

    fn pod(&self, pod: &'a str, old: Option<&'a str>) -> Result<inject::PodReview<'_>, InvalidReviewError> {
        if self.request.namespace.is_empty() {
            return Err(InvalidReviewError::MissingNamespace);
        }
        Ok(inject::PodReview { namespace: &self.request.namespace, pod, old })
    }

    /// Encodes the response to this request as JSON.
    #[must_use]
    pub fn encode_response(&self, response: &ReviewResponse) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            api_version: ReviewVersion,
            kind: &'static str,
            response: AdmissionResponse<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct AdmissionResponse<'a> {
            uid: &'a str,
            allowed: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<Status<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            patch_type: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            patch: Option<String>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            warnings: &'a [String],
        }
        #[derive(Serialize)]
        struct Status<'a> {
            code: u16,
            reason: &'static str,
            message: &'a str,
        }
        let ReviewResponse { patch, warnings, refusal } = response;
        let patched = refusal.is_none() && !patch.is_empty();
        let response = AdmissionResponse {
            uid: &self.request.uid,
            allowed: refusal.is_none(),
            status: refusal.as_ref().map(|inject::Denial { code, message }| Status {
                code: *code,
                reason: reason(*code),
                message,
            }),
            patch_type: patched.then_some("JSONPatch"),
            patch: patched.then(|| STANDARD.encode(patch.as_json())),
            warnings,
        };
        json(&Envelope { api_version: self.version, kind: "AdmissionReview", response })
    }
}

impl From<inject::InjectionVerdict> for ReviewResponse {
    fn from(inject::InjectionVerdict { patch, warnings, denial: refusal }: inject::InjectionVerdict) -> Self {
        Self { patch, warnings, refusal }
    }
}

/// Returns the `metav1.StatusReason` of an HTTP status.
fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        422 => "Invalid",
        _ => "Forbidden",
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers always encode as JSON")
}
