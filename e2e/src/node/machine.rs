//! The machine in the machine: mount, network, process, host name and IPC namespaces
//! of their own under one first process. When that is killed, the kernel ends all that
//! runs there and drops mounts, interfaces and routes.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::run;
use crate::{
    janitor::Janitor,
    scratch::Scratch,
    supervised::{Signal, Supervised},
};

/// The node's name.
pub(super) const NAME: &str = "rcnode";
/// Our end of the cable.
pub(super) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 171, 0, 1));
/// The node's end, which is the node's address.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 171, 0, 2);
/// Where the API server listens.
pub(super) const API_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(ADDRESS), 6443);
/// Addresses of pods.
pub(super) const PODS: &str = "10.245.0.0/24";
/// Addresses of Services.
pub(super) const SERVICES: &str = "10.97.0.0/16";
/// The Service `kubernetes`: the first of them.
pub(super) const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
/// Our interface; there is one of this name, and so one node at a time.
const INTERFACE: &str = "rcnode0";

/// The first process: it sleeps, and waits for the children of others that come to it, as they all do in the end.
const INIT: &str = "sleep infinity & wait";

/// `sh -c SETUP setup DATA NAME ADDRESS HOST SERVICES`: from bare namespaces to a machine that programs can run on.
/// The kubelet writes settings that are the whole machine's: files laid over them take that instead. The route to
/// Services leads nowhere: their addresses are replaced on the way.
const SETUP: &str = r#"
set -eu
hostname "$2"
mkdir -p "$1/lib/kubelet" "$1/log/pods" "$1/settings"
mount -t tmpfs tmpfs /run
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$1/settings/$(echo "${setting%=*}" | tr / -)
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
ip link set lo up
ip address add "$3/30" dev eth0
ip link set eth0 up
ip route add "$5" via "$4"
echo 1 >/proc/sys/net/ipv4/ip_forward
"#;

/// Takes our end of the cable away, unless one of another node has its name by now: what is left of connections would
/// keep it for a minute or more.
const UNPLUG: &str = r#"
[ "$(cat "/sys/class/net/$1/ifindex")" = "$2" ] && ip link delete "$1"
"#;

/// How long a machine may take to come and to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running machine. Dropping it ends everything on it.
pub(super) struct Machine {
    init: Supervised,
    /// The first process, seen from outside.
    pid: u32,
    environment: Vec<(&'static str, String)>,
    /// From the moment that it is plugged in.
    unplugger: Option<Janitor>,
}

impl Machine {
    /// Boots a machine whose programs find others on `path`, and their libraries in `libraries`.
    pub(super) fn boot(scratch: &Scratch, environment: &[(&'static str, String)]) -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", INIT]);
        let mut init = Supervised::start(&unshare, &scratch.logs().join("init.log"))?;
        let pid = first_process(&mut init)?;
        let mut machine = Self { init, pid, environment: environment.to_vec(), unplugger: None };
        machine.unplugger = Some(machine.plug_in().context("connecting the node")?);
        let data = scratch.data();
        let addresses = [ADDRESS.to_string(), HOST.to_string()];
        let mut setup = machine.command(Path::new("sh"));
        setup.args(["-c", SETUP, "setup"]).arg(data).arg(NAME).args(addresses).arg(SERVICES);
        run(&mut setup).context("setting the node up")?;
        Ok(machine)
    }

    /// A program that is to run on this machine, with its files but not its network, say.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--net", "--pid", "--uts", "--ipc", "--"])
            .arg(program)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Lays the cable from here to there, and the way to what is behind it.
    fn plug_in(&self) -> Result<Janitor> {
        // Of a node that was killed a moment ago, whose network lives as long as its connections: up to a minute. It may
        // go by itself in this very moment, which is as well.
        let _: Result<()> = ip(&["link", "delete", INTERFACE]);
        let there = self.pid.to_string();
        ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", &there])?;
        let index = fs::read_to_string(format!("/sys/class/net/{INTERFACE}/ifindex"))?;
        let unplugger = Janitor::hire(UNPLUG, [INTERFACE, index.trim_end()])?;
        ip(&["address", "add", &format!("{HOST}/30"), "dev", INTERFACE])?;
        ip(&["link", "set", INTERFACE, "up"])?;
        let node = ADDRESS.to_string();
        [PODS, SERVICES].iter().try_for_each(|net| ip(&["route", "add", net, "via", &node]))?;
        Ok(unplugger)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.init.signal(Signal::Kill);
        let began = Instant::now();
        while !is_over(self.pid) && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a process has ended, all those of its namespace with it; it may be that nobody has asked for its exit code.
fn is_over(pid: u32) -> bool {
    // "PID (NAME) STATE …", where the name may be anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

/// The child that `unshare` has made, once it is what it is to be.
fn first_process(unshare: &mut Supervised) -> Result<u32> {
    let pid = unshare.pid();
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        unshare.still_runs("unshare")?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if let Ok(child) = children.trim().parse::<u32>()
            && fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim_end() == "sh")
        {
            return Ok(child);
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("unshare started nothing")
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args))
}
