//! What the controller tells of itself is right, is cheap, and wakes somebody when it has to.

mod alerts;
mod fanout;
mod formats;
mod leader;
mod values;
