//! What the targets of a Bundle should be like.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api;
use crate::bundle::{
    Decision, Intent, Need, ObjectKind, Origin, Output, Payload, Place, Resolved, Settings, Value, Wanted, decide,
    resolve,
};

use super::snapshot::{Snapshot, Target};

/// What the targets of a Bundle should be like, as far as that can be told.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) wanted: Arc<Wanted>,
    /// The certificates of its sources, or why they are not known.
    pub(super) origins: Result<Vec<Origin>, String>,
    /// What the sources showed, in words.
    pub(super) findings: Vec<String>,
    /// Why the content was not decided anew: then it is taken from the target that was written last.
    pub(super) hearsay: Option<String>,
}

impl Expectation {
    pub(super) fn of(intent: &Intent, snapshot: &Snapshot, now: Timestamp) -> Self {
        let unread = snapshot.unread_source(intent);
        let (origins, findings) = match (&unread, resolve(intent, &snapshot.world, now)) {
            (Some(cause), _) => (Err(cause.clone()), Vec::new()),
            (None, Ok(Resolved { origins, findings, .. })) => (Ok(origins), findings),
            (None, Err(refusal)) => (Err(refusal.message), refusal.findings.unwrap_or_default()),
        };
        let findings = findings.iter().map(ToString::to_string).collect();
        let unknown = unread.or_else(|| snapshot.unknown_default_cas(intent));
        let decided = match unknown {
            Some(cause) => Err(cause),
            None => decide(intent, &snapshot.world, now).map_err(|refusal| refusal.message),
        };
        match decided {
            Ok(Decision { wanted, .. }) => Self { wanted, origins, findings, hearsay: None },
            Err(cause) => {
                let none = BTreeMap::new();
                let targets = snapshot.targets.get(&intent.name).unwrap_or(&none);
                let wanted = Arc::new(as_last_written(intent, targets, &snapshot.world.settings));
                Self { wanted, origins, findings, hearsay: Some(cause) }
            }
        }
    }

    /// What has to be done, as far as metadata tells, at each place that is or should be a target, sorted by namespace; and
    /// whether it is wanted there.
    pub(super) fn judge<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (Place, bool, Option<&'a Target>, Option<Need>)> + 'a {
        let targets = snapshot.targets.get(&self.wanted.name);
        let secrets_unread = snapshot.unread.secret_targets.is_some();
        let kinds = ObjectKind::ALL.into_iter().filter(move |kind| !(secrets_unread && *kind == ObjectKind::Secret));
        // What is in a namespace on its way out is left to Kubernetes.
        let living = snapshot.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
        living.flat_map(move |(name, namespace)| {
            let reached = self.wanted.reaches(&snapshot.world.settings, name, namespace);
            kinds.clone().filter_map(move |kind| {
                let place = Place { kind, namespace: name.clone() };
                let found = targets.and_then(|targets| targets.get(&place));
                let wanted = reached && self.wanted.payloads.contains_key(&kind);
                let need = self.wanted.judge(kind, reached, found.map(|found| &found.look));
                (wanted || need.is_some()).then_some((place, wanted, found, need))
            })
        })
    }
}

/// What a Bundle wants by its spec, with the content of the target that was written last, whatever that is.
fn as_last_written(intent: &Intent, targets: &BTreeMap<Place, Target>, settings: &Settings) -> Wanted {
    let Output { objects, jks, pkcs12 } = &intent.output;
    let enabled = |kind| kind != ObjectKind::Secret || settings.secret_targets;
    let formats = jks.iter().map(|jks| &jks.key).chain(pkcs12.iter().map(|pkcs12| &pkcs12.key));
    let payloads = objects.iter().filter(|object| enabled(object.kind)).map(|object| {
        let of_kind = targets.iter().filter(|(place, _)| place.kind == object.kind).map(|(_, target)| target);
        let hash = of_kind
            .max_by_key(|target| target.written)
            .and_then(|target| target.look.annotations.get(api::HASH_ANNOTATION));
        let keys = formats.clone().chain([&object.pem_key]);
        let payload = Payload {
            kind: object.kind,
            values: keys.map(|key| (key.clone(), Value::Text("".into()))).collect(),
            labels: object.labels.clone(),
            annotations: object.annotations.clone(),
            hash: hash.cloned().unwrap_or_default(),
            partial: false,
        };
        (object.kind, payload)
    });
    Wanted {
        name: intent.name.clone(),
        uid: intent.uid.clone(),
        namespaces: intent.namespaces.clone(),
        payloads: payloads.collect(),
        secrets_off: objects.iter().any(|object| !enabled(object.kind)),
        protected: settings.protection(&intent.name),
        deleted: false,
    }
}
