//! The request as the gate sees it: read once from HTTP, in one spelling, or refused as malformed.

mod ambiguity;
mod credential;
mod host;
mod target;

pub(crate) use credential::is_credential;
pub use credential::{Credential, Unusable};
pub use host::{Host, HostError};
pub(crate) use target::read_target;

use crate::path::{CanonicalPath, PathError, TARGET_MAX_BYTES};
use http::{HeaderMap, Method, Uri, Version};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

/// The longest method. The longest that is registered has 17 characters.
pub const METHOD_MAX_BYTES: usize = 32;

/// A set of the methods that rules can name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MethodSet(u8);

/// One request, cheap to clone. What it was made of comes back by [`Request::into_parts`].
#[derive(Clone)]
pub struct Request(Arc<RequestParts>);

/// What a request is made of.
#[derive(Clone)]
pub struct RequestParts {
    /// The method, as it was sent.
    pub method: Method,
    /// The path, in canonical spelling.
    pub path: CanonicalPath,
    /// The query without its question mark, as it was sent. It never takes part in matching.
    pub query: Option<Box<str>>,
    /// The header fields, as they were sent.
    pub headers: HeaderMap,
    /// The host that was asked for; `None` for HTTP/1.0 without one.
    pub host: Option<Host>,
    /// Where the request comes from, when that is known.
    pub client_ip: Option<IpAddr>,
    /// What the request presents as its credential.
    pub credential: Credential,
    /// A name for this one request, by which logs find it.
    pub id: Option<Arc<str>>,
}

/// Why a request is refused before any policy sees it: two programs could read it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A method longer than [`METHOD_MAX_BYTES`].
    #[error("the method is longer than {METHOD_MAX_BYTES} bytes")]
    Method,
    /// The path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The `Host` header, or what it says.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A target such as `localhost:443`.
    #[error("the request target is an authority, not a path")]
    AuthorityForm,
    /// `*` with another method than `OPTIONS`.
    #[error("the request target `*` belongs to `OPTIONS` alone")]
    Asterisk,
    /// An absolute target with another scheme than http or https, or with a user.
    #[error("the absolute request target is not an http address")]
    Scheme,
    /// An absolute target that names another host than the `Host` header.
    #[error("the request target and the `Host` header name different hosts")]
    HostMismatch,
    /// A character in the query that must be encoded.
    #[error("the query has a character that must be encoded")]
    Query,
    /// Several credentials, or one that can be read as several.
    #[error("the request carries more than one credential")]
    Credentials,
    /// A header that tells another method than the request line.
    #[error("a header overrides the method of the request line")]
    MethodOverride,
    /// A header that tells another target than the request line.
    #[error("a header overrides the request target")]
    TargetOverride,
    /// A header name with `_` or `.` that some servers read as one of their own.
    #[error("a header name resembles one that carries identity or routing")]
    HeaderAlias,
    /// A `Connection` header that would make a proxy drop other headers than its own.
    #[error("the `Connection` header names a field that is not its own")]
    Connection,
    /// A length or transfer coding that two programs could read differently.
    #[error("the length of the body can be read in two ways")]
    Framing,
}

/// Why a query parameter cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The parameter is given more than once: programs differ in which one they take.
    #[error("the query parameter is given more than once")]
    Repeated,
    /// The value is not UTF-8, or has a percent sign without two digits.
    #[error("the query parameter is not encoded text")]
    BadEncoding,
}

/// Why a header field cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The field is given more than once: programs differ in which one they take.
    #[error("the header field is given more than once")]
    Repeated,
    /// The value is not visible ASCII.
    #[error("the header field is not text")]
    NotText,
}

impl MethodSet {
    /// No method.
    pub const NONE: Self = Self(0);
    /// Every method that rules can name.
    pub const ANY: Self = Self(0x7f);
    const NAMES: [(&'static str, Self); 7] = [
        ("GET", Self(1)),
        ("HEAD", Self(2)),
        ("POST", Self(4)),
        ("PUT", Self(8)),
        ("PATCH", Self(16)),
        ("DELETE", Self(32)),
        ("OPTIONS", Self(64)),
    ];

    /// The set of this method alone; empty for one that rules cannot name. Case-sensitive, as methods are.
    pub fn of(method: &str) -> Self {
        Self::NAMES.iter().find(|(name, _)| *name == method).map_or(Self::NONE, |(_, set)| *set)
    }

    /// The names of the methods in the set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, set)| self.intersects(*set)).map(|(name, _)| name)
    }

