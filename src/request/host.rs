//! The host that a request asks for, and the refusal of requests that name none, several or two.

use super::Malformed;
use http::header::HOST;
use http::{HeaderMap, Uri, Version};
use std::net::Ipv6Addr;

/// The longest host name with its port, in bytes.
const HOST_MAX_BYTES: usize = 255;

/// A host name in lower case without a trailing dot, and the port when one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name or address.
    pub name: Box<str>,
    /// The port, when one is named.
    pub port: Option<u16>,
}

/// Why the `Host` header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// HTTP/1.1 without one, or HTTP/2 without one and without an authority in its target.
    #[error("the request has no `Host` header")]
    Missing,
    /// More than one.
    #[error("the request has more than one `Host` header")]
    Repeated,
    /// Not a name, an address, or a port.
    #[error("the `Host` header is not a host name with an optional port")]
    Invalid,
}

/// The host on which target and header agree.
pub(super) fn agreed(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Option<Host>, Malformed> {
    let from_header = from_header(version, headers)?;
    let Some(authority) = uri.authority() else {
        // HTTP/2 may say it in either place, and has to say it in one.
        return match from_header {
            None if version > Version::HTTP_11 => Err(HostError::Missing.into()),
            host => Ok(host),
        };
    };
    let default_port = match uri.scheme_str() {
        None => return Err(Malformed::AuthorityForm),
        Some("http") => 80,
        Some("https") => 443,
        Some(_) => return Err(Malformed::Scheme),
    };
    let from_target = Host::parse(authority.as_str())?;
    match from_header {
        Some(host) if !host.agrees_with(&from_target, default_port) => Err(Malformed::HostMismatch),
        _ => Ok(Some(from_target)),
    }
}

fn from_header(version: Version, headers: &HeaderMap) -> Result<Option<Host>, HostError> {
    let mut values = headers.get_all(HOST).iter();
    let Some(value) = values.next() else {
        // HTTP/1.0 knows no Host, and HTTP/2 has it in the target.
        return if version == Version::HTTP_11 { Err(HostError::Missing) } else { Ok(None) };
    };
    if values.next().is_some() {
        return Err(HostError::Repeated);
    }
    value.to_str().map_err(|_| HostError::Invalid).and_then(Host::parse).map(Some)
}

impl Host {
    /// Reads `name`, `name:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.len() > HOST_MAX_BYTES {
            return Err(HostError::Invalid);
        }
        let (name, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((address, port))) => {
                address.parse::<Ipv6Addr>().map_err(|_| HostError::Invalid)?;
                (address, port)
            }
            Some(None) => return Err(HostError::Invalid),
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (read_name(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return Err(HostError::Invalid),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| HostError::Invalid)?)
            }
            Some(_) => return Err(HostError::Invalid),
        };
        Ok(Self { name: name.to_ascii_lowercase().into(), port })
    }

    fn agrees_with(&self, other: &Self, default_port: u16) -> bool {
        self.name == other.name && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn read_name(name: &str) -> Result<&str, HostError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let legal = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.split('.').all(legal) { Ok(name) } else { Err(HostError::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_port() {
        for (text, name, port) in [
            ("LocalHost", "localhost", None),
            ("localhost.", "localhost", None),
            ("a.b-c:8080", "a.b-c", Some(8080)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]:443", "::1", Some(443)),
        ] {
            let host = Host::parse(text).unwrap();
            assert_eq!((&*host.name, host.port), (name, port), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_host_are_refused() {
        let long = "a".repeat(256);
        for text in
            ["", "a/b", "u@h", "h:abc", "h:", "h:+1", "h:99999", "h#x", "[::1", "[x]", "a..b", "h h", &long]
        {
            assert_eq!(Host::parse(text), Err(HostError::Invalid), "{text}");
        }
    }

    #[test]
    fn http_11_needs_exactly_one_host() {
        let uri: Uri = "/".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(agreed(&uri, Version::HTTP_11, &headers), Err(HostError::Missing.into()));
        assert_eq!(agreed(&uri, Version::HTTP_10, &headers), Ok(None));
        assert_eq!(agreed(&uri, Version::HTTP_2, &headers), Err(HostError::Missing.into()));
        headers.append(HOST, "a".parse().unwrap());
        assert!(agreed(&uri, Version::HTTP_11, &headers).is_ok());
        assert!(agreed(&uri, Version::HTTP_2, &headers).is_ok());
        headers.append(HOST, "a".parse().unwrap());
        assert_eq!(agreed(&uri, Version::HTTP_11, &headers), Err(HostError::Repeated.into()));
    }

    #[test]
    fn default_port_of_the_scheme_is_the_same_host() {
        let uri: Uri = "http://a:80/".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(HOST, "A.".parse().unwrap());
        assert!(agreed(&uri, Version::HTTP_11, &headers).is_ok());
        headers.insert(HOST, "a:81".parse().unwrap());
        assert_eq!(agreed(&uri, Version::HTTP_11, &headers), Err(Malformed::HostMismatch));
    }
}
