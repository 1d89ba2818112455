//! URIs and domain names in certificates, checked as Java's `URI` and `DNSName` do.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Returns whether a text is a URI with a scheme and, if it has a host, one that is a domain name or an address.
pub(super) fn is_valid(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let in_scheme = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(in_scheme) {
        return false;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if rest.is_empty() || !is_made_of(fragment, b"/?[]") {
        return false;
    }
    if !rest.starts_with('/') {
        return is_made_of(rest, b"/?[]");
    }
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !is_made_of(query, b"/?[]") {
        return false;
    }
    let Some(rest) = hierarchy.strip_prefix("//") else { return is_made_of(hierarchy, b"/") };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    is_made_of(path, b"/") && is_authority(authority) && !(authority.is_empty() && path.is_empty() && query.is_empty())
}

/// Returns whether a text has only characters of RFC 2396, those of `more`, and whole escapes.
fn is_made_of(text: &str, more: &[u8]) -> bool {
    let plain =
        |octet: u8| octet.is_ascii_alphanumeric() || b"-_.!~*'();:@&=+$,".contains(&octet) || more.contains(&octet);
    let mut parts = text.split('%');
    parts.next().is_some_and(|first| first.bytes().all(plain))
        && parts.all(|part| {
            part.len() >= 2
                && part.bytes().take(2).all(|octet| octet.is_ascii_hexdigit())
                && part.bytes().skip(2).all(plain)
        })
}

fn is_authority(authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = match host.strip_prefix('[') {
        Some(literal) => {
            let Some((address, port)) = literal.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() || !is_made_of(user, b"") {
                return false;
            }
            return port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    if !is_made_of(authority, b"") {
        return false;
    }
    // Anything but a host name is a registry-based authority (RFC 2396, section 3.2.1), which has no host.
    let is_server = is_made_of(user, b"") && is_number(port) && is_host_name(host);
    !is_server || is_domain(host) || host.parse::<Ipv4Addr>().is_ok()
}

fn is_number(digits: &str) -> bool {
    digits.is_empty() || digits.bytes().all(|octet| octet.is_ascii_digit()) && digits.parse::<i32>().is_ok()
}

/// Returns whether a text is a host name: labels of letters, digits and inner hyphens; the last begins with a letter.
fn is_host_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    labels.split('.').all(is_label)
        && labels.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()))
}

/// Returns whether a text is labels of letters, digits and hyphens, none of which begins with a hyphen.
pub(super) fn is_domain(name: &str) -> bool {
    name.split('.').all(|label| {
        label.starts_with(|first: char| first.is_ascii_alphanumeric())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    })
}
