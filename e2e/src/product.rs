//! The product under test: its release binary, as a child process, with the token of a `ServiceAccount` that config/
//! ships and nothing more.

use std::{
    fs,
    ops::DerefMut,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    Answer, Clock, ControlPlane, Exit, Mark,
    access::workspace,
    account::kubeconfig,
    api_server::lost_port,
    cgroup::MemoryGroup,
    control_plane::{PATIENCE, free_port},
    http_get,
    proxy::Proxy,
    release::{dynamic_binary, release_binary},
    supervised::{Signal, Supervised},
    tunnel::Tunnel,
};

/// The namespace of the shipped `ServiceAccounts`.
pub(crate) const NAMESPACE: &str = "cert-manager";

/// How often a start is tried when another process takes a free port first.
const PORT_TRIES: usize = 5;

/// One running program of the product. Dropping it kills it and fails the test when its identity was denied anything
/// meanwhile, or when the kernel killed it at its memory limit.
pub struct Product<'a> {
    control_plane: &'a ControlPlane,
    name: &'static str,
    identity: String,
    program: Supervised,
    memory: Option<MemoryGroup>,
    probes: u16,
    metrics: u16,
    began: Mark,
    denials: Denials,
}

/// How to start it.
#[derive(Clone, Copy, Default)]
pub struct Launch<'l> {
    /// The program, instead of the one that this tree builds.
    pub binary: Option<&'l Path>,
    /// Arguments after the harness's own. An argument given again counts as given last.
    pub args: &'l [&'l str],
    /// On the way to the API server.
    pub through: Option<&'l Proxy>,
    /// The proxy that its environment names, for an API server that it cannot reach otherwise.
    pub tunnel: Option<&'l Tunnel>,
    /// Instead of the machine's wall clock.
    pub clock: Option<&'l Clock>,
    /// As in a pod: in a memory cgroup with the limit that its manifest ships, and with 1,024 open files unless it asks
    /// for more. Takes root.
    pub confined: bool,
}

/// What is to run, and as whom.
pub(crate) struct Role<'r> {
    /// What tests and logs call it.
    pub(crate) name: &'static str,
    /// Its subcommand, where one is named.
    pub(crate) subcommand: Option<&'r str>,
    /// The name of its `ServiceAccount` in [`NAMESPACE`].
    pub(crate) account: &'r str,
    /// The Deployment that ships it.
    pub(crate) manifest: &'static str,
    /// Arguments beside those that all have: kubeconfig and the ports of probes and metrics.
    pub(crate) args: Vec<String>,
    /// Environment beside the image's.
    pub(crate) env: &'r [(&'r str, &'r str)],
}

/// What a denied request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denials {
    /// That the shipped permissions do not suffice.
    Fail,
    /// What the test is about.
    Expected,
}

/// Launches until a program is ready, again where another process took one of its ports.
pub(crate) async fn until_ready<'a, T: DerefMut<Target = Product<'a>>>(
    launch: impl AsyncFn() -> Result<T>,
) -> Result<T> {
    let mut running = launch().await?;
    for _ in 1..PORT_TRIES {
        match running.wait_ready().await {
            Ok(()) => return Ok(running),
            Err(error) if !lost_port(&mut running.program)? => return Err(error),
            Err(_) => running = launch().await?,
        }
    }
    running.wait_ready().await?;
    Ok(running)
}

