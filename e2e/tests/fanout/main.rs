//! The pure step of the fan-out in every order of events, over a model of the API server that is held to the real one.

mod cases;
mod damping;
mod model;
mod others;
mod property;
mod real;
mod step;
mod trouble;
mod world;
