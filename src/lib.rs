//! Distributes trust anchors (CA certificates) to every namespace of a Kubernetes cluster.
//!
//! ```text
//! client::watch --> controller::cache --> affected bundles --> controller::reconcile
//!                                                                      |
//!     api::BundleSpec --> Intent --.                                   v
//!                                   >--- bundle::decide --> Decision | Refusal
//!     sources ----------> Inputs --'                            |         |
//!                                                            Desired      |
//!                                                               v         |
//!     namespaces, targets --> fanout::Engine <-- controller::roll_out     |
//!                                |     ^                                  |
//!                              Action  '-- WriteResult <-- client::write  |
//!                                v                                        v
//!                           RolloutOutcome --> controller::report --> Report --> client::publish
//! ```
//!
//! Imports go one way, in the order of the modules below: `trust` and `api` stand alone; `bundle`, `fanout`, `inject`,
//! `inspect`, `overview` and `serving_cert` are pure; `client` makes all requests of the API server; `controller` is the
//! loop; `cli` is the composition.

pub mod limits;

pub mod text;

pub mod trust;

pub mod api;

pub mod bundle;

pub mod fanout;

pub mod inject;

pub mod inspect;

pub mod default_cas;

pub mod overview;

pub mod webhook;

pub mod serving_cert;

pub mod metrics;

pub mod client;

pub mod controller;

pub mod admin;

pub mod cli;
