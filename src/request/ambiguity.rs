//! The refusal of headers by which the program behind us could see another request than the policy saw.

use super::Malformed;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri, Version};

/// Headers that make some programs take another method than the request line's.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// Headers that make some programs take another target than the request line's.
const TARGET_OVERRIDES: [&str; 4] = ["x-original-url", "x-original-uri", "x-rewrite-url", "x-accel-redirect"];
/// What a `Connection` header may name (RFC 9110, 7.6.1): anything else would be dropped by a proxy on the way.
const CONNECTION_OPTIONS: [&str; 5] = ["close", "keep-alive", "upgrade", "te", "http2-settings"];
/// Header names that carry identity, routing or framing; some programs read `_` and `.` in a name as `-`.
const GUARDED_NAMES: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "forwarded",
    "host",
    "transfer-encoding",
    "proxy-authorization",
    "x-real-ip",
];
const GUARDED_PREFIXES: [&str; 8] = [
    "x-accel-",
    "x-api-",
    "x-auth-",
    "x-forwarded-",
    "x-http-method",
    "x-method-",
    "x-original-",
    "x-rolegate-",
];

pub(super) fn refuse(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), Malformed> {
    if headers.keys().any(|name| is_alias(name.as_str())) {
        return Err(Malformed::HeaderAlias);
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    // Most requests have neither overrides, which are all extensions, nor a body.
    let (mut has_connection, mut has_framing) = (false, false);
    for (name, value) in headers {
        has_connection |= name == CONNECTION;
        has_framing |= name == TRANSFER_ENCODING || name == CONTENT_LENGTH;
        let name = name.as_str();
        if !name.starts_with("x-") {
            continue;
        }
        if METHOD_OVERRIDES.contains(&name) && value.as_bytes() != method.as_str().as_bytes() {
            return Err(Malformed::MethodOverride);
        }
        if TARGET_OVERRIDES.contains(&name) && value.as_bytes() != target.as_bytes() {
            return Err(Malformed::TargetOverride);
        }
    }
    if has_connection {
        refuse_connection(headers)?;
    }
    if has_framing { refuse_framing(version, headers) } else { Ok(()) }
}

fn is_alias(name: &str) -> bool {
    if !name.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
        return false;
    }
    let dashed = name.replace(['_', '.'], "-");
    GUARDED_NAMES.contains(&dashed.as_str())
        || GUARDED_PREFIXES.iter().any(|prefix| dashed.starts_with(prefix))
}

fn refuse_connection(headers: &HeaderMap) -> Result<(), Malformed> {
    for value in headers.get_all(CONNECTION) {
        let value = value.to_str().map_err(|_| Malformed::Connection)?;
        let known = |option: &str| CONNECTION_OPTIONS.iter().any(|known| known.eq_ignore_ascii_case(option));
        if !value.split(',').map(str::trim).all(|option| option.is_empty() || known(option)) {
            return Err(Malformed::Connection);
        }
    }
    Ok(())
}

/// RFC 9112, 6.1 to 6.3: one length or the one coding `chunked`, and never both.
fn refuse_framing(version: Version, headers: &HeaderMap) -> Result<(), Malformed> {
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
    if lengths.len() > 1 || lengths.iter().any(|value| !is_number(value.as_bytes())) {
        return Err(Malformed::Framing);
    }
    match codings.as_slice() {
        [] => Ok(()),
        [coding]
            if lengths.is_empty()
                && version == Version::HTTP_11
                && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(())
        }
        _ => Err(Malformed::Framing),
    }
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    fn check(method: &str, fields: &[(&str, &str)]) -> Result<(), Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        refuse(&method.parse().unwrap(), &"/a?b=1".parse().unwrap(), Version::HTTP_11, &headers)
    }

    #[test]
    fn override_that_agrees_is_harmless_and_one_that_does_not_is_refused() {
        assert_eq!(check("POST", &[("x-http-method-override", "POST")]), Ok(()));
        assert_eq!(check("POST", &[("x-http-method-override", "DELETE")]), Err(Malformed::MethodOverride));
        assert_eq!(check("GET", &[("x-original-uri", "/a?b=1")]), Ok(()));
        assert_eq!(check("GET", &[("x-original-uri", "/admin")]), Err(Malformed::TargetOverride));
    }

    #[test]
    fn names_that_resemble_guarded_ones_are_refused_and_others_are_not() {
        for alias in ["x_api_key", "x.auth.roles", "x_forwarded_uri", "content_length", "x-rolegate_token-id"]
        {
            assert_eq!(check("GET", &[(alias, "1")]), Err(Malformed::HeaderAlias), "{alias}");
        }
        assert_eq!(check("GET", &[("x_trace_id", "1")]), Ok(()));
    }

    #[test]
    fn connection_names_its_own_options_only() {
        assert_eq!(check("GET", &[("connection", "keep-alive, Close")]), Ok(()));
        for nominated in ["authorization", "x-forwarded-for", "close, content-length"] {
            assert_eq!(check("GET", &[("connection", nominated)]), Err(Malformed::Connection), "{nominated}");
        }
    }

    #[test]
    fn body_has_one_length() {
        assert_eq!(check("POST", &[("content-length", "5")]), Ok(()));
        assert_eq!(check("POST", &[("transfer-encoding", "chunked")]), Ok(()));
        for fields in [
            &[("content-length", "5"), ("transfer-encoding", "chunked")][..],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "identity, chunked")],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "-1")],
            &[("content-length", "")],
        ] {
            assert_eq!(check("POST", fields), Err(Malformed::Framing), "{fields:?}");
        }
    }
}
