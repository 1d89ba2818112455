//! Control planes: one that most scenarios share, and one of its own for each that stops the controller or starts it in
//! another way.

use std::time::Duration;

use anyhow::Result;
use rootcast_e2e::{Barrier, ControlPlane, Controller, Options, proxy::Proxy};
use tokio::sync::OnceCell;

/// The settle time of most controllers here.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// [`SETTLE`], as a flag.
pub(crate) const SETTLES: &str = "--settle=2s";

/// The namespace that Bundles may read their sources in beside `cert-manager`.
pub(crate) const TEAM: &str = "redis";

/// What most scenarios share.
pub(crate) struct Stage {
    pub(crate) control_plane: &'static ControlPlane,
    pub(crate) barrier: Barrier<'static>,
    /// What the controller comes through.
    pub(crate) proxy: Proxy,
    pub(crate) controller: Controller<'static>,
}

impl Stage {
    /// The stage, set up by the first that asks.
    pub(crate) async fn shared() -> &'static Self {
        static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        let start = async || {
            let control_plane = PLANE.get_or_try_init(alone).await?;
            control_plane.read_sources_in(TEAM).await?;
            let barrier = Barrier::start(control_plane, false).await?;
            let proxy = Proxy::start(control_plane)?;
            let args = [SETTLES, &format!("--additional-trust-namespaces={TEAM}")];
            let controller = Controller::start_through(control_plane, &proxy, &args).await?;
            Ok::<_, anyhow::Error>(Self { control_plane, barrier, proxy, controller })
        };
        STAGE.get_or_try_init(start).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }
}

/// A control plane with the product installed, and no controller.
pub(crate) async fn alone() -> Result<ControlPlane> {
    let control_plane = empty().await?;
    control_plane.install().await?;
    Ok(control_plane)
}

/// A control plane whose history is never forgotten, and nothing else.
pub(crate) async fn empty() -> Result<ControlPlane> {
    let api_server_flags = vec!["--etcd-compaction-interval=0".to_owned()];
    ControlPlane::start_with(&Options { api_server_flags, ..Options::default() }).await
}
