//! The namespaces that sources are read in.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The trust namespace, and the additional ones that Bundles may choose in its place.
#[derive(Clone, Debug)]
pub struct TrustNamespaces {
    main: Arc<str>,
    additional: Additional,
}

#[derive(Clone, Debug)]
enum Additional {
    Listed(BTreeSet<Arc<str>>),
    Any,
}

impl TrustNamespaces {
    /// Returns the trust namespace and the additional ones of a process that reads sources.
    pub fn new<'a>(main: &str, additional: impl IntoIterator<Item = &'a String>) -> Self {
        let additional = additional.into_iter().filter(|name| ![main, ""].contains(&name.as_str()));
        let additional = additional.map(|name| name.as_str().into()).collect();
        Self { main: main.into(), additional: Additional::Listed(additional) }
    }

    /// Returns the trust namespaces of a process that reads no sources and knows of no list: a Bundle may choose any.
    #[must_use]
    pub fn unlisted(main: &str) -> Self {
        Self { main: main.into(), additional: Additional::Any }
    }

    /// The namespace of Bundles that choose none.
    #[must_use]
    pub fn main(&self) -> &Arc<str> {
        &self.main
    }

    /// The additional namespaces, sorted.
    pub fn additional(&self) -> impl Iterator<Item = &Arc<str>> {
        let listed = match &self.additional {
            Additional::Listed(listed) => Some(listed),
            Additional::Any => None,
        };
        listed.into_iter().flatten()
    }

    /// All of them, the main one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.main).chain(self.additional())
    }

    /// Returns the trust namespace of a name, if sources may be read in it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<str>> {
        match &self.additional {
            _ if *self.main == *name => Some(self.main.clone()),
            Additional::Listed(listed) => listed.get(name).cloned(),
            Additional::Any => Some(name.into()),
        }
    }
}

/// A trust namespace without additional ones.
impl From<&str> for TrustNamespaces {
    fn from(main: &str) -> Self {
        Self::new(main, [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_namespaces_are_found_unless_the_list_is_unknown() {
        let listed = ["team", "main", "", "other"].map(str::to_owned);
        let (known, unlisted) = (TrustNamespaces::new("main", &listed), TrustNamespaces::unlisted("main"));
        assert!(known.all().map(|name| &**name).eq(["main", "other", "team"]));
        assert!(unlisted.all().map(|name| &**name).eq(["main"]));
        for (name, expected) in [("main", true), ("team", true), ("", false), ("else", false)] {
            assert_eq!(known.find(name).is_some(), expected, "{name}");
            assert!(unlisted.find(name).is_some());
        }
    }
}
