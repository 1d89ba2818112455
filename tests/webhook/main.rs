//! The webhook server over real sockets: its responses, its limits, its certificate and its end.

mod admin;
mod answers;
mod bodies;
mod certificates;
mod connection_table;
mod connections;
mod drain;
mod files;
mod fuzz;
mod log;
mod stage;
