//! Filters for programs that are written in warp: `permitted` and `authenticated` let a request on, each with a value
//! that only the check can make.
//!
//! A filter that rejects has warp try the next route. So that no other route answers in the place of a guarded one,
//! each guarded route gets [`answer`] before it is joined with others:
//!
//! ```
//! use rolegate::{Engine, Permit, filters};
//! use std::sync::Arc;
//! use warp::{Filter, Rejection, Reply};
//!
//! fn routes(engine: Arc<Engine>) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
//!     let hello = warp::path!("hello")
//!         .and(filters::permitted(engine))
//!         .map(|permit: Permit| format!("hello, {}", permit.principal().map_or("nobody", |who| &who.name)))
//!         .recover(filters::answer);
//!     hello.or(warp::path!("health").map(|| "up"))
//! }
//! ```
//!
//! warp chooses routes by the path as it was sent. A path that has another spelling than the one that policies see is
//! therefore answered with 400. And warp shows filters neither the scheme of a target nor the version of HTTP: a request
//! without a host is answered with 400, be it of HTTP/1.0 or not.
//!
//! Filters hand on the request as it came, with its token. Where that must not be, serve the routes with
//! `rolegate::server::Server::serve`, or with `warp::service` behind `rolegate::tower::GuardLayer`; both also hand on
//! every path in the one spelling.
//!
//! Uses of tokens are counted in memory: somebody has to call [`Engine::flush_uses`] now and then, and once at the end.

pub use crate::front::{Clock, Observe, wall_clock};

use crate::engine::{Engine, Permit};
use crate::front::check::{Check, Head, Refusal};
use crate::request::Malformed;
use crate::token::Principal;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version, header};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use warp::path::FullPath;
use warp::reject::Reject;
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

/// What makes the filters, where the defaults of [`permitted`] and [`authenticated`] do not fit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filters(Arc<Check>);

/// Proof that a request came with a good credential. Only [`authenticated`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated(Principal);

/// The address that a request comes from, for whoever serves filters without `warp::serve`: put it among the extensions
/// of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The rejection of a request that a filter does not let on. [`answer`] knows what to tell.
#[derive(Clone, Debug)]
pub struct Refused(Refusal);

/// What a filter of warp gets to see of a request.
struct Seen {
    method: Method,
    path: FullPath,
    query: Option<String>,
    /// `None` when target and header name different hosts, or none that can be read.
    host: Option<Option<Authority>>,
    headers: HeaderMap,
    client_ip: Option<IpAddr>,
}

/// Lets on what the policies permit, with the [`Permit`]. Rejects everything else with [`Refused`].
pub fn permitted(
    engine: Arc<Engine>,
) -> impl Filter<Extract = (Permit,), Error = Rejection> + Clone + Send + Sync + 'static {
    Filters::new(engine).permitted()
}

/// Lets on what comes with a live token, or with another credential that the engine takes, whatever the policies say,
/// and tells whose it is. Rejects everything else with [`Refused`]. It is not counted as a use of the token.
pub fn authenticated(
    engine: Arc<Engine>,
) -> impl Filter<Extract = (Authenticated,), Error = Rejection> + Clone + Send + Sync + 'static {
    Filters::new(engine).authenticated()
}

/// Answers what the filters rejected with 400, 401, 403, 414, 431 or 501, for `Filter::recover`.
///
/// # Errors
/// Gives every other rejection back.
pub async fn answer(rejection: Rejection) -> Result<Response, Rejection> {
    match rejection.find::<Refused>() {
        Some(Refused(refusal)) => Ok(refusal.reply().into_response()),
        None => Err(rejection),
    }
}

impl Filters {
    /// Filters with default limits and the clock of the operating system.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self(Arc::new(Check::new(engine, true)))
    }

    /// The same filters with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.changed(|check| check.clock = clock)
    }

    /// The same filters with another number of header fields that a request may have; more are answered with 431.
    #[must_use]
    pub fn with_header_fields_max(self, fields: usize) -> Self {
        self.changed(|check| check.header_limits.fields = fields)
    }

    /// The same filters with another length of all header fields of a request, counted as on the wire; more are
    /// answered with 431.
    #[must_use]
    pub fn with_header_max_bytes(self, bytes: usize) -> Self {
        self.changed(|check| check.header_limits.bytes = bytes)
    }

    /// The same filters with one more who is told of every decision, after those before it.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observe>) -> Self {
        self.changed(|check| check.observers.push(observer))
    }

    /// As the function [`permitted`].
    pub fn permitted(
        &self,
    ) -> impl Filter<Extract = (Permit,), Error = Rejection> + Clone + Send + Sync + use<> + 'static {
        let check = Arc::clone(&self.0);
        seen().and_then(move |seen: Seen| {
            std::future::ready(seen.checked(&check, Check::admit).map(|admitted| admitted.permit))
        })
    }

    /// As the function [`authenticated`].
    pub fn authenticated(
        &self,
    ) -> impl Filter<Extract = (Authenticated,), Error = Rejection> + Clone + Send + Sync + use<> + 'static
    {
        let check = Arc::clone(&self.0);
        seen().and_then(move |seen: Seen| {
            std::future::ready(seen.checked(&check, Check::authenticate).map(Authenticated))
        })
    }

    fn changed(mut self, change: impl FnOnce(&mut Check)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl Authenticated {
    /// Whose request it is.
    pub const fn principal(&self) -> &Principal {
        &self.0
    }

    /// The same without the proof.
    pub fn into_principal(self) -> Principal {
        self.0
    }
}

impl Reject for Refused {}

impl Seen {
    /// Has the check look at the request as it must have been sent for warp to show it so.
    fn checked<T>(
        self,
        check: &Check,
        by: impl FnOnce(&Check, Head<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Rejection> {
        let Self { method, path, query, host, headers, client_ip } = self;
        let target = match query {
            Some(query) => format!("{}?{query}", path.as_str()),
            None => path.as_str().to_owned(),
        };
        // Only HTTP/2 and an absolute target tell a host without a header.
        let (uri, version) = match host {
            Some(Some(authority)) if !headers.contains_key(header::HOST) => {
                (in_absolute_form(&target, authority).ok_or(Malformed::AuthorityForm), Version::HTTP_2)
            }
            Some(_) => (target.parse().map_err(|_| Malformed::AuthorityForm), Version::HTTP_11),
            None => (Err(Malformed::HostMismatch), Version::HTTP_11),
        };
        let result = match uri {
            Ok(uri) => by(check, Head { method, uri: &uri, version, headers, client_ip }),
            Err(cause) => Err(check.refuse(cause, version)),
        };
        result.map_err(|refusal| warp::reject::custom(Refused(refusal)))
    }
}

fn in_absolute_form(target: &str, authority: Authority) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// Never rejects: what cannot be read is refused by the check.
fn seen() -> impl Filter<Extract = (Seen,), Error = Infallible> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().map(Some).or(warp::any().map(|| None)).unify();
    let host = warp::host::optional().map(Some).or(warp::any().map(|| None)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(host)
        .and(warp::header::headers_cloned())
        .and(warp::addr::remote())
        .and(warp::ext::optional::<ClientIp>())
        .map(|method, path, query, host, headers, remote: Option<SocketAddr>, told: Option<ClientIp>| {
            let client_ip = told.map(|ClientIp(address)| address).or(remote.map(|remote| remote.ip()));
            Seen { method, path, query, host, headers, client_ip }
        })
}
