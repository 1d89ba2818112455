//! The controller's validating webhook, as trust-manager's chart would have it, and its server under many connections.

mod host;
mod in_place;
mod large;
mod many_connections;
mod stage;