impl<'a> Product<'a> {
    /// Starts it and does not wait.
    pub(crate) async fn launch(control_plane: &'a ControlPlane, role: Role<'_>, launch: Launch<'_>) -> Result<Self> {
        let Role { name, subcommand, account, manifest, args: own, env } = role;
        let Launch { binary, args, through, tunnel, clock, confined } = launch;
        let binary = match binary {
            Some(binary) => binary,
            None if clock.is_some() => dynamic_binary().await?,
            None => release_binary().await?,
        };
        let access = through.map(Proxy::access).or(tunnel.map(Tunnel::access));
        let access = access.unwrap_or_else(|| control_plane.access.clone());
        let kubeconfig = kubeconfig(control_plane, &access, account).await?;
        let began = control_plane.audit().mark().await?;
        let (probes, metrics) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command
            .args(subcommand)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--readiness-probe-port={probes}"))
            .arg(format!("--metrics-port={metrics}"))
            .args(own)
            .args(args)
            .current_dir(control_plane.scratch.data())
            .env_remove("KUBECONFIG")
            .env("RUST_BACKTRACE", "1")
            .envs(image_environment())
            .envs(env.iter().copied())
            .envs(tunnel.map(|tunnel| ("HTTPS_PROXY", tunnel.url())))
            .envs(clock.map(Clock::environment).into_iter().flatten());
        let memory = confined.then(|| MemoryGroup::new(shipped_memory_limit(manifest)?)).transpose()?;
        if let Some(memory) = &memory {
            command = memory.enter(&command);
        }
        let log = control_plane.logs().join(format!("{name}-{probes}.log"));
        Ok(Self {
            control_plane,
            name,
            identity: format!("system:serviceaccount:{NAMESPACE}:{account}"),
            program: Supervised::start(&command, &log)?,
            memory,
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
        let (name, began) = (self.name, Instant::now());
        loop {
            let trouble = match http_get(self.probes, "/readyz").await {
                Ok(Answer { status: 200, .. }) => return Ok(()),
                Ok(Answer { status, body }) => format!("/readyz says {status}: {body}"),
                Err(error) => format!("{error:#}"),
            };
            if let Some(exit) = self.program.exit()? {
                self.had_enough_memory()?;
                bail!("the {name} ended before it was ready ({exit:?}):\n{}", self.logs()?);
            }
            ensure!(began.elapsed() < PATIENCE, "the {name} is not ready after {PATIENCE:?}: {trouble}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it takes over 30 seconds, or when its identity was denied anything
    /// since it started.
    pub(crate) async fn stop(mut self) -> Result<Exit> {
        self.program.signal(Signal::Terminate);
        let exit = tokio::time::timeout(Duration::from_secs(30), self.program.ended()).await.with_context(|| {
            format!("the {} ignores SIGTERM; its log is {}", self.name, self.program.log().display())
        })??;
        self.had_enough_memory()?;
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
    pub(crate) async fn kill(mut self) -> Result<Exit> {
        self.program.signal(Signal::Kill);
        self.program.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When the operating system does not tell, or the kernel killed it at its memory limit.
    pub async fn ended(&mut self) -> Result<Exit> {
        let exit = self.program.ended().await?;
        self.had_enough_memory()?;
        Ok(exit)
    }

    /// Fails when it has ended, and says so when the kernel killed it at its memory limit.
    ///
    /// # Errors
    /// With its log.
    pub fn is_alive(&mut self) -> Result<()> {
        self.had_enough_memory()?;
        match self.program.exit()? {
            None => Ok(()),
            Some(exit) => bail!("the {} has ended ({exit:?}):\n{}", self.name, self.logs()?),
        }
    }

    /// Stands still (SIGSTOP) until [`Product::thaw`].
    pub fn freeze(&mut self) {
        self.program.signal(Signal::Stop);
    }

    /// Ends [`Product::freeze`].
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
        fs::read_to_string(self.program.log()).with_context(|| format!("reading the {}'s log", self.name))
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

    /// The port of its metrics.
    #[must_use]
    pub fn metrics_port(&self) -> u16 {
        self.metrics
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
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it ever had in use, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_rss(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// The most memory that its cgroup ever held, in bytes: what the kernel counts when it compares with the limit.
    ///
    /// # Errors
    /// When it is not confined.
    pub fn peak_of_cgroup(&self) -> Result<u64> {
        self.memory.as_ref().with_context(|| format!("the {} is not confined", self.name))?.peak()
    }

    /// Fails when the kernel killed it at its memory limit.
    fn had_enough_memory(&self) -> Result<()> {
        self.memory.as_ref().map_or(Ok(()), |memory| memory.was_enough_for(self.name))
    }

    /// A line of proc(5)'s status file, whose kB are KiB.
    fn status_bytes(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .with_context(|| format!("the {} has ended", self.name))?;
        let kib: u64 = status
            .lines()
            .find_map(|candidate| candidate.strip_prefix(line)?.trim().strip_suffix(" kB"))
            .with_context(|| format!("no {line} in the {}'s status", self.name))?
            .parse()?;
        Ok(kib * 1024)
    }

    /// What it was denied since its start, in words; empty for nothing.
    fn denied(&self) -> Result<String> {
        if self.denials == Denials::Expected {
            return Ok(String::new());
        }
        let denied = self.control_plane.audit().denied_so_far(&self.identity, self.began)?;
        if denied.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("the {}'s shipped permissions do not suffice: {denied:#?}", self.name))
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // The test fails of something that follows from this.
            if let Err(error) = self.had_enough_memory() {
                eprintln!("{error:#}");
            }
        } else {
            if let Err(error) = self.had_enough_memory() {
                panic!("{error:#}");
            }
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

/// The memory limit that a Deployment of config/ ships, in bytes.
fn shipped_memory_limit(manifest: &str) -> Result<u64> {
    let text = fs::read_to_string(workspace().join(manifest)).with_context(|| format!("reading {manifest}"))?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).with_context(|| format!("reading {manifest}"))?;
    let at = "/spec/template/spec/containers/0/resources/limits/memory";
    let limit = objects.iter().find_map(|object| object.pointer(at)?.as_str());
    let mebibytes = limit.and_then(|limit| limit.strip_suffix("Mi")).and_then(|count| count.parse::<u64>().ok());
    Ok(mebibytes.with_context(|| format!("{manifest} limits memory in Mi, and not to {limit:?}"))? << 20)
}
