//! Distributes trust anchors (CA certificates) to every namespace of a Kubernetes cluster.
//!
//! ```text
//! any watch event -> Change -> touch -> bundle names -> queue -> for each name:
//!
//!   api::Bundle --parse--> Intent --.                .--> Plan --apply--> Outcome --.
//!                                    >--- decide ---<                                >-- report -> Report -> publish
//!   stores -------state--> World ---'                '--> Refusal ------------------'
//!
//!   decide = resolve (Anchors), encode (Payload), plan (Plan)
//! ```
//!
//! Data flows one way, and so do imports: `trust` and `api` stand alone, `bundle`, `inject`, `inspect` and `survey` decide,
//! `cluster`, `webhook` and `cli` act, and `metrics` tell of it.

pub mod api;
pub mod limits;
pub mod text;
pub mod trust;

pub mod bundle;

pub mod fanout;

pub mod inject;

pub mod inspect;

pub mod overview;

pub mod webhook;

pub mod serving_cert;

pub mod default_cas;

pub mod metrics;

pub mod client;

pub mod controller;

pub mod admin;

pub mod cli;
