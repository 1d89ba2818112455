//! What the admin sees: the Bundle's status and events.

use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{self, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;

use crate::api::{self, Bundle};
use crate::bundle::{Event, Report};

use super::apply::TIMEOUT;
use super::contents::Version;

/// The component that events name as their source.
const REPORTER: &str = "bundles";

/// Publishes reports.
#[derive(Clone)]
pub(super) struct Publisher {
    client: Client,
    /// Answers are read as metadata only: a Bundle that does not fit the wire types gets a status, too.
    bundles: Api<PartialObjectMeta<Bundle>>,
    good_news: Recorder,
}

/// What a Bundle is after its status was written.
pub(super) struct Answer {
    /// Its resource version.
    pub(super) version: Version,
    /// Its generation.
    pub(super) generation: Option<i64>,
}

impl Publisher {
    /// A publisher that signs events with this process's host name.
    pub(super) fn new(client: Client) -> Self {
        Self { bundles: Api::all(client.clone()), good_news: Recorder::new(client.clone(), reporter()), client }
    }

    /// Writes the status, if it is news, and then the event, if there is one.
    ///
    /// The status is applied as field manager `trust-manager`, whole: what that manager wrote before and we do not know
    /// is taken out, and so it will be with ours when trust-manager comes back.
    ///
    /// Returns what the Bundle is after the write, if there was one. An event that is not taken is only logged: the status
    /// says the same.
    ///
    /// # Errors
    /// When the API server does not take the status, in words. A Bundle that is gone or was replaced meanwhile is no error.
    pub(super) async fn publish(
        &self,
        name: &str,
        uid: &str,
        report: &Report,
        status_is_news: bool,
    ) -> Result<Option<Answer>, String> {
        let mut answer = None;
        if status_is_news {
            let patch = json!({
                "apiVersion": api::API_VERSION, "kind": api::KIND,
                "metadata": { "name": name, "uid": uid },
                "status": report.status,
            });
            let params = PatchParams::apply(api::FIELD_MANAGER).force();
            let patch = Patch::Apply(patch);
            match timeout(TIMEOUT, self.bundles.patch_status(name, &params, &patch)).await {
                Err(late) => return Err(late.to_string()),
                Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => return Ok(None),
                Ok(Err(error)) => return Err(error.to_string()),
                Ok(Ok(bundle)) => {
                    let version = Version::of(&bundle.metadata);
                    answer = Some(Answer { version, generation: bundle.metadata.generation });
                }
            }
        }
        if let Some(event) = &report.event {
            let mut about = Bundle::new(name, api::BundleSpec::default());
            about.metadata.uid = Some(uid.to_owned());
            match timeout(TIMEOUT, self.recorder(event).publish(&convert(event), &about.object_ref(&()))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(bundle = name, "event not published: {error}"),
                Err(late) => warn!(bundle = name, "event not published: {late}"),
            }
        }
        Ok(answer)
    }

    /// The recorder counts events of one reason as one, with the first one's note. That suits good news; each warning is
    /// to have its own words.
    fn recorder(&self, event: &Event) -> Recorder {
        if event.warning { Recorder::new(self.client.clone(), reporter()) } else { self.good_news.clone() }
    }
}

fn reporter() -> Reporter {
    Reporter { controller: REPORTER.to_owned(), instance: None }
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
