//! The node's own cgroup, in which the kubelet puts those of pods: one folder in every
//! hierarchy of version 1, or the one of version 2. Goes when the process is gone.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
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

/// The folders of one cgroup.
pub(super) struct Cgroup {
    name: String,
    _janitor: Janitor,
}

impl Cgroup {
    /// Makes it, below the root of each hierarchy.
    pub(super) fn new() -> Result<Self> {
        let name = format!("rootcast-{}", process::id());
        let hierarchies = hierarchies(&fs::read_to_string("/proc/mounts").context("reading the mounts")?);
        ensure!(!hierarchies.is_empty(), "no cgroups are mounted below {ROOT}, which a kubelet needs");
        let janitor = Janitor::hire(REMOVE, hierarchies.iter().map(|(_, hierarchy)| hierarchy.join(&name)))?;
        for (version, hierarchy) in hierarchies {
            let make = || match version {
                Version::One => version_1(&hierarchy, &hierarchy.join(&name)),
                Version::Two => version_2(&hierarchy, &hierarchy.join(&name)),
            };
            make().with_context(|| format!("making a cgroup in {}", hierarchy.display()))?;
        }
        Ok(Self { name, _janitor: janitor })
    }

    /// Its path from the root of every hierarchy, as the kubelet's `cgroupRoot` has it.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

const ROOT: &str = "/sys/fs/cgroup";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where cgroups are mounted, by `/proc/mounts`: device, folder, kind and more.
fn hierarchies(mounts: &str) -> Vec<(Version, PathBuf)> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (folder, kind) = (fields.next()?, fields.next()?);
        let version = match kind {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        folder.starts_with(ROOT).then(|| (version, PathBuf::from(folder)))
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
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /elsewhere cgroup rw 0 0\n";
        let found = [(Version::One, "/sys/fs/cgroup/cpu"), (Version::Two, "/sys/fs/cgroup/unified")];
        assert_eq!(hierarchies(mounts), found.map(|(version, folder)| (version, PathBuf::from(folder))));
    }
}
