//! What the API server itself accepts and refuses, with nothing installed but the definitions of Bundle and
//! Distrust.

mod definitions;
mod distrusts;
mod rules;
mod specs;
mod stage;
