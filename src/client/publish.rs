//! Publication of the status and the events of Bundles and Distrusts.

use std::collections::BTreeMap;

use http::Method;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{self, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;

use crate::api::{self, Bundle, Distrust};
use crate::bundle::{BundleEvent, Report, policy_annotations};
use crate::fanout::ResourceVersion;

use super::api_error::ApiError;
use super::connection::{ApiRequest, Connection, METADATA_ONLY, TIMEOUT};
use super::segmented_body::SegmentedBody;

/// The component that events name as their source.
const REPORTER: &str = "bundles";

/// The field manager of the status of Distrusts.
const DISTRUST_MANAGER: &str = "rootcast";

/// A publisher of the status and the events of Bundles.
#[derive(Clone)]
pub(crate) struct Publisher {
    connection: Connection,
    client: Client,
    normal_recorder: Recorder,
}

/// The version of a Bundle after a write of its status.
pub(crate) struct PublishedVersion {
    /// Resource version of the Bundle.
    pub(crate) version: ResourceVersion,
    /// Generation of the Bundle.
    pub(crate) generation: Option<i64>,
    /// Annotations of the Bundle that decisions depend on.
    pub(crate) policy_annotations: BTreeMap<String, String>,
}

impl Publisher {
    /// Creates a publisher over a connection. Its events carry the host name of this process.
    pub(crate) fn new(connection: Connection) -> Self {
        let client = connection.client();
        Self { connection, normal_recorder: Recorder::new(client.clone(), reporter()), client }
    }

    /// Writes the status of a report if `status_changed`, and then its events. Returns the version of the Bundle after
    /// the write of the status, if there was one.
    ///
    /// # Errors
    /// When the status cannot be written. A Bundle that was deleted or replaced meanwhile is no error.
    pub(crate) async fn publish(
        &self,
        name: &str,
        uid: &str,
        report: &Report,
        status_changed: bool,
    ) -> Result<Option<PublishedVersion>, ApiError> {
        let version = if status_changed { self.write_status(name, uid, report).await? } else { None };
        for event in &report.events {
            self.emit(name, uid, event).await;
        }
        Ok(version)
    }

    /// Applies the whole status as field manager `trust-manager`: fields of trust-manager that rootcast does not have
    /// are removed, as those of rootcast will be when trust-manager comes back.
    async fn write_status(&self, name: &str, uid: &str, report: &Report) -> Result<Option<PublishedVersion>, ApiError> {
        let patch = json!({
            "apiVersion": api::API_VERSION, "kind": api::KIND,
            "metadata": { "name": name, "uid": uid },
            "status": report.status,
        });
        let body = SegmentedBody::new(vec![patch.to_string().into()]);
        let request = ApiRequest {
            method: Method::PATCH,
            uri: format!(
                "/apis/{}/bundles/{name}/status?fieldManager={}&force=true",
                api::API_VERSION,
                api::FIELD_MANAGER
            ),
            accept: METADATA_ONLY,
            body: Some(("application/apply-patch+yaml", body)),
        };
        match self.connection.send(request).await {
            // The response is read as metadata only: a Bundle that does not fit the wire types gets a status, too.
            Ok(body) => match serde_json::from_slice::<PartialObjectMeta<Bundle>>(&body) {
                Ok(PartialObjectMeta { metadata, .. }) => Ok(Some(PublishedVersion {
                    version: ResourceVersion::of(&metadata),
                    generation: metadata.generation,
                    policy_annotations: policy_annotations(&metadata),
                })),
                Err(error) => Err(ApiError::Lost(format!("the answer cannot be read: {error}"))),
            },
            Err(ApiError::Refused(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Applies the status of a Distrust. Returns the version of the Distrust after that; `None` if it was deleted or
    /// replaced meanwhile.
    ///
    /// # Errors
    /// When the status cannot be written.
    pub(crate) async fn publish_distrust(
        &self,
        name: &str,
        uid: &str,
        condition: Condition,
    ) -> Result<Option<ResourceVersion>, ApiError> {
        let collection = Distrust::url_path(&(), None);
        let patch = json!({
            "apiVersion": Distrust::api_version(&()), "kind": Distrust::kind(&()),
            "metadata": { "name": name, "uid": uid },
            "status": api::DistrustStatus { conditions: Some(vec![condition]) },
        });
        let body = SegmentedBody::new(vec![patch.to_string().into()]);
        let request = ApiRequest {
            method: Method::PATCH,
            uri: format!("{collection}/{name}/status?fieldManager={DISTRUST_MANAGER}&force=true"),
            accept: METADATA_ONLY,
            body: Some(("application/apply-patch+yaml", body)),
        };
        match self.connection.send(request).await {
            Ok(body) => match serde_json::from_slice::<PartialObjectMeta<Distrust>>(&body) {
                Ok(PartialObjectMeta { metadata, .. }) => Ok(Some(ResourceVersion::of(&metadata))),
                Err(error) => Err(ApiError::Lost(format!("the answer cannot be read: {error}"))),
            },
            Err(ApiError::Refused(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sends an event about a Bundle. A failure is only logged: the status has the same content.
    pub(crate) async fn emit(&self, name: &str, uid: &str, event: &BundleEvent) {
        let mut about = Bundle::new(name, api::BundleSpec::default());
        about.metadata.uid = Some(uid.to_owned());
        self.send_event(&about.object_ref(&()), event).await;
    }

    /// Sends an event about a Distrust, which may be gone.
    pub(crate) async fn emit_about_distrust(&self, name: &str, uid: &str, event: &BundleEvent) {
        let mut about = Distrust::new(name, api::DistrustSpec::default());
        about.metadata.uid = Some(uid.to_owned());
        self.send_event(&about.object_ref(&()), event).await;
    }

    async fn send_event(&self, about: &ObjectReference, event: &BundleEvent) {
        let (kind, name) = (about.kind.as_deref().unwrap_or_default(), about.name.as_deref().unwrap_or_default());
        match timeout(TIMEOUT, self.recorder(event).publish(&convert(event), about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("event about {kind} {name} not published: {error}"),
            Err(late) => warn!("event about {kind} {name} not published: {late}"),
        }
    }

    /// Returns the recorder for an event. A recorder merges events of one reason and keeps the first note, which suits
    /// normal events; each warning has a note of its own and so gets a recorder of its own.
    fn recorder(&self, event: &BundleEvent) -> Recorder {
        if event.warning { Recorder::new(self.client.clone(), reporter()) } else { self.normal_recorder.clone() }
    }
}

fn reporter() -> Reporter {
    Reporter { controller: REPORTER.to_owned(), instance: None }
}

fn convert(event: &BundleEvent) -> events::Event {
    events::Event {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.to_string(),
        note: Some(event.note.clone()),
        action: event.action().to_owned(),
        secondary: None,
    }
}
