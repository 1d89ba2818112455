//! What `status` and `diff` share: a look at the cluster with the settings of its controller.

mod others;
mod progress;
mod settings;

use anyhow::Context;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use crate::bundle::{DefaultCas, Namespace, ObjectKind, TargetRef};
use crate::cluster::survey::{Surveyor, Targets, Unseen, Within};
use crate::cluster::{Connection, glance};
use crate::inspect::{Collection, Passwords};
use crate::survey::{Known, Leadership, Snapshot};

use super::args::{ClusterArguments, DecisionArguments};
use progress::Progress;
use settings::{Settings, Typed};

/// The namespace in which a controller is looked for where no Lease tells.
const USUAL_NAMESPACE: &str = "cert-manager";

/// How a look at the cluster is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people.
    Table,
    /// One JSON document with all there is.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Flags of all that look at the cluster.
#[derive(Args, Debug)]
pub(super) struct SurveyArguments {
    #[command(flatten)]
    typed: Typed,
    /// Namespace of the Lease of the controllers; default: wherever one of its name is.
    #[arg(long, value_name = "NAMESPACE", help_heading = "Cluster")]
    leader_election_namespace: Option<String>,
    /// Name of that Lease.
    #[arg(long, default_value = "trust-manager-leader-election", value_name = "NAME", help_heading = "Cluster")]
    leader_election_id: String,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// What was found.
pub(super) struct Survey {
    pub(super) connection: Connection,
    pub(super) snapshot: Snapshot,
    pub(super) settings: DecisionArguments,
    /// The namespace that was asked for, if one was.
    pub(super) namespace: Option<Namespace>,
}

impl SurveyArguments {
    /// Looks at the cluster.
    pub(super) async fn look(&self, within: Within<'_>, now: Timestamp) -> anyhow::Result<Survey> {
        let connection = self.cluster.connect().await?;
        let progress = Progress::begin();
        let tell = |what: &str, count: usize| progress.tell(what, count);
        let surveyor = Surveyor { connection: &connection, progress: &tell };
        let namespaces = async {
            match within {
                Within::Namespace(name) => {
                    let namespace = surveyor.namespace(name).await?;
                    Ok((Some(namespace.clone()), [(name.into(), namespace)].into()))
                }
                Within::Cluster | Within::Bundle(_) => Ok::<_, Unseen>((None, surveyor.namespaces().await?)),
            }
        };
        let (bundles, namespaces, config_maps, (leadership, found)) = tokio::join!(
            surveyor.bundles(),
            namespaces,
            surveyor.targets(ObjectKind::ConfigMap, within),
            self.leadership(&surveyor, now)
        );
        let Settings { arguments: settings, from } = found;
        let (namespace, namespaces) = namespaces.context("read namespaces")?;
        let mut snapshot = Snapshot {
            settings_from: from,
            namespaces,
            targets: config_maps.context("read targets")?,
            leadership,
            ..Snapshot::default()
        };
        snapshot.world.settings = settings.settings();
        snapshot.world.trust_namespace =
            snapshot.namespaces.get(&*settings.trust_namespace).map(|namespace| namespace.labels.clone());
        for (name, bundle) in bundles.context("read Bundles")? {
            match bundle {
                Ok(bundle) => drop(snapshot.add_bundle(&bundle, &settings.trust_namespace)),
                Err(cause) => {
                    snapshot.bundles.insert(name, Known { invalid: Some(cause), ..Known::default() });
                }
            }
        }
        if let Within::Bundle(name) = within {
            snapshot.bundles.retain(|bundle, _| bundle == name);
        }
        snapshot.read_sources(&surveyor, &settings, within).await?;
        if let Some(witness) = snapshot.witness(now) {
            // Without it the default CAs stay unknown, which is said.
            if let Ok((_, seen)) = published(&connection, &witness.bundle, &witness.place, &witness.key).await {
                snapshot.believe(&witness, &seen);
            }
        }
        drop(progress);
        Ok(Survey { connection, snapshot, settings, namespace })
    }

