//! What somebody with small rights can do to the product, under the memory limits that it is shipped with: it must
//! live, serve new namespaces and inject other tenants' pods. `make e2e` runs it, since memory limits take root.
//!
//! A tenant may do in one namespace what the role `edit` allows, an author of Bundles may write these and nothing else,
//! and whoever reaches a port has no credentials at all.

mod admission;
mod bundles;
mod labelled;
mod many;
mod pods;
mod ports;
mod restored;
mod stage;
mod targets;
