//! The snapshot of the cluster that `status` and `diff` share, with the settings of its controller.

mod foreign_objects;
mod memories;
mod progress;
mod settings;

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use crate::bundle::{BundleId, DefaultCas, Namespace, ObjectKind, TargetRef};
use crate::client::{Connection, SnapshotReadError, SnapshotReader, SnapshotScope, SnapshotTargets, object_reader};
use crate::inspect::{CertificateSet, Passwords, ValuePlace};
use crate::overview::{LeaderStatus, Snapshot, SnapshotBundle};

use super::args::{ClusterArgs, DecisionArgs};
use super::print_diagnostic;
use progress::ReadProgress;
use settings::{ControllerSettings, ExplicitDecisionArgs};

/// The namespace of the controller where no Lease is found.
const DEFAULT_NAMESPACE: &str = "cert-manager";

/// Flags of the commands that read a snapshot of the cluster.
#[derive(Args, Debug)]
pub(super) struct OverviewArgs {
    #[command(flatten)]
    explicit: ExplicitDecisionArgs,
    /// Namespace of the controllers' Lease; default: any that has a Lease of that name.
    #[arg(long, value_name = "NAMESPACE", help_heading = "Cluster")]
    leader_election_namespace: Option<String>,
    /// Name of the controllers' Lease.
    #[arg(long, default_value = "trust-manager-leader-election", value_name = "NAME", help_heading = "Cluster")]
    leader_election_id: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A snapshot of the cluster, and what it was read with.
pub(super) struct OverviewData {
    /// The connection to the cluster.
    pub(super) connection: Connection,
    /// The snapshot.
    pub(super) snapshot: Snapshot,
    /// The controller's settings.
    pub(super) settings: DecisionArgs,
    /// The namespace of the scope, if the scope is one.
    pub(super) namespace: Option<Namespace>,
}

impl OverviewArgs {
    /// Reads a snapshot of the cluster.
    pub(super) async fn read(&self, scope: SnapshotScope<'_>, now: Timestamp) -> anyhow::Result<OverviewData> {
        let connection = self.cluster.connect().await?;
        let progress = ReadProgress::begin();
        let report = |what: &str, count: usize| progress.update(what, count);
        let reader = SnapshotReader::new(&connection, &report);
        let namespaces = async {
            match scope {
                SnapshotScope::Namespace(name) => {
                    let namespace = reader.namespace(name).await?;
                    Ok((Some(namespace.clone()), [(name.into(), namespace)].into()))
                }
                SnapshotScope::Cluster | SnapshotScope::Bundle(_) => {
                    Ok::<_, SnapshotReadError>((None, reader.namespaces().await?))
                }
            }
        };
        let (bundles, namespaces, config_maps, (leadership, found)) = tokio::join!(
            reader.bundles(),
            namespaces,
            reader.targets(ObjectKind::ConfigMap, scope),
            self.leadership(&reader, now)
        );
        let ControllerSettings { arguments: settings, origin: from } = found;
        let (namespace, namespaces) = namespaces.context("read namespaces")?;
        let mut snapshot = Snapshot {
            settings_from: from,
            namespaces,
            targets: config_maps.context("read targets")?,
            leadership,
            ..Snapshot::default()
        };
        snapshot.inputs.settings = settings.settings();
        let trust_namespaces = settings.trust_namespaces();
        let labels = |name: &Arc<str>| Some((name.clone(), snapshot.namespaces.get(name)?.labels.clone()));
        snapshot.inputs.trust_namespaces = trust_namespaces.all().filter_map(labels).collect();
        for (name, bundle) in bundles.context("read Bundles")? {
            match bundle {
                Ok(bundle) => drop(snapshot.add_bundle(&bundle, &trust_namespaces)),
                Err(error) => {
                    let invalid = Some(error.to_string());
                    snapshot.bundles.insert(name.into(), SnapshotBundle { invalid, ..SnapshotBundle::default() });
                }
            }
        }
        if let SnapshotScope::Bundle(name) = scope {
            snapshot.bundles.retain(|bundle, _| **bundle.name() == *name);
        }
        snapshot.read_sources(&reader, &settings, scope).await?;
        snapshot.read_memories(&reader, &settings.trust_namespace).await;
        if let Some(publisher) = snapshot.find_published_default_cas(now) {
            // Without it the default CAs stay unknown, which the output says.
            if let Ok((_, certificates)) = read_published(&connection, &publisher.target, &publisher.key).await {
                snapshot.adopt_default_cas(&publisher, &certificates);
            }
        }
        drop(progress);
        Ok(OverviewData { connection, snapshot, settings, namespace })
    }

