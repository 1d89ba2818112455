//! Decisions: what a Bundle asks for, what the world holds, and so what has to be written where.
//!
//! Everything here is a pure function of its arguments: no client, no clock, no log. The controller feeds [`decide`] from
//! watches and obeys it; `rootcast render` feeds it from files.

mod chain;
#[cfg(test)]
pub(crate) mod fixture;
mod hand_back;
mod intent;
mod interest;
mod payload;
mod plan;
mod problem;
mod report;
mod selector;
mod sources;
mod syntax;
mod world;

use jiff::Timestamp;

pub use hand_back::hand_back;
pub use intent::{
    Intent, JksOutput, Keys, ObjectKind, ObjectOutput, ObjectSource, Output, Pkcs12Output, Select, Source,
};
pub use interest::{Change, touch};
pub use payload::{Manifest, Payload, SIZE_MAX, Value, encode};
pub use plan::{Drift, Plan, Release, Steps, Write, plan};
pub use problem::Problem;
pub use report::{Decision, Event, Outcome, Reason, Refusal, Report, Seen, carried_out, refused, secrets_off};
pub use selector::{Labels, Selector};
pub use sources::{Finding, Observation, Resolved, SOON, resolve};
pub use world::{
    Content, Controller, DefaultCas, Namespace, Observed, OutputKeys, Settings, SourceObject, Target, World,
};

/// The whole product in one function: sources to anchors, anchors to content, content to what must be written.
///
/// # Errors
/// A [`Refusal`] if the Bundle cannot be carried out as it stands; then nothing of it may be touched.
pub fn decide(intent: &Intent, world: &World, now: Timestamp) -> Result<Decision, Refusal> {
    let Resolved { anchors, findings, default_ca_version, look_again } = resolve(intent, world, now)?;
    let payloads = encode(&intent.output, &anchors).map_err(|refusal| Refusal {
        findings: Some(findings.clone()),
        look_again,
        ..refusal
    })?;
    Ok(Decision { plan: plan(intent, payloads, world), findings, default_ca_version, look_again })
}
