//! Recovers what is remembered of a Bundle when a process starts: from its ledger, its status and its targets.
//!
//! The asynchronous half of [`mod@super::reconcile`] for a Bundle that a process sees first.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use crate::bundle::{
    BundleEvent, BundleId, Ledger, Memory, ObjectKind, RecordedRetention, Recovery, ResolvedSources, StoredState,
    TargetContent, TargetRef, published_last, recover,
};
use crate::client::{ApiError, Connection, LedgerObject, LedgerRef, read_ledger, read_target_pem};
use crate::fanout::{ListScope, ResourceVersion};

use super::list_targets::list_bundle_targets;
use super::report::emit;
use super::retention_state::ledger_ref;
use super::{Controller, TaskOutput};

/// What was recovered of a Bundle when a process starts, and the ledger as it was read.
pub(super) struct RecoveredState {
    /// Uid of the Bundle.
    uid: String,
    recovery: Recovery,
    version: Option<ResourceVersion>,
    stored: Option<(Memory, bool)>,
    /// What was found and does not count.
    event: Option<BundleEvent>,
}

/// Where the targets of a Bundle may lie.
struct TargetPlaces {
    bundle: Arc<str>,
    /// The key of the PEM in the objects of each kind.
    keys: Vec<(ObjectKind, String)>,
    /// The only namespaces that may have targets; `None` for all.
    namespaces: Option<BTreeSet<String>>,
    trust_namespace: Arc<str>,
}

/// Starts to recover what is remembered of a Bundle.
pub(super) fn recover_memory(controller: &mut Controller, id: BundleId, cause: String, sources: ResolvedSources) {
    let Some(known) = controller.cache.bundle(&id) else { return };
    let (uid, created) = (known.uid.clone(), known.created);
    let status = RecordedRetention::read(&known.last_status.status);
    let intent = &controller.cache.inputs().intents[&id];
    let accepted_loss = intent.policy.ledger_lost.clone();
    let settings = &controller.cache.inputs().settings;
    let is_written = |kind| kind != ObjectKind::Secret || settings.secret_targets;
    let objects = intent.output.objects.iter().filter(|object| is_written(object.kind));
    let places = TargetPlaces {
        bundle: id.name().clone(),
        keys: objects.map(|object| (object.kind, object.pem_key.clone())).collect(),
        namespaces: settings.target_namespaces.clone(),
        trust_namespace: controller.trust_namespaces.main().clone(),
    };
    let ledger = ledger_ref(controller.trust_namespaces.main(), &id);
    let connection = controller.connection.clone();
    let own = sources.own();
    let has_ledger = controller.cache.has_ledger(&id);
    let state = controller.states.entry(id.clone()).or_default();
    state.retention.set_busy(true);
    let exists = has_ledger || state.retention.version().is_some();
    // What is missing is missing in what was published since, too.
    let published = state.published.as_ref().filter(|published| published.uid == uid && !state.retention.has_lost());
    let published = published.map(|published| published.certificates()).unwrap_or_default();
    controller.tasks.spawn(async move {
        let stored = StoredState {
            uid: &uid,
            created,
            ledger: None,
            status: &status,
            accepted_loss: accepted_loss.as_deref(),
            targets: &[],
            published: &published,
            own: &own,
            default_cas: &sources.default_cas,
        };
        let result = recover_from(&connection, &id, ledger, exists, stored, &places).await;
        TaskOutput::Recovered { id, cause, result: result.map(Box::new) }
    });
}

/// Reads the ledger, and targets one by one until everything is known that any of them could tell.
async fn recover_from(
    connection: &Connection,
    id: &BundleId,
    ledger_ref: LedgerRef,
    exists: bool,
    stored: StoredState<'_>,
    places: &TargetPlaces,
) -> Result<RecoveredState, ApiError> {
    let object = if exists { read_ledger(connection, &ledger_ref).await? } else { None };
    let (version, collected) = object.as_ref().map(|object| (object.version, object.collected)).unzip();
    let decoded = object.map(|LedgerObject { data, .. }| Ledger::decode(&data)).transpose();
    let malformed = decoded.as_ref().err().map(|error| error.event(&ledger_ref.namespace, id));
    let ledger = decoded.unwrap_or_default();
    let recover_with = |targets: &[_]| recover(&StoredState { ledger: ledger.as_ref(), targets, ..stored });
    let mut recovery = recover_with(&[]);
    if !recovery.is_complete(stored.status) {
        let mut contents = Vec::new();
        let mut targets = places.list(connection).await?.into_iter();
        while let Some(content) = next_content(connection, &mut targets, &contents).await? {
            contents.push(content);
            recovery = recover_with(&contents);
            if recovery.is_complete(stored.status) {
                break;
            }
        }
    }
    let event = malformed.or_else(|| recovery.event(&ledger_ref.namespace, id));
    let uid = stored.uid.to_owned();
    let stored = ledger.filter(|_| !recovery.foreign).map(|ledger| ledger.memory).zip(collected);
    Ok(RecoveredState { uid, recovery, version, stored, event })
}

