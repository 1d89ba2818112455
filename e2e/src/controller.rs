//! `rootcast controller` under test.

use std::ops::{Deref, DerefMut};

use anyhow::Result;

use crate::{
    ControlPlane, Exit,
    product::{Launch, Product, Role, until_ready},
    proxy::Proxy,
};

/// The user that the shipped `ServiceAccount` is to RBAC and the audit log.
pub const IDENTITY: &str = "system:serviceaccount:cert-manager:rootcast";

/// A running controller, as a [`Product`].
pub struct Controller<'a>(Product<'a>);

impl<'a> Controller<'a> {
    /// Starts `rootcast controller` with these arguments beside the harness's
    /// own: kubeconfig, ports, no leader election. The product must be
    /// installed. Returns when the controller is ready.
    ///
    /// # Errors
    /// When the release binary does not build, or the controller ends or is not
    /// ready in 90 seconds.
    pub async fn start(control_plane: &'a ControlPlane, args: &[&str]) -> Result<Self> {
        Self::start_with(control_plane, Launch { args, ..Launch::default() }).await
    }

    /// [`Controller::start`] through a proxy.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn start_through(control_plane: &'a ControlPlane, proxy: &Proxy, args: &[&str]) -> Result<Self> {
        Self::start_with(control_plane, Launch { args, through: Some(proxy), ..Launch::default() }).await
    }

    /// [`Controller::start`] in any other way.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn start_with(control_plane: &'a ControlPlane, launch: Launch<'_>) -> Result<Self> {
        until_ready(async || Self::launch_with(control_plane, launch).await).await
    }

    /// [`Controller::start`] without waiting until it is ready, for those that
    /// never get there.
    ///
    /// # Errors
    /// When the release binary does not build or the product is not installed.
    pub async fn launch(control_plane: &'a ControlPlane, args: &[&str]) -> Result<Self> {
        Self::launch_with(control_plane, Launch { args, ..Launch::default() }).await
    }

    /// [`Controller::start_with`] without waiting until it is ready.
    ///
    /// # Errors
    /// As [`Controller::launch`].
    pub async fn launch_with(control_plane: &'a ControlPlane, launch: Launch<'_>) -> Result<Self> {
        let role = Role {
            name: "controller",
            subcommand: Some("controller"),
            account: "rootcast",
            manifest: "config/manager/deployment.yaml",
            args: vec!["--leader-elect=false".to_owned()],
            env: &[],
        };
        Ok(Self(Product::launch(control_plane, role, launch).await?))
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it takes over 30 seconds, or when its identity was denied anything
    /// since it started.
    pub async fn stop(self) -> Result<Exit> {
        self.0.stop().await
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub async fn kill(self) -> Result<Exit> {
        self.0.kill().await
    }
}

impl<'a> Deref for Controller<'a> {
    type Target = Product<'a>;

    fn deref(&self) -> &Product<'a> {
        &self.0
    }
}

impl<'a> DerefMut for Controller<'a> {
    fn deref_mut(&mut self) -> &mut Product<'a> {
        &mut self.0
    }
}
