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
//!        ├──▶ helm        the chart, as an administrator would install it
//!        ├──▶ Proxy       faults on the way to the API server, and counts
//!        ├──▶ Controller  the product, started, stopped, killed, read
//!        └──▶ Injector    the same, in replicas behind a Balancer, to which the API server sends reviews
//!
//! ControlPlane::given ──▶ the same on a cluster that runs already, whose requests a Proxy takes down
//! Node::start ──▶ the same and more, with a kubelet: the product in its own pods
//! TlsServer   ──▶ somebody's server, for clients in other pods to trust or to doubt
//! ```
//!
//! Nothing outlives the process that started it, however that process ends: see
//! `supervised` for the programs, `scratch` for the files and `janitor` for the rest.

#![allow(clippy::missing_errors_doc, reason = "every error here is the end of a test or demo, and says so itself")]

mod access;
mod account;
mod api_server;
pub mod attack;
mod audit;
mod background;
mod backup;
mod balancer;
mod barrier;
mod cgroup;
mod clock;
mod control_plane;
mod controller;
mod denying_webhook;
mod eventually;
mod existing;
mod helm;
mod history;
pub mod image;
mod injector;
mod install;
mod janitor;
mod node;
pub mod peer;
mod pki;
mod probe;
mod processes;
mod product;
mod programs;
mod prometheus;
mod promtool;
pub mod proxy;
mod release;
pub mod scenario;
mod scratch;
mod supervised;
mod tls;
mod tls_server;
mod tunnel;
mod volume;

pub use access::{kubectl_binary, kubectl_without_cluster};
pub use audit::{Audit, CallOutcome, Entry, Mark, WebhookCall};
pub use backup::Backup;
pub use balancer::{Balancer, Place};
pub use barrier::Barrier;
pub use clock::Clock;
pub use control_plane::{ControlPlane, ControllerManager, Options};
pub use controller::{Controller, IDENTITY};
pub use denying_webhook::{Denial, DenyingWebhook};
pub use eventually::eventually;
pub use helm::{CHART, helm, helm_ok};
pub use history::{Change, Revision};
pub use injector::{INJECTOR_IDENTITY, Injector};
pub use install::{Install, ServingCertificate, TargetScope};
pub use node::{BUSYBOX, Node};
pub use probe::{Answer, http_get};
pub use product::{Launch, Product};
pub use prometheus::Samples;
pub use promtool::{promtool_metrics_ok, promtool_ok};
pub use release::{image_archive, release_binary};
pub use supervised::Exit;
pub use tls::TlsClient;
pub use tls_server::{Authority, TlsServer};
pub use tunnel::Tunnel;
pub use volume::Volume;
