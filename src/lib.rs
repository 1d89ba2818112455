//! Distributes trust anchors to every namespace of a Kubernetes cluster.
