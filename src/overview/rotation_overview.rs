//! The rotation of one Bundle in full: the way of each certificate, and the pods that have to be restarted.

use jiff::{SignedDuration, Timestamp};

use crate::bundle::{MemoryEntry, Phase, RetiringNote};
use crate::trust::Anchor;

use super::pod_use::{FixedUse, PodUse};
use super::rotation_snapshot::RotationSnapshot;

/// The time after which a pod that is started gets the newest content of a target: its node may see changes that late.
const NODE_LAG: SignedDuration = SignedDuration::from_secs(10);

/// The rotation of one Bundle.
#[derive(Debug)]
pub struct RotationOverview<'a> {
    /// What was read.
    pub snapshot: &'a RotationSnapshot,
    /// The certificates of the ledger: what is leaving, then what is withdrawn, then the others, the oldest first.
    pub certificates: Vec<CertificateTimeline<'a>>,
    /// The pods that use the targets, or why they are not known; `None` if they are not shown.
    pub pods: Option<Result<&'a [PodUse], &'a str>>,
}

/// The way of a certificate through a Bundle.
#[derive(Debug)]
pub struct CertificateTimeline<'a> {
    /// What the ledger says.
    pub entry: &'a MemoryEntry,
    /// From when on all nodes have it in files; `None` while that is not known.
    pub settled: Option<Timestamp>,
    /// What the controller says of it, if it is leaving.
    pub note: Option<RetiringNote>,
}

/// A pod whose program may have read an older file.
#[derive(Debug)]
pub struct StalePod<'a> {
    /// The pod.
    pub pod: &'a PodUse,
    /// When the pod was started.
    pub started: Timestamp,
    /// The certificates that its program may not have read.
    pub lacks: Vec<&'a Anchor>,
}

impl<'a> RotationOverview<'a> {
    /// Returns the rotation of a Bundle that was read, without pods.
    #[must_use]
    pub fn of(snapshot: &'a RotationSnapshot) -> Self {
        let entries = snapshot.ledger.memory().into_iter().flat_map(|memory| &memory.entries);
        let mut certificates: Vec<_> = entries
            .map(|(fingerprint, entry)| CertificateTimeline {
                entry,
                settled: snapshot.settled_at(entry),
                note: snapshot.retiring_note(*fingerprint),
            })
            .collect();
        certificates.sort_by_key(|certificate| match certificate.entry.phase {
            Phase::Leaving { since } => (0, Some(since)),
            Phase::Withdrawing { since, .. } => (1, Some(since)),
            Phase::Present => (2, certificate.entry.first),
        });
        Self { snapshot, certificates, pods: None }
    }

    /// Returns the view without the certificates that stay.
    #[must_use]
    pub fn only_leaving(mut self) -> Self {
        self.certificates.retain(CertificateTimeline::is_leaving);
        self
    }

    /// Returns the published certificates that some target may lack.
    pub fn rolling_out(&self) -> impl Iterator<Item = &'a Anchor> {
        self.published().filter(|entry| entry.everywhere.is_none()).map(|entry| &entry.anchor)
    }

    /// Returns the pods whose programs may have read a file without a certificate that is everywhere now.
    pub fn stale_pods(&self) -> impl Iterator<Item = StalePod<'a>> {
        let pods = self.known_pods().iter().filter(|pod| pod.files);
        pods.filter_map(|pod| {
            let started = pod.started?;
            let read_without = |entry: &&MemoryEntry| {
                entry.everywhere.and_then(|at| at.checked_add(NODE_LAG).ok()).is_some_and(|at| started < at)
            };
            let lacks: Vec<_> = self.published().filter(read_without).map(|entry| &entry.anchor).collect();
            (!lacks.is_empty()).then_some(StalePod { pod, started, lacks })
        })
    }

    /// Returns what pods have of the targets that never changes.
    pub fn fixed_uses(&self) -> impl Iterator<Item = (&'a PodUse, &'a FixedUse)> {
        let pods = self.known_pods().iter();
        pods.flat_map(|pod| pod.fixed.iter().map(move |fixed| (pod, fixed)))
    }

    fn known_pods(&self) -> &'a [PodUse] {
        self.pods.and_then(Result::ok).unwrap_or_default()
    }

    fn published(&self) -> impl Iterator<Item = &'a MemoryEntry> {
        self.certificates.iter().map(|certificate| certificate.entry).filter(|entry| entry.phase.is_published())
    }
}

impl CertificateTimeline<'_> {
    fn is_leaving(&self) -> bool {
        matches!(self.entry.phase, Phase::Leaving { .. })
    }
}
