//! What the scenarios of this binary share: one control plane, one controller without Secret targets.

use std::fs;

use anyhow::{Context as _, Result};
use rootcast_e2e::{Barrier, ControlPlane, Controller, IDENTITY, Mark, Options, eventually, scenario::SOON};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::log;

/// The shared control plane and who runs on it.
pub(crate) struct Stage {
    pub(crate) control_plane: &'static ControlPlane,
    pub(crate) barrier: Barrier<'static>,
    pub(crate) controller: Controller<'static>,
}

impl Stage {
    /// The stage, set up by the first that asks.
    pub(crate) async fn shared() -> &'static Self {
        static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        let start = async || {
            let control_plane = PLANE.get_or_try_init(that_records_secrets).await?;
            control_plane.install().await?;
            let barrier = Barrier::start(control_plane, false).await?;
            let controller = Controller::start(control_plane, &[]).await?;
            Ok::<_, anyhow::Error>(Self { control_plane, barrier, controller })
        };
        STAGE.get_or_try_init(start).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }

    /// What must hold whatever was played: the log betrays nothing, and nothing was denied.
    pub(crate) async fn is_in_order(&self) -> Result<()> {
        log::betrays_nothing(&self.controller.logs()?);
        assert_eq!(self.control_plane.audit().denied(IDENTITY, Mark::default()).await?, []);
        Ok(())
    }

    /// The lines of the controller's log about a Bundle, once there are as many; more are a fault.
    pub(crate) async fn lines_about(&self, bundle: &str, since: usize, count: usize) -> Vec<String> {
        let about = format!("bundle=\"{bundle}\"");
        let lines = eventually("lines in the log", SOON, async || {
            let log = self.controller.logs()?;
            let lines: Vec<_> = log[since..].lines().filter(|line| line.contains(&about)).map(str::to_owned).collect();
            anyhow::ensure!(lines.len() >= count, "{lines:#?}");
            Ok(lines)
        })
        .await;
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }
}

/// A control plane whose audit log also holds what the controller was answered about Secrets.
async fn that_records_secrets() -> Result<ControlPlane> {
    let policy = tempfile::NamedTempFile::new().context("a file for the audit policy")?;
    let rules = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\nrules:\n\
         - {{level: None, users: [system:apiserver]}}\n\
         - {{level: RequestResponse, users: [{IDENTITY:?}], resources: [{{group: '', resources: [secrets]}}]}}\n\
         - {{level: Metadata}}\n"
    );
    fs::write(policy.path(), rules).context("writing the audit policy")?;
    let flag = format!("--audit-policy-file={}", policy.path().display());
    ControlPlane::start_with(&Options { api_server_flags: vec![flag], ..Options::default() }).await
}

/// The audit events of the controller's requests about Secrets, as they were logged.
pub(crate) async fn requests_for_secrets(control_plane: &ControlPlane) -> Result<Vec<Value>> {
    control_plane.audit().mark().await?;
    let log = fs::read_to_string(control_plane.logs().join("audit.log")).context("reading the audit log")?;
    let events = log.lines().filter(|line| line.contains(IDENTITY) && line.contains("\"secrets\""));
    let events = events.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let of_controller =
        |event: &Value| event["user"]["username"] == IDENTITY && event["objectRef"]["resource"] == "secrets";
    Ok(events.into_iter().filter(of_controller).collect())
}
