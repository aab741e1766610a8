//! A request carries one credential or none, whatever its header fields are and in whatever order they come.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use rolegate::request::{Credential, Host, Malformed, Request};

const FIELDS_MAX: usize = 64;
const SPARE: &str = "a-second-token-of-somebody-else";

/// Lines are header fields, `name: value`; a first line that starts with a slash is the request target.
pub(crate) fn check(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n').peekable();
    let target = lines.next_if(|line| line.first() == Some(&b'/')).and_then(|line| Uri::try_from(line).ok());
    let target = target.unwrap_or_else(|| Uri::from_static("/a"));
    let mut fields: Vec<_> = lines.filter_map(field).take(FIELDS_MAX).collect();
    if !fields.iter().any(|(name, _)| name == http::header::HOST) {
        fields.push((http::header::HOST, HeaderValue::from_static("localhost")));
    }
    let read = read(&target, &fields);
    is_one_credential(&fields, read.as_ref());
    shows_no_credential(&target, &fields, read.as_ref());

    let reversed: Vec<_> = fields.iter().rev().cloned().collect();
    let again = self::read(&target, &reversed);
    assert_eq!(kind(read.as_ref()), kind(again.as_ref()), "in the other order: {fields:?}");

    let has_credential = credentials(&fields).next().is_some();
    for name in ["authorization", "x-api-key"] {
        let value = if name == "authorization" { format!("ApiKey {SPARE}") } else { SPARE.to_owned() };
        let spare = HeaderValue::try_from(value).map(|value| (HeaderName::from_static(name), value));
        let more: Vec<_> = fields.iter().cloned().chain(spare.ok()).collect();
        let second = self::read(&target, &more);
        assert_eq!(second.is_ok(), read.is_ok() && !has_credential, "{more:?}");
        if read.is_ok() && has_credential {
            assert_eq!(second.err(), Some(Malformed::Credentials), "{more:?}");
        }
    }
    hosts_read_what_they_write(&fields);
}

type Field = (HeaderName, HeaderValue);

fn field(line: &[u8]) -> Option<Field> {
    let end = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(end)?;
    let value = value.get(1..)?.trim_ascii();
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

fn read(target: &Uri, fields: &[Field]) -> Result<Request, Malformed> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value.clone());
    }
    Request::read(Method::GET, target, Version::HTTP_11, headers, None)
}

fn credentials(fields: &[Field]) -> impl Iterator<Item = &Field> {
    fields.iter().filter(|(name, _)| name == "authorization" || name == "x-api-key")
}

/// What the outcome is, without what it holds.
fn kind(read: Result<&Request, &Malformed>) -> String {
    match read {
        Ok(request) => format!("{:?}", request.credential()),
        Err(_) => "malformed".to_owned(),
    }
}

#[expect(clippy::panic, reason = "a property that does not hold is a panic")]
fn is_one_credential(fields: &[Field], read: Result<&Request, &Malformed>) {
    let Ok(request) = read else { return };
    let carried: Vec<_> = credentials(fields).collect();
    assert!(carried.len() <= 1, "{fields:?} were read as {request:?}");
    let secret = match (request.credential(), carried.first()) {
        (Credential::Missing, None) | (Credential::Unusable(_), Some(_)) => None,
        (Credential::Token(secret, _), Some((name, value))) => Some((secret.expose(), name, value)),
        (other, _) => panic!("{fields:?} gave {other:?}"),
    };
    for name in ["authorization", "X-API-Key", "cookie", "Proxy-Authorization", "x-sts-token"] {
        assert_eq!(request.header(name), Ok(None), "{name} of {fields:?}");
    }
    for (name, _) in fields {
        let _ = request.header(name.as_str());
        let _ = request.query_parameter(name.as_str());
    }
    if let Some((secret, name, value)) = secret {
        is_carried(secret, name, value.as_bytes());
    }
}

/// What is shown of a request is the same as without its credential.
fn shows_no_credential(target: &Uri, fields: &[Field], read: Result<&Request, &Malformed>) {
    let Ok(request) = read else { return };
    let is_credential = |(name, _): &&Field| name == "authorization" || name == "x-api-key";
    let others: Vec<_> = fields.iter().filter(|field| !is_credential(field)).cloned().collect();
    let shown = self::read(target, &others).map(|other| format!("{other:?}"));
    assert_eq!(Ok(format!("{request:?}")), shown, "{fields:?}");
    let kind = format!("{:?}", request.credential());
    assert!(kind.len() < "Unusable(Token(WrongChecksum)) ".len(), "{kind}");
    let headers = request.clone().into_parts().headers;
    assert_eq!(headers.len(), fields.len(), "{fields:?}");
    for name in ["authorization", "x-api-key", "cookie", "proxy-authorization"] {
        assert!(headers.get_all(name).iter().all(HeaderValue::is_sensitive), "{name} of {fields:?} is shown");
    }
}

/// The secret is all that the field says, after the scheme where there is one.
fn is_carried(secret: &str, name: &HeaderName, value: &[u8]) {
    let own = if name == "x-api-key" {
        value
    } else {
        let (scheme, rest) = value.split_at_checked(6).unwrap_or_default();
        assert!(scheme.eq_ignore_ascii_case(b"ApiKey") && rest.starts_with(b" "), "{scheme:?} gave a token");
        rest.trim_ascii_start()
    };
    assert_eq!(own, secret.as_bytes());
    assert!(!own.contains(&b',') && own.iter().all(u8::is_ascii_graphic), "{name} gave a token");
}

fn hosts_read_what_they_write(fields: &[Field]) {
    for text in fields.iter().filter_map(|(_, value)| value.to_str().ok()) {
        let Ok(host) = Host::parse(text) else { continue };
        let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.to_string() };
        assert_eq!(name, name.to_ascii_lowercase(), "{text:?}");
        let again = host.port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        assert_eq!(Host::parse(&again), Ok(host), "{text:?}");
    }
}
