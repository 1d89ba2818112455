//! Rotation of the webhook's serving certificate: a pure function decides the next step, so that no call ever fails.
//!
//! ```text
//! Secret: StoredGenerations -------.
//! webhook entries: WebhookEntry ----+--> step --> WriteSecret | WriteCaBundles | Wait
//! served: SecretData --------------'
//! ```
//!
//! A [`Generation`] is a CA, one serving certificate of it and the certificate's key; the CA's key is dropped as soon
//! as it has signed. A new generation is introduced in three steps, each of which any replica may take, and none is
//! taken twice:
//!
//! 1. The generation is stored beside the current one, as next, and its CA is announced: in the Secret, and in
//!    `caBundle` of every entry.
//! 2. When every entry has held the CA for long enough that each API server uses it, the generation becomes current.
//! 3. Replicas serve the current generation as soon as they observe it. Until then they serve its predecessor.
//!
//! A CA is trusted from its announcement until it has expired, and is removed for no other reason. So the set of CAs
//! only grows, but for CAs without valid certificates; sets from different places are merged; and replicas may act on
//! views of any age, or stop between two steps.

mod generation;
mod secret_data;
#[cfg(test)]
mod simulation;
mod step;
mod trusted_cas;

use std::time::Duration;

pub use generation::{Generation, GenerationError};
pub use secret_data::{SecretData, StoredGenerations};
pub use step::{RotationStep, RotationView, WebhookEntry, step};
pub use trusted_cas::TrustedCas;

/// The desired properties of serving certificates.
#[derive(Clone, Debug)]
pub struct CertSettings {
    /// The DNS names of the service; the first one is that of the API server's calls.
    pub names: Vec<String>,
    /// The lifetime of a serving certificate from its creation on.
    pub lifetime: Duration,
}

impl CertSettings {
    /// Returns how long each entry must have held a CA before a certificate of it is served.
    ///
    /// It is the longest time that an API server may need to observe the CA.
    #[must_use]
    pub fn propagation_delay(&self) -> Duration {
        (self.lifetime / 9).min(Duration::from_mins(10))
    }

    /// Returns the delay where no replica is known to serve.
    ///
    /// It replaces [`propagation_delay`](Self::propagation_delay): a replica that does serve puts its certificate back
    /// into the Secret within that time.
    #[must_use]
    pub fn takeover_delay(&self) -> Duration {
        self.propagation_delay().min(Duration::from_secs(30))
    }
}
