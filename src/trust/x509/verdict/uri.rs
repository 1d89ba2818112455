//! URIs and domain names in certificates, checked as Go's `net/url` and `crypto/x509` do.

use std::net::Ipv6Addr;

/// Returns whether an ASCII text is a URI reference with a plausible host.
pub(super) fn is_valid(text: &str) -> bool {
    let (reference, fragment) = text.split_once('#').unwrap_or((text, ""));
    if reference.bytes().any(|octet| octet.is_ascii_control()) || !escapes_are_whole(fragment) {
        return false;
    }
    let (scheme, rest) = match scheme(reference) {
        Scheme::Named(scheme, rest) => (scheme, rest),
        Scheme::None => ("", reference),
        Scheme::Empty => return false,
    };
    let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        let first_segment = rest.split_once('/').map_or(rest, |(first, _)| first);
        return !scheme.is_empty() || !first_segment.contains(':') && escapes_are_whole(rest);
    }
    match rest.strip_prefix("//") {
        Some(authority) if !scheme.is_empty() || !authority.starts_with('/') => {
            let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
            is_authority(scheme, authority) && escapes_are_whole(path)
        }
        _ => escapes_are_whole(rest),
    }
}

enum Scheme<'a> {
    Named(&'a str, &'a str),
    None,
    Empty,
}

fn scheme(reference: &str) -> Scheme<'_> {
    let in_scheme = |character: char| character.is_ascii_alphanumeric() || "+-.".contains(character);
    match reference.find(|character| !in_scheme(character)) {
        Some(0) if reference.starts_with(':') => Scheme::Empty,
        Some(end)
            if reference[end..].starts_with(':')
                && reference.starts_with(|first: char| first.is_ascii_alphabetic()) =>
        {
            Scheme::Named(&reference[..end], &reference[end + 1..])
        }
        _ => Scheme::None,
    }
}

fn is_authority(scheme: &str, authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let in_user = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&octet);
    user.bytes().all(in_user) && escapes_are_whole(user) && is_host(scheme, host)
}

fn is_host(scheme: &str, host: &str) -> bool {
    let Some(literal) = host.strip_prefix('[') else {
        let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        let colon = if web { host.find(':') } else { host.rfind(':') };
        let port = colon.map_or("", |at| &host[at..]);
        return !host.contains('[') && is_port(port) && host_escapes(host).is_some_and(|host| is_domain(&host, false));
    };
    let Some((address, port)) = literal.rsplit_once(']') else {
        return false;
    };
    let (address, zone) = address.split_once("%25").map_or((address, None), |(address, zone)| (address, Some(zone)));
    let zone_is_named =
        zone.is_none_or(|zone| !zone.is_empty() && zone.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'%'));
    is_port(port) && address.parse::<Ipv6Addr>().is_ok() && zone_is_named
}

fn is_port(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))
}

/// Returns whether each `%` is followed by two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    let is_hex = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_hexdigit);
    text.split('%').skip(1).all(|after| is_hex(after.as_bytes().first()) && is_hex(after.as_bytes().get(1)))
}

/// Unescapes a host; `None` if it has a character or escape that is not permitted.
///
/// In a host only octets beyond ASCII, and `%` itself, may be escaped; the former then make it no domain name.
fn host_escapes(host: &str) -> Option<String> {
    let in_host = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&octet);
    let only_percent = host.split('%').skip(1).all(|after| after.starts_with("25"));
    (host.bytes().all(in_host) && only_percent).then(|| host.replace("%25", "%"))
}

/// Returns whether a text is empty, or non-empty labels of graphic characters between dots.
///
/// A constraint may begin with a dot.
pub(super) fn is_domain(text: &str, constraint: bool) -> bool {
    let labels = if constraint { text.strip_prefix('.').unwrap_or(text) } else { text };
    text.is_empty()
        || labels.split('.').all(|label| !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_checked_as_go_checks_them() {
        for text in [
            "",
            "*",
            "urn:x:y%",
            "spiffe://td/ns/x",
            "https://user:p%20w@example.com:8443/a%20b?%#f",
            "http://[2001:db8::1%25eth0]:80/",
            "postgres://a:1,b:2/x",
            "//host/path",
            "///path",
            "a/b:c",
        ] {
            assert!(is_valid(text), "{text}");
        }
        for text in [
            ":x",
            "a b:c",
            "https%//x",
            "http://a/%zz",
            "http://a/#%",
            "http://a b/",
            "http://a:port/",
            "http://a:1:2/",
            "http://[::1/",
            "http://[1.2.3.4]/",
            "http://a%41/",
            "http://a../",
            "http://a./",
            "http://u[@a/",
            "http://a/\u{7f}",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
