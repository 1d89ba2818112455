//! Decisions: what a Bundle asks for, what the world holds, and so what has to be written where.
//!
//! Everything here is a pure function of its arguments: no client, no clock, no log. The controller feeds [`decide`] from
//! watches and obeys it; `rootcast render` feeds it from files.

mod adoption;
mod chain;
mod decision;
mod fault;
mod finding;
#[cfg(test)]
pub(crate) mod fixture;
mod hand_back;
mod intent;
mod interest;
mod judge;
mod look;
mod payload;
mod problem;
mod protected;
mod reason;
mod report;
mod selector;
mod size;
mod sources;
mod stock;
mod syntax;
mod unstable;
mod world;

pub use adoption::{Adopt, Holdings, Obstacle, TARGET_EXISTS, Verdict};
pub use decision::{Decision, Wanted, decide};
pub use finding::{Finding, Observation, SOON};
pub use hand_back::hand_back;
pub use intent::{
    Intent, JksOutput, Keys, ObjectKind, ObjectOutput, ObjectSource, Output, Pkcs12Output, Select, Source,
};
pub use interest::{Change, touch};
pub use judge::{Drift, Need, Release};
pub use look::{Controller, Look, Part, Touched};
pub use payload::{Manifest, Payload, SIZE_MAX, Value, encode};
pub use problem::{Problem, Problems};
pub use protected::{PROTECTED, Protected};
pub use reason::Reason;
pub use report::{Event, Outcome, Progress, Refusal, Report, Seen, carried_out, refused, rolling_out};
pub use selector::{LabelSet, Labels, PackedLabels, Selector};
pub use sources::{Origin, Resolved, resolve};
pub use stock::{EXPIRIES_MAX, Expiry, LeftOut, Stock};
pub use syntax::is_dns_subdomain;
pub use unstable::{ROLLOUT_HELD, Unstable, held};
pub use world::{Content, DefaultCas, Namespace, OutputKeys, TargetRef, Settings, SourceObject, TLS_SECRET, Text, World};
