//! Limits on the cost of a review, checked before any work is done and as the patch grows.

use crate::limits::{self, Limit};
use crate::text;

use super::blocker::Blocker;
use super::lenient::LenientList;
use super::pod::{Container, Pod};

/// Returns the limit that a pod exceeds, if any.
///
/// The length of an annotation is only checked if its key begins with `prefix`: others are not read.
pub(super) fn excess(pod: &Pod<'_>, prefix: &str) -> Option<Blocker> {
    let spec = pod.spec();
    let (annotations, count) = pod.annotations();
    let lists = [&spec.init_containers, &spec.containers, &spec.ephemeral_containers];
    over(count, limits::POD_ANNOTATIONS, "annotations", "remove some")
        .or_else(|| {
            annotations.filter(|(key, _)| key.starts_with(prefix)).find_map(|(key, value)| annotation(key, value))
        })
        .or_else(|| {
            over(lists.iter().map(|list| list.len()).sum(), limits::POD_CONTAINERS, "containers", "remove some")
        })
        .or_else(|| over(spec.volumes.len(), limits::POD_VOLUMES, "volumes", "remove some"))
        .or_else(|| lists.into_iter().flat_map(LenientList::iter).find_map(|(_, container)| mounts(container)))
}

/// Returns the limit on the length of a patch, in bytes, if `bytes` exceeds it.
pub(super) fn excess_of_patch(bytes: usize) -> Option<Blocker> {
    let limit = limits::POD_PATCH;
    (bytes > limit.max).then(|| {
        let cause = format!("its patch would have more than {} bytes", limit.max);
        Blocker::of_pod(cause, "exclude containers, or shorten its annotations and JAVA_TOOL_OPTIONS")
    })
}

fn annotation(key: &str, value: &str) -> Option<Blocker> {
    let key = text::name(key);
    let entries = || 1 + value.bytes().filter(|byte| *byte == b',').count();
    over(value.len(), limits::POD_ANNOTATION, &format!("bytes of annotation {key}"), "shorten it")
        .or_else(|| over(entries(), limits::POD_LIST, &format!("entries in annotation {key}"), "shorten it"))
}

fn mounts(container: &Container<'_>) -> Option<Blocker> {
    let count = container.volume_mounts.len().max(container.volume_devices.len());
    let name = text::quote_name(&container.name);
    over(count, limits::POD_MOUNTS, &format!("mounts of container {name}"), "mount whole folders")
}

fn over(count: usize, limit: Limit, counted: &str, remedy: &str) -> Option<Blocker> {
    let Limit { max, .. } = limit;
    (count > max).then(|| Blocker::of_pod(format!("its {count} {counted} are more than {max}"), remedy))
}
