//! What becomes of pods with the injector as config/injector ships it, on a real API server.

mod absent;
mod choices;
mod created;
mod guests;
mod hindered;
mod offers;
mod peer;
mod pods;
mod rotation;
mod samples;
mod scope;
mod stage;
