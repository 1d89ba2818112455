//! `rootcast status` and `rootcast diff` beside the controller at work: what they say of a real cluster, and how soon.

mod bundle;
mod crowd;
mod diff;
mod leader;
mod namespace;
mod others;
mod permissions;
mod plugin;
mod rotation;
mod stage;
