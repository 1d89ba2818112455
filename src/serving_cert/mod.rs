//! A serving certificate that looks after itself: what to do, by whoever holds it together, so that no call fails.
//!
//! ```text
//! Secret: Kept ------------.
//! webhook entries: Entry ---+--> step --> Write the Secret | Announce CAs in entries | Wait
//! served: Generation ------'
//! ```
//!
//! A [`Generation`] is a CA, one serving certificate of it and the certificate's key; the CA's key is thrown away as soon
//! as it has signed. A new generation comes up in three steps, each of which any replica may take and none twice:
//!
//! 1. It is put beside the current one, as next, and its CA is announced: in the Secret, and in `caBundle` of every entry.
//! 2. When every entry holds its CA, and has done so for long enough that each API server has heard, it becomes current.
//! 3. Replicas serve what is current as soon as they hear of it. Until then they serve its predecessor.
//!
//! A CA is trusted from its announcement until it has expired, and leaves for no other reason. So the set of CAs only
//! grows, but for what nobody can be served under; sets from different places are merged; and it does not matter who acts
//! on how old a view, or stops between two steps.

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

/// How certificates are to be.
#[derive(Clone, Debug)]
pub struct CertSettings {
    /// The DNS names of the service, the one that the API server asks for first.
    pub names: Vec<String>,
    /// How long a serving certificate is valid from the moment that it is made.
    pub lifetime: Duration,
}

impl CertSettings {
    /// For how long each entry must have held a CA before somebody serves under it: the longest that an API server may
    /// need to hear of it.
    #[must_use]
    pub fn propagation_delay(&self) -> Duration {
        (self.lifetime / 9).min(Duration::from_mins(10))
    }

    /// The same where we know nobody who serves: replicas that do had this time to say so.
    #[must_use]
    pub fn takeover_delay(&self) -> Duration {
        self.propagation_delay().min(Duration::from_secs(30))
    }
}
