//! Objects of others that have a Bundle's name, on a real API server with the garbage collector, the shipped permissions and
//! admission policies: whoever may write Bundles, and nothing else, destroys nothing.

mod away;
mod rows;
mod stage;
mod turns;
