//! Which proxy the environment wants a request to take.

use super::Variables;
use std::net::IpAddr;

/// The proxy for a URL with this scheme and host: a variable for each scheme, none for this machine
/// itself and for the hosts of `NO_PROXY`.
pub(super) fn proxy_for(scheme: &str, host: &str, env: Variables<'_>) -> Option<String> {
    let names = if scheme == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let proxy = names.iter().find_map(|name| env(name))?;
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if loopback || host == "localhost" {
        return None;
    }
    let excluded = ["NO_PROXY", "no_proxy"].iter().find_map(|name| env(name)).unwrap_or_default();
    let direct = excluded.split(',').map(str::trim).any(|entry| is_excluded(&host, entry));
    (!direct).then_some(proxy)
}

/// An entry is a host, a domain with all below it, or `*`; a port after it is passed over.
fn is_excluded(host: &str, entry: &str) -> bool {
    let entry = entry.to_ascii_lowercase();
    let name = match entry.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => name,
        _ => entry.as_str(),
    };
    let domain = name.trim_start_matches('*').trim_start_matches('.');
    if domain.is_empty() {
        return name == "*";
    }
    host == domain && !name.starts_with(['.', '*'])
        || host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_host_choose_the_proxy() {
        let env = |name: &str| {
            let value = match name {
                "HTTPS_PROXY" => "http://one",
                "http_proxy" => "http://two",
                "NO_PROXY" => "direct.example, .inside.example,zone.example:8443",
                _ => return None,
            };
            Some(value.to_owned())
        };
        for (scheme, host, proxy) in [
            ("https", "a.example", Some("http://one")),
            ("http", "a.example", Some("http://two")),
            ("http", "localhost", None),
            ("http", "127.0.0.1", None),
            ("http", "[::1]", None),
            ("https", "direct.example", None),
            ("https", "x.direct.example", None),
            ("https", "notdirect.example", Some("http://one")),
            ("https", "inside.example", Some("http://one")),
            ("https", "x.inside.example", None),
            ("https", "ZONE.example", None),
        ] {
            assert_eq!(proxy_for(scheme, host, &env).as_deref(), proxy, "{scheme} {host}");
        }
        let none = |name: &str| match name {
            "HTTP_PROXY" => Some("http://p".to_owned()),
            "NO_PROXY" => Some("*".to_owned()),
            _ => None,
        };
        assert_eq!(proxy_for("http", "a.example", &none), None);
        assert_eq!(proxy_for("https", "a.example", &none), None);
    }
}
