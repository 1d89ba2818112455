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
    CainjectorOptions, Denial, InjectableBundles, InjectionRequirement, InvalidPodError, Operator, PodReview, Policy,
    REQUIRED, ReviewedPod, labelled_bundle,
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
    let reviewer = Arc::new(Reviewer { observer, lines: LogBudget::default() });
    let decisions = DecisionPool::new();
    router()
        .route(INJECT, reviews(Native { lookup }, &reviewer, &decisions))
        .route(MUTATE, reviews(Cainjector { operator, options }, &reviewer, &decisions))
}

/// Returns a route on which pods are reviewed by `rules`.
fn reviews(rules: impl PodRules, reviewer: &Arc<Reviewer>, decisions: &DecisionPool) -> MethodRouter {
    let (rules, reviewer, decisions) = (Arc::new(rules), reviewer.clone(), decisions.clone());
    only_post(async move |body| {
        let decide = async move |body: Bytes| reviewer.serve(&*rules, &body).instrument(review_span()).await;
        decisions.run(body, decide).await
    })
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

/// The rules by which the pods of one path are decided.
trait PodRules: Send + Sync + 'static {
    /// Decides about the pod of a review.
    fn decide(&self, review: &PodReview<'_>) -> impl Future<Output = Result<ReviewResponse, ReviewError>> + Send;
}

struct Native<C> {
    lookup: C,
}

struct Cainjector {
    operator: Operator,
    options: watch::Receiver<Arc<CainjectorOptions>>,
}

/// The reason why a review is not decided.
#[derive(Debug, thiserror::Error)]
enum ReviewError {
    #[error(transparent)]
    InvalidReview(#[from] InvalidReviewError),
    #[error(transparent)]
    InvalidPod(#[from] InvalidPodError),
    #[error(transparent)]
    Lookup(Box<dyn Error + Send + Sync>),
}

impl ReviewError {
    fn lookup(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Lookup(Box::new(error))
    }
}

impl<C: BundleLookup> PodRules for Native<C> {
    async fn decide(&self, review: &PodReview<'_>) -> Result<ReviewResponse, ReviewError> {
        let pod = review.parse()?;
        let bundles = match self.lookup.bundles() {
            Ok(bundles) => bundles,
            Err(cause) => return Ok(native_mode_off(&pod, &cause)),
        };
        if let Some(namespace) = self.lookup.cached_namespace(review.namespace) {
            let verdict = pod.inject(&Policy::Native { namespace: &namespace, bundles: &bundles });
            if !verdict.patch.is_empty() {
                return Ok(verdict.into());
            }
        }
        // The webhook configuration selects only pods that are to have a Bundle. If this one would get none, the cache
        // may be behind: a label or a Bundle may be newer. The pod is parsed again after the lookups, since many
        // reviews may wait for the API server, and a parsed pod can take fifty times the memory of its JSON.
        let annotated = pod.annotated_bundle().map(str::to_owned);
        drop(pod);
        let namespace = self.lookup.namespace(review.namespace).await.map_err(ReviewError::lookup)?;
        let bundles = match annotated.as_deref().or_else(|| labelled_bundle(&namespace)) {
            Some(name) => self.lookup.bundles_with(name).await.map_err(ReviewError::lookup)?,
            None => bundles,
        };
        Ok(review.parse()?.inject(&Policy::Native { namespace: &namespace, bundles: &bundles }).into())
    }
}

impl PodRules for Cainjector {
    async fn decide(&self, review: &PodReview<'_>) -> Result<ReviewResponse, ReviewError> {
        let options = self.options.borrow().clone();
        let policy = Policy::Cainjector { operator: &self.operator, options: &options };
        Ok(review.parse()?.inject(&policy).into())
    }
}

/// Decides about a pod while native mode is off.
fn native_mode_off(pod: &ReviewedPod<'_>, cause: &impl Error) -> ReviewResponse {
    let message = format!("no Bundle is mounted, for native mode is off: {cause}");
    match pod.requirement() {
        InjectionRequirement::Skip => ReviewResponse::default(),
        InjectionRequirement::Required => {
            let message = format!("{message}; annotation {REQUIRED} lets no pod in without");
            ReviewResponse { refusal: Some(Denial { code: 403, message }), ..ReviewResponse::default() }
        }
        InjectionRequirement::Optional => ReviewResponse { warnings: vec![message], ..ReviewResponse::default() },
    }
}

impl ReviewOutcome {
    fn of(ReviewResponse { patch, warnings, refusal }: &ReviewResponse) -> Self {
        match refusal {
            Some(_) => Self::Refused,
            None if !patch.is_empty() => Self::Injected,
            None if !warnings.is_empty() => Self::Warned,
            None => Self::Unchanged,
        }
    }
}

/// A reviewer of pods, which reports outcomes to the observer and the log.
struct Reviewer {
    observer: ReviewObserver,
    lines: LogBudget,
}

impl Reviewer {
    /// Returns the response to the body of a review.
    async fn serve(&self, rules: &impl PodRules, body: &[u8]) -> Response {
        let began = Instant::now();
        let (outcome, response) = match self.review(rules, body).await {
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

    async fn review(&self, rules: &impl PodRules, body: &[u8]) -> Result<(ReviewOutcome, Vec<u8>), ReviewError> {
        let review = AdmissionReview::read(body)?;
        review.record_in_span();
        let response = match review.subject()? {
            ReviewSubject::Pod(pod) => rules.decide(&pod).await?,
            ReviewSubject::Bundle(_) | ReviewSubject::Other => ReviewResponse::default(),
        };
        let outcome = ReviewOutcome::of(&response);
        self.log(&review, outcome, &response);
        Ok((outcome, review.encode_response(&response)))
    }

    fn log(&self, review: &AdmissionReview<'_>, outcome: ReviewOutcome, response: &ReviewResponse) {
        let (namespace, pod) = (review.namespace(), review.name());
        // Warnings about a Deployment's pods reach only the ReplicaSet controller.
        if !matches!(outcome, ReviewOutcome::Warned | ReviewOutcome::Refused) {
            debug!(namespace, pod, ?outcome, "reviewed");
        } else if let Some(left_out) = self.lines.line() {
            let refusal = response.refusal.as_ref().map(|refusal| &refusal.message);
            let messages: Vec<_> = refusal.into_iter().chain(&response.warnings).map(String::as_str).collect();
            info!(namespace, pod, ?outcome, left_out, "{}", messages.join("; "));
        }
    }
}

/// Returns a response with a body of JSON.
pub(super) fn json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
