//! `AdmissionReview` (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>): what
//! the API server asks, read only as far as it matters and without a copy of the objects, and what it is answered.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api;
use crate::inject;

/// A request for admission.
#[derive(Debug)]
pub struct Review<'a> {
    version: Version,
    request: Request<'a>,
}

/// The versions of `AdmissionReview`; what is read here is the same in both. An answer has that of its question.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Version {
    #[serde(rename = "admission.k8s.io/v1")]
    V1,
    #[serde(rename = "admission.k8s.io/v1beta1")]
    V1Beta1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    api_version: Version,
    kind: Kind,
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
enum Kind {
    AdmissionReview,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    kind: ObjectKind<'a>,
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
struct ObjectKind<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// What a review is about, for those who decide.
#[derive(Debug)]
pub enum Subject<'a> {
    /// A pod, or its ephemeral containers.
    Pod(inject::Review<'a>),
    /// A Bundle that is created or changed, as JSON.
    Bundle(&'a str),
    /// Nothing that there is anything to say about.
    Other,
}

/// What is answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// The changes; empty for none.
    pub patch: inject::Patch,
    /// What the user is told, whatever becomes of the request.
    pub warnings: Vec<String>,
    /// Why the request is refused, if it is.
    pub refusal: Option<inject::Refusal>,
}

impl<'a> Review<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(body: &'a [u8]) -> Result<Self, String> {
        let envelope = serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
        let Envelope { api_version, kind: Kind::AdmissionReview, request } = envelope;
        if request.uid.is_empty() {
            return Err("this is no AdmissionReview: request.uid is empty".to_owned());
        }
        Ok(Self { version: api_version, request })
    }

    /// The namespace of the request; an object that has none yet is created in it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.request.namespace
    }

    /// The name of the object; empty while the API server has yet to make one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.request.name
    }

    /// What it is about.
    ///
    /// # Errors
    /// Which part of the request is missing.
    pub fn subject(&self) -> Result<Subject<'_>, String> {
        let Request { kind, sub_resource, operation, object, old_object, .. } = &self.request;
        let missing = |field: &str| format!("this is no AdmissionReview: request.{field} is missing");
        let object = || object.map(RawValue::get).ok_or_else(|| missing("object"));
        let kind = (kind.group.as_ref(), kind.version.as_ref(), kind.kind.as_ref());
        Ok(match (operation.as_ref(), kind, sub_resource.as_ref()) {
            ("CREATE", ("", "v1", "Pod"), "") => Subject::Pod(self.pod(object()?, None)?),
            ("UPDATE", ("", "v1", "Pod"), "ephemeralcontainers") => {
                let old = old_object.map(RawValue::get).ok_or_else(|| missing("oldObject"))?;
                Subject::Pod(self.pod(object()?, Some(old))?)
            }
            ("CREATE" | "UPDATE", (group, version, api::KIND), "")
                if Some((group, version)) == api::API_VERSION.split_once('/') =>
            {
                Subject::Bundle(object()?)
            }
            _ => Subject::Other,
        })
    }

    fn pod(&self, pod: &'a str, old: Option<&'a str>) -> Result<inject::Review<'_>, String> {
        if self.request.namespace.is_empty() {
            return Err("this is no AdmissionReview of a pod: request.namespace is missing".to_owned());
        }
        Ok(inject::Review { namespace: &self.request.namespace, pod, old })
    }

    /// The answer as JSON.
    #[must_use]
    pub fn answer(&self, answer: &Answer) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            api_version: Version,
            kind: &'static str,
            response: Response<'a>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Response<'a> {
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
        let Answer { patch, warnings, refusal } = answer;
        let patched = refusal.is_none() && !patch.is_empty();
        let response = Response {
            uid: &self.request.uid,
            allowed: refusal.is_none(),
            status: refusal.as_ref().map(|inject::Refusal { code, message }| Status {
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

impl From<inject::Verdict> for Answer {
    fn from(inject::Verdict { patch, warnings, refusal }: inject::Verdict) -> Self {
        Self { patch, warnings, refusal }
    }
}

/// The word of the Kubernetes API for a code (`metav1.StatusReason`).
fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        422 => "Invalid",
        _ => "Forbidden",
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names and texts are always JSON")
}
