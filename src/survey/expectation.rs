//! What the targets of a Bundle should be like.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api;
use crate::bundle::{
    Decision, Intent, Need, ObjectKind, Obstacle, Origin, Output, Payload, TargetRef, Protected, Resolved, Settings, Value,
    Verdict, Wanted, decide, resolve,
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

/// What is to be done with one object, or why nothing is.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is written or let go, unless another controller owns it.
    Act(Need),
    /// It is of others and stays as it is.
    Leave(Obstacle),
    /// No Bundle may have its name.
    Refuse(Protected),
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

    /// What has to be done, as far as is known, at each place that is or should be a target, sorted by namespace; and whether
    /// it is wanted there.
    pub(super) fn judge<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (TargetRef, bool, Option<&'a Target>, Option<Plan>)> + 'a {
        let targets = snapshot.targets.get(&self.wanted.name);
        let secrets_unread = snapshot.unread.secret_targets.is_some();
        let kinds = ObjectKind::ALL.into_iter().filter(move |kind| !(secrets_unread && *kind == ObjectKind::Secret));
        // What is in a namespace on its way out is left to Kubernetes.
        let living = snapshot.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
        living.flat_map(move |(name, namespace)| {
            let reached = self.wanted.reaches(&snapshot.world.settings, name, namespace);
            kinds.clone().filter_map(move |kind| {
                let place = TargetRef { kind, namespace: name.clone() };
                let found = targets.and_then(|targets| targets.get(&place));
                let wanted = reached && self.wanted.payloads.contains_key(&kind);
                let plan = self.plan(kind, reached, wanted, found, &snapshot.world.settings);
                (wanted || plan.is_some()).then_some((place, wanted, found, plan))
            })
        })
    }

    /// Decides as the controller does: by the object's metadata, and by its content where that has to be looked at.
    fn plan(
        &self,
        kind: ObjectKind,
        reached: bool,
        wanted: bool,
        found: Option<&Target>,
        settings: &Settings,
    ) -> Option<Plan> {
        let look = found.map(|found| &found.look);
        match self.wanted.judge(kind, reached, look) {
            Some(need) => Some(match self.verdict(kind, &need, found, settings) {
                Some(Verdict::Refuse(obstacle)) => Plan::Leave(obstacle),
                _ => Plan::Act(need),
            }),
            None => self.wanted.kept_out(look).filter(|_| wanted).map(Plan::Refuse),
        }
    }

    /// Whether an object that is to be updated may be; `None` where nothing is there to be asked of.
    fn verdict(&self, kind: ObjectKind, need: &Need, found: Option<&Target>, settings: &Settings) -> Option<Verdict> {
        let (Need::Update(_), Some(found)) = (need, found) else { return None };
        let payload = self.wanted.payloads.get(&kind)?;
        Some(self.wanted.may_write(payload, &found.look, found.holdings.as_ref(), settings.adopt))
    }

    /// Where objects are to be created.
    pub(super) fn created(&self, snapshot: &Snapshot) -> Vec<TargetRef> {
        let created = self.judge(snapshot).filter(|(.., plan)| matches!(plan, Some(Plan::Act(Need::Create))));
        created.map(|(place, ..)| place).collect()
    }

    /// The objects whose content has to be looked at.
    pub(super) fn unseen(&self, snapshot: &Snapshot) -> Vec<TargetRef> {
        let unseen = self.judge(snapshot).filter(|(place, _, found, plan)| match plan {
            Some(Plan::Act(need)) => {
                self.verdict(place.kind, need, *found, &snapshot.world.settings) == Some(Verdict::Unseen)
            }
            _ => false,
        });
        unseen.map(|(place, ..)| place).collect()
    }
}

/// What a Bundle wants by its spec, with the content of the target that was written last, whatever that is.
fn as_last_written(intent: &Intent, targets: &BTreeMap<TargetRef, Target>, settings: &Settings) -> Wanted {
    let Output { objects, jks, pkcs12 } = &intent.output;
    let enabled = |kind| kind != ObjectKind::Secret || settings.secret_targets;
    let formats = jks.iter().map(|jks| &jks.key).chain(pkcs12.iter().map(|pkcs12| &pkcs12.key));
    let formats = formats.map(|key| (key.clone(), Value::Binary(Arc::default())));
    let payloads = objects.iter().filter(|object| enabled(object.kind)).map(|object| {
        let of_kind = targets.iter().filter(|(place, _)| place.kind == object.kind).map(|(_, target)| target);
        let hash = of_kind
            .max_by_key(|target| target.written)
            .and_then(|target| target.look.annotations.get(api::HASH_ANNOTATION));
        let values = formats.clone().chain([(object.pem_key.clone(), Value::Text("".into()))]);
        let payload = Payload {
            kind: object.kind,
            values: values.collect(),
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
