//! Trouble with objects inside the cluster, on a real API server: namespaces that refuse or vanish, targets that others
//! hold on to, permissions that go and come back. Each scenario ends with the right bytes in every namespace and a bounded
//! number of writes.

mod alone;
mod contested;
mod crowd;
mod denied;
mod flapping;
mod hand_back;
mod immutable;
mod owned;
mod policies;
mod recreated;
mod refused;
mod roles;
mod rollouts;
mod sight;
mod stage;
