//! Protected names, which no Bundle may have: others keep trust or configuration of their own in objects of these
//! names.

/// A protected name, and the program that keeps an object of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectedName {
    /// The name.
    pub name: &'static str,
    /// The program that reads or writes objects of that name.
    pub owner: &'static str,
}

/// All protected names, sorted; the same as in the admission policy of the controller's account.
pub const PROTECTED_NAMES: [ProtectedName; 15] = [
    row("aws-auth", "Amazon EKS"),
    row("cainjector-config", "cainjector"),
    row("cluster-info", "kubeadm"),
    row("coredns", "CoreDNS"),
    row("extension-apiserver-authentication", "the API server and extension API servers"),
    row("istio-ca-root-cert", "Istio"),
    row("kube-apiserver-legacy-service-account-token-tracking", "the API server"),
    row("kube-proxy", "kube-proxy"),
    row("kube-root-ca.crt", "the controller manager and every pod"),
    row("kubeadm-config", "kubeadm"),
    row("kubelet-config", "kubeadm and the kubelet"),
    row("openshift-service-ca.crt", "OpenShift"),
    row("rootcast-injector-tls", "rootcast's injector"),
    row("rootcast-tls", "rootcast's webhook"),
    row("trust-manager-tls", "trust-manager's webhook"),
];

const fn row(name: &'static str, owner: &'static str) -> ProtectedName {
    ProtectedName { name, owner }
}

impl ProtectedName {
    /// Returns the protected name equal to `name`, if there is one.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        PROTECTED_NAMES.into_iter().find(|protected| protected.name == name)
    }

    /// Returns why no Bundle may have the name.
    #[must_use]
    pub fn cause(self) -> String {
        let Self { name, owner } = self;
        format!("{name:?} is a name that {owner} keeps objects of its own under")
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn remedy(self) -> String {
        format!("give the Bundle another name, or start rootcast with --allow-names={}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_the_policy_and_the_documentation_have_it() {
        assert!(PROTECTED_NAMES.is_sorted_by(|a, b| a.name < b.name));
        let policy = include_str!("../../config/guard/controller.yaml");
        let (_, list) = policy.split_once("name: protectedNames").expect("a variable");
        let list = list.split_once('[').and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
        let listed: Vec<_> = list.split(',').map(|name| name.trim().trim_matches('\'')).collect();
        assert_eq!(listed, PROTECTED_NAMES.map(|protected| protected.name));
        let documentation = include_str!("../../docs/adoption.md");
        for ProtectedName { name, owner } in PROTECTED_NAMES {
            assert!(documentation.contains(&format!("| `{name}` | {owner} |")), "{name}");
        }
    }

    #[test]
    fn a_name_that_people_use_bundles_for_is_not_protected() {
        assert_eq!(ProtectedName::find("linkerd-identity-trust-roots"), None);
        assert_eq!(ProtectedName::find("coredns").map(|protected| protected.owner), Some("CoreDNS"));
    }
}
