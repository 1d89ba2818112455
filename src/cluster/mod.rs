//! The world: the only room that talks to an API server.

mod apply;
mod contents;
mod controller;
mod publish;
mod source;
mod state;
mod watch;

pub use controller::Controller;
