//! Reviews of Bundles: a Bundle that the controller would refuse is refused on admission.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use http::StatusCode;
use tracing::debug;

use crate::api::Bundle;
use crate::bundle::{Intent, TrustNamespaces};
use crate::inject::Denial;

use super::decision_pool::DecisionPool;
use super::mutations::{json, only_post, router};
use super::review::{AdmissionReview, InvalidReviewError, ReviewResponse, ReviewSubject, review_span};

/// The path that trust-manager's `ValidatingWebhookConfiguration` calls.
pub const VALIDATE_BUNDLE: &str = "/validate-trust-cert-manager-io-v1alpha1-bundle";

/// Returns the route [`VALIDATE_BUNDLE`], decided by the rules of [`Intent::parse`].
pub fn validation(trust_namespaces: TrustNamespaces) -> Router {
    let trust_namespaces = Arc::new(trust_namespaces);
    let decisions = DecisionPool::new();
    let handler = async move |body| {
        let decide = async move |body: Bytes| match review_span().in_scope(|| review(&body, &trust_namespaces)) {
            Ok(body) => json(body),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        };
        decisions.run(body, decide).await
    };
    router().route(VALIDATE_BUNDLE, only_post(handler))
}

fn review(body: &[u8], trust_namespaces: &TrustNamespaces) -> Result<Vec<u8>, InvalidReviewError> {
    let review = AdmissionReview::read(body)?;
    review.record_in_span();
    let refusal = match review.subject()? {
        ReviewSubject::Bundle(bundle) => validate_bundle(bundle, trust_namespaces),
        ReviewSubject::Pod(_) | ReviewSubject::Other => None,
    };
    debug!(bundle = review.name(), refusal = refusal.as_ref().map(|refusal| &refusal.message), "reviewed");
    Ok(review.encode_response(&ReviewResponse { refusal, ..ReviewResponse::default() }))
}

fn validate_bundle(bundle: &str, trust_namespaces: &TrustNamespaces) -> Option<Denial> {
    let bundle: Bundle = match serde_json::from_str(bundle) {
        Ok(bundle) => bundle,
        Err(error) => return Some(Denial { code: 400, message: format!("this is no Bundle: {error}") }),
    };
    // A Bundle that is being deleted waits for its finalizers: their removal must not be refused.
    if bundle.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let problems = Intent::parse(&bundle, trust_namespaces).err()?;
    // As apimachinery prints an aggregate of errors: one as it is, more in brackets, none twice.
    let mut messages: Vec<String> = Vec::new();
    for message in problems.iter().map(ToString::to_string) {
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    let message = match &messages[..] {
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    };
    Some(Denial { code: 403, message })
}