    /// Looks at the cluster, and at what stands where targets are to be.
    pub(super) async fn look_closely(&self, within: Within<'_>, now: Timestamp) -> anyhow::Result<Survey> {
        let mut survey = self.look(within, now).await?;
        let surveyor = Surveyor { connection: &survey.connection, progress: &|_, _| {} };
        let names = survey.snapshot.bundles.keys().cloned().collect();
        let namespace = if let Within::Namespace(name) = within { Some(name) } else { None };
        survey.snapshot.look_at_others(&surveyor, &names, namespace, now).await;
        Ok(survey)
    }

    /// Who leads, and with which settings.
    async fn leadership(&self, surveyor: &Surveyor<'_>, now: Timestamp) -> (Leadership, Settings) {
        let Self { typed, leader_election_namespace, leader_election_id, cluster: _ } = self;
        let (leadership, found) =
            surveyor.leadership(leader_election_namespace.as_deref(), leader_election_id, now).await;
        let namespace = found.as_deref().unwrap_or(USUAL_NAMESPACE);
        let holder = match &leadership {
            Leadership::Led { holder, .. } => Some(&**holder),
            _ => None,
        };
        let settings = match surveyor.programs(namespace).await {
            Ok(programs) => Settings::find(&programs, holder, namespace, typed),
            Err(unseen) => Settings::assumed(typed, &format!("the controller's Pod cannot be looked for: {unseen}")),
        };
        (leadership, settings)
    }
}

impl Snapshot {
    /// What depends on the Bundles and on the settings: sources, Secret targets, default CAs.
    async fn read_sources(
        &mut self,
        surveyor: &Surveyor<'_>,
        settings: &DecisionArguments,
        within: Within<'_>,
    ) -> anyhow::Result<()> {
        let intents: Vec<_> =
            self.world.intents.values().filter(|intent| self.bundles.contains_key(&intent.name)).collect();
        let wants_secrets = settings.secret_targets_enabled
            && intents.iter().flat_map(|intent| &intent.output.objects).any(|object| object.kind == ObjectKind::Secret);
        let secrets = async {
            if wants_secrets { surveyor.targets(ObjectKind::Secret, within).await } else { Ok(Targets::new()) }
        };
        let ((sources, unread), secrets) = tokio::join!(surveyor.sources(&settings.trust_namespace, &intents), secrets);
        self.world.sources = sources;
        self.unread.sources = unread;
        match secrets {
            Ok(secrets) => {
                for (name, targets) in secrets {
                    self.targets.entry(name).or_default().extend(targets);
                }
            }
            Err(unseen) if unseen.forbidden => self.unread.secret_targets = Some(unseen.to_string()),
            Err(unseen) => return Err(unseen).context("read Secret targets"),
        }
        self.take_default_cas(settings);
        Ok(())
    }

    /// A package is a file of the controller's: without it all but the default CAs can be told.
    fn take_default_cas(&mut self, settings: &DecisionArguments) {
        match settings.load_default_cas() {
            Ok((default_cas, _)) => self.world.default_cas = default_cas,
            Err(error) => {
                self.world.default_cas = Some(DefaultCas { version: String::new(), anchors: Vec::new() });
                self.unread.default_cas = Some(format!(
                    "the controller's default CAs are not at hand: {error}: give a copy by --default-package-location"
                ));
            }
        }
    }
}

/// A document in a form.
pub(super) fn document(document: &Value, form: Form) -> anyhow::Result<String> {
    Ok(match form {
        Form::Yaml => serde_saphyr::to_string(document)?,
        Form::Json | Form::Table => serde_json::to_string_pretty(document)? + "\n",
    })
}

/// What a Bundle publishes now in one of its targets.
pub(super) async fn published(
    connection: &Connection,
    bundle: &str,
    TargetRef { kind, namespace }: &TargetRef,
    key: &str,
) -> anyhow::Result<(String, Collection)> {
    let what = format!("{} {namespace}/{bundle}", kind.as_str());
    let values = glance::object(connection, *kind, namespace, bundle).await.with_context(|| format!("read {what}"))?;
    let mut collection = Collection::new(what);
    if let Some(value) = values.get(key) {
        // What is not PEM was not published by us; it is no certificate that goes.
        let _ = collection.read(Some(key), value, &Passwords::WellKnown);
    }
    Ok((bundle.to_owned(), collection))
}
