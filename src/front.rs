//! What stands between HTTP and the engine, whichever library serves: a request is looked at in one spelling, handed
//! on as it was decided on, or answered in the words of the wire contract.

pub(crate) mod reply;

use crate::engine::Forbidden;
use crate::policy::PolicySet;
use crate::request::{Credential, Request, RequestParts};
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, StatusCode, Uri};
use reply::Failure;

/// The other header that carries a token.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Header fields of this prefix tell programs behind us who a request comes from: only we may set them.
const IDENTITY_PREFIX: &str = "x-rolegate-";
/// What a header field takes on the wire beside its name and value: a colon, a space and a line end.
const FIELD_EXTRA_BYTES: usize = 4;

/// How many header fields a request may have, and how long they may be altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderLimits {
    pub(crate) fields: usize,
    pub(crate) bytes: usize,
}

/// Which limit the header fields of a request are past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderLimit {
    #[error("the request has more than {0} header fields")]
    Fields(usize),
    #[error("the header fields of the request are longer than {0} bytes")]
    Bytes(usize),
}

impl HeaderLimits {
    /// Looks whether the header fields of a request are within the limits.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), HeaderLimit> {
        if headers.len() > self.fields {
            return Err(HeaderLimit::Fields(self.fields));
        }
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_EXTRA_BYTES).sum();
        if bytes > self.bytes { Err(HeaderLimit::Bytes(self.bytes)) } else { Ok(()) }
    }
}

/// What a principal may know of a denial of its own request: the route, and the permission that it lacks.
pub(crate) fn explain(request: &Request, forbidden: &Forbidden, policies: &PolicySet) -> Failure {
    let roles = &forbidden.principal.roles;
    let covering = policies.permissions_for(request);
    // When it holds one of them, another rule is in the way, which is not for it to know.
    let lacks_all = covering.iter().all(|name| policies.holds_permission(roles, name) == Some(false));
    let lacking = if lacks_all { covering } else { Vec::new() };

    let who = if forbidden.principal.id.token().is_some() { "token" } else { "credential" };
    let mut message = format!("this {who} may not `{} {}`", request.method(), request.path());
    for (at, name) in lacking.iter().enumerate() {
        message.push_str(if at == 0 { ": it takes the permission `" } else { " or `" });
        message.push_str(name);
        message.push('`');
    }
    message.push_str(&format!(" (decision {})", forbidden.id));
    Failure::new(StatusCode::FORBIDDEN, message)
}

/// The request in canonical spelling and in origin form, without the token that was spent on it.
pub(crate) fn rebuild(request: Request, uri: Uri) -> Option<http::Request<()>> {
    let RequestParts { method, path, query, mut headers, credential, .. } = request.into_parts();
    let target = if uri.authority().is_none() && uri.path() == path.as_str() {
        uri
    } else {
        match query {
            Some(query) => Uri::try_from(format!("{path}?{query}")).ok()?,
            None => Uri::try_from(path.as_str()).ok()?,
        }
    };
    if let Credential::Token(..) = credential {
        headers.remove(AUTHORIZATION);
        headers.remove(API_KEY);
    }
    let identity: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(IDENTITY_PREFIX)).cloned().collect();
    for name in identity {
        headers.remove(name);
    }
    let mut handed = http::Request::new(());
    *handed.method_mut() = method;
    *handed.uri_mut() = target;
    *handed.headers_mut() = headers;
    Some(handed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::CanonicalPath;
    use proptest::prelude::*;

    proptest! {
        /// Whatever was decided on can be handed on, and arrives as it was decided on.
        #[test]
        fn canonical_path_survives_being_handed_on(
            raw in "(/([a-zA-Z0-9~:@!$&'()*+,=-]|%[2-7][0-9A-F]|%C3%A9){0,8}){1,4}",
            query in proptest::option::of("[!$-;=?-~]{0,20}"),
        ) {
            let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
            let parts = RequestParts {
                query: query.clone().map(Into::into),
                ..Request::new(http::Method::GET, path.clone()).into_parts()
            };
            let handed = rebuild(Request::from(parts), Uri::from_static("http://h/other")).unwrap();
            prop_assert_eq!(handed.uri().path(), path.as_str());
            prop_assert_eq!(handed.uri().query(), query.as_deref());
        }
    }
}
