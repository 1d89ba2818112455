//! What the API server itself accepts and refuses, with nothing installed but the definition of Bundle.

mod definitions;
mod rules;
mod specs;
mod stage;
