//! What the admin sees: the Bundle's status and events.

use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{self, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::json;

use crate::api::{self, Bundle};
use crate::bundle::{Event, Report};

use super::contents::Version;

/// The component that events name as their source.
const REPORTER: &str = "bundles";

/// Publishes reports.
#[derive(Clone)]
pub(super) struct Publisher {
    /// Answers are read as metadata only: a Bundle that does not fit the wire types gets a status, too.
    bundles: Api<PartialObjectMeta<Bundle>>,
    events: Recorder,
}

impl Publisher {
    /// A publisher that signs events with this process's host name.
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: REPORTER.to_owned(), instance: None };
        Self { bundles: Api::all(client.clone()), events: Recorder::new(client, reporter) }
    }

    /// Writes the status, if it is news, and then the event, if there is one.
    ///
    /// The status is applied as field manager `trust-manager`, whole: what that manager wrote before and we do not know
    /// is taken out, and so it will be with ours when trust-manager comes back.
    ///
    /// Returns the Bundle's resource version after the write, if there was one.
    ///
    /// # Errors
    /// When the API server does not take it. A Bundle that is gone or was replaced meanwhile is no error.
    pub(super) async fn publish(
        &self,
        name: &str,
        uid: &str,
        report: &Report,
        status_is_news: bool,
    ) -> Result<Option<Version>, kube::Error> {
        let mut version = None;
        if status_is_news {
            let patch = json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": { "name": name, "uid": uid },
                "status": report.status,
            });
            let params = PatchParams::apply(api::FIELD_MANAGER).force();
            match self.bundles.patch_status(name, &params, &Patch::Apply(patch)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                    return Ok(None);
                }
                result => version = Some(Version::of(&result?.metadata)),
            }
        }
        if let Some(event) = &report.event {
            let mut about = Bundle::new(name, api::BundleSpec::default());
            about.metadata.uid = Some(uid.to_owned());
            self.events.publish(&convert(event), &about.object_ref(&())).await?;
        }
        Ok(version)
    }
}

fn convert(event: &Event) -> events::Event {
    events::Event {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.to_string(),
        note: Some(event.note.clone()),
        action: event.action().to_owned(),
        secondary: None,
    }
}
