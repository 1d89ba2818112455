//! The world: the only room that talks to an API server.

mod body;
mod connection;
mod contents;
mod controller;
mod desk;
pub mod glance;
mod hand_back;
mod lease;
mod protobuf;
mod publish;
mod source;
mod state;
mod vitals;
mod watch;
mod write;

pub use connection::Connection;
pub use controller::{Controller, Ending};
pub use hand_back::{HandBack, HandedBack, Refused, leader};
pub use lease::{Candidacy, Leadership, LeaseSettings, Mandate};
pub use vitals::Vitals;
