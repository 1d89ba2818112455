//! What programs of this run have used, as the kernel counts it.

use std::{
    fs,
    ops::Sub,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// The kernel's unit of CPU time in proc(5): `USER_HZ` is 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// Who uses less CPU than this for [`QUIET_FOR`] has nothing to do but to wait and to look after itself.
const QUIET: Duration = Duration::from_millis(60);
const QUIET_CONTROLLER: Duration = Duration::from_millis(20);
const QUIET_FOR: Duration = Duration::from_secs(1);

/// How long it may take to get quiet.
const PATIENCE: Duration = Duration::from_mins(10);

/// Time, and the CPU time of everybody involved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    at: Instant,
    pub(crate) cpu: Cpu,
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) api_server: Duration,
    pub(crate) etcd: Duration,
    /// Of this program.
    pub(crate) bench: Duration,
    /// Of the product, where it runs.
    pub(crate) controller: Duration,
}

impl Cpu {
    /// Of all of them together: on a busy machine this varies less than time does.
    pub(crate) fn of_all(&self) -> Duration {
        let Self { api_server, etcd, bench, controller } = *self;
        api_server + etcd + bench + controller
    }
}

/// What was used in between.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) time: Duration,
    pub(crate) cpu: Cpu,
}

/// The programs to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processes {
    api_server: u32,
    etcd: u32,
    controller: Option<u32>,
}

impl Processes {
    /// The programs of the one control plane that this process runs.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self { api_server: descendant("kube-apiserver")?, etcd: descendant("etcd")?, controller: None })
    }

    /// With the product.
    pub(crate) fn and(self, controller: u32) -> Self {
        Self { controller: Some(controller), ..self }
    }

    /// What they have used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let Self { api_server, etcd, controller } = *self;
        let cpu = Cpu {
            api_server: cpu_time(api_server)?,
            etcd: cpu_time(etcd)?,
            bench: cpu_time(process::id())?,
            controller: controller.map_or(Ok(Duration::ZERO), cpu_time)?,
        };
        Ok(Usage { at: Instant::now(), cpu })
    }

    /// Waits until API server and controller have nothing to do.
    pub(crate) async fn quiet(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let start = self.usage()?;
            tokio::time::sleep(QUIET_FOR).await;
            let used = self.since(&start)?.cpu;
            if used.api_server < QUIET && used.controller < QUIET_CONTROLLER {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "it does not get quiet: {used:?} in {QUIET_FOR:?}");
        }
    }

    /// The file that the store runs.
    pub(crate) fn etcd_program(&self) -> Result<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.etcd)).context("etcd has ended")
    }

    /// What they have used since then.
    pub(crate) fn since(&self, start: &Usage) -> Result<Used> {
        Ok(self.usage()? - *start)
    }
}

impl Sub for Usage {
    type Output = Used;

    fn sub(self, start: Self) -> Used {
        let between = |end: Duration, start: Duration| end.saturating_sub(start);
        let cpu = Cpu {
            api_server: between(self.cpu.api_server, start.cpu.api_server),
            etcd: between(self.cpu.etcd, start.cpu.etcd),
            bench: between(self.cpu.bench, start.cpu.bench),
            controller: between(self.cpu.controller, start.cpu.controller),
        };
        Used { time: self.at - start.at, cpu }
    }
}

/// CPU time of a process, its ended threads included, in steps of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let [user, system] = stat(pid)?.times;
    Ok(TICK * u32::try_from(user + system)?)
}

/// The memory that a process has in use now (resident set), in bytes.
pub(crate) fn rss(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(line.context("a program has memory")?.parse::<u64>()? * 1024)
}

/// As much of `/proc/<pid>/stat` as is of use here.
struct Stat {
    name: String,
    parent: u32,
    times: [u64; 2],
}

fn stat(pid: u32) -> Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
    let (start, rest) = text.rsplit_once(')').context("a process has a name")?;
    let name = start.split_once('(').context("a process has a name")?.1.to_owned();
    // From the third field of proc(5) on.
    let fields: Vec<_> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).with_context(|| format!("no field {number} in stat"));
    Ok(Stat { name, parent: field(4)?.parse()?, times: [field(14)?.parse()?, field(15)?.parse()?] })
}

/// The process of this name that we or our children have started.
fn descendant(name: &str) -> Result<u32> {
    let processes = fs::read_dir(Path::new("/proc")).context("this benchmark needs Linux")?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| stat(*pid).is_ok_and(|stat| stat.name == name) && is_ours(*pid))
        .with_context(|| format!("{name} does not run"))
}

fn is_ours(pid: u32) -> bool {
    let parents =
        std::iter::successors(Some(pid), |pid| stat(*pid).ok().map(|stat| stat.parent).filter(|pid| *pid > 1));
    parents.skip(1).any(|parent| parent == process::id())
}
