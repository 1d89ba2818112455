//! The webhook server over real sockets: what it answers, whom it lets stay, and how it changes its certificate and ends.

mod admin;
mod answers;
mod bodies;
mod certificates;
mod connections;
mod crowd;
mod drain;
mod files;
mod fuzz;
mod stage;
