//! A control plane, a proxy, and the controller that may come through it.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};
use rootcast_e2e::{
    Barrier, Clock, ControlPlane, Controller, IDENTITY, Launch, Mark, Options, http_get, proxy::Proxy,
    scenario::TRUST_NAMESPACE,
};
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    task::JoinHandle,
};

/// Where a scenario plays.
pub(crate) struct Stage<'a> {
    pub(crate) control_plane: &'a ControlPlane,
    pub(crate) proxy: Proxy,
    pub(crate) controller: Controller<'a>,
    pub(crate) barrier: Barrier<'a>,
}

/// How the controller reaches the API server.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// Itself.
    Direct,
    /// Through the proxy, as the leader that it stays throughout.
    Proxied,
}

/// Leader election with its own terms.
const ELECTION: [&str; 2] = ["--leader-elect=true", "--leader-election-namespace=cert-manager"];

/// etcd remembers everything, for the scenarios' reckoning.
pub(crate) const REMEMBER: &str = "--etcd-compaction-interval=0";

impl<'a> Stage<'a> {
    /// Sets the stage; the controller is ready, and reads this clock instead of the machine's.
    pub(crate) async fn set(control_plane: &'a ControlPlane, way: Way, clock: Option<&Clock>) -> Result<Self> {
        control_plane.install().await?;
        let barrier = Barrier::start(control_plane, false).await?;
        let proxy = Proxy::start(control_plane)?;
        let (args, through): (&[&str], _) = match way {
            Way::Direct => (&[], None),
            Way::Proxied => (&ELECTION, Some(&proxy)),
        };
        let launch = Launch { args, through, clock, ..Launch::default() };
        let controller = Controller::start_with(control_plane, launch).await?;
        Ok(Self { control_plane, proxy, controller, barrier })
    }

    /// What must hold whatever was played.
    pub(crate) async fn is_in_order(&self) -> Result<()> {
        assert_eq!(self.control_plane.audit().denied(IDENTITY, Mark::default()).await?, []);
        let leases = Api::<Lease>::namespaced(self.control_plane.client(), TRUST_NAMESPACE);
        let terms = leases.list(&ListParams::default()).await?;
        let terms: Vec<_> = terms.iter().filter_map(|lease| lease.spec.as_ref()?.lease_transitions).collect();
        assert!(terms.iter().all(|&term| term == 0), "terms of leaders: {terms:?}");
        Ok(())
    }
}

/// A control plane with further flags of the API server.
pub(crate) async fn control_plane(flags: &[&str]) -> Result<ControlPlane> {
    let api_server_flags = [&[REMEMBER], flags].concat().into_iter().map(str::to_owned).collect();
    ControlPlane::start_with(&Options { api_server_flags, ..Options::default() }).await
}

/// The stage that scenarios share, one after the other: their faults are for everything that comes through its proxy.
pub(crate) async fn shared() -> MutexGuard<'static, Stage<'static>> {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    static STAGE: OnceCell<Mutex<Stage<'static>>> = OnceCell::const_new();
    let start = async || {
        let control_plane = PLANE.get_or_try_init(|| control_plane(&[])).await?;
        Ok::<_, anyhow::Error>(Mutex::new(Stage::set(control_plane, Way::Proxied, None).await?))
    };
    let stage = STAGE.get_or_try_init(start).await;
    stage.unwrap_or_else(|error| panic!("setting the stage: {error:#}")).lock().await
}

/// The probes of a controller, looked at all the time.
pub(crate) struct Probes(JoinHandle<()>);

impl Probes {
    /// Begins to look.
    pub(crate) fn watch(controller: &Controller<'_>) -> Self {
        let port = controller.probe_port();
        Self(tokio::spawn(async move {
            loop {
                for path in ["/readyz", "/healthz"] {
                    let answer = http_get(port, path).await.unwrap_or_else(|error| panic!("{error:#}"));
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }

    /// Whether all was well all the time.
    pub(crate) async fn were_well(self) -> Result<()> {
        self.0.abort();
        match self.0.await {
            Err(error) if !error.is_cancelled() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
