//! The files that programs of the node are configured by. JSON is YAML.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    BUSYBOX,
    machine::{ADDRESS, NAME, PODS},
};
use crate::pki::Identity;

/// Where the kubelet finds containerd.
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// containerd's (<https://github.com/containerd/containerd/blob/release/1.6/docs/cri/config.md>). Where processes may not
/// lower their OOM score, as in many containers, pods would not start without `restrict_oom_score_adj`.
pub(super) fn containerd(data: &Path, network: &Path, debian: &Path) -> String {
    let (data, network, debian) = (data.display(), network.display(), debian.display());
    format!(
        r#"
version = 2
root = "{data}/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BUSYBOX}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{debian}/usr/lib/cni"
    conf_dir = "{network}"
"#
    )
}

/// The network of pods: a bridge.
pub(super) fn network() -> Value {
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{
        "type": "bridge",
        "bridge": "pods0",
        "isDefaultGateway": true,
        "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "dataDir": "/run/pod-addresses"},
    }]})
}

/// The kubelet's (<https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>). Images come from archives:
/// they are never removed to make room. A changed `ConfigMap` reaches its files in about two seconds, not in a minute.
pub(super) fn kubelet(authority: &Path, serving: &Identity, cgroup: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "resolvConf": "",
        "address": ADDRESS,
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        "syncFrequency": "1s",
        "nodeStatusUpdateFrequency": "5s",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    })
}

/// kube-proxy's (<https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/>). Limits on connections
/// are settings of the whole machine, and stay as they are.
pub(super) fn proxy(kubeconfig: &Path) -> Value {
    let zero = "0s";
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": PODS,
        "hostnameOverride": NAME,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": zero, "tcpCloseWaitTimeout": zero},
        "oomScoreAdj": 0,
    })
}
