//! Control groups of this process: one folder in every hierarchy of version 1, or the one of version 2. They go when the
//! process is gone.
//!
//! [`Cgroup`] is the node's own, in which the kubelet puts those of pods; [`MemoryGroup`] is that of one program, with a
//! limit as a kubelet would set it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, ensure};

use crate::janitor::Janitor;

/// A cgroup can be removed once its processes are gone, and from below only.
const REMOVE: &str = r#"
for try in $(seq 100); do
    find "$@" -depth -type d -exec rmdir {} \; 2>/dev/null
    ls -d "$@" 2>/dev/null | grep -q . || exit
    sleep 0.1
done
"#;

/// Enters a cgroup and becomes the program: `sh -c ENTER enter PROCS PROGRAM ARGUMENT…`. Containers mostly have no more
/// open files than this, unless they ask for more.
const ENTER: &str = r#"echo $$ >"$1" && ulimit -S -n 1024 && shift && exec "$@""#;

/// The folders of one cgroup.
pub(crate) struct Cgroup {
    name: String,
    _janitor: Janitor,
}

impl Cgroup {
    /// Makes it, below the root of each hierarchy.
    pub(crate) fn new() -> Result<Self> {
        let name = format!("rootcast-{}", process::id());
        let hierarchies = hierarchies(&mounts()?);
        ensure!(!hierarchies.is_empty(), "no cgroups are mounted below {ROOT}, which a kubelet needs");
        let janitor = Janitor::hire(REMOVE, hierarchies.iter().map(|hierarchy| hierarchy.folder.join(&name)))?;
        for Hierarchy { version, folder, .. } in hierarchies {
            let make = || match version {
                Version::One => version_1(&folder, &folder.join(&name)),
                Version::Two => version_2(&folder, &folder.join(&name)),
            };
            make().with_context(|| format!("making a cgroup in {}", folder.display()))?;
        }
        Ok(Self { name, _janitor: janitor })
    }

    /// Its path from the root of every hierarchy, as the kubelet's `cgroupRoot` has it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

/// A cgroup whose programs are killed when they use more memory than it may have together.
pub(crate) struct MemoryGroup {
    version: Version,
    folder: PathBuf,
    limit: u64,
    _janitor: Janitor,
}

impl MemoryGroup {
    /// Makes one with a limit in bytes; swapping does not help.
    ///
    /// # Errors
    /// When this is not root, or where the kernel or whoever started us keeps memory cgroups to itself.
    pub(crate) fn new(limit: u64) -> Result<Self> {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        ensure!(fs::metadata("/proc/self")?.uid() == 0, "a memory limit takes root: it makes a cgroup");
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let found = hierarchies(&mounts()?).into_iter().find(Hierarchy::controls_memory);
        let hierarchy = found.with_context(|| format!("no hierarchy of cgroups below {ROOT} controls memory"))?;
        let version = hierarchy.version;
        let folder = hierarchy.folder.join(format!("rootcast-{}-memory-{number}", process::id()));
        let janitor = Janitor::hire(REMOVE, [&folder])?;
        let group = Self { version, folder, limit, _janitor: janitor };
        let make = || {
            match version {
                Version::One => version_1(&hierarchy.folder, &group.folder)?,
                Version::Two => version_2(&hierarchy.folder, &group.folder)?,
            }
            for (file, value) in version.limits(limit) {
                let file = group.folder.join(file);
                // Kernels without swap, or told not to count it, lack the second one.
                if file.exists() {
                    fs::write(&file, value.to_string()).with_context(|| file.display().to_string())?;
                }
            }
            Ok::<_, anyhow::Error>(())
        };
        make().with_context(|| format!("making a memory cgroup in {}", hierarchy.folder.display()))?;
        Ok(group)
    }

    /// The same program, in this cgroup from its first moment on.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", ENTER, "enter"]).arg(self.folder.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// Fails when the kernel had to kill anything in it.
    pub(crate) fn was_enough_for(&self, name: &str) -> Result<()> {
        let kills = kills(&self.read(self.version.events())?)?;
        ensure!(
            kills == 0,
            "the {name} was killed by the kernel for using more memory than its shipped limit, {} MiB",
            self.limit >> 20
        );
        Ok(())
    }

