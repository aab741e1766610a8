//! The check of one request, for adapters to libraries that serve it: read in one spelling, decided, and answered when
//! it is refused.

use super::reply::{self, Failure, Reply};
use super::{Clock, HeaderLimits, Observe, explain, next_request_id, wall_clock};
use crate::engine::{Answer, Engine, Permit};
use crate::policy::PolicySet;
#[cfg(feature = "warp")]
use crate::request::Malformed;
use crate::request::Request;
use crate::time::Timestamp;
#[cfg(feature = "warp")]
use crate::token::Principal;
#[cfg(feature = "tower")]
use http::StatusCode;
use http::{HeaderMap, Method, Uri, Version};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What checks requests. Shared by all of them.
#[derive(Clone)]
pub(crate) struct Check {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) header_limits: HeaderLimits,
    pub(crate) observers: Vec<Arc<dyn Observe>>,
    /// Whether something chose by the path as it was sent, before this check: then that spelling is refused which is
    /// not the one that policies see.
    pub(crate) is_after_routing: bool,
}

/// A request without its body.
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) client_ip: Option<IpAddr>,
}

/// A request that is permitted.
#[cfg_attr(not(feature = "tower"), expect(dead_code, reason = "filters hand on the permit alone"))]
pub(crate) struct Admitted {
    pub(crate) request: Request,
    pub(crate) permit: Permit,
    pub(crate) policies: Arc<PolicySet>,
}

/// What a request is answered with instead.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// `None` is the one 401, which never tells why.
    failure: Option<Failure>,
    /// By which the client and the log mean this one answer.
    tracking_key: Arc<str>,
    request_id: Arc<str>,
    at: Timestamp,
    /// Whether the connection ends with the answer: after a request that can be read in two ways nobody knows where
    /// the next one begins. HTTP/2 always knows.
    is_last: bool,
}

/// The moment and the name of one request.
struct Moment {
    now: Timestamp,
    request_id: Arc<str>,
    version: Version,
}

impl Check {
    pub(crate) fn new(engine: Arc<Engine>, is_after_routing: bool) -> Self {
        Self {
            engine,
            clock: wall_clock(),
            header_limits: HeaderLimits::DEFAULT,
            observers: Vec::new(),
            is_after_routing,
        }
    }

    /// Reads a request and decides on it.
    pub(crate) fn admit(&self, head: Head<'_>) -> Result<Admitted, Refusal> {
        let moment = self.moment(head.version);
        let request = self.read(head, &moment)?;
        let policies = self.engine.policies();
        let answer = self.engine.check_by(&policies, &request, moment.now);
        self.observe(|observer| observer.decided(&request, &answer, &policies));
        match answer {
            Answer::Permitted(permit) => Ok(Admitted { request, permit, policies }),
            Answer::Unauthenticated(_) => Err(moment.unauthenticated()),
            Answer::Forbidden(forbidden) => {
                let key = Arc::from(forbidden.id.to_string());
                Err(moment.refuse(Some(explain(&request, &forbidden, &policies)), key))
            }
        }
    }

    /// Reads a request and tells whose it is. No policy is asked.
    #[cfg(feature = "warp")]
    pub(crate) fn authenticate(&self, head: Head<'_>) -> Result<Principal, Refusal> {
        let moment = self.moment(head.version);
        let request = self.read(head, &moment)?;
        self.engine.principal_of(&request, moment.now).map_err(|_| moment.unauthenticated())
    }

    /// The refusal of a request that cannot even be shown to the check as it came.
    #[cfg(feature = "warp")]
    pub(crate) fn refuse(&self, cause: Malformed, version: Version) -> Refusal {
        self.observe(|observer| observer.refused(&cause));
        self.moment(version).malformed(cause.into())
    }

    /// The refusal of a request that was permitted and cannot be handed on.
    #[cfg(feature = "tower")]
    pub(crate) fn broken(&self, version: Version) -> Refusal {
        let moment = self.moment(version);
        let key = Arc::clone(&moment.request_id);
        moment.refuse(Some(Failure::internal()), key)
    }

    fn moment(&self, version: Version) -> Moment {
        Moment { now: (self.clock)(), request_id: next_request_id(), version }
    }

    fn read(&self, head: Head<'_>, moment: &Moment) -> Result<Request, Refusal> {
        let Head { method, uri, version, headers, client_ip } = head;
        if let Err(limit) = self.header_limits.check(&headers) {
            return Err(moment.malformed(limit.into()));
        }
        let request = Request::read(method, uri, version, headers, client_ip).map_err(|cause| {
            self.observe(|observer| observer.refused(&cause));
            moment.malformed(cause.into())
        })?;
        if self.is_after_routing && uri.path() != request.path().as_str() {
            let message = "the path has another spelling than the one that policies and routes are read by: \
                           send `~`, `-`, `.`, `_`, letters and digits as they are, and `%` with capital digits";
            return Err(moment.malformed(Failure::bad_request(message)));
        }
        Ok(request.with_id(Arc::clone(&moment.request_id)))
    }

    fn observe(&self, tell: impl Fn(&dyn Observe)) {
        self.observers.iter().for_each(|observer| tell(&**observer));
    }
}

impl Moment {
    fn refuse(&self, failure: Option<Failure>, tracking_key: Arc<str>) -> Refusal {
        let (at, request_id) = (self.now, Arc::clone(&self.request_id));
        Refusal { failure, tracking_key, request_id, at, is_last: false }
    }

    fn unauthenticated(&self) -> Refusal {
        self.refuse(None, Arc::clone(&self.request_id))
    }

    fn malformed(&self, failure: Failure) -> Refusal {
        let is_last = self.version <= Version::HTTP_11;
        Refusal { is_last, ..self.refuse(Some(failure), Arc::clone(&self.request_id)) }
    }
}

impl Refusal {
    /// The status by which HTTP tells it.
    #[cfg(feature = "tower")]
    pub(crate) fn status(&self) -> StatusCode {
        self.failure.as_ref().map_or(StatusCode::UNAUTHORIZED, |failure| failure.status)
    }

    /// What the client is told in words.
    #[cfg(feature = "tower")]
    pub(crate) fn message(&self) -> &str {
        self.failure.as_ref().map_or(reply::TOKEN_NEEDED, |failure| &failure.message)
    }

    /// The answer, complete.
    pub(crate) fn reply(&self) -> Reply {
        let mut reply = match &self.failure {
            Some(failure) => failure.reply(&self.tracking_key, self.at),
            None => reply::unauthenticated(),
        };
        self.complete(reply.headers_mut());
        if self.is_last { reply::closing(reply) } else { reply }
    }

    /// Adds what every answer has.
    pub(crate) fn complete(&self, headers: &mut HeaderMap) {
        reply::complete(headers, &self.request_id);
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("header_limits", &self.header_limits)
            .field("is_after_routing", &self.is_after_routing)
            .finish_non_exhaustive()
    }
}
