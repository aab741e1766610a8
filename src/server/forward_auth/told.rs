//! What a proxy tells of the request that it holds: the one place that decides which fact comes from where. A fact that
//! is told twice, in two ways that differ, or not at all, is no fact.
//!
//! | fact | told by | told by |
//! |---|---|---|
//! | method | `X-Forwarded-Method` (Caddy, Traefik), `X-Original-Method` (nginx) | the request line, when the target is appended (Envoy) |
//! | target | `X-Forwarded-Uri` (Caddy, Traefik), `X-Original-URI` or `X-Original-URL` (nginx) | what is appended to the path (Envoy) |
//! | host | `X-Forwarded-Host`, else an absolute target, else `Host` | `Host` |
//! | scheme | `X-Forwarded-Proto` | |
//! | client | the last address of `X-Forwarded-For` | |
//!
//! The method of the request line counts for Envoy alone: the others ask with `GET`, whatever they hold. Each of them
//! hands the client's own header fields on, so that a client can add any of these: next to the proxy's own it is a
//! second source, and the request is refused.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::net::IpAddr;

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What `X-Forwarded-Proto` may say; Traefik names the scheme of a WebSocket.
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];
/// How a second target begins behind the comma by which a proxy joins two header fields.
const TARGET_STARTS: [&[u8]; 3] = [b"/", b"http://", b"https://"];

/// How a proxy asks.
pub(super) struct Asked<'a> {
    /// The method by which it asks.
    pub(super) method: &'a Method,
    /// The target that it appended to the path of the endpoint.
    pub(super) appended: Option<&'a str>,
    /// The host that it asks, when that is in its own target.
    pub(super) authority: Option<&'a Authority>,
}

/// The request that it holds, as far as it is not in the header fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) method: Method,
    pub(super) target: Uri,
    /// `None` when the proxy does not tell it.
    pub(super) client_ip: Option<IpAddr>,
}

/// Why nobody knows which request a proxy asks about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untold {
    #[error("the method is not told; send it as `X-Forwarded-Method` or `X-Original-Method`")]
    NoMethod,
    #[error("the target is not told; send it as `X-Forwarded-Uri` or `X-Original-URI`")]
    NoTarget,
    #[error("`{0}` is told twice; the proxy must replace what a client sends")]
    Repeated(HeaderName),
    #[error(
        "the {fact} is told in two ways that differ, one of them `{name}`; the proxy must take away what a client sends"
    )]
    Contradicted { fact: &'static str, name: HeaderName },
    #[error("the method that is told is no method")]
    Method,
    #[error("the target that is told is no path or address in visible characters")]
    Target,
    #[error(
        "the target that is told may be two, joined by a comma; the proxy must replace what a client sends, and a client encode this comma"
    )]
    Joined,
    #[error("`X-Forwarded-Proto` is neither `http` nor `https`")]
    Scheme,
    #[error("`X-Forwarded-For` does not end with the address of a client")]
    Client,
    #[error("requests to this endpoint have no body; the proxy must leave it out")]
    Body,
}

impl Told {
    /// Takes the facts out of the header fields, so that those that remain are the client's, under the host that it
    /// asked for.
    pub(super) fn take(asked: Asked<'_>, headers: &mut HeaderMap) -> Result<Self, Untold> {
        let method = method(&asked, headers)?;
        let target = target(&asked, headers)?;
        host(&asked, &target, headers)?;
        if let Some(scheme) = single(headers, &FORWARDED_PROTO)? {
            let is_known = |known: &str| scheme.as_bytes().eq_ignore_ascii_case(known.as_bytes());
            SCHEMES.into_iter().find(|known| is_known(known)).ok_or(Untold::Scheme)?;
        }
        let client_ip = single(headers, &FORWARDED_FOR)?.map(last_address).transpose()?;
        Ok(Self { method, target, client_ip })
    }
}

