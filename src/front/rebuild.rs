//! The request as it was decided on, for whoever answers it.

use crate::request::{Credential, Request, RequestParts};
use http::header::{AUTHORIZATION, HOST, HeaderName};
use http::{HeaderValue, Uri};

/// The other header that carries a token.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Header fields of this prefix tell programs behind us who a request comes from: only we may set them.
const IDENTITY_PREFIX: &str = "x-rolegate-";

/// The request in canonical spelling and in origin form, without the token that was spent on it.
pub(crate) fn rebuild(request: Request, uri: Uri) -> Option<http::Request<()>> {
    let RequestParts { method, path, query, mut headers, credential, .. } = request.into_parts();
    // In HTTP/2 the target alone tells the host, and a target in origin form has no room for it.
    if let (Some(authority), false) = (uri.authority(), headers.contains_key(HOST)) {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    let target = if uri.authority().is_none() && uri.path() == path.as_str() {
        uri
    } else {
        match query {
            Some(query) => Uri::try_from(format!("{path}?{query}")).ok()?,
            None => Uri::try_from(path.as_str()).ok()?,
        }
    };
    if let Credential::Token(..) = credential {
        // It stood in one of both, or the request had been refused.
        if headers.remove(API_KEY).is_none() {
            headers.remove(AUTHORIZATION);
        }
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

    #[test]
    fn host_of_the_target_is_handed_on_where_no_header_tells_it() {
        let parts = Request::new(http::Method::GET, CanonicalPath::parse("/a").unwrap()).into_parts();
        let uri = Uri::from_static("https://h:8443/a");
        let handed = rebuild(Request::from(parts.clone()), uri.clone()).unwrap();
        assert_eq!(handed.uri(), "/a");
        assert_eq!(handed.headers()[HOST], "h:8443");

        let mut named = parts;
        named.headers.insert(HOST, HeaderValue::from_static("H:8443"));
        assert_eq!(rebuild(Request::from(named), uri).unwrap().headers()[HOST], "H:8443");
    }

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
