//! The controller's validating webhook, as trust-manager's chart would have it, and how its server stands a crowd.

mod crowd;
mod host;
mod in_place;
mod large;
mod stage;
