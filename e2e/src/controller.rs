//! The product under test: its release binary, as a child process, with the
//! token of the `ServiceAccount` that config/ ships and nothing more.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};

use crate::{
    Answer, Clock, ControlPlane, Exit, Mark,
    access::{Access, Caller},
    api_server::lost_port,
    control_plane::{PATIENCE, free_port},
    http_get,
    proxy::Proxy,
    release::release_binary,
    supervised::{Signal, Supervised},
};

/// The user that the shipped `ServiceAccount` is to RBAC and the audit log.
pub const IDENTITY: &str = "system:serviceaccount:cert-manager:rootcast";

const NAMESPACE: &str = "cert-manager";
const SERVICE_ACCOUNT: &str = "rootcast";

/// How often a start is tried when another process takes a free port first.
const PORT_TRIES: usize = 5;

/// A running controller. Dropping it kills it and fails the test when its
/// identity was denied anything meanwhile.
pub struct Controller<'a> {
    control_plane: &'a ControlPlane,
    program: Supervised,
    probes: u16,
    metrics: u16,
    began: Mark,
    denials: Denials,
}

/// How to start a controller.
#[derive(Clone, Copy, Default)]
pub struct Launch<'l> {
    /// Arguments after the harness's own, which are: kubeconfig, ports, no leader election. An argument given again
    /// counts as given last.
    pub args: &'l [&'l str],
    /// On the way to the API server.
    pub through: Option<&'l Proxy>,
    /// Instead of the machine's wall clock.
    pub clock: Option<&'l Clock>,
}

/// What a denied request of the controller's means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denials {
    /// That its shipped permissions do not suffice.
    Fail,
    /// What the test is about.
    Expected,
}

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
        let mut controller = Self::launch_with(control_plane, launch).await?;
        for _ in 1..PORT_TRIES {
            match controller.wait_ready().await {
                Ok(()) => return Ok(controller),
                Err(error) if !lost_port(&mut controller.program)? => return Err(error),
                Err(_) => controller = Self::launch_with(control_plane, launch).await?,
            }
        }
        controller.wait_ready().await?;
        Ok(controller)
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
        let Launch { args, through, clock } = launch;
        let binary = release_binary().await?;
        let access = through.map_or_else(|| control_plane.access.clone(), Proxy::access);
        let kubeconfig = kubeconfig(control_plane, &access).await?;
        let began = control_plane.audit().mark().await?;
        let (probes, metrics) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command
            .arg("controller")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--readiness-probe-port={probes}"))
            .arg(format!("--metrics-port={metrics}"))
            .arg("--leader-elect=false")
            .args(args)
            .current_dir(control_plane.scratch.data())
            .env_remove("KUBECONFIG")
            .env("RUST_BACKTRACE", "1")
            .envs(image_environment())
            .envs(clock.map(Clock::environment).into_iter().flatten());
        let log = control_plane.logs().join(format!("controller-{probes}.log"));
        Ok(Self {
            control_plane,
            program: Supervised::start(&command, &log)?,
            probes,
            metrics,
            began,
            denials: Denials::Fail,
        })
    }

    /// Waits until the readiness probe succeeds.
    ///
    /// # Errors
    /// When the program ends before that, with its log, or after 90 seconds.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            let trouble = match http_get(self.probes, "/readyz").await {
                Ok(Answer { status: 200, .. }) => return Ok(()),
                Ok(Answer { status, body }) => format!("/readyz says {status}: {body}"),
                Err(error) => format!("{error:#}"),
            };
            if let Some(exit) = self.program.exit()? {
                bail!("the controller ended before it was ready ({exit:?}):\n{}", self.logs()?);
            }
            ensure!(began.elapsed() < PATIENCE, "the controller is not ready after {PATIENCE:?}: {trouble}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it takes over 30 seconds, or when its identity was denied anything
    /// since it started.
    pub async fn stop(mut self) -> Result<Exit> {
        self.program.signal(Signal::Terminate);
        let exit = tokio::time::timeout(Duration::from_secs(30), self.program.ended()).await.with_context(|| {
            format!("the controller ignores SIGTERM; its log is {}", self.program.log().display())
        })??;
        self.control_plane.audit().mark().await?;
        let denials = self.denied()?;
        self.denials = Denials::Expected;
        ensure!(denials.is_empty(), "{denials}");
        Ok(exit)
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub async fn kill(mut self) -> Result<Exit> {
        self.program.signal(Signal::Kill);
        self.program.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub async fn ended(&mut self) -> Result<Exit> {
        self.program.ended().await
    }

    /// Stands still (SIGSTOP) until [`Controller::thaw`].
    pub fn freeze(&mut self) {
        self.program.signal(Signal::Stop);
    }

    /// Ends [`Controller::freeze`].
    pub fn thaw(&mut self) {
        self.program.signal(Signal::Continue);
    }

    /// From now on being denied something is part of the test.
    pub fn expect_denials(&mut self) {
        self.denials = Denials::Expected;
    }

    /// Everything it has logged so far.
    ///
    /// # Errors
    /// When the log is gone or is not UTF-8.
    pub fn logs(&self) -> Result<String> {
        fs::read_to_string(self.program.log()).context("reading the controller's log")
    }

    /// Its metrics, as text.
    ///
    /// # Errors
    /// As [`http_get`].
    pub async fn metrics(&self) -> Result<String> {
        Ok(http_get(self.metrics, "/metrics").await?.body)
    }

    /// The port of its probes.
    #[must_use]
    pub fn probe_port(&self) -> u16 {
        self.probes
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The memory that it has in use now (resident set), in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn rss(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it ever had in use, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_rss(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// A line of proc(5)'s status file, whose kB are KiB.
    fn memory(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).context("the controller has ended")?;
        let kib: u64 = status
            .lines()
            .find_map(|candidate| candidate.strip_prefix(line)?.trim().strip_suffix(" kB"))
            .with_context(|| format!("no {line} in the controller's status"))?
            .parse()?;
        Ok(kib * 1024)
    }

    /// What it was denied since its start, in words; empty for nothing.
    fn denied(&self) -> Result<String> {
        if self.denials == Denials::Expected {
            return Ok(String::new());
        }
        let denied = self.control_plane.audit().denied_so_far(IDENTITY, self.began)?;
        if denied.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("the controller's shipped permissions do not suffice: {denied:#?}"))
    }
}

impl Drop for Controller<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            match self.denied() {
                Ok(denials) => assert!(denials.is_empty(), "{denials}"),
                Err(error) => panic!("{error:#}"),
            }
        }
    }
}

/// The environment that the image sets.
fn image_environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../Dockerfile").lines();
    lines
        .filter_map(|line| line.strip_prefix("ENV "))
        .flat_map(str::split_whitespace)
        .filter_map(|pair| pair.split_once('='))
}

/// A kubeconfig with a fresh token of the shipped `ServiceAccount`.
async fn kubeconfig(control_plane: &ControlPlane, access: &Access) -> Result<PathBuf> {
    let accounts = Api::<ServiceAccount>::namespaced(control_plane.client(), NAMESPACE);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(24 * 60 * 60), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(SERVICE_ACCOUNT, &PostParams::default(), &request)
        .await
        .context("asking for a token of the controller's ServiceAccount (is the product installed?)")?
        .status
        .and_then(|status| status.token)
        .context("the answer to a token request holds no token")?;
    access.kubeconfig(Caller::Token(&token))
}
