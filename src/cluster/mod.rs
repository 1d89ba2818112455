//! The world: the only room that talks to an API server.

mod body;
mod connection;
mod contents;
mod controller;
mod desk;
mod dial;
pub mod glance;
mod hand_back;
mod lease;
mod lookups;
mod offers;
mod protobuf;
mod publish;
mod serving;
mod source;
mod state;
pub mod survey;
mod vitals;
mod watch;
mod write;

pub use connection::Connection;
pub use controller::{Controller, Ending};
pub use dial::{Dialer, InvalidProxy, Proxy, Socket};
pub use hand_back::{HandBack, HandedBack, Refused, leader};
pub use lease::{Candidacy, Leadership, LeaseSettings, Mandate};
pub use offers::{Need, Offers};
pub use serving::{ServingSettings, keep_certificate};
pub use vitals::Vitals;
