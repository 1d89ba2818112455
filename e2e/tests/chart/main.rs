//! The Helm chart: what it renders, what it refuses, that it is config/ in other
//! words, and that a real API server takes it.

mod equal;
mod golden;
mod grants;
mod installs;
mod refusals;
mod render;
mod switch;
