//! What the controller asked for, by the API server's audit log.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use rootcast_e2e::{ControlPlane, IDENTITY, Mark, scenario::TRUST_NAMESPACE};

/// How many requests of which kind.
#[derive(Default)]
pub(crate) struct Requests {
    /// Writes of `ConfigMaps`, of which only targets are written.
    pub(crate) target_writes: usize,
    /// Reads of `ConfigMaps` outside of the trust namespace; watches are not counted.
    pub(crate) target_reads: usize,
    /// All but watches, by verb and resource.
    all: BTreeMap<String, usize>,
}

impl Requests {
    /// The controller's, since a mark.
    pub(crate) async fn since(control_plane: &ControlPlane, mark: Mark) -> Result<Self> {
        let mut requests = Self::default();
        for entry in control_plane.audit().since(mark).await? {
            if entry.user != IDENTITY || entry.verb == "watch" {
                continue;
            }
            if entry.resource == "configmaps" && entry.is_write() {
                requests.target_writes += 1;
            } else if entry.resource == "configmaps" && entry.namespace != TRUST_NAMESPACE {
                requests.target_reads += 1;
            }
            let slash = if entry.subresource.is_empty() { "" } else { "/" };
            let failed = if entry.code < 400 { String::new() } else { format!(" ({})", entry.code) };
            let kind = format!("{} {}{slash}{}{failed}", entry.verb, entry.resource, entry.subresource);
            *requests.all.entry(kind).or_default() += 1;
        }
        Ok(requests)
    }

    /// How many writes there were, of targets, of status and of events.
    pub(crate) fn writes(&self) -> usize {
        let is_read = |kind: &str| kind.starts_with("get ") || kind.starts_with("list ");
        self.all.iter().filter(|(kind, _)| !is_read(kind)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all.is_empty() {
            return f.write_str("none");
        }
        let kinds: Vec<_> = self.all.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        f.write_str(&kinds.join(", "))
    }
}
