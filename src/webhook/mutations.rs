//! Reviews of pods. The path chooses the rules: those of native mode or those of cainjector.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use tracing::{Instrument, debug, info, warn};

use crate::bundle::Namespace;
use crate::inject::{
    self, CainjectorOptions, Denial, InjectableBundles, InjectionRequirement, Operator, Policy, inject,
};

use super::decision_pool::DecisionPool;
use super::log_budget::LogBudget;
use super::review::{AdmissionReview, InvalidReviewError, ReviewResponse, ReviewSubject, review_span};

/// The path of native mode, in which annotations of pods and labels of namespaces name Bundles.
pub const INJECT: &str = "/inject";

/// The path of cainjector's rules, in which options name a `ConfigMap` or Secret.
pub const MUTATE: &str = "/mutate";

/// Access to the Bundles and namespaces of the cluster that decisions about pods depend on.
pub trait BundleLookup: Send + Sync + 'static {
    /// The reason why a lookup fails.
    type Error: Error + Send + Sync + 'static;

    /// Returns the Bundles that pods may request, as they are cached.
    ///
    /// # Errors
    /// When native mode is off; the text is the cause with its remedy, in at most 150 characters: it becomes a warning.
    fn bundles(&self) -> Result<Arc<InjectableBundles>, Self::Error>;

    /// Reads one Bundle from the API server and returns the cached Bundles, updated with it.
    ///
    /// # Errors
    /// When the Bundle cannot be read.
    fn bundles_with(&self, name: &str) -> impl Future<Output = Result<Arc<InjectableBundles>, Self::Error>> + Send;

    /// Returns a namespace from the cache; `None` where it is not cached.
    fn cached_namespace(&self, name: &str) -> Option<Namespace>;

    /// Reads a namespace from the API server.
    ///
    /// # Errors
    /// When the namespace does not exist or cannot be read. It is never taken for one without labels.
    fn namespace(&self, name: &str) -> impl Future<Output = Result<Namespace, Self::Error>> + Send;
}

/// The outcome of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReviewOutcome {
    /// The pod is allowed as it is, without a warning.
    Unchanged,
    /// The pod is allowed with a patch.
    Injected,
    /// The pod is allowed as it is, with a warning.
    Warned,
    /// The pod is refused.
    Refused,
    /// The review or its pod cannot be parsed.
    Malformed,
    /// The review is not decided, since a lookup failed.
    Failed,
}

/// Callback for the outcome of each review and the time that its decision took.
pub type ReviewObserver = Arc<dyn Fn(ReviewOutcome, Duration) + Send + Sync>;

/// Returns the routes [`INJECT`], decided by `lookup`, and [`MUTATE`], decided by the current `options`.
pub fn mutations<C: BundleLookup>(
    lookup: C,
    operator: Operator,
    options: watch::Receiver<Arc<CainjectorOptions>>,
    observer: ReviewObserver,
) -> Router {
    let reporter = Arc::new(Reporter { observer, lines: LogBudget::default() });
    let native = Arc::new(Native { lookup, reporter: reporter.clone() });
    let cainjector = Arc::new(Cainjector { operator, options, reporter });
    let decisions = DecisionPool::new();
    let native_decisions = decisions.clone();
    let by_annotations = async move |body| {
        let decide = async move |body: Bytes| native.serve(&body).instrument(review_span()).await;
        native_decisions.run(body, decide).await
    };
    let by_options = async move |body| {
        let decide = async move |body: Bytes| review_span().in_scope(|| cainjector.serve(&body));
        decisions.run(body, decide).await
    };
    router().route(INJECT, only_post(by_annotations)).route(MUTATE, only_post(by_options))
}

/// Returns a router without routes that answers other paths with 404 and a text.
pub(super) fn router() -> Router {
    let nothing = || async { (StatusCode::NOT_FOUND, "there is no webhook at this path") };
    Router::new().fallback(nothing)
}

/// Returns a route that handles POST and answers other methods with 405 and a text.
pub(super) fn only_post<T: 'static>(handler: impl Handler<T, ()>) -> MethodRouter {
    post(handler).fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, "reviews are sent by POST") })
}

struct Native<C> {
    lookup: C,
    reporter: Arc<Reporter>,
}

struct Cainjector {
    operator: Operator,
    options: watch::Receiver<Arc<CainjectorOptions>>,
    reporter: Arc<Reporter>,
}

/// Reports outcomes of reviews to the observer and the log.
struct Reporter {
    observer: ReviewObserver,
    lines: LogBudget,
}

