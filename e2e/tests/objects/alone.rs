//! A control plane for scenarios that change what the controller may do, or that stop it: one at a time, each with a
//! controller of its own.

use anyhow::Result;
use rootcast_e2e::{ControlPlane, Install};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

pub(crate) struct Alone {
    pub(crate) control_plane: &'static ControlPlane,
    _turn: MutexGuard<'static, ()>,
}

/// Its turn, with the shipped permissions in place and no others.
pub(crate) async fn alone() -> Result<Alone> {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let control_plane = PLANE.get_or_try_init(ControlPlane::start).await?;
    control_plane.install_with(&Install { secret_targets: true, ..Install::default() }).await?;
    let others =
        ["delete", "clusterrolebinding,rolebinding", "--all-namespaces", "-l", "scenario", "--ignore-not-found"];
    control_plane.kubectl_ok(&others, "")?;
    Ok(Alone { control_plane, _turn: turn })
}
