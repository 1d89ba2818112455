//! A model of the API server as the fan-out meets it, held to the real one.

mod model;
mod real;
