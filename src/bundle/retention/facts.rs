//! What a step of retention depends on beside memory: policy, sources, denials, observations, clocks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::trust::{Anchor, Fingerprint};

use super::memory::ContentDigest;

/// How far the clocks of this process and of the API server may differ before nothing is withdrawn by time.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The longest time between two looks at what may be withdrawn.
const LOOK_INTERVAL_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How long certificates stay published after the last source has lost them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The time that they stay at least; `None` if retention is off.
    pub retain: Option<SignedDuration>,
    /// The time after which the nodes have rewritten the files of a target that was written.
    pub settle: SignedDuration,
}

/// The certificates of a Bundle's sources but for the default CAs.
pub type OwnCertificates = BTreeMap<Fingerprint, OwnCertificate>;

/// A certificate of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate.
    pub anchor: Anchor,
    /// The sources and keys that it comes from.
    pub origins: Vec<String>,
}

/// Everything that was observed outside of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The content that all targets hold, and since when; `None` while they differ, or one fails.
    pub placed: Option<(ContentDigest, Timestamp)>,
    /// What is known to use certificates.
    pub evidence: Evidence,
    /// The clocks.
    pub clock: Clock,
}

/// Known uses of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Every source of evidence that is switched on has been read; these are all uses.
    Complete(Vec<CertificateUse>),
    /// A source of evidence cannot be read, for this cause.
    Incomplete(String),
}

/// An unexpired certificate of a server or client that somebody verifies with a Bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUse {
    /// The object that it was issued for, as `Kind namespace/name`.
    pub object: String,
    /// The published certificates under which it verifies; one that cannot be verified has the one that it names as its
    /// issuer.
    pub vouchers: BTreeSet<Fingerprint>,
}

/// The time by the clock of this process and by the API server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The time of this process.
    pub local: Timestamp,
    /// The time of the API server.
    pub server: Timestamp,
}

impl RetentionPolicy {
    /// The policy's time that certificates stay; zero if retention is off.
    pub(super) fn duration(&self) -> SignedDuration {
        self.retain.unwrap_or_default()
    }

    /// Returns the latest time, not after `now`, at which it is looked what may be withdrawn. Those times are the
    /// multiples of a tenth of the retention, so that what leaves within one goes in one write.
    pub(super) fn look_at_or_before(&self, now: Timestamp) -> Timestamp {
        self.look_interval().map_or(now, |interval| {
            let nanoseconds = now.as_nanosecond();
            timestamp(nanoseconds - nanoseconds.rem_euclid(interval))
        })
    }

    /// Returns when a certificate is withdrawn that has left the sources at this time, if nothing else needs it.
    #[must_use]
    pub fn leaves_at(&self, since: Timestamp) -> Timestamp {
        self.look_at_or_after(later(since, self.duration()))
    }

    /// Returns the first time, not before `time`, at which it is looked what may be withdrawn.
    pub(super) fn look_at_or_after(&self, time: Timestamp) -> Timestamp {
        self.look_interval().map_or(time, |interval| {
            let nanoseconds = time.as_nanosecond();
            timestamp(nanoseconds + (-nanoseconds).rem_euclid(interval))
        })
    }

    fn look_interval(&self) -> Option<i128> {
        let interval = (self.retain? / 10).min(LOOK_INTERVAL_MAX).as_nanos();
        (interval > 0).then_some(interval)
    }
}

fn timestamp(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX)
}

impl Clock {
    /// Returns whether the clocks differ by so much that neither is to be relied on.
    #[must_use]
    pub fn is_skewed(&self) -> bool {
        self.local.duration_since(self.server).abs() > CLOCK_SKEW_MAX
    }

    /// Converts a time by the earlier clock into one by the clock of this process.
    #[must_use]
    pub fn to_local(&self, time: Timestamp) -> Timestamp {
        let ahead = self.local.duration_since(self.local.min(self.server));
        time.checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

/// The time that is this much later, as far as a calendar has it.
pub(super) fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