    /// The methods that are in both sets.
    pub(crate) const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether both sets have a method in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every method of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The methods of this set that `other` has not.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has no method.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for MethodSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for MethodSet {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Request {
    /// Reads a request from what an HTTP library parsed.
    ///
    /// # Errors
    /// When two programs could read the request differently; see [`Malformed`].
    pub fn read(
        method: Method,
        uri: &Uri,
        version: Version,
        mut headers: HeaderMap,
        client_ip: Option<IpAddr>,
    ) -> Result<Self, Malformed> {
        if method.as_str().len() > METHOD_MAX_BYTES {
            return Err(Malformed::Method);
        }
        let host = host::agreed(uri, version, &headers)?;
        let path = read_path(&method, uri, version)?;
        let query = uri.query().map(read_query).transpose()?;
        ambiguity::refuse(&method, uri, version, &headers)?;
        let credential = credential::take(&mut headers)?;
        Ok(Self::from(RequestParts { method, path, query, headers, host, client_ip, credential, id: None }))
    }

    /// A request without headers and credential, for tests of policies and for programs that are not HTTP.
    pub fn new(method: Method, path: CanonicalPath) -> Self {
        Self::from(RequestParts {
            method,
            path,
            query: None,
            headers: HeaderMap::new(),
            host: None,
            client_ip: None,
            credential: Credential::Missing,
            id: None,
        })
    }

    /// The same request under a name by which logs find it.
    #[must_use]
    pub fn with_id(mut self, id: Arc<str>) -> Self {
        Arc::make_mut(&mut self.0).id = Some(id);
        self
    }

    /// The method, as it was sent.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The path, in canonical spelling.
    pub fn path(&self) -> &CanonicalPath {
        &self.0.path
    }

    /// The name by which logs find this request.
    pub fn id(&self) -> Option<&Arc<str>> {
        self.0.id.as_ref()
    }

    /// Where the request comes from, when that is known. An IPv4 address is one, also where a socket for both versions
    /// tells it as `::ffff:192.0.2.1`: else no rule about it would match.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.0.client_ip.map(|address| address.to_canonical())
    }

    /// What the request presents as its credential.
    pub fn credential(&self) -> &Credential {
        &self.0.credential
    }

    /// The value of a header field that is no credential; `None` when there is none.
    ///
    /// # Errors
    /// When the field is repeated, or not text.
    pub fn header(&self, name: &str) -> Result<Option<&str>, HeaderError> {
        if is_credential(name) {
            return Ok(None);
        }
        let mut values = self.0.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(HeaderError::Repeated);
        }
        value.to_str().map(Some).map_err(|_| HeaderError::NotText)
    }

    /// All header fields, those that carry credentials among them: for authenticators. Conditions never see these.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The query without its question mark, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.0.query.as_deref()
    }

    /// The value of a query parameter, decoded as HTML forms encode it.
    ///
    /// # Errors
    /// When the parameter is repeated, or not encoded text.
    pub fn query_parameter(&self, name: &str) -> Result<Option<String>, QueryError> {
        query_parameter(self.query().unwrap_or_default(), name)
    }

    /// How much of the request its client chose the length of, in bytes.
    pub fn length_bytes(&self) -> usize {
        let RequestParts { path, query, headers, .. } = &*self.0;
        let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        path.as_str().len() + query.as_ref().map_or(0, |query| query.len()) + fields.sum::<usize>()
    }

    /// What the request is made of; copied only when another clone is still alive.
    pub fn into_parts(self) -> RequestParts {
        Arc::unwrap_or_clone(self.0)
    }
}

impl From<RequestParts> for Request {
    fn from(parts: RequestParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RequestParts {
    /// Shows neither headers nor query: both may carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("client_ip", &self.client_ip)
            .finish_non_exhaustive()
    }
}

fn read_path(method: &Method, uri: &Uri, version: Version) -> Result<CanonicalPath, Malformed> {
    let Some(target) = uri.path_and_query() else { return Err(Malformed::AuthorityForm) };
    // HTTP/2 has the path in a field of its own. One that begins with its query is read as `/` by some.
    if version > Version::HTTP_11 && target.as_str().starts_with('?') {
        return Err(PathError::NotAbsolute.into());
    }
    if target.as_str().len() > TARGET_MAX_BYTES {
        return Err(PathError::TooLong.into());
    }
    if target.path() != "*" {
        return Ok(CanonicalPath::parse(target.path())?);
    }
    if method == Method::OPTIONS { Ok(CanonicalPath::asterisk()) } else { Err(Malformed::Asterisk) }
}

fn read_query(query: &str) -> Result<Box<str>, Malformed> {
    // RFC 3986 3.4 has fewer characters; these are the ones that split lines, headers and logs.
    if query.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Box::from(query))
    } else {
        Err(Malformed::Query)
    }
}

/// The parameters of a query in their order, decoded as HTML forms encode them.
#[cfg(feature = "server")]
pub(crate) fn query_parameters(
    query: &str,
) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), QueryError>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((form_decode(key)?, form_decode(value)?))
    })
}

