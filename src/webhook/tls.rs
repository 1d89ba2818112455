//! TLS versions and cipher suites of the server, from the flags that Kubernetes components share.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::ReloadableCertificate;

/// TLS versions and cipher suites; by default TLS 1.2 and 1.3 with every suite that rustls has.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Oldest first.
    versions: Vec<&'static SupportedProtocolVersion>,
    /// Best first.
    suites: Vec<SupportedCipherSuite>,
}

/// A value of a TLS flag that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsSettingsError {
    /// The name of the version is unknown.
    #[error("--tls-min-version={0}: give VersionTLS12 or VersionTLS13")]
    UnknownVersion(String),
    /// None of the named cipher suites is supported.
    #[error(
        "--tls-cipher-suites={}: none of them is served; give some of {}",
        .requested.join(","),
        .supported.join(",")
    )]
    NoSuite {
        /// The IANA names that were given.
        requested: Vec<String>,
        /// The IANA names of the suites of TLS 1.2 that are supported.
        supported: Vec<String>,
    },
}

impl TlsSettings {
    /// Parses the flags of the server's TLS versions and cipher suites.
    ///
    /// These are `--tls-min-version` (`VersionTLS12`; empty for the default) and `--tls-cipher-suites` (IANA
    /// names; none for the default), as the API server has them
    /// (<https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/>). As there, the suites of
    /// TLS 1.3 are not chosen by the list. Also returns a sentence for each value that is not served.
    ///
    /// # Errors
    /// When the version is unknown, or no suite is left; lists the values that can be given.
    pub fn parse(min_version: &str, cipher_suites: &[String]) -> Result<(Self, Vec<String>), TlsSettingsError> {
        let mut notes = Vec::new();
        let versions: &[&'static SupportedProtocolVersion] = match min_version {
            "" | "VersionTLS12" => &[&TLS12, &TLS13],
            "VersionTLS10" | "VersionTLS11" => {
                notes.push(format!("--tls-min-version={min_version}: TLS 1.2 is the oldest that is served"));
                &[&TLS12, &TLS13]
            }
            "VersionTLS13" => &[&TLS13],
            other => return Err(TlsSettingsError::UnknownVersion(other.to_owned())),
        };
        let all = ring::default_provider().cipher_suites;
        let requested: Vec<_> = cipher_suites.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
        let mut suites = all.clone();
        if !requested.is_empty() {
            let missing: Vec<_> =
                requested.iter().copied().filter(|asked| !all.iter().any(|suite| has_name(*suite, asked))).collect();
            if missing.len() == requested.len() {
                return Err(TlsSettingsError::NoSuite {
                    requested: requested.into_iter().map(str::to_owned).collect(),
                    supported: all.iter().filter(|suite| suite.tls13().is_none()).map(|suite| name(*suite)).collect(),
                });
            }
            if !missing.is_empty() {
                notes.push(format!("--tls-cipher-suites: not served, and left out: {}", missing.join(",")));
            }
            suites.retain(|suite| suite.tls13().is_some() || requested.iter().any(|asked| has_name(*suite, asked)));
        }
        Ok((Self { versions: versions.to_vec(), suites }, notes))
    }

    /// Returns a server's configuration.
    ///
    /// ALPN offers HTTP/1.1 alone, by which API servers call webhooks. Sessions are not resumed: connections live long,
    /// and memory for each is worth more than a shorter handshake.
    pub(super) fn server(&self, certificate: ReloadableCertificate) -> Arc<ServerConfig> {
        let provider = CryptoProvider { cipher_suites: self.suites.clone(), ..ring::default_provider() };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .expect("TLS 1.3 is always among the versions, and all of its suites among the suites")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { versions: vec![&TLS12, &TLS13], suites: ring::default_provider().cipher_suites }
    }
}

/// Returns the IANA name of a suite (<https://www.iana.org/assignments/tls-parameters>).
fn name(suite: SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// Returns whether a suite has this name; Go has an older name for two (<https://pkg.go.dev/crypto/tls#pkg-constants>).
fn has_name(suite: SupportedCipherSuite, asked: &str) -> bool {
    let name = name(suite);
    name == asked || name.strip_suffix("_SHA256").is_some_and(|name| name == asked && name.ends_with("POLY1305"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GCM: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

    fn parse(version: &str, suites: &[&str]) -> Result<(usize, Vec<String>, Vec<String>), TlsSettingsError> {
        let suites: Vec<_> = suites.iter().map(|&suite| suite.to_owned()).collect();
        let (settings, notes) = TlsSettings::parse(version, &suites)?;
        settings.server(ReloadableCertificate::new());
        let old = settings.suites.iter().filter(|suite| suite.tls13().is_none()).map(|suite| name(*suite));
        Ok((settings.versions.len(), old.collect(), notes))
    }

    #[test]
    fn versions_have_the_names_of_go() {
        for (version, versions, notes) in
            [("", 2, 0), ("VersionTLS10", 2, 1), ("VersionTLS11", 2, 1), ("VersionTLS12", 2, 0), ("VersionTLS13", 1, 0)]
        {
            let (count, suites, left_out) = parse(version, &[]).expect(version);
            assert_eq!((count, suites.len(), left_out.len()), (versions, 6, notes), "{version}");
        }
        let refused = parse("1.2", &[]).expect_err("unknown");
        assert_eq!(refused.to_string(), "--tls-min-version=1.2: give VersionTLS12 or VersionTLS13");
    }

    #[test]
    fn suites_of_tls_1_2_are_chosen_by_their_iana_names_and_those_of_tls_1_3_stay() {
        let (versions, suites, notes) = parse("", &[GCM, " TLS_RSA_WITH_AES_128_CBC_SHA", ""]).expect("one is served");
        assert_eq!((versions, suites), (2, vec![GCM.to_owned()]));
        assert_eq!(notes, ["--tls-cipher-suites: not served, and left out: TLS_RSA_WITH_AES_128_CBC_SHA"]);
        let (_, suites, notes) = parse("", &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).expect("Go's older name");
        assert_eq!((suites.len(), notes.len()), (1, 0));
        let (_, suites, notes) = parse("", &["TLS_AES_128_GCM_SHA256"]).expect("a suite of TLS 1.3");
        assert_eq!((suites.len(), notes.len()), (0, 0));
    }

    #[test]
    fn a_list_of_which_nothing_is_served_is_refused_with_what_could_be_given() {
        let refused = parse("", &["TLS_RSA_WITH_AES_128_CBC_SHA", "nonsense"]).expect_err("none").to_string();
        assert!(refused.starts_with(
            "--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA,nonsense: none of them is served; give some of TLS_ECDHE_"
        ));
        assert!(refused.contains(GCM) && !refused.contains("TLS_AES"), "{refused}");
    }
}
