//! How an injection fits a pod: the changes, and what stands in their way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::injection::Injection;
use super::java::{self, Step};
use super::patch::Change;
use super::pod::{Container, Pod};
use super::verdict::Hindrance;
use super::words;

/// How an injection fits a pod.
#[derive(Debug, Default)]
pub(super) struct Fitted {
    /// The changes, in their order.
    pub(super) patch: Vec<Change>,
    /// What cannot be injected.
    pub(super) hindrances: Vec<Hindrance>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

/// Fits an injection into a pod: into all containers of a new one, or into the ephemeral containers that `old` has not.
pub(super) fn fit(injection: &Injection, pod: &Pod<'_>, old: Option<&Pod<'_>>) -> Fitted {
    if pod.is_for_windows() {
        return Fitted::hindered(Hindrance::of_pod("it is for Windows", format!("annotate it {}", injection.opt_out)));
    }
    let spec = pod.spec();
    let volume = spec.volumes.iter().find(|(_, volume)| *volume.name == *injection.volume).map(|(_, volume)| volume);
    let has_volume = volume.is_some_and(|volume| volume.is_whole(injection.source.kind, &injection.source.name));
    match old {
        None if volume.is_some() && !has_volume => Fitted::hindered(Hindrance::of_pod(
            format!("its volume {} has another source", words::quoted(&injection.volume)),
            "rename that volume",
        )),
        None => new_pod(injection, pod, has_volume),
        Some(old) => ephemeral(injection, pod, old, has_volume),
    }
}

impl Fitted {
    fn hindered(hindrance: Hindrance) -> Self {
        Self { hindrances: vec![hindrance], ..Self::default() }
    }
}

fn new_pod(injection: &Injection, pod: &Pod<'_>, has_volume: bool) -> Fitted {
    let spec = pod.spec();
    let mut work = Work::of(injection);
    let mut needs_volume = false;
    for (field, list) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        for (index, container) in list.iter() {
            work.container(container, &format!("/spec/{field}/{index}"));
            // A container may count on the volume that it mounts.
            needs_volume |= mounts(container, &injection.volume);
        }
    }
    needs_volume |= !work.patch.is_empty();
    let mut fitted = work.done();
    if needs_volume && !has_volume {
        let volume = Change::append("/spec/volumes", spec.volumes.is_there(), vec![injection.volume()]);
        fitted.patch.splice(0..0, volume);
    }
    fitted
}

/// Volumes of a pod are fixed once it is there, so that only a pod that was injected has what its guests can share.
fn ephemeral(injection: &Injection, pod: &Pod<'_>, old: &Pod<'_>, has_volume: bool) -> Fitted {
    let before: BTreeSet<&str> = old.spec().ephemeral_containers.iter().map(|(_, c)| &*c.name).collect();
    let new = pod.spec().ephemeral_containers.iter().filter(|(_, container)| !before.contains(&*container.name));
    if has_volume {
        let mut work = Work::of(injection);
        for (index, container) in new {
            work.container(container, &format!("/spec/ephemeralContainers/{index}"));
        }
        return work.done();
    }
    let names: Vec<_> = new.map(|(_, container)| &*container.name).filter(|name| !injection.excludes(name)).collect();
    if names.is_empty() {
        return Fitted::default();
    }
    Fitted::hindered(Hindrance {
        what: containers(&names),
        why: "the pod was not, either, and its volumes are fixed".to_owned(),
        cure: "make the pod anew".to_owned(),
    })
}

/// What has been found so far, container by container: one sentence tells of all that share a fate.
struct Work<'a> {
    injection: &'a Injection,
    patch: Vec<Change>,
    /// Variables that were set anywhere.
    set: BTreeSet<&'a str>,
    /// Containers whose paths are taken.
    taken: Vec<&'a str>,
    /// Containers whose variable for Java is left alone, by cause.
    java: BTreeMap<&'static str, Vec<&'a str>>,
}

