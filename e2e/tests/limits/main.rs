//! Where the product has to say no, hold still or stay small, on a real API server under its shipped permissions.

mod footprint;
mod hostile;
mod log;
mod namespaces;
mod refusals;
mod secrets;
mod stage;
