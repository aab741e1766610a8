//! The one credential that a request may carry, read from `Authorization: ApiKey` or `X-API-Key`.

use super::Malformed;
use crate::token::{Secret, SecretError, SecretKind};
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use std::fmt;

/// The header that carries a token and nothing else.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The scheme of the `Authorization` header, compared without regard to case (RFC 9110, 11.1).
const SCHEME: &str = "ApiKey";
/// Header fields that carry credentials: ours, those of the programs behind us, and those of the original server.
const CREDENTIAL_HEADERS: [&str; 7] = [
    "authorization",
    "x-api-key",
    "x-api-token",
    "x-api-servicebearer",
    "cookie",
    "proxy-authorization",
    "x-sts-token",
];

/// What a request presents as its credential.
#[derive(Clone)]
pub enum Credential {
    /// Nothing.
    Missing,
    /// Something that cannot be a live token, whatever tokens there are.
    Unusable(Unusable),
    /// A well-formed token; whether it is live is for the index to say.
    Token(Secret, SecretKind),
}

/// Why a credential cannot be a live token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Another scheme than `ApiKey`.
    #[error("the authorization scheme is not supported")]
    Scheme,
    /// The text cannot be a token.
    #[error(transparent)]
    Token(#[from] SecretError),
}

/// Takes the credential of a request and marks the fields that carried it, so that they are not printed.
pub(super) fn take(headers: &mut HeaderMap) -> Result<Credential, Malformed> {
    let mut found = None;
    let mut is_repeated = false;
    // Each field is looked at once: a request has fewer of them than there are names to look up.
    for (name, value) in headers.iter_mut() {
        let has_scheme = *name == AUTHORIZATION;
        if has_scheme || *name == API_KEY {
            value.set_sensitive(true);
            is_repeated |= found.replace((value, has_scheme)).is_some();
        } else if *name == PROXY_AUTHORIZATION || *name == COOKIE {
            value.set_sensitive(true);
        }
    }
    match found {
        _ if is_repeated => Err(Malformed::Credentials),
        None => Ok(Credential::Missing),
        Some((value, true)) => read_authorization(value),
        Some((value, false)) => read_api_key(value),
    }
}

/// Whether a header field of this name, in any case, carries a credential.
pub(crate) fn is_credential(name: &str) -> bool {
    CREDENTIAL_HEADERS.iter().any(|credential| credential.eq_ignore_ascii_case(name))
}

fn read_authorization(value: &HeaderValue) -> Result<Credential, Malformed> {
    if is_joined(value.as_bytes()) {
        return Err(Malformed::Credentials);
    }
    let Ok(text) = value.to_str() else { return Ok(Credential::Unusable(Unusable::Scheme)) };
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Ok(Credential::Unusable(Unusable::Scheme));
    }
    Ok(Credential::read(token.trim_start_matches(' ')))
}

fn read_api_key(value: &HeaderValue) -> Result<Credential, Malformed> {
    if value.as_bytes().contains(&b',') {
        return Err(Malformed::Credentials);
    }
    Ok(value.to_str().map_or(Credential::Unusable(SecretError::BadCharacter.into()), Credential::read))
}

/// Whether the value is a list of credentials, as a proxy makes of two fields. A list of
/// `name=value` parameters is one credential (RFC 9110, 11.4).
fn is_joined(value: &[u8]) -> bool {
    let mut in_quotes = false;
    let elements = value.split(|byte| {
        in_quotes ^= *byte == b'"';
        *byte == b',' && !in_quotes
    });
    elements.skip(1).any(|element| {
        let element = element.trim_ascii();
        let name = element.iter().position(|byte| *byte == b'=').and_then(|end| element.get(..end));
        !name.is_some_and(|name| {
            !name.is_empty() && name.trim_ascii_end().iter().all(|b| b.is_ascii_graphic())
        })
    })
}

impl Credential {
    /// Reads a token that stands alone.
    pub fn read(text: &str) -> Self {
        match Secret::parse(text) {
            Ok((secret, kind)) => Self::Token(secret, kind),
            Err(error) => Self::Unusable(error.into()),
        }
    }
}

impl fmt::Debug for Credential {
    /// Tells the kind of credential and never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Missing"),
            Self::Unusable(why) => f.debug_tuple("Unusable").field(why).finish(),
            Self::Token(_, kind) => f.debug_tuple("Token").field(kind).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-that-its-operator-chose";

    fn taken(fields: &[(&str, &str)]) -> Result<Credential, Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        take(&mut headers)
    }

    fn is_token(credential: &Credential) -> bool {
        matches!(credential, Credential::Token(secret, SecretKind::Chosen) if secret.expose() == TOKEN)
    }

    #[test]
    fn both_headers_carry_a_token() {
        for field in [("authorization", "ApiKey "), ("authorization", "aPIkEY   "), ("x-api-key", "")] {
            let credential = taken(&[(field.0, &format!("{}{TOKEN}", field.1))]).unwrap();
            assert!(is_token(&credential), "{field:?}");
        }
    }

    #[test]
    fn second_credential_is_malformed() {
        let header = format!("ApiKey {TOKEN}");
        for fields in [
            [("authorization", header.as_str()), ("authorization", header.as_str())],
            [("authorization", header.as_str()), ("x-api-key", TOKEN)],
            [("x-api-key", TOKEN), ("x-api-key", TOKEN)],
            [("authorization", "Basic dTpw"), ("x-api-key", TOKEN)],
        ] {
            assert_eq!(taken(&fields).err(), Some(Malformed::Credentials), "{fields:?}");
        }
    }

    #[test]
    fn joined_credentials_are_malformed_and_parameters_are_one_unusable_credential() {
        for joined in ["ApiKey a, ApiKey b", "ApiKey a,", "Basic dTpw, ApiKey a", "ApiKey a, b"] {
            assert_eq!(taken(&[("authorization", joined)]).err(), Some(Malformed::Credentials), "{joined}");
        }
        let parameters = taken(&[("authorization", "ApiKey realm=\"x, y\", token=\"z\"")]).unwrap();
        assert!(matches!(parameters, Credential::Unusable(_)));
        assert_eq!(taken(&[("x-api-key", "a, b")]).err(), Some(Malformed::Credentials));
    }

    #[test]
    fn other_schemes_are_unusable() {
        for other in ["Basic dTpw", "Bearer x", "ApiKey:x", TOKEN, ""] {
            let credential = taken(&[("authorization", other)]).unwrap();
            assert!(matches!(credential, Credential::Unusable(Unusable::Scheme)), "{other}");
        }
    }

    #[test]
    fn field_that_carried_the_credential_is_marked() {
        let mut headers = HeaderMap::new();
        headers.append(API_KEY, HeaderValue::from_static(TOKEN));
        take(&mut headers).unwrap();
        assert!(!format!("{headers:?}").contains(TOKEN));
    }
}
