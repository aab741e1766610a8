//! Requests that people write down: a method and a target, read as the gate reads what comes from a client.

use super::Request;
use crate::path::TARGET_MAX_BYTES;
use http::{HeaderMap, Method, Uri, Version};
use std::net::IpAddr;
use std::sync::Arc;

/// Reads a request as the gate would.
///
/// # Errors
/// With the reason why the gate refuses it.
pub(crate) fn read_target(
    method: Method,
    target: &str,
    headers: HeaderMap,
    client_ip: Option<IpAddr>,
) -> Result<Request, Arc<str>> {
    // A parsed address has lost its fragment, and the gate never sees one.
    if target.contains('#') {
        return Err("the request target has a fragment".into());
    }
    if target.len() > TARGET_MAX_BYTES {
        return Err(format!("the request target is longer than {TARGET_MAX_BYTES} bytes").into());
    }
    let uri: Uri = target.parse().map_err(|_| reason_of_no_uri(target))?;
    Request::read(method, &uri, Version::HTTP_11, headers, client_ip)
        .map_err(|wrong| wrong.to_string().into())
}

/// Why a target is neither a path nor a URI.
fn reason_of_no_uri(target: &str) -> &'static str {
    if target.starts_with('/') {
        "the request target has a character that must be encoded"
    } else if target.contains("://") {
        "the request target is no URI"
    } else {
        "the request target does not start with `/`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_that_is_no_uri_is_refused_with_what_to_write() {
        for (target, expected) in [
            ("a/b", "the request target does not start with `/`"),
            ("", "the request target does not start with `/`"),
            ("/a b", "the request target has a character that must be encoded"),
            ("http://[/a", "the request target is no URI"),
        ] {
            let read = read_target(Method::GET, target, HeaderMap::new(), None);
            assert_eq!(read.unwrap_err().to_string(), expected, "{target}");
        }
    }
}
