//! What a request is about, and which requests a fault or a count is about.

use std::collections::BTreeSet;

use http::{Method, Uri};

/// What is known of a request from its method and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As the audit log names it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// The plural, such as `configmaps`; empty for a path that is no resource.
    pub resource: String,
    /// Such as `status`; empty for none.
    pub subresource: String,
    /// Empty for what is cluster-wide.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// The path and query.
    pub uri: String,
    /// Whether it is a watch that goes on where an earlier one ended, and not the one that follows a list.
    pub resumes: bool,
}

/// The collections that were listed and not watched since.
pub(super) type Listed = BTreeSet<String>;

/// Which requests; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct On {
    verbs: Option<&'static [&'static str]>,
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    prefix: Option<String>,
    resumes: bool,
}

impl On {
    /// Whatever asks for a change.
    #[must_use]
    pub fn writes() -> Self {
        Self { verbs: Some(&["create", "update", "patch", "delete", "deletecollection"]), ..Self::default() }
    }

    /// Writes to `ConfigMap`s: with a controller, those to targets.
    #[must_use]
    pub fn target_writes() -> Self {
        Self::writes().resource("configmaps")
    }

    /// Watches.
    #[must_use]
    pub fn watches() -> Self {
        Self { verbs: Some(&["watch"]), ..Self::default() }
    }

    /// Watches that go on where an earlier one ended.
    #[must_use]
    pub fn resumes() -> Self {
        Self { resumes: true, ..Self::watches() }
    }

    /// Only these verbs.
    #[must_use]
    pub fn verbs(self, verbs: &'static [&'static str]) -> Self {
        Self { verbs: Some(verbs), ..self }
    }

    /// Only this resource, such as `configmaps`.
    #[must_use]
    pub fn resource(self, plural: &str) -> Self {
        Self { resource: Some(plural.to_owned()), ..self }
    }

    /// Only this subresource; the empty one is none.
    #[must_use]
    pub fn subresource(self, name: &str) -> Self {
        Self { subresource: Some(name.to_owned()), ..self }
    }

    /// Only this namespace; the empty one is what is cluster-wide.
    #[must_use]
    pub fn namespace(self, name: &str) -> Self {
        Self { namespace: Some(name.to_owned()), ..self }
    }

    /// Only paths that begin so.
    #[must_use]
    pub fn path(self, prefix: &str) -> Self {
        Self { prefix: Some(prefix.to_owned()), ..self }
    }

    /// Whether a request is one of them.
    #[must_use]
    pub fn matches(&self, request: &Request) -> bool {
        let Self { verbs, resource, subresource, namespace, prefix, resumes } = self;
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        verbs.is_none_or(|verbs| verbs.contains(&request.verb))
            && is(resource, &request.resource)
            && is(subresource, &request.subresource)
            && is(namespace, &request.namespace)
            && prefix.as_ref().is_none_or(|prefix| request.uri.starts_with(prefix))
            && (request.resumes || !resumes)
    }
}

impl Request {
    /// Reads a request as the API server does
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>). `listed` is kept up to date.
    pub(super) fn read(method: &Method, uri: &Uri, listed: &mut Listed) -> Self {
        let query = uri.query().unwrap_or_default();
        let Place { resource, subresource, namespace, name } = Place::read(uri.path());
        let is_watch = parameter(query, "watch").is_some_and(|value| value != "0" && value != "false");
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ if is_watch => "watch",
            _ if name.is_empty() && !resource.is_empty() => "list",
            _ => "get",
        };
        let selector = |key| parameter(query, key).unwrap_or_default();
        let collection = format!("{}?{}&{}", uri.path(), selector("labelSelector"), selector("fieldSelector"));
        let resumes = match verb {
            "list" => {
                // A list of one object asks for the version of all, and a watch goes on after it.
                if parameter(query, "limit").is_none_or(|limit| limit != "1") {
                    listed.insert(collection);
                }
                false
            }
            "watch" => {
                let lists_itself = parameter(query, "sendInitialEvents").is_some_and(|value| value == "true");
                !listed.remove(&collection) && !lists_itself
            }
            _ => false,
        };
        Self { verb, resource, subresource, namespace, name, uri: uri.to_string(), resumes }
    }
}

#[derive(Default)]
struct Place {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

impl Place {
    fn read(path: &str) -> Self {
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = &segments[..] else { return Self::default() };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => (*namespace, rest),
            rest => ("", rest),
        };
        let segment = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        Self { resource: segment(0), name: segment(1), subresource: segment(2), namespace: namespace.to_owned() }
    }
}

fn parameter<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(found, _)| *found == key).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, uri: &str, listed: &mut Listed) -> Request {
        Request::read(method, &uri.parse().unwrap(), listed)
    }

    #[test]
    fn a_request_is_read_as_the_api_server_reads_it() {
        let cases = [
            (Method::POST, "/api/v1/namespaces/a/configmaps?fieldManager=x", "create configmaps a  "),
            (Method::PUT, "/api/v1/namespaces/a/configmaps/b", "update configmaps a b "),
            (Method::PATCH, "/apis/trust.cert-manager.io/v1alpha1/bundles/b/status", "patch bundles  b status"),
            (Method::GET, "/api/v1/configmaps?labelSelector=x&watch=true", "watch configmaps   "),
            (Method::GET, "/api/v1/namespaces?limit=500", "list namespaces   "),
            (Method::GET, "/api/v1/namespaces/a", "get namespaces  a "),
            (Method::PUT, "/api/v1/namespaces/a/finalize", "update namespaces  a finalize"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets", "deletecollection secrets a  "),
            (Method::GET, "/readyz", "get    "),
        ];
        for (method, uri, expected) in cases {
            let Request { verb, resource, subresource, namespace, name, .. } =
                read(&method, uri, &mut Listed::default());
            assert_eq!(format!("{verb} {resource} {namespace} {name} {subresource}"), expected, "{uri}");
        }
    }

    #[test]
    fn the_watch_that_follows_a_list_resumes_nothing() {
        let mut listed = Listed::default();
        let mut resumes = |uri| read(&Method::GET, uri, &mut listed).resumes;
        assert!(!resumes("/api/v1/pods?labelSelector=x&limit=500"));
        assert!(!resumes("/api/v1/pods?watch=1&labelSelector=x&resourceVersion=7"));
        assert!(!resumes("/api/v1/pods?labelSelector=x&limit=1"));
        assert!(resumes("/api/v1/pods?watch=1&labelSelector=x&resourceVersion=9"));
        assert!(!resumes("/api/v1/pods?watch=1&sendInitialEvents=true"));
    }
}
