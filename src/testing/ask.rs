//! What a test asks, and as whom.

use super::fail;
use crate::request::{Request, read_target};
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use std::net::IpAddr;
use std::sync::Arc;

/// Whoever presents no token.
pub const NOBODY: Caller<'static> = Caller::Nobody;

/// As whom a test asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller<'a> {
    /// Without a token.
    Nobody,
    /// With the token of this name in the world.
    Token(&'a str),
}

/// A request that a test makes. A text such as `GET /api/things?all=1` is one.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    target: String,
    headers: HeaderMap,
    client_ip: Option<IpAddr>,
}

impl Ask {
    /// The request of this method and target, such as `GET /api/things?all=1`.
    #[track_caller]
    pub fn new(text: &str) -> Self {
        let parts = text.split_once(' ');
        let parts = parts.and_then(|(method, target)| Some((method.parse().ok()?, target)));
        let Some((method, target)) = parts else {
            fail(&format!("`{text}` is no request: write method and target, such as `GET /api/things`"));
        };
        let target = target.trim_start_matches(' ').to_owned();
        Self { method, target, headers: HeaderMap::new(), client_ip: None }
    }

    /// The same request with one more header field.
    #[must_use]
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) else {
            fail("the name or the value of a header field cannot stand in one");
        };
        self.headers.append(name, value);
        self
    }

    /// The same request from this address.
    #[must_use]
    #[track_caller]
    pub fn client_ip(mut self, address: &str) -> Self {
        let Ok(parsed) = address.parse() else {
            fail(&format!("`{address}` is no address: write one such as `192.0.2.1` or `2001:db8::1`"));
        };
        self.client_ip = Some(parsed);
        self
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// The request as the gate reads it, with this field besides.
    pub(super) fn read(&self, credential: Option<(HeaderName, HeaderValue)>) -> Result<Request, Arc<str>> {
        let mut headers = self.headers.clone();
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::from_static("localhost"));
        }
        if let Some((name, value)) = credential {
            headers.append(name, value);
        }
        read_target(self.method.clone(), &self.target, headers, self.client_ip)
    }
}

impl From<&str> for Ask {
    #[track_caller]
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<'a> From<&'a str> for Caller<'a> {
    fn from(name: &'a str) -> Self {
        Self::Token(name)
    }
}
