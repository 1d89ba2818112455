//! The proxy that the environment names for a server, by the rules of Go's `golang.org/x/net/http/httpproxy`, which
//! kubectl and controllers in Go follow.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

use crate::client::{Proxy, ProxyUrlError};

/// Returns the proxy that the environment names for a server. `get` reads an environment variable.
pub(super) fn from_environment(
    server: &Uri,
    get: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, ProxyUrlError> {
    let first = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| Some((name, get(name).filter(|value| !value.is_empty())?)))
    };
    let plain = server.scheme() == Some(&Scheme::HTTP);
    let found = first(if plain { ["HTTP_PROXY", "http_proxy"] } else { ["HTTPS_PROXY", "https_proxy"] });
    let Some((name, url)) = found else { return Ok(None) };
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = server.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let exempt = first(["NO_PROXY", "no_proxy"]).is_some_and(|(_, list)| is_listed(&list, host, port));
    if is_own_machine(host) || exempt {
        return Ok(None);
    }
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    Proxy::new(name, &url).map(Some)
}

/// Whether a host is this machine, which is never reached by a proxy.
fn is_own_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a `NO_PROXY` list contains the server: by `*`, address, network, host or domain, all but `*` and networks
/// with or without a port.
fn is_listed(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok().map(|address: IpAddr| address.to_canonical());
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some(within) = network(&entry) {
            return address.is_some_and(within);
        }
        let (name, of_port) = split_port(&entry);
        if of_port.is_some_and(|of_port| of_port != port.to_string()) {
            return false;
        }
        match (name.parse::<IpAddr>(), address) {
            (Ok(listed), Some(address)) => listed.to_canonical() == address,
            (Ok(_), None) | (Err(_), Some(_)) => false,
            (Err(_), None) => {
                let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
                match name.strip_prefix('.') {
                    Some(_) => host.ends_with(name),
                    None => !name.is_empty() && (host == name || host.ends_with(&format!(".{name}"))),
                }
            }
        }
    })
}

/// Returns the membership test of a network such as `10.0.0.0/8`.
fn network(entry: &str) -> Option<impl Fn(IpAddr) -> bool> {
    let (base, length) = entry.split_once('/')?;
    let (base, length): (IpAddr, u32) = (base.parse().ok()?, length.parse().ok()?);
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (net, width) = bits(base);
    (length <= width).then_some(move |address| {
        let (octets, of) = bits(address);
        of == width && (net ^ octets).checked_shr(128 - length).unwrap_or_default() == 0
    })
}

