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
mod crowd;
mod decisions;
mod files;
mod log_budget;
mod mutations;
mod review;
pub mod rotation;
mod server;
mod tls;
mod validation;

pub use certificate::{Certificate, Identity};
pub use files::{File, follow};
pub use mutations::{Cluster, INJECT, MUTATE, Observer, Outcome, mutations};
pub use review::{Answer, Review, Subject};
pub use server::{Limits, serve, serve_plain};
pub use tls::TlsSettings;
pub use validation::{VALIDATE_BUNDLE, validation};