/// The value of a parameter of a query, decoded as HTML forms encode it.
pub(crate) fn query_parameter(query: &str, name: &str) -> Result<Option<String>, QueryError> {
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if form_decode(key)? != name {
            continue;
        }
        if found.replace(form_decode(value)?.into_owned()).is_some() {
            return Err(QueryError::Repeated);
        }
    }
    Ok(found)
}

fn form_decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    crate::path::decode_strictly(&text.replace('+', " ")).map(Cow::Owned).ok_or(QueryError::BadEncoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        method: &str,
        target: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Request, Malformed> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Request::read(method.parse().unwrap(), &target.parse().unwrap(), Version::HTTP_11, map, None)
    }

    #[test]
    fn targets_of_every_form_are_read_or_refused() {
        let host = [("host", "localhost")];
        assert_eq!(read("GET", "/%61?x=1", &host).unwrap().path().as_str(), "/a");
        assert_eq!(read("GET", "http://localhost/a", &host).unwrap().path().as_str(), "/a");
        assert_eq!(read("OPTIONS", "*", &host).unwrap().path(), &CanonicalPath::asterisk());
        assert_eq!(read("GET", "*", &host).unwrap_err(), Malformed::Asterisk);
        assert_eq!(read("CONNECT", "localhost:443", &host).unwrap_err(), Malformed::AuthorityForm);
        assert_eq!(read("GET", "http://other/a", &host).unwrap_err(), Malformed::HostMismatch);
        assert_eq!(read("GET", "ftp://localhost/a", &host).unwrap_err(), Malformed::Scheme);
    }

    #[test]
    fn ipv4_address_is_one_in_either_spelling() {
        let from = |address: &str| {
            let parts = RequestParts {
                client_ip: Some(address.parse().unwrap()),
                ..Request::new(Method::GET, CanonicalPath::asterisk()).into_parts()
            };
            Request::from(parts).client_ip().unwrap().to_string()
        };
        assert_eq!(from("::ffff:10.1.0.7"), "10.1.0.7");
        assert_eq!(from("10.1.0.7"), "10.1.0.7");
        assert_eq!(from("2001:db8::7"), "2001:db8::7");
        assert_eq!(from("::10.1.0.7"), "::a01:7", "that only looks alike");
    }

    #[test]
    fn method_of_the_longest_length_is_read_and_one_byte_more_is_not() {
        let longest = "M".repeat(METHOD_MAX_BYTES);
        assert_eq!(read(&longest, "/a", &[("host", "h")]).unwrap().method(), longest.as_str());
        assert_eq!(read(&format!("{longest}M"), "/a", &[("host", "h")]).unwrap_err(), Malformed::Method);
    }

    #[test]
    fn target_of_the_longest_length_is_read_and_one_byte_more_is_not() {
        let host = [("host", "localhost")];
        let longest = format!("/a?{}", "x".repeat(TARGET_MAX_BYTES - 3));
        assert!(read("GET", &longest, &host).is_ok());
        assert_eq!(read("GET", &format!("{longest}x"), &host).unwrap_err(), PathError::TooLong.into());
    }

    #[test]
    fn query_parameters_are_decoded_and_never_guessed() {
        let request = read("GET", "/a?x=a%20b+c&y=1&y=2&z=%zz&e", &[("host", "h")]).unwrap();
        assert_eq!(request.query_parameter("x"), Ok(Some("a b c".to_owned())));
        assert_eq!(request.query_parameter("none"), Ok(None));
        assert_eq!(request.query_parameter("e"), Ok(Some(String::new())));
        assert_eq!(request.query_parameter("y"), Err(QueryError::Repeated));
        assert_eq!(request.query_parameter("z"), Err(QueryError::BadEncoding));
    }

    #[test]
    fn header_gives_single_values_and_no_credentials() {
        let fields = [
            ("host", "h"),
            ("x-api-key", "some-token-that-is-long-enough"),
            ("x-one", "1"),
            ("x-two", "a"),
            ("x-two", "b"),
        ];
        let request = read("GET", "/a", &fields).unwrap();
        assert_eq!(request.header("X-One"), Ok(Some("1")));
        assert_eq!(request.header("x-two"), Err(HeaderError::Repeated));
        assert_eq!(request.header("x-api-key"), Ok(None));
    }

    #[test]
    fn debug_shows_neither_headers_nor_query() {
        let request =
            read("GET", "/a?secret=1", &[("host", "h"), ("x-api-key", "some-token-that-is-long-enough")]);
        let shown = format!("{:?}", request.unwrap());
        assert!(!shown.contains("secret") && !shown.contains("some-token"), "{shown}");
    }

    #[test]
    fn methods_that_rules_cannot_name_are_in_no_set() {
        assert!(MethodSet::of("TRACE").is_empty() && MethodSet::of("get").is_empty());
        assert!(MethodSet::ANY.contains(MethodSet::of("DELETE")));
        assert_eq!(MethodSet::ANY.names().count(), 7);
    }
}
