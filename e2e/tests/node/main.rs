//! The product on a real node, as it is installed: `make e2e` runs these, as root on a
//! Debian, one after another on one node.

mod clients;
mod crowd;
mod disturbed;
mod ground;
mod installed;
mod stage;
