//! Every answer that is made here and not by a route, in the words of the wire contract. HTTP meets errors here alone.

use super::HeaderLimit;
use crate::decision::PolicyVersion;
use crate::path::PathError;
use crate::request::Malformed;
use crate::time::Timestamp;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use std::time::Duration;

/// An answer of the server itself.
pub(crate) type Reply = Response<Bytes>;

/// The name of the header that carries a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name of the header that carries the version of the policies that decided.
pub(crate) const POLICY_VERSION: HeaderName = HeaderName::from_static("x-rolegate-policy");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"rolegate\"");
/// Without a charset: the original client shows an error's body only when the type is exactly this one.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What a request without a live token is told, in one piece for every form of answer.
macro_rules! token_needed {
    () => {
        "this route needs a live service token, sent as `Authorization: ApiKey <token>` or as `X-API-Key: <token>`"
    };
}
/// The same where no JSON is spoken.
#[cfg(feature = "tower")]
pub(crate) const TOKEN_NEEDED: &str = token_needed!();
/// Constant to the byte, so that an answer never tells why a token is not live.
const UNAUTHENTICATED: &str = concat!(
    r#"{"_type":"ErrorsResponse","trackingKey":"unauthenticated","serverTimestamp":0,"#,
    r#""errors":[{"_type":"InternalError","message":""#,
    token_needed!(),
    r#""}]}"#
);
/// The same for one of too many: constant, whatever the cause.
const TOO_MANY: &str = concat!(
    r#"{"_type":"ErrorsResponse","trackingKey":"too-many-failed-authentications","serverTimestamp":0,"#,
    r#""errors":[{"_type":"InternalError","message":"too many requests from this address came with a token that is "#,
    r#"not live, and so did this one: check the token, and wait before trying it again"}]}"#
);

/// An error on its way to the client: a status and what to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The methods that the route has, which an answer of 405 must tell.
    allow: Option<&'static str>,
}

/// `GenericErrorsResponse` of the wire contract.
#[derive(Serialize)]
struct GenericErrors<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(rename = "trackingKey")]
    tracking_key: &'a str,
    #[serde(rename = "serverTimestamp")]
    server_timestamp: i64,
    errors: [GenericError<'a>; 1],
}

/// One error; also `ServiceTokenInvalidExpiryError` when it stands alone.
#[derive(Serialize)]
struct GenericError<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    message: &'a str,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None }
    }

    /// The route has these methods and no other.
    pub(crate) fn method_not_allowed(methods: &'static str) -> Self {
        let message = format!("this route has the methods {methods}");
        Self { allow: Some(methods), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed to answer; its log names the cause")
    }

    /// The failure as its message alone.
    #[cfg(feature = "server")]
    pub(crate) fn plain(&self) -> Reply {
        let mut reply = text("text/plain; charset=utf-8", self.message.clone());
        *reply.status_mut() = self.status;
        self.tell_methods(&mut reply);
        reply
    }

    /// The failure as a `GenericErrorsResponse`, found in the log by `request_id`.
    pub(crate) fn reply(&self, request_id: &str, now: Timestamp) -> Reply {
        let errors = [GenericError { kind: "InternalError", message: &self.message }];
        let body = GenericErrors {
            kind: "ErrorsResponse",
            tracking_key: request_id,
            server_timestamp: now.as_millis(),
            errors,
        };
        let mut reply = json(self.status, &body);
        self.tell_methods(&mut reply);
        reply
    }

    fn tell_methods(&self, reply: &mut Reply) {
        if let Some(methods) = self.allow {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
    }
}

impl From<Malformed> for Failure {
    fn from(cause: Malformed) -> Self {
        let status = match cause {
            Malformed::Method => StatusCode::NOT_IMPLEMENTED,
            Malformed::Path(PathError::TooLong) => StatusCode::URI_TOO_LONG,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, cause.to_string())
    }
}

impl From<HeaderLimit> for Failure {
    fn from(limit: HeaderLimit) -> Self {
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, limit.to_string())
    }
}

/// The one 401.
pub(crate) fn unauthenticated() -> Reply {
    let mut reply = Response::new(Bytes::from_static(UNAUTHENTICATED.as_bytes()));
    *reply.status_mut() = StatusCode::UNAUTHORIZED;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    reply
}

/// The one 429, in the place of a 401.
pub(crate) fn too_many(retry_after: Duration) -> Reply {
    let mut reply = Response::new(Bytes::from_static(TOO_MANY.as_bytes()));
    *reply.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    // Rounded up: who comes back then is within the limit.
    let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    reply.headers_mut().insert(RETRY_AFTER, secs.into());
    reply
}

/// A new token's expiry is not acceptable.
pub(crate) fn invalid_expiry(message: &str) -> Reply {
    json(StatusCode::BAD_REQUEST, &GenericError { kind: "ServiceTokenInvalidExpiryError", message })
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // The types that are answered with have text keys alone, and so nothing that JSON cannot hold.
    let (status, body) = match serde_json::to_vec(body) {
        Ok(body) => (status, body),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    };
    let mut reply = Response::new(Bytes::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// An answer in text of this type.
pub(crate) fn text(content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Bytes::from(body));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = status;
    reply
}

/// Makes the connection end with this answer.
pub(crate) fn closing<B>(mut reply: Response<B>) -> Response<B> {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Adds what every answer has. Routes may set their own caching.
pub(crate) fn complete(headers: &mut HeaderMap, request_id: &str) {
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(request_id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, request_id);
    }
}

/// The value of [`POLICY_VERSION`].
pub(crate) fn version(version: PolicyVersion) -> Option<HeaderValue> {
    HeaderValue::try_from(version.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply) -> String {
        format!("{}", String::from_utf8_lossy(reply.body()))
    }

    #[test]
    fn errors_are_generic_errors_responses() {
        let failure = Failure::bad_request("the body is not a JSON object");
        let reply = failure.reply("r-1", Timestamp::from_millis(7));
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/json");
        insta::assert_snapshot!(text(&reply), @r#"{"_type":"ErrorsResponse","trackingKey":"r-1","serverTimestamp":7,"errors":[{"_type":"InternalError","message":"the body is not a JSON object"}]}"#);
    }

    #[test]
    fn unauthenticated_has_the_same_form_as_other_errors() {
        let failure = Failure::new(StatusCode::UNAUTHORIZED, "x");
        let other: serde_json::Value =
            serde_json::from_slice(failure.reply("unauthenticated", Timestamp::EPOCH).body()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for ours in [unauthenticated(), too_many(Duration::ZERO)] {
            let ours: serde_json::Value = serde_json::from_slice(ours.body()).unwrap();
            assert_eq!(keys(&ours), keys(&other));
            assert_eq!(keys(&ours["errors"][0]), keys(&other["errors"][0]));
        }
    }

    #[test]
    fn wait_is_told_in_whole_seconds_and_never_too_short() {
        for (wait_ms, told) in [(1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            assert_eq!(too_many(Duration::from_millis(wait_ms)).headers()[RETRY_AFTER], told);
        }
    }

    #[test]
    fn invalid_expiry_has_its_own_type() {
        let reply = invalid_expiry("it is past");
        insta::assert_snapshot!(text(&reply), @r#"{"_type":"ServiceTokenInvalidExpiryError","message":"it is past"}"#);
    }

    #[test]
    fn causes_have_their_status() {
        for (failure, status) in [
            (Failure::from(Malformed::Path(PathError::TooLong)), 414),
            (Failure::from(Malformed::Method), 501),
            (Failure::from(Malformed::AuthorityForm), 400),
        ] {
            assert_eq!(failure.status, status, "{failure:?}");
        }
    }
}
