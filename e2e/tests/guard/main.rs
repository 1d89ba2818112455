//! What the admission policies on the product's own accounts let through, tried with those accounts' tokens.

mod controller;
mod injector;
mod stage;
