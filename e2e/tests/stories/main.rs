//! What happens to Bundles in the life of a cluster, played on a real API server with one controller under its shipped
//! permissions: after each step the right bytes are everywhere, and only what had to change was written.

mod chains;
mod formats;
mod inspected;
mod namespaces;
mod owners;
mod sources;
mod specs;
mod targets;

use rootcast_e2e::{Barrier, ControlPlane, Controller, Install};
use tokio::sync::OnceCell;

/// The control plane and the controller that all scenarios share.
async fn stage() -> &'static Barrier<'static> {
    static STAGE: OnceCell<(Controller<'static>, Barrier<'static>)> = OnceCell::const_new();
    let (_, barrier) = STAGE
        .get_or_init(|| async {
            let control_plane = ControlPlane::shared_given().await;
            let install = Install { secret_targets: true, ..Install::default() };
            control_plane.install_with(&install).await.expect("the product can be installed");
            let barrier = Barrier::start(control_plane, true).await.expect("the barrier can be set up");
            let controller = Controller::start(control_plane, &["--secret-targets-enabled"]).await;
            (controller.expect("the controller starts"), barrier)
        })
        .await;
    barrier
}
