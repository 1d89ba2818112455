//! A real Kubernetes control plane for tests and the demo: etcd, the API server
//! and the controller manager as child processes of the caller, and the product
//! as its own release binary under the permissions it is shipped with.
//!
//! ```text
//! ControlPlane::start ──▶ client, client_as, kubectl, kubeconfig_for
//!        │                audit: who wrote what, who was denied what
//!        │                history: every version of every ConfigMap
//!        │                kill, freeze: its programs, and back again
//!        ├──▶ install     CRD and permissions, as config/ ships them
//!        ├──▶ Proxy       faults on the way to the API server, and counts
//!        └──▶ Controller  the product, started, stopped, killed, read
//! ```
//!
//! Nothing outlives the process that started it, however that process ends: see
//! `supervised` for the programs and `scratch` for the files.

#![allow(clippy::missing_errors_doc, reason = "every error here is the end of a test or demo, and says so itself")]

mod access;
mod api_server;
mod audit;
mod clock;
mod control_plane;
mod controller;
mod eventually;
mod fence;
mod history;
mod install;
mod pki;
mod probe;
mod programs;
pub mod proxy;
mod release;
mod scratch;
pub mod story;
mod supervised;

pub use audit::{Audit, Entry, Mark};
pub use clock::Clock;
pub use control_plane::{ControlPlane, Options};
pub use controller::{Controller, IDENTITY, Launch};
pub use eventually::eventually;
pub use fence::Fence;
pub use history::{Change, Revision};
pub use install::{Install, TargetScope};
pub use probe::{Answer, http_get};
pub use release::release_binary;
pub use supervised::Exit;