    /// The most memory that was in use at once, in bytes, what the kernel holds for its files and sockets included.
    pub(crate) fn peak(&self) -> Result<u64> {
        let text = self.read(self.version.peak())?;
        text.trim().parse().with_context(|| format!("{text:?} is a number of bytes"))
    }

    fn read(&self, file: &str) -> Result<String> {
        let file = self.folder.join(file);
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }
}

/// How often the kernel killed, by `memory.oom_control` or `memory.events`.
fn kills(events: &str) -> Result<u64> {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.context("the kernel counts the processes that it kills in a cgroup")?.trim().parse().context("a count")
}

const ROOT: &str = "/sys/fs/cgroup";

fn mounts() -> Result<String> {
    fs::read_to_string("/proc/mounts").context("reading the mounts")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// Files of a cgroup that limit its memory, and what they are to hold. The order matters: with swap is never less
    /// than without.
    fn limits(self, limit: u64) -> [(&'static str, u64); 2] {
        match self {
            Self::One => [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", limit)],
            Self::Two => [("memory.max", limit), ("memory.swap.max", 0)],
        }
    }

    fn events(self) -> &'static str {
        match self {
            Self::One => "memory.oom_control",
            Self::Two => "memory.events",
        }
    }

    fn peak(self) -> &'static str {
        match self {
            Self::One => "memory.max_usage_in_bytes",
            Self::Two => "memory.peak",
        }
    }
}

/// Where cgroups are mounted.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    folder: PathBuf,
    /// The options of the mount, where version 1 names its controllers.
    options: String,
}

impl Hierarchy {
    fn controls_memory(&self) -> bool {
        match self.version {
            Version::One => self.options.split(',').any(|option| option == "memory"),
            Version::Two => fs::read_to_string(self.folder.join("cgroup.controllers"))
                .is_ok_and(|controllers| controllers.split_whitespace().any(|controller| controller == "memory")),
        }
    }
}

/// By `/proc/mounts`: device, folder, kind, options and more.
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (folder, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match kind {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        let hierarchy = Hierarchy { version, folder: PathBuf::from(folder), options: options.to_owned() };
        folder.starts_with(ROOT).then_some(hierarchy)
    });
    mounted.collect()
}

/// In the hierarchy of CPU sets a new folder may use none, which the kubelet takes for an error.
fn version_1(hierarchy: &Path, folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    for set in ["cpuset.cpus", "cpuset.mems"] {
        let all = hierarchy.join(set);
        if all.exists() {
            fs::write(folder.join(set), fs::read(all)?)?;
        }
    }
    Ok(())
}

/// Whatever the hierarchy controls, its folders are to control as well. Beside hierarchies of version 1 it controls
/// nothing.
fn version_2(hierarchy: &Path, folder: &Path) -> Result<()> {
    for controller in fs::read_to_string(hierarchy.join("cgroup.controllers"))?.split_whitespace() {
        fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"))?;
    }
    Ok(fs::create_dir(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_where_they_are_mounted() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /elsewhere cgroup rw 0 0\n";
        let found = hierarchies(mounts);
        let folders: Vec<_> = found.iter().map(|found| (found.version, found.folder.to_str().unwrap())).collect();
        let cpu = (Version::One, "/sys/fs/cgroup/cpu");
        let memory = (Version::One, "/sys/fs/cgroup/memory");
        assert_eq!(folders, [cpu, memory, (Version::Two, "/sys/fs/cgroup/unified")]);
        assert_eq!(found.iter().position(Hierarchy::controls_memory), Some(1));
    }

    #[test]
    fn what_the_kernel_killed_is_read_in_both_versions() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap(), 2);
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n").unwrap(), 1);
        assert!(kills("oom_kill_disable 0\n").is_err());
    }
}
