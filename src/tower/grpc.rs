//! Refusals as gRPC clients read them: a status of its own in the header, and no body.

use crate::front::check::Refusal;
use crate::front::reply::Reply;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode, Version, request};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a gRPC call. Where gRPC cannot be, its answer must not be either: it has the HTTP status 200.
pub(super) fn is_call(head: &request::Parts) -> bool {
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let is_grpc = types.next().is_some_and(|content_type| is_grpc_type(content_type.as_bytes()));
    is_grpc && types.next().is_none() && head.version == Version::HTTP_2 && head.method == Method::POST
}

/// The answer to a call that is refused: an end of the call without a message.
pub(super) fn reply(refusal: &Refusal) -> Reply {
    let mut reply = Response::new(Bytes::new());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(GRPC_STATUS, code(refusal.status()).into());
    if let Ok(message) = HeaderValue::from_str(&encode(refusal.message())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    refusal.complete(headers);
    reply
}

fn is_grpc_type(content_type: &[u8]) -> bool {
    let prefix = GRPC;
    let Some((start, rest)) = content_type.split_at_checked(prefix.len()) else { return false };
    // `application/grpc-web` is another protocol.
    start.eq_ignore_ascii_case(prefix.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The numbers of gRPC's status codes.
fn code(status: StatusCode) -> u32 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => 8,
        StatusCode::NOT_IMPLEMENTED => 12,
        status if status.is_client_error() => 3,
        _ => 13,
    }
}

/// The gRPC form of a text in a header field: everything but visible ASCII and the space is a percent sign and two
/// digits.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, version: Version, content_types: &[&str]) -> request::Parts {
        let mut request = http::Request::builder().method(method).version(version);
        for content_type in content_types {
            request = request.header(CONTENT_TYPE, *content_type);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn calls_are_told_from_other_requests() {
        for content_type in
            ["application/grpc", "application/grpc+proto", "application/grpc;x=1", "Application/gRPC"]
        {
            assert!(is_call(&head("POST", Version::HTTP_2, &[content_type])), "{content_type}");
        }
        for (method, version, content_types) in [
            ("GET", Version::HTTP_2, &["application/grpc"][..]),
            ("POST", Version::HTTP_11, &["application/grpc"]),
            ("POST", Version::HTTP_2, &["application/grpc-web"]),
            ("POST", Version::HTTP_2, &["application/json"]),
            ("POST", Version::HTTP_2, &["application/grp"]),
            ("POST", Version::HTTP_2, &["application/grpc", "application/json"]),
            ("POST", Version::HTTP_2, &[]),
        ] {
            let head = head(method, version, content_types);
            assert!(!is_call(&head), "{head:?}");
        }
    }

    #[test]
    fn statuses_have_their_codes() {
        for (status, expected) in [(401, 16), (403, 7), (400, 3), (414, 3), (431, 8), (501, 12), (500, 13)] {
            assert_eq!(code(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn messages_fit_into_a_header_field() {
        assert_eq!(encode("may not `GET /caf%C3%A9`"), "may not `GET /caf%25C3%25A9`");
        assert_eq!(encode("a\nb é"), "a%0Ab %C3%A9");
    }
}
