//! What stands between HTTP and the engine, whichever library serves: a request is looked at in one spelling, handed
//! on as it was decided on, or answered in the words of the wire contract.

mod clock;
mod observe;
mod request_id;
#[cfg_attr(
    not(feature = "server"),
    expect(dead_code, reason = "an adapter answers refusals alone, and the server for its own routes too")
)]
pub(crate) mod reply;
#[cfg(any(feature = "tower", feature = "warp"))]
pub(crate) mod check;
#[cfg(any(feature = "server", feature = "tower"))]
mod rebuild;

pub use clock::{Clock, wall_clock};
pub use observe::Observe;
#[cfg(any(feature = "server", feature = "tower"))]
pub(crate) use rebuild::rebuild;
pub(crate) use request_id::next_request_id;

use crate::engine::Forbidden;
use crate::policy::PolicySet;
use crate::request::Request;
use crate::token::RoleName;
use http::{HeaderMap, StatusCode};
use reply::Failure;

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
    /// What is allowed where nobody says otherwise.
    pub(crate) const DEFAULT: Self = Self { fields: 64, bytes: 16 * 1024 };

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
    let lacking = lacking(request, &forbidden.principal.roles, policies);
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

/// The permissions any of which would be enough for a request that is denied to these roles.
pub(crate) fn lacking<'p>(request: &Request, roles: &[RoleName], policies: &'p PolicySet) -> Vec<&'p str> {
    let covering = policies.permissions_for(request);
    // When they hold one of them, another rule is in the way, which is not for them to know.
    let lacks_all = covering.iter().all(|name| policies.holds_permission(roles, name) == Some(false));
    if lacks_all { covering } else { Vec::new() }
}
