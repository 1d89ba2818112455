//! A CA is rotated on a real API server: what stays and what goes, when, and what one sees of it. The history of every
//! target is read from etcd, so that no version of it is missed.

mod absent;
mod blocked;
mod clocks;
mod crashes;
mod crowd;
mod distrust;
mod emptied;
mod hand_back;
mod losses;
mod meanwhile;
mod orphan;
mod policy;
mod program;
mod retaining;
mod rotating;
mod stage;
mod trust_namespaces;
mod wait;
mod wrong_input;
