//! What others do.

use std::sync::Arc;

use rootcast::bundle::{Desired, TargetRef};
use rootcast::fanout::EngineEvent;

use crate::model::{Call, Field, Key, Object, Part, Server, Verb};

use super::content::{Content, scopes, targets};
use super::{Target, World};

impl World {
    /// A Bundle is decided; if it is not there, it is created anew. `None`: it is refused.
    pub(crate) fn decide(&mut self, name: &str, content: Option<&Content>) {
        let bundle = self.bundles.entry(name.into()).or_default();
        if !bundle.exists {
            bundle.exists = true;
            bundle.incarnation += 1;
            self.step(EngineEvent::Bundle(name.into(), true));
        }
        let bundle = self.bundles.get_mut(name).expect("it was entered");
        let uid = format!("{name}-{}", bundle.incarnation);
        let wanted = content.map(|content| Arc::new(content.wanted(name, &uid)));
        if let Some(wanted) = &wanted {
            let same = bundle.ever.as_ref().is_some_and(|before| {
                before.uid == wanted.uid
                    && before.namespaces == wanted.namespaces
                    && format!("{:?}", before.payloads) == format!("{:?}", wanted.payloads)
            });
            bundle.ever = Some(wanted.clone());
            if !same {
                self.calls_for(|(bundle, _)| **bundle == *name);
            }
        }
        self.set_desired(name, wanted);
    }

    /// A Bundle is deleted; its targets wait for the garbage collector.
    pub(crate) fn delete_bundle(&mut self, name: &str) {
        let bundle = self.bundles.entry(name.into()).or_default();
        (bundle.exists, bundle.wanted, bundle.report) = (false, None, None);
        self.believed.retain(|(bundle, _), _| **bundle != *name);
        let uid = format!("{name}-{}", self.bundles[name].incarnation);
        self.step(EngineEvent::Bundle(name.into(), false));
        self.step(EngineEvent::Deleted { bundle: name.into(), uid: Some(uid) });
    }

    fn set_desired(&mut self, name: &str, wanted: Option<Arc<Desired>>) {
        let bundle = self.bundles.get_mut(name).expect("decided before");
        bundle.wanted.clone_from(&wanted);
        bundle.report = None;
        let cause = "it was decided".to_owned();
        self.step(EngineEvent::Desired { bundle: name.into(), desired: wanted, cause, urgent: false });
    }

    /// The garbage collector deletes what only Bundles that are gone own; `false` if there is nothing.
    pub(crate) fn collect(&mut self) -> bool {
        let is_dead = |uid: &str| {
            uid.rsplit_once('-').is_some_and(|(name, incarnation)| {
                let bundle = self.bundles.get(name);
                bundle.is_some_and(|bundle| !bundle.exists || bundle.incarnation.to_string() != incarnation)
            })
        };
        let is_orphan = |object: &Object| {
            let mut owners = object.metadata().owner_references.into_iter().flatten().peekable();
            owners.peek().is_some() && owners.all(|owner| is_dead(&owner.uid))
        };
        let orphans: Vec<_> =
            self.server.objects.iter().filter(|(_, object)| is_orphan(object)).map(|(key, _)| key.clone()).collect();
        // Of others, references to owners that are gone are taken out.
        let mut dangling = Vec::new();
        for (key, object) in self.server.objects.iter().filter(|(key, _)| !orphans.contains(key)) {
            let owners = object.metadata().owner_references.into_iter().flatten();
            let dead: Vec<_> = owners.filter(|owner| is_dead(&owner.uid)).map(|owner| owner.uid).collect();
            dangling.extend((!dead.is_empty()).then(|| (key.clone(), dead)));
        }
        for key in &orphans {
            self.edit(key, "garbage-collector", Verb::Delete);
        }
        for (key, dead) in &dangling {
            let patch = dead.iter().map(|uid| (Field::new(Part::Owners, uid), None)).collect();
            self.edit(key, "garbage-collector", Verb::Merge(patch));
        }
        !orphans.is_empty() || !dangling.is_empty()
    }

    /// The server is restored from a backup: versions are lower than those that were seen, and every watch lists anew.
    pub(crate) fn restore(&mut self, backup: &Server) {
        self.server = backup.clone();
        for scope in scopes() {
            self.relist(&scope);
        }
    }

    /// Somebody else changes an object.
    pub(crate) fn edit(&mut self, key: &Key, manager: &'static str, verb: Verb) {
        let before = self.server.version();
        // What does not work has no effect.
        let _ = self.server.call(key, Call { manager, version: None, verb });
        if self.server.version() != before {
            let name: Arc<str> = key.name.as_str().into();
            let namespace = key.namespace.as_str().into();
            let target = (name.clone(), TargetRef { kind: key.kind, namespace, name });
            *self.called_for.entry(target).or_default() += 1;
        }
    }

    /// Something happens to a namespace.
    pub(crate) fn namespace(&mut self, name: &str, happens: impl FnOnce(&mut Server)) {
        let before = self.server.version();
        happens(&mut self.server);
        if self.server.version() != before {
            self.calls_for(|(_, place)| *place.namespace == *name);
        }
    }

    fn calls_for(&mut self, matches: impl Fn(&Target) -> bool) {
        for target in targets() {
            if matches(&target) {
                *self.called_for.entry(target).or_default() += 1;
            }
        }
    }
}
