//! The world: the only room that talks to an API server.

mod apply;
mod contents;
mod controller;
mod hand_back;
mod publish;
mod source;
mod state;
mod watch;

pub use controller::Controller;
pub use hand_back::{HandBack, HandedBack, Refused, leader};
