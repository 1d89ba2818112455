//! What most scenarios of this binary share: one control plane with a crowd of namespaces, one controller.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rootcast_e2e::{Barrier, ControlPlane, Controller};
use tokio::sync::OnceCell;

use crate::crowd;

pub(crate) struct Stage {
    pub(crate) control_plane: &'static ControlPlane,
    pub(crate) barrier: Barrier<'static>,
    pub(crate) _controller: Controller<'static>,
}

impl Stage {
    /// The stage, set up by the first that asks.
    pub(crate) async fn shared() -> &'static Self {
        static STAGE: OnceCell<Stage> = OnceCell::const_new();
        let start = async || {
            let control_plane = ControlPlane::shared().await;
            control_plane.install().await?;
            let names = crowd::names();
            let join = async |name: &String| control_plane.namespace(name, &[("crowd", "everyone")]).await;
            stream::iter(&names).map(join).buffer_unordered(8).try_for_each(async |_| Ok(())).await?;
            let barrier = Barrier::start(control_plane, false).await?;
            let controller = Controller::start(control_plane, &[]).await?;
            Ok::<_, anyhow::Error>(Self { control_plane, barrier, _controller: controller })
        };
        STAGE.get_or_try_init(start).await.unwrap_or_else(|error| panic!("setting the stage: {error:#}"))
    }

    /// The audit log and who to ask, for one scenario.
    pub(crate) async fn sight(&self) -> Result<crate::sight::Sight<'static>> {
        crate::sight::Sight::new(self.control_plane).await
    }
}