impl<'a> Work<'a> {
    fn of(injection: &'a Injection) -> Self {
        Self { injection, patch: Vec::new(), set: BTreeSet::new(), taken: Vec::new(), java: BTreeMap::new() }
    }

    fn container(&mut self, container: &'a Container<'_>, at: &str) {
        let injection = self.injection;
        if injection.excludes(&container.name) || mounts(container, &injection.volume) {
            return;
        }
        match container.taken_paths().filter_map(|path| collision(path, &injection.mount_path)).min() {
            Some(Collision::Same) if injection.trusts_own_mounts => return,
            Some(_) => return self.taken.push(&container.name),
            None => {}
        }
        let mounts_there = container.volume_mounts.is_there();
        self.patch.extend(Change::append(&format!("{at}/volumeMounts"), mounts_there, vec![injection.mount()]));
        self.environment(container, at);
    }

    fn environment(&mut self, container: &'a Container<'_>, at: &str) {
        let own: BTreeSet<&str> = container.env.iter().map(|(_, variable)| &*variable.name).collect();
        let wanted = self.injection.variables.iter().map(|(name, value)| (*name, &**value));
        let mut missing: Vec<_> = wanted.filter(|(name, _)| !own.contains(name)).collect();
        if let Some(options) = &self.injection.java {
            match java::step(container, options) {
                Step::Keep => {}
                Step::Add => missing.push((java::VARIABLE, options)),
                Step::LeaveAlone(cause) => self.java.entry(cause).or_default().push(&container.name),
                Step::Set(index, value) => {
                    self.set.insert(java::VARIABLE);
                    self.patch.push(Change::set(format!("{at}/env/{index}/value"), value));
                }
            }
        }
        self.set.extend(missing.iter().map(|(name, _)| name));
        let items = missing.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.patch.extend(Change::append(&format!("{at}/env"), container.env.is_there(), items));
    }

    fn done(self) -> Fitted {
        let Self { injection, patch, set, taken, java } = self;
        let mut hindrances = Vec::new();
        if !taken.is_empty() {
            hindrances.push(Hindrance {
                what: containers(&taken),
                why: format!("something is mounted at, above or below {}", words::quoted(&injection.mount_path)),
                cure: "move that mount or exclude the container".to_owned(),
            });
        }
        let mut notes: Vec<_> = java
            .iter()
            .map(|(cause, names)| {
                let cure = "give it the trust store's options yourself";
                format!("{} of {} left alone: {cause}; {cure}", java::VARIABLE, containers(names))
            })
            .collect();
        let alone: Vec<_> = injection.exclusive.iter().filter(|name| set.contains(**name)).copied().collect();
        if !alone.is_empty() {
            let names = alone.join(", ");
            notes.push(format!("no default CAs in it, and {names} replace the program's own; add useDefaultCAs: true"));
        }
        Fitted { patch, hindrances, notes }
    }
}

fn containers(names: &[&str]) -> String {
    format!("container{} {}", if names.len() == 1 { "" } else { "s" }, words::some(names.iter().copied()))
}

fn mounts(container: &Container<'_>, volume: &str) -> bool {
    container.volume_mounts.iter().any(|(_, mount)| *mount.name == *volume)
}

/// How two paths of one container get into each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Collision {
    /// They are the same.
    Same,
    /// One is within the other: what is mounted first has to have a folder for the second, and our volumes cannot.
    Nested,
}

fn collision(one: &str, other: &str) -> Option<Collision> {
    let (mut one, mut other) = (parts(one).into_iter(), parts(other).into_iter());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Some(Collision::Same),
            (Some(one), Some(other)) if one != other => return None,
            (Some(_), Some(_)) => {}
            _ => return Some(Collision::Nested),
        }
    }
}

/// The parts of a path, which is absolute for Kubernetes even where it is not written so.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').fold(Vec::new(), |mut parts, part| {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
        parts
    })
}