fn method(asked: &Asked<'_>, headers: &mut HeaderMap) -> Result<Method, Untold> {
    let told = agreed(headers, &[FORWARDED_METHOD, ORIGINAL_METHOD], "method")?;
    match (asked.appended, told) {
        (Some(_), None) => Ok(asked.method.clone()),
        (Some(_), Some((name, told))) if told.as_bytes() != asked.method.as_str().as_bytes() => {
            Err(Untold::Contradicted { fact: "method", name })
        }
        (_, Some((_, told))) => Method::from_bytes(told.as_bytes()).map_err(|_| Untold::Method),
        (None, None) => Err(Untold::NoMethod),
    }
}

fn target(asked: &Asked<'_>, headers: &mut HeaderMap) -> Result<Uri, Untold> {
    let told = agreed(headers, &[FORWARDED_URI, ORIGINAL_URI, ORIGINAL_URL], "target")?;
    match (asked.appended, told) {
        (Some(appended), Some((name, told))) if told.as_bytes() != appended.as_bytes() => {
            Err(Untold::Contradicted { fact: "target", name })
        }
        // An address of its own would be another way to tell the host.
        (Some(appended), _) if appended.starts_with('/') || appended == "*" => read(appended.as_bytes()),
        (Some(_), _) => Err(Untold::Target),
        (None, Some((_, told))) if is_joined(told.as_bytes()) => Err(Untold::Joined),
        (None, Some((_, told))) => read(told.as_bytes()),
        (None, None) => Err(Untold::NoTarget),
    }
}

/// Reads a target as it is: how its path is spelled is for the one strict reader to say.
fn read(target: &[u8]) -> Result<Uri, Untold> {
    // A fragment would be cut off without a word.
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(Untold::Target);
    }
    Uri::try_from(target).map_err(|_| Untold::Target)
}

/// Whether a value may be two, as some proxies make of two fields of one name.
fn is_joined(target: &[u8]) -> bool {
    let mut rest = target;
    while let Some(at) = rest.iter().position(|byte| *byte == b',') {
        rest = rest.get(at + 1..).unwrap_or_default();
        let second = rest.trim_ascii_start();
        if TARGET_STARTS
            .iter()
            .any(|start| second.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start)))
        {
            return true;
        }
    }
    false
}

/// Leaves one `Host` in the header fields, the one that the client asked for.
fn host(asked: &Asked<'_>, target: &Uri, headers: &mut HeaderMap) -> Result<(), Untold> {
    let own = |authority: &Authority| HeaderValue::from_str(authority.as_str()).ok();
    let asked_for = match single(headers, &HOST)? {
        Some(host) => Some(host.clone()),
        None => asked.authority.and_then(own),
    };
    let told = single(headers, &FORWARDED_HOST)?.cloned();
    if asked.appended.is_some()
        && let (Some(told), Some(asked_for)) = (&told, &asked_for)
        && !told.as_bytes().eq_ignore_ascii_case(asked_for.as_bytes())
    {
        return Err(Untold::Contradicted { fact: "host", name: FORWARDED_HOST });
    }
    if let Some(host) = told.or_else(|| target.authority().and_then(own)).or(asked_for) {
        headers.insert(HOST, host);
    }
    Ok(())
}

/// The last address: the one that the proxy saw itself. Those before it are what the client and others say.
fn last_address(value: &HeaderValue) -> Result<IpAddr, Untold> {
    let last = value.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
    let last = std::str::from_utf8(last.trim_ascii()).map_err(|_| Untold::Client)?;
    last.parse().map_err(|_| Untold::Client)
}

/// Takes the one value that is told by these fields, with the last name that told it.
fn agreed(
    headers: &mut HeaderMap,
    names: &[HeaderName],
    fact: &'static str,
) -> Result<Option<(HeaderName, HeaderValue)>, Untold> {
    let mut agreed: Option<(HeaderName, HeaderValue)> = None;
    for name in names {
        if single(headers, name)?.is_none() {
            continue;
        }
        let Some(value) = headers.remove(name) else { continue };
        if agreed.as_ref().is_some_and(|(_, first)| *first != value) {
            return Err(Untold::Contradicted { fact, name: name.clone() });
        }
        agreed = Some((name.clone(), value));
    }
    Ok(agreed)
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Untold> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Untold::Repeated(name.clone())) } else { Ok(value) }
}

#[cfg(test)]
mod tests;
