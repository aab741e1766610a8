//! The address under which clients know a server.

use crate::request::Host;
use std::fmt;
use std::str::FromStr;

/// What it begins with: names that are told over anything else could be anybody's.
const SCHEME: &str = "https://";

/// The address under which clients know a server, such as `https://rolegate.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Box<str>);

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicUrlError {
    /// Another scheme, or none.
    #[error("it does not start with `https://`; write it as `https://rolegate.example.com`")]
    Scheme,
    /// No host, a user, or a port that is none.
    #[error("it has no host name, with or without a port, behind `https://`")]
    Host,
    /// A path, a query, a fragment, or a slash at the end.
    #[error("nothing may follow the host and the port, not even a slash")]
    Rest,
}

impl PublicUrl {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let host = text.strip_prefix(SCHEME).ok_or(PublicUrlError::Scheme)?;
        if host.contains(['/', '?', '#']) {
            return Err(PublicUrlError::Rest);
        }
        Host::parse(host).map_err(|_| PublicUrlError::Host)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_host_by_https_and_nothing_more() {
        for text in
            ["https://rolegate.example.com", "https://h:8443", "https://[::1]:8443", "https://10.0.0.1"]
        {
            assert_eq!(text.parse::<PublicUrl>().unwrap().as_str(), text);
        }
        for (text, wrong) in [
            ("http://h", PublicUrlError::Scheme),
            ("h", PublicUrlError::Scheme),
            ("", PublicUrlError::Scheme),
            ("https://", PublicUrlError::Host),
            ("https://user@h", PublicUrlError::Host),
            ("https://h:x", PublicUrlError::Host),
            ("https://h /", PublicUrlError::Rest),
            ("https://h ", PublicUrlError::Host),
            ("https://h/", PublicUrlError::Rest),
            ("https://h/tenant", PublicUrlError::Rest),
            ("https://h?x", PublicUrlError::Rest),
            ("https://h#x", PublicUrlError::Rest),
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(wrong), "{text}");
        }
    }
}