impl TargetPlaces {
    /// Lists the targets outside of the trust namespace, each with the key of its PEM.
    async fn list(&self, connection: &Connection) -> Result<Vec<(TargetRef, String)>, ApiError> {
        let Self { bundle, keys, namespaces, trust_namespace } = self;
        let mut targets = Vec::new();
        for (kind, key) in keys {
            let scopes = match namespaces {
                None => vec![ListScope::Targets(*kind, None)],
                Some(names) => names.iter().map(|name| ListScope::Targets(*kind, Some(name.clone()))).collect(),
            };
            for scope in scopes {
                let listed =
                    or_nothing(list_bundle_targets(connection, bundle, &scope, None).await)?.unwrap_or_default();
                let elsewhere = listed.into_iter().filter(|(namespace, _)| **namespace != **trust_namespace);
                let target =
                    |namespace: String| TargetRef { kind: *kind, namespace: namespace.into(), name: bundle.clone() };
                targets.extend(elsewhere.map(|(namespace, _)| (target(namespace), key.clone())));
            }
        }
        Ok(targets)
    }
}

/// Reads targets until one has a content that is not known yet.
async fn next_content(
    connection: &Connection,
    targets: &mut impl Iterator<Item = (TargetRef, String)>,
    known: &[TargetContent],
) -> Result<Option<TargetContent>, ApiError> {
    for (target, key) in targets {
        let pem = or_nothing(read_target_pem(connection, &target, &key).await)?.flatten();
        let Some(pem) = pem else { continue };
        let content = TargetContent::read(&pem);
        if known.iter().all(|other| other.digest != content.digest) {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// What may not be read, or is not there, tells nothing.
fn or_nothing<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Err(ApiError::Refused(status)) if status.is_forbidden() || status.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// Takes in what was recovered, and reconciles the Bundle; after a failure once its time has come.
pub(super) fn on_recovered(
    controller: &mut Controller,
    id: BundleId,
    cause: String,
    result: Result<Box<RecoveredState>, ApiError>,
) {
    let Some(state) = controller.states.get_mut(&id) else { return };
    state.retention.set_busy(false);
    let RecoveredState { uid, recovery: Recovery { memory, lost, .. }, version, stored, event } = match result {
        Ok(recovered) => *recovered,
        Err(error) => {
            warn!(bundle = &**id.name(), "ledger or targets not read: {error}");
            state.retry_ledger();
            return controller.note_server_health(&error);
        }
    };
    if controller.cache.bundle(&id).is_none_or(|known| known.uid != uid) {
        controller.queue.insert(id, cause);
        return;
    }
    state.ledger_failures = 0;
    if state.published.is_none()
        && let Some(intent) = controller.cache.inputs().intents.get(&id)
    {
        state.published = published_last(intent, controller.cache.inputs(), &memory, Timestamp::now());
    }
    state.retention.set_recovered(uid, memory, lost, version.map(|version| (version, stored)));
    if let Some(event) = event {
        warn!(bundle = &**id.name(), reason = %event.reason, "{}", event.note);
        emit(controller, id.clone(), event);
    }
    controller.queue.insert(id, cause);
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_target_that_is_hidden_or_gone_tells_nothing_and_any_other_failure_ends_the_recovery() {
        let refused =
            |code, reason| Err::<(), _>(ApiError::Refused(Box::new(Status::failure("no", reason).with_code(code))));
        assert_eq!(or_nothing(Ok("content")), Ok(Some("content")));
        assert_eq!(or_nothing(refused(403, "Forbidden")), Ok(None));
        assert_eq!(or_nothing(refused(404, "NotFound")), Ok(None));
        assert!(or_nothing(refused(400, "BadRequest")).is_err());
        assert!(or_nothing(Err::<(), _>(ApiError::Failed("etcd".to_owned()))).is_err());
    }
}
