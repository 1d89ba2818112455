//! The metrics that are served are those that README, alerts and dashboard speak of.

mod catalogue;
mod monitoring;
mod readme;
