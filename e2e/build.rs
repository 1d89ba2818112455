//! Ignores, where `ROOTCAST_E2E_KUBECONFIG` names a cluster, the tests that cannot run on one of others.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=ROOTCAST_E2E_KUBECONFIG");
    println!("cargo::rustc-check-cfg=cfg(existing_cluster)");
    if env::var_os("ROOTCAST_E2E_KUBECONFIG").is_some_and(|file| !file.is_empty()) {
        println!("cargo::rustc-cfg=existing_cluster");
    }
}
