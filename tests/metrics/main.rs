//! The metrics that are served are those that documentation, alerts and dashboard speak of.

mod catalogue;
#[path = "../generated/mod.rs"]
mod generated;
mod monitoring;
mod reference;
