//! Content of the Secret: the trusted CAs, the current and the next generation.

use super::{Generation, TrustedCas};

/// The keys of the Secret: those of the trusted CAs, of the current and of the next generation.
const TRUSTED: &str = "ca.crt";
const CURRENT: [&str; 2] = ["tls.crt", "tls.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];

/// The Secret as it was read; a missing Secret is like an empty one.
#[derive(Clone, Debug, Default)]
pub struct StoredGenerations {
    /// The usable part of the content.
    pub content: SecretData,
    /// The flaws of the rest, in words.
    pub flaws: Vec<String>,
}

/// The content of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretData {
    /// Every CA whose certificates may be served.
    pub trusted: TrustedCas,
    /// The generation that replicas serve.
    pub current: Option<Generation>,
    /// The generation that they serve once its CA is trusted everywhere.
    pub next: Option<Generation>,
}

impl StoredGenerations {
    /// Parses the Secret's values, which `value` returns by key.
    ///
    /// An empty value is like a missing one: a Secret of the type `kubernetes.io/tls` must have its keys.
    #[must_use]
    pub fn read<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let value = |key: &str| value(key).unwrap_or_default();
        let mut flaws = Vec::new();
        let mut generation = |[certificate, key]: [&str; 2]| {
            let pair = (value(certificate), value(key));
            if pair == (b"", b"") {
                return None;
            }
            let read = Generation::read(pair.0, pair.1);
            read.map_err(|flaw| flaws.push(format!("{certificate}: {flaw}"))).ok()
        };
        let (current, next) = (generation(CURRENT), generation(NEXT));
        let (trusted, flaw) = TrustedCas::read(value(TRUSTED));
        flaws.extend(flaw.map(|flaw| format!("{TRUSTED}: {flaw}")));
        Self { content: SecretData { trusted, current, next }, flaws }
    }
}

impl SecretData {
    /// Remembers the content of the Secret, in case it is deleted; of a damaged one only the current generation.
    pub fn remember(&mut self, stored: &StoredGenerations) {
        match &stored.content.current {
            Some(_) if stored.flaws.is_empty() => self.clone_from(&stored.content),
            Some(current) => self.current = Some(current.clone()),
            None => {}
        }
    }

    /// Returns the Secret's values by key; `None` for a key that must not exist.
    #[must_use]
    pub fn values(&self) -> [(&'static str, Option<String>); 5] {
        let certificate = |generation: &Option<Generation>| Some(generation.as_ref()?.certificate_pem().to_owned());
        let key = |generation: &Option<Generation>| Some(generation.as_ref()?.key_pem().to_owned());
        [
            (TRUSTED, Some(self.trusted.to_pem())),
            (CURRENT[0], certificate(&self.current)),
            (CURRENT[1], key(&self.current)),
            (NEXT[0], certificate(&self.next)),
            (NEXT[1], key(&self.next)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn read(values: &BTreeMap<&str, String>) -> StoredGenerations {
        StoredGenerations::read(|key| values.get(key).map(String::as_bytes))
    }

    fn written(content: &SecretData) -> BTreeMap<&'static str, String> {
        content.values().into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_named_while_the_rest_is_kept() {
        let names = ["a.b.svc".to_owned()];
        let new = || Generation::new(&names, Duration::from_secs(9), Timestamp::UNIX_EPOCH).expect("a generation");
        let (current, next) = (new(), new());
        let mut trusted = TrustedCas::default();
        trusted.add(current.ca());
        let content = SecretData { trusted, current: Some(current), next: Some(next) };
        let values = written(&content);
        let stored = read(&values);
        assert_eq!(stored.content, content);
        assert!(stored.flaws.is_empty());

        let spoilt = |key, text: &str| {
            let mut values = values.clone();
            values.insert(key, text.to_owned());
            read(&values)
        };
        for key in ["tls.crt", "tls.key"] {
            for text in ["", "-----BEGIN CERTIFICATE-----", "?"] {
                let stored = spoilt(key, text);
                assert!(stored.flaws[0].starts_with("tls.crt: ") && stored.flaws.len() == 1, "{:?}", stored.flaws);
                assert_eq!(stored.content, SecretData { current: None, ..content.clone() });
            }
        }
        let stored = spoilt("next.crt", "?");
        assert!(stored.flaws[0].starts_with("next.crt: not a certificate and its CA"), "{:?}", stored.flaws);
        assert_eq!(stored.content, SecretData { next: None, ..content.clone() });
        let stored = spoilt("ca.crt", "-----END CERTIFICATE-----");
        assert!(stored.flaws[0].starts_with("ca.crt: "), "{:?}", stored.flaws);
        assert_eq!(stored.content, SecretData { trusted: TrustedCas::default(), ..content.clone() });
    }

    #[test]
    fn values_without_bytes_are_like_none() {
        let stored = StoredGenerations::read(|_| Some(b""));
        assert_eq!(stored.content, SecretData::default());
        assert!(stored.flaws.is_empty());
    }
}