/// Splits `HOST:PORT` or `[ADDRESS]:PORT`, where the port may be missing. An IPv6 address without brackets has no port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || (host.starts_with('[') && host.ends_with(']')) => (host, port),
        _ => (entry, ""),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (bare, Some(port).filter(|port| !port.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy of a server in an environment.
    fn proxy(server: &str, environment: &[(&str, &str)]) -> Option<String> {
        let get =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        from_environment(&server.parse().unwrap(), get).unwrap().map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_scheme_of_the_server_chooses_the_variable_and_the_upper_case_one_wins() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let https = "https://api.example.com:6443";
        let table: &[(&str, Variables<'_>, Option<&str>)] = &[
            (https, &[("HTTPS_PROXY", "http://p:1")], Some("the proxy http://p:1 (HTTPS_PROXY)")),
            (https, &[("https_proxy", "p:1")], Some("the proxy http://p:1 (https_proxy)")),
            (
                https,
                &[("https_proxy", "http://b"), ("HTTPS_PROXY", "http://a")],
                Some("the proxy http://a:80 (HTTPS_PROXY)"),
            ),
            (
                https,
                &[("HTTPS_PROXY", ""), ("https_proxy", "socks5://b")],
                Some("the proxy socks5://b:1080 (https_proxy)"),
            ),
            (https, &[("HTTP_PROXY", "http://p"), ("ALL_PROXY", "http://p")], None),
            (
                "http://api.example.com",
                &[("HTTP_PROXY", "https://u:s@p")],
                Some("the proxy https://p:443 (HTTP_PROXY)"),
            ),
            ("http://api.example.com", &[("HTTPS_PROXY", "http://p")], None),
            ("https://localhost:6443", &[("HTTPS_PROXY", "http://p")], None),
            ("https://127.0.0.2:6443", &[("HTTPS_PROXY", "http://p")], None),
            ("https://[::1]:6443", &[("HTTPS_PROXY", "http://p")], None),
            ("https://[::ffff:127.0.0.1]:6443", &[("HTTPS_PROXY", "http://p")], None),
        ];
        for (server, environment, expected) in table {
            assert_eq!(proxy(server, environment).as_deref(), *expected, "{server} {environment:?}");
        }
    }

    #[test]
    fn no_proxy_lists_what_go_lists() {
        let table = [
            ("api.example.com", 6443, "example.com", true),
            ("example.com", 6443, "example.com", true),
            ("badexample.com", 6443, "example.com", false),
            ("api.example.com", 6443, ".example.com", true),
            ("example.com", 6443, ".example.com", false),
            ("api.example.com", 6443, "*.example.com", true),
            ("example.com", 6443, "*.example.com", false),
            ("api.example.com", 6443, "a, API.Example.com ,b", true),
            ("API.example.com", 6443, "api.example.com", true),
            ("api.example.com", 6443, "example.com:6443", true),
            ("api.example.com", 6443, "example.com:443", false),
            ("api.example.com", 443, ".example.com:443", true),
            ("api.example.com", 6443, "*", true),
            ("10.1.2.3", 6443, "*", true),
            ("10.1.2.3", 6443, "10.0.0.0/8", true),
            ("11.1.2.3", 6443, "10.0.0.0/8", false),
            ("11.1.2.3", 6443, "0.0.0.0/0", true),
            ("10.1.2.3", 6443, "10.1.2.3/32", true),
            ("10.1.2.3", 6443, "10.1.2.3/33", false),
            ("10.1.2.3", 6443, "10.1.2.3", true),
            ("10.1.2.3", 6443, "10.1.2.3:6443", true),
            ("10.1.2.3", 6443, "10.1.2.3:443", false),
            ("10.1.2.3", 6443, "2.3", false),
            ("::ffff:10.1.2.3", 6443, "10.0.0.0/8", true),
            ("fd00::5", 6443, "fd00::/8", true),
            ("fe00::5", 6443, "fd00::/8", false),
            ("fd00::5", 6443, "fd00::5", true),
            ("fd00::5", 6443, "[fd00::5]:6443", true),
            ("fd00::5", 6443, "[fd00::5]:443", false),
            ("fd00::5", 6443, "[fd00::5]", true),
            ("10.0.0.0.example", 6443, "10.0.0.0/8", false),
            ("api.example.com", 6443, "", false),
            ("api.example.com", 6443, ",:6443, ,.", false),
        ];
        for (host, port, list, expected) in table {
            assert_eq!(is_listed(list, host, port), expected, "{host}:{port} in {list:?}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        let get = |url: &'static str| move |name: &str| (name == "HTTPS_PROXY").then(|| url.to_owned());
        for (url, words) in [
            (
                "ftp://user:secret@p",
                "HTTPS_PROXY names a proxy by ftp://, which is not supported: use one that is reached by http://",
            ),
            ("socks4://user:secret@p", "HTTPS_PROXY names a proxy by socks4://"),
            ("http://user:secret@", "HTTPS_PROXY is no URL of a proxy: write http://HOST:PORT"),
            ("user secret", "HTTPS_PROXY is no URL of a proxy"),
        ] {
            let error = from_environment(&Uri::from_static("https://s"), get(url)).unwrap_err().to_string();
            assert!(error.starts_with(words) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
