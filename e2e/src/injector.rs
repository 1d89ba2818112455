//! `rootcast injector` under test: replicas behind one address, as a Service has them.

use std::ops::{Deref, DerefMut};

use anyhow::Result;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;

use crate::{
    ControlPlane, Exit,
    balancer::{Balancer, Place},
    control_plane::free_port,
    eventually,
    product::{Launch, NAMESPACE, Product, Role, until_ready},
    scenario::SOON,
};

/// The user that the shipped `ServiceAccount` is to RBAC and the audit log.
pub const INJECTOR_IDENTITY: &str = "system:serviceaccount:cert-manager:rootcast-injector";

/// The Deployment that ships it.
const MANIFEST: &str = "config/injector/deployment.yaml";

/// A running injector, as a [`Product`], and its place behind a balancer. As a pod does, it leaves that place before
/// it is asked to end.
pub struct Injector<'a> {
    place: Place,
    product: Product<'a>,
}

impl<'a> Injector<'a> {
    /// Starts `rootcast injector` with these arguments beside the harness's own: kubeconfig, ports and namespace. The
    /// injector must be installed. Returns when it is ready and takes part behind the balancer.
    ///
    /// # Errors
    /// When the release binary does not build, or the injector ends or is not ready in 90 seconds.
    pub async fn start(control_plane: &'a ControlPlane, balancer: &Balancer, args: &[&str]) -> Result<Self> {
        Self::start_with(control_plane, balancer, Launch { args, ..Launch::default() }).await
    }

    /// [`Injector::start`] in any other way.
    ///
    /// # Errors
    /// As [`Injector::start`].
    pub async fn start_with(control_plane: &'a ControlPlane, balancer: &Balancer, launch: Launch<'_>) -> Result<Self> {
        Self::enter(control_plane, balancer, launch, |args| Role {
            name: "injector",
            subcommand: Some("injector"),
            account: "rootcast-injector",
            manifest: MANIFEST,
            args,
            env: &[],
        })
        .await
    }

    /// [`Injector::start`] as cainjector's manifests start it: no subcommand, its environment, and an identity that may
    /// do nothing.
    ///
    /// # Errors
    /// As [`Injector::start`].
    pub async fn start_as_cainjector(
        control_plane: &'a ControlPlane,
        balancer: &Balancer,
        args: &[&str],
    ) -> Result<Self> {
        // The controller manager makes it in its own time.
        eventually("the default account is there", SOON, async || {
            Api::<ServiceAccount>::namespaced(control_plane.client(), NAMESPACE).get("default").await?;
            Ok(())
        })
        .await;
        let launch = Launch { args, ..Launch::default() };
        Self::enter(control_plane, balancer, launch, |args| Role {
            name: "cainjector",
            subcommand: None,
            account: "default",
            manifest: MANIFEST,
            args,
            env: &[("OPERATOR_NAME", "cainjector"), ("OPERATOR_DOMAIN", "lestak.sh")],
        })
        .await
    }

    async fn enter<'r>(
        control_plane: &'a ControlPlane,
        balancer: &Balancer,
        launch: Launch<'_>,
        role: impl Fn(Vec<String>) -> Role<'r>,
    ) -> Result<Self> {
        let injector = until_ready(async || {
            let port = free_port()?;
            let role = role(vec![format!("--port={port}"), format!("--namespace={NAMESPACE}")]);
            Ok(Self { product: Product::launch(control_plane, role, launch).await?, place: balancer.place(port) })
        })
        .await?;
        injector.place.open();
        Ok(injector)
    }

    /// The port that it serves reviews on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.place.port()
    }

    /// How many connections the balancer has given it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.place.connections()
    }

    /// Takes it away from behind the balancer, asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it takes over 30 seconds, or when its identity was denied anything since it started.
    pub async fn stop(self) -> Result<Exit> {
        let Self { place, product } = self;
        drop(place);
        product.stop().await
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub async fn kill(self) -> Result<Exit> {
        let Self { place: _still, product } = self;
        product.kill().await
    }
}

impl<'a> Deref for Injector<'a> {
    type Target = Product<'a>;

    fn deref(&self) -> &Product<'a> {
        &self.product
    }
}

impl<'a> DerefMut for Injector<'a> {
    fn deref_mut(&mut self) -> &mut Product<'a> {
        &mut self.product
    }
}