    /// Reads a snapshot of the cluster, and the objects of others in the place of targets.
    pub(super) async fn read_with_foreign_objects(
        &self,
        scope: SnapshotScope<'_>,
        now: Timestamp,
    ) -> anyhow::Result<OverviewData> {
        let mut data = self.read(scope, now).await?;
        let reader = SnapshotReader::new(&data.connection, &|_, _| {});
        let names = data.snapshot.bundles.keys().cloned().collect();
        let namespace = if let SnapshotScope::Namespace(name) = scope { Some(name) } else { None };
        data.snapshot.read_foreign_objects(&reader, &names, namespace, now).await;
        Ok(data)
    }

    /// Reads who leads, and the settings of that controller.
    async fn leadership(&self, reader: &SnapshotReader<'_>, now: Timestamp) -> (LeaderStatus, ControllerSettings) {
        let Self { explicit, leader_election_namespace, leader_election_id, cluster: _ } = self;
        let (leadership, found) =
            reader.leadership(leader_election_namespace.as_deref(), leader_election_id, now).await;
        let namespace = found.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let holder = match &leadership {
            LeaderStatus::Led { holder, .. } => Some(&**holder),
            _ => None,
        };
        let settings = match reader.container_commands(namespace).await {
            Ok(programs) => ControllerSettings::find(&programs, holder, namespace, explicit),
            Err(error) => {
                ControllerSettings::assumed(explicit, &format!("the controller's Pod cannot be looked for: {error}"))
            }
        };
        (leadership, settings)
    }
}

impl Snapshot {
    /// Reads what depends on the Bundles and on the settings: sources, Secret targets, default CAs.
    async fn read_sources(
        &mut self,
        reader: &SnapshotReader<'_>,
        settings: &DecisionArgs,
        scope: SnapshotScope<'_>,
    ) -> anyhow::Result<()> {
        let intents: Vec<_> =
            self.inputs.intents.values().filter(|intent| self.bundles.contains_key(&intent.id)).collect();
        let has_secret_targets = settings.secret_targets_enabled
            && intents.iter().flat_map(|intent| &intent.output.objects).any(|object| object.kind == ObjectKind::Secret);
        let secrets = async {
            if has_secret_targets {
                reader.targets(ObjectKind::Secret, scope).await
            } else {
                Ok(SnapshotTargets::new())
            }
        };
        let ((sources, unread), secrets, denials) = tokio::join!(reader.sources(&intents), secrets, reader.denials());
        match denials {
            Ok(denials) => self.inputs.denials = denials,
            Err(error) if error.forbidden => {
                print_diagnostic(&format!("what Distrusts deny is not known, and counts as trusted: {error}"));
            }
            Err(error) => return Err(error).context("read Distrusts"),
        }
        self.inputs.sources = sources;
        self.unread.sources = unread;
        match secrets {
            Ok(secrets) => {
                for (name, targets) in secrets {
                    self.targets.entry(name).or_default().extend(targets);
                }
            }
            Err(error) if error.forbidden => self.unread.secret_targets = Some(error.to_string()),
            Err(error) => return Err(error).context("read Secret targets"),
        }
        self.take_default_cas(settings);
        Ok(())
    }

    /// Loads the default CAs. A package may be a file in the controller's Pod: then they are unknown, and all else is
    /// shown.
    fn take_default_cas(&mut self, settings: &DecisionArgs) {
        match settings.load_default_cas() {
            Ok((default_cas, _)) => self.inputs.default_cas = default_cas,
            Err(error) => {
                self.inputs.default_cas = Some(DefaultCas { version: String::new(), anchors: Vec::new() });
                self.unread.default_cas = Some(format!(
                    "the controller's default CAs are not at hand: {error}: give a copy by --default-package-location"
                ));
            }
        }
    }
}

/// Reads what a Bundle publishes now in one of its targets.
pub(super) async fn read_published(
    connection: &Connection,
    TargetRef { kind, namespace, name }: &TargetRef,
    key: &str,
) -> anyhow::Result<(BundleId, CertificateSet)> {
    let what = format!("{} {namespace}/{name}", kind.as_str());
    let values =
        object_reader::object(connection, *kind, namespace, name).await.with_context(|| format!("read {what}"))?;
    let mut collection = CertificateSet::new(what);
    if let Some(value) = values.get(key) {
        // A value that is not PEM is not of the controller, so no certificate goes with it.
        let _ = collection.read(&ValuePlace::of_key(key), value, &Passwords::WellKnown);
    }
    Ok((name.clone().into(), collection))
}