/// The reason why a review is not decided.
#[derive(Debug, thiserror::Error)]
enum ReviewError {
    #[error(transparent)]
    InvalidReview(#[from] InvalidReviewError),
    #[error(transparent)]
    InvalidPod(#[from] inject::InvalidPodError),
    #[error(transparent)]
    Lookup(Box<dyn Error + Send + Sync>),
}

impl ReviewError {
    fn lookup(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Lookup(Box::new(error))
    }
}

impl<C: BundleLookup> Native<C> {
    async fn serve(&self, body: &[u8]) -> Response {
        let began = Instant::now();
        self.reporter.conclude(self.review(body).await, began)
    }

    async fn review(&self, body: &[u8]) -> Result<(ReviewOutcome, Vec<u8>), ReviewError> {
        let review = AdmissionReview::read(body)?;
        review.record_in_span();
        let response = match review.subject()? {
            ReviewSubject::Pod(pod) => self.decide(&pod).await?,
            ReviewSubject::Bundle(_) | ReviewSubject::Other => ReviewResponse::default(),
        };
        Ok(self.reporter.log_and_encode(&review, &response))
    }

    async fn decide(&self, pod: &inject::PodReview<'_>) -> Result<ReviewResponse, ReviewError> {
        let bundles = match self.lookup.bundles() {
            Ok(bundles) => bundles,
            Err(cause) => return native_mode_off(pod, &cause),
        };
        if let Some(namespace) = self.lookup.cached_namespace(pod.namespace) {
            let verdict = inject(pod, &Policy::Native { namespace: &namespace, bundles: &bundles })?;
            if !verdict.patch.is_empty() {
                return Ok(verdict.into());
            }
        }
        // The webhook configuration selects only pods that are to have a Bundle. If this one would get none, the cache
        // may be behind: a label or a Bundle may be newer.
        let namespace = self.lookup.namespace(pod.namespace).await.map_err(ReviewError::lookup)?;
        let bundles = match inject::named_bundle(pod, &namespace)? {
            Some(name) => self.lookup.bundles_with(&name).await.map_err(ReviewError::lookup)?,
            None => bundles,
        };
        Ok(inject(pod, &Policy::Native { namespace: &namespace, bundles: &bundles })?.into())
    }
}

impl Cainjector {
    fn serve(&self, body: &[u8]) -> Response {
        let began = Instant::now();
        self.reporter.conclude(self.review(body), began)
    }

    fn review(&self, body: &[u8]) -> Result<(ReviewOutcome, Vec<u8>), ReviewError> {
        let options = self.options.borrow().clone();
        let policy = Policy::Cainjector { operator: &self.operator, options: &options };
        let review = AdmissionReview::read(body)?;
        review.record_in_span();
        let response = match review.subject()? {
            ReviewSubject::Pod(pod) => inject(&pod, &policy)?.into(),
            ReviewSubject::Bundle(_) | ReviewSubject::Other => ReviewResponse::default(),
        };
        Ok(self.reporter.log_and_encode(&review, &response))
    }
}

/// Decides on a pod while native mode is off.
fn native_mode_off(pod: &inject::PodReview<'_>, cause: &impl Error) -> Result<ReviewResponse, ReviewError> {
    let message = format!("no Bundle is mounted, for native mode is off: {cause}");
    Ok(match inject::injection_requirement(pod)? {
        InjectionRequirement::Skip => ReviewResponse::default(),
        InjectionRequirement::Required => {
            let message = format!("{message}; annotation {} lets no pod in without", inject::REQUIRED);
            ReviewResponse { refusal: Some(Denial { code: 403, message }), ..ReviewResponse::default() }
        }
        InjectionRequirement::Optional => ReviewResponse { warnings: vec![message], ..ReviewResponse::default() },
    })
}

impl Reporter {
    fn log_and_encode(&self, review: &AdmissionReview<'_>, response: &ReviewResponse) -> (ReviewOutcome, Vec<u8>) {
        let outcome = match response {
            ReviewResponse { refusal: Some(_), .. } => ReviewOutcome::Refused,
            ReviewResponse { patch, .. } if !patch.is_empty() => ReviewOutcome::Injected,
            ReviewResponse { warnings, .. } if !warnings.is_empty() => ReviewOutcome::Warned,
            ReviewResponse { .. } => ReviewOutcome::Unchanged,
        };
        let (namespace, pod) = (review.namespace(), review.name());
        match outcome {
            // Warnings about a Deployment's pods reach only the ReplicaSet controller.
            ReviewOutcome::Warned | ReviewOutcome::Refused => {
                if let Some(left_out) = self.lines.line() {
                    let refusal = response.refusal.as_ref().map(|refusal| &refusal.message);
                    let messages: Vec<_> = refusal.into_iter().chain(&response.warnings).map(String::as_str).collect();
                    info!(namespace, pod, ?outcome, left_out, "{}", messages.join("; "));
                }
            }
            _ => debug!(namespace, pod, ?outcome, "reviewed"),
        }
        (outcome, review.encode_response(response))
    }

    fn conclude(&self, result: Result<(ReviewOutcome, Vec<u8>), ReviewError>, began: Instant) -> Response {
        let (outcome, response) = match result {
            Ok((outcome, body)) => (outcome, json(body)),
            Err(error @ (ReviewError::InvalidReview(_) | ReviewError::InvalidPod(_))) => {
                debug!("a malformed review: {error}");
                (ReviewOutcome::Malformed, (StatusCode::BAD_REQUEST, error.to_string()).into_response())
            }
            Err(error @ ReviewError::Lookup(_)) => {
                if let Some(left_out) = self.lines.line() {
                    warn!(left_out, "a review is not decided: {error}");
                }
                (ReviewOutcome::Failed, (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
            }
        };
        (self.observer)(outcome, began.elapsed());
        response
    }
}

/// Returns a response with a body of JSON.
pub(super) fn json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
