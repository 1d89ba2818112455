//! Decisions about pods: what has to be changed in one so that its programs trust a bundle.
//!
//! ```text
//! Policy --asked for by pod, namespace or configuration--> Injection --applied to the pod--> Verdict (patch, warnings)
//! ```
//!
//! Everything here is a pure function of its arguments. The pod is read only as far as it matters, and the patch names
//! only what it adds: whatever a newer Kubernetes puts into pods survives.

mod offer;

pub use offer::{Keystore, KeystoreKind, Offer, Offered};
