//! Parser of TLS servers in arguments.

use std::fmt;
use std::str::FromStr;

/// The host and the port of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    host: String,
    port: u16,
}

/// The error of a text that names no server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no server: give HOST or HOST:PORT, and IPv6 addresses in brackets, as [::1]:443")]
pub(super) struct InvalidServerError(String);

impl FromStr for Server {
    type Err = InvalidServerError;

    /// Parses `HOST` or `HOST:PORT`, with or without `https://`; IPv6 addresses are in brackets. The default port is
    /// 443.
    fn from_str(text: &str) -> Result<Self, InvalidServerError> {
        let invalid = || InvalidServerError(text.to_owned());
        let server = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| invalid())?),
            _ => (server, 443),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || host.contains(['/', '[', ']', ' ']) || (host.contains(':') && bracketed.is_none()) {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Server {
    /// The host name or address, an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_names_no_server_is_refused() {
        for text in ["host:port", "::1", "[::1", "a b", "", ":443", "host:99999"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
