//! Admission: reviews in over TLS, verdicts out.
//!
//! ```text
//! files: follow --> certificate ---.
//!                                  v
//! server: accept --> connection: TLS, head, body --> decisions --> mutations, validation: review read, decided, answered
//!            '--crowd: who stays, who goes---'
//! ```
//!
//! Certificates come from files or from the cluster and may change at any moment; what is decided comes from whoever
//! serves. This room knows neither the cluster nor the command line.

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
