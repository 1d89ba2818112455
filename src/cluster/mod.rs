//! The world: the only room that talks to an API server.

mod body;
mod connection;
mod contents;
mod controller;
mod desk;
mod protobuf;
mod publish;
mod source;
mod state;
mod watch;
mod write;

pub use connection::Connection;
pub use controller::Controller;
