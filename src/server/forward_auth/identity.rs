//! The answer to a permitted request: who it comes from, in header fields that the proxy hands on. All of them are
//! always there, so that they replace whatever a client sent under these names.

use crate::front::reply::{self, Reply};
use crate::token::{Principal, PrincipalId, RoleName};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const TOKEN_ID: HeaderName = HeaderName::from_static("x-rolegate-token-id");
const NAME: HeaderName = HeaderName::from_static("x-rolegate-name");
const ROLES: HeaderName = HeaderName::from_static("x-rolegate-roles");
const DECISION: HeaderName = HeaderName::from_static("x-rolegate-decision");
/// Room for these and for what every answer has.
const FIELDS: usize = 10;
const EMPTY: HeaderValue = HeaderValue::from_static("");
const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// The answer. `None` when a value cannot stand in a header field, which the types rule out.
pub(super) fn reply(principal: Option<&Principal>, request_id: &str) -> Option<Reply> {
    let mut reply = reply::empty(StatusCode::OK);
    let mut fields = HeaderMap::with_capacity(FIELDS);
    let (token_id, name, roles) = match principal {
        Some(principal) => (id(&principal.id)?, encoded(&principal.name)?, joined(&principal.roles)?),
        None => (EMPTY, EMPTY, EMPTY),
    };
    fields.insert(TOKEN_ID, token_id);
    fields.insert(NAME, name);
    fields.insert(ROLES, roles);
    // Of what it permits the engine keeps no id, and every log has the request's.
    fields.insert(DECISION, HeaderValue::from_str(request_id).ok()?);
    *reply.headers_mut() = fields;
    Some(reply)
}

/// The number of a token, or the name that an authenticator of the program vouches for, which never reads as one.
fn id(principal: &PrincipalId) -> Option<HeaderValue> {
    match principal {
        PrincipalId::Token(id) => Some(HeaderValue::from(id.get())),
        PrincipalId::Foreign(id) => HeaderValue::from_str(id.as_str()).ok(),
    }
}

/// A text in which everything but visible ASCII is percent-encoded as UTF-8, and the percent sign as well.
fn encoded(text: &str) -> Option<HeaderValue> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if text.bytes().all(is_plain) {
        return HeaderValue::from_str(text).ok();
    }
    let mut bytes = Vec::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if is_plain(byte) {
            bytes.push(byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            bytes.extend([b'%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok()
}

/// Roles in their order, with a comma between them, which no role has in its name.
fn joined(roles: &[RoleName]) -> Option<HeaderValue> {
    match roles {
        [] => Some(EMPTY),
        [role] => HeaderValue::from_str(role.as_str()).ok(),
        [first, rest @ ..] => {
            let length = roles.iter().map(|role| role.as_str().len() + 1).sum();
            let mut text = String::with_capacity(length);
            text.push_str(first.as_str());
            for role in rest {
                text.push(',');
                text.push_str(role.as_str());
            }
            HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn roles(names: &[&str]) -> Vec<RoleName> {
        names.iter().map(|name| RoleName::parse(name).unwrap()).collect()
    }

    #[test]
    fn name_is_visible_ascii_and_can_be_told_from_every_other() {
        for (name, told) in [
            ("ci", "ci"),
            ("nightly export", "nightly%20export"),
            ("100%", "100%25"),
            ("%20", "%2520"),
            ("é\r\nX-Rolegate-Roles: admin", "%C3%A9%0D%0AX-Rolegate-Roles:%20admin"),
            ("a,b;c\"", "a,b;c\""),
            ("", ""),
        ] {
            assert_eq!(encoded(name).unwrap(), told);
        }
    }

    #[test]
    fn token_is_told_by_its_number_and_everybody_else_by_realm_and_name() {
        let foreign = crate::token::ForeignId::new("workload", "ci/deploy").unwrap();
        assert_eq!(id(&PrincipalId::Foreign(foreign)).unwrap(), "workload:ci/deploy");
        let token = crate::token::TokenId::LEAST;
        assert_eq!(id(&PrincipalId::Token(token)).unwrap(), token.to_string().as_str());
    }

    #[test]
    fn roles_are_joined_by_commas() {
        for (names, told) in [(&[][..], ""), (&["a"], "a"), (&["b", "a", "c:d"], "b,a,c:d")] {
            assert_eq!(joined(&roles(names)).unwrap(), told);
        }
    }

    #[test]
    fn all_fields_are_there_for_nobody() {
        let reply = reply(None, "r-1").unwrap();
        let told: Vec<_> = reply.headers().iter().map(|(name, value)| (name.as_str(), value)).collect();
        insta::assert_snapshot!(format!("{told:?}"), @r#"[("x-rolegate-token-id", ""), ("x-rolegate-name", ""), ("x-rolegate-roles", ""), ("x-rolegate-decision", "r-1")]"#);
    }

    /// A proxy asks for each request that it has: what is taken from the heap is known.
    #[test]
    fn answer_takes_little_from_the_heap() {
        let principal = Principal {
            id: crate::token::TokenId::LEAST.into(),
            name: "nightly".into(),
            roles: roles(&["user"]).into(),
            created: crate::time::Timestamp::EPOCH,
        };
        let counted = allocation_counter::measure(|| drop(reply(Some(&principal), "0d5ff3a2-0000002a")));
        // The fields, their index, one text for each of the four, and the way of the number to its text.
        assert!(counted.count_total <= 7, "{counted:?}");
    }

    proptest! {
        /// Whatever a token is called, its name comes back whole, and nothing else with it.
        #[test]
        fn every_name_comes_back(name in ".{0,40}") {
            let told = encoded(&name).unwrap();
            prop_assert!(told.as_bytes().iter().all(u8::is_ascii_graphic));
            prop_assert_eq!(crate::path::decode_strictly(told.to_str().unwrap()).unwrap(), name);
        }
    }
}
