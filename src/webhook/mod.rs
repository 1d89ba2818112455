//! Admission webhooks: the HTTPS server, the reviews of pods and those of Bundles.
//!
//! ```text
//! files: reload_certificate --> ReloadableCertificate
//!                                        v
//! server: accept --> connection: TLS, head, body --> DecisionPool --> mutations, validation: read, decide, respond
//!            '--> ConnectionTable: limits <--'
//! ```
//!
//! Certificates come from files or from the cluster and may change at any moment. The module knows neither the cluster
//! nor the command line: the caller passes in a [`BundleLookup`] and the options.

mod certificate;
mod connection;
mod connection_table;
mod decision_pool;
mod files;
mod log_budget;
mod mutations;
mod review;
mod server;
mod server_limits;
mod server_state;
mod tls;
mod validation;

pub use certificate::{Identity, IdentityError, ReloadableCertificate};
pub use files::{PolledFile, PolledFileError, reload_certificate};
pub use mutations::{BundleLookup, INJECT, MUTATE, ReviewObserver, ReviewOutcome, mutations};
pub use review::{AdmissionReview, InvalidReviewError, ReviewResponse, ReviewSubject};
pub use server::{serve, serve_plain};
pub use server_limits::ServerLimits;
pub use tls::{TlsSettings, TlsSettingsError};
pub use validation::{VALIDATE_BUNDLE, validation};
