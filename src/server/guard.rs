//! The guard before every route: reads the request in one spelling, asks the engine, and hands on what is
//! permitted, together with the permit. Nothing else reaches a route.

use super::access::Line;
use super::attempts::{Attempt, Attempts, Client, TooMany};
use super::body::RequestBody;
use super::clock::Clock;
use super::connection::Respond;
use super::limits::Limits;
use super::metrics::Metrics;
use super::observe::Observe;
use super::reply::{self, Failure, Reply};
use crate::engine::{Answer, Engine, Forbidden};
use crate::policy::PolicySet;
use crate::request::{Credential, Request, RequestParts};
use crate::time::Timestamp;
use crate::tokens::Unauthenticated;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::Semaphore;
use tower_service::Service;

/// The other header that carries a token.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Header fields of this prefix tell programs behind us who a request comes from: only we may set them.
const IDENTITY_PREFIX: &str = "x-rolegate-";
/// How often an answer with 429 lets others go first. It costs nothing while there are none.
const TURNS_GIVEN: usize = 16;
/// What a header field takes on the wire beside its name and value: a colon, a space and a line end.
const FIELD_EXTRA_BYTES: usize = 4;

/// What stands before every route.
pub(super) struct Guard<S> {
    pub(super) engine: Arc<Engine>,
    pub(super) routes: S,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) attempts: Attempts,
    pub(super) observers: Vec<Arc<dyn Observe>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tells_version: bool,
    /// Which paths are those of the program's own administration, where a denial has an entry in the audit log.
    pub(super) is_admin: fn(&str) -> bool,
    /// Room for denials that wait for the audit log.
    pub(super) denials: Arc<Semaphore>,
}

/// Which limit the header fields of a request are past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderLimit {
    #[error("the request has more than {0} header fields")]
    Fields(usize),
    #[error("the header fields of the request are longer than {0} bytes")]
    Bytes(usize),
}

/// An answer of ours, or of the routes.
type Answered<B> = http::Response<Either<Full<Bytes>, B>>;

impl<S, B> Respond for Guard<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = Either<Full<Bytes>, B>;

    async fn respond(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        is_crowded: bool,
    ) -> Answered<B> {
        let now = (self.clock)();
        let mut line = Line::start(&request);
        // One set of policies from here on: whatever is told of a request comes from the one that decided it.
        let policies = self.engine.policies();
        let answered = catching(pin!(self.answer(request, peer, now, &policies, &mut line))).await;
        let mut response = answered.unwrap_or_else(|| {
            line.note(&"answering ended in a panic");
            own(Failure::internal().reply(&line.request_id, now))
        });
        reply::complete(response.headers_mut(), &line.request_id);
        if self.tells_version {
            reply::tell_version(response.headers_mut(), policies.version());
        }
        line.log(response.status());
        // While connections are short they are for live tokens: all others have to queue for each request.
        if is_crowded && !line.is_of_live_token() { reply::closing(response) } else { response }
    }
}

impl<S, B> Guard<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        now: Timestamp,
        policies: &Arc<PolicySet>,
        line: &mut Line,
    ) -> Answered<B> {
        let (head, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        // Reading a body that nobody asked for could take for ever.
        let refuse = |reply: Reply| own(if has_body { reply::closing(reply) } else { reply });
        // After a request that can be read in two ways nobody knows where the next one begins.
        let refuse_malformed =
            |failure: Failure, line: &Line| own(reply::closing(failure.reply(&line.request_id, now)));
        if let Err(limit) = self.check_headers(&head.headers) {
            line.note(&limit);
            self.metrics.malformed();
            return refuse_malformed(limit.into(), line);
        }
        let read = Request::read(head.method, &head.uri, head.version, head.headers, Some(peer.ip()));
        let request = match read {
            Ok(request) => request.with_id(Arc::clone(&line.request_id)),
            Err(cause) => {
                line.note(&cause);
                self.metrics.malformed();
                self.observe(|observer| observer.refused(&cause));
                return refuse_malformed(cause.into(), line);
            }
        };
        line.path = Some(request.path().clone());
        let answer = self.engine.check_by(policies, &request, now);
        self.metrics.decided(&answer, policies);
        line.decided(&answer, policies);
        if let Some(refused) = self.count_failure(&answer, peer.ip(), line) {
            // A pause would hold connections that others wait for; giving turns away slows a flood alone.
            for _ in 0..TURNS_GIVEN {
                tokio::task::yield_now().await;
            }
            return refuse(reply::too_many(refused.retry_after));
        }
        self.observe(|observer| observer.decided(&request, &answer, policies));
        let permit = match answer {
            Answer::Unauthenticated(_) => return refuse(reply::unauthenticated()),
            Answer::Forbidden(forbidden) => {
                let reply = explain(&request, &forbidden, policies).reply(&forbidden.id.to_string(), now);
                if (self.is_admin)(request.path().as_str())
                    && let Err(late) = self.record(forbidden, request, now).await
                {
                    line.note(&late.message);
                    return refuse(late.reply(&line.request_id, now));
                }
                return refuse(reply);
            }
            Answer::Permitted(permit) => permit,
        };
        let Some(mut handed) = rebuild(request, head.uri) else {
            return refuse_malformed(Failure::internal(), line);
        };
        handed.extensions_mut().insert(permit);
        handed.extensions_mut().insert(Arc::clone(policies));
        self.hand_on(handed, body, now, line).await
    }

    /// Counts the request when its credential is no live token. Returns why it is answered with 429 instead of 401.
    ///
    /// It comes after the decision: who has a live token, or needs none, is let in however many attempts failed. And
    /// it counts every cause alike: a token that was live once would otherwise be told from one that never was.
    fn count_failure(&self, answer: &Answer, peer: IpAddr, line: &mut Line) -> Option<TooMany> {
        let cause = match answer {
            Answer::Unauthenticated(challenge) => challenge.cause,
            Answer::Permitted(permit) => permit.unauthenticated()?,
            Answer::Forbidden(_) => return None,
        };
        // Whoever brings nothing has guessed nothing.
        if cause == Unauthenticated::Missing {
            return None;
        }
        let client = Client::from(peer);
        self.metrics.failed_authentication(&cause);
        let attempt = self.attempts.failed(client);
        line.failed_authentication(client, attempt);
        match (answer, attempt) {
            (Answer::Unauthenticated(_), Attempt::TooMany(refused)) => {
                self.metrics.too_many_attempts(refused.is_shared);
                line.refused_attempt(refused);
                Some(refused)
            }
            _ => None,
        }
    }

    /// Has the denial in the audit log before it is answered. When the log cannot be written, the next entry that can
    /// says how many are missing, and the denial stays what it is; when the log does not answer, nobody waits for ever.
    async fn record(&self, denied: Forbidden, request: Request, now: Timestamp) -> Result<(), Failure> {
        let Some(entry) = self.engine.denial_entry(denied, request, now) else {
            self.metrics.audit_left_out();
            return Ok(());
        };
        let room = Arc::clone(&self.denials);
        let recorded = async move {
            // So that no denial takes the threads of those who change tokens. Nobody closes the room.
            let place = room.acquire_owned().await.ok();
            let record = move || {
                let _place = place;
                entry.record()
            };
            tokio::task::spawn_blocking(record).await
        };
        match tokio::time::timeout(self.limits.request_timeout, recorded).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => {
                self.metrics.audit_lost();
                tracing::warn!(%error, "a denial has no entry in the audit log");
                Ok(())
            }
            // It panicked, which is told where panics are.
            Ok(Err(_)) => Ok(()),
            Err(_) => {
                let late = "the request is denied, and the audit log did not answer in time";
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, late))
            }
        }
    }

    /// Calls the routes with the one spelling that was decided on.
    async fn hand_on(
        &self,
        handed: http::Request<()>,
        body: Incoming,
        now: Timestamp,
        line: &mut Line,
    ) -> Answered<B> {
        let closing = |failure: Failure, line: &mut Line| {
            line.note(&failure.message);
            own(reply::closing(failure.reply(&line.request_id, now)))
        };
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.limits.body_bytes {
            return closing(Failure::from(super::BodyError::TooLarge), line);
        }
        // Parsers differ over chunks more than over anything else, so that nothing may follow them.
        let is_chunked = handed.headers().contains_key(TRANSFER_ENCODING);
        let (body, fault) = RequestBody::new(body, self.limits.body_bytes, self.limits.body_read_timeout);
        let mut routes = self.routes.clone();
        let called = async {
            let Ok(()) = poll_fn(|cx| routes.poll_ready(cx)).await;
            routes.call(handed.map(|()| body)).await
        };
        let answered = tokio::time::timeout(self.limits.request_timeout, called).await;
        // Whatever the routes made of half a body, the client is told that it was half.
        if let Some(error) = fault.get() {
            return closing(error.into(), line);
        }
        match answered {
            Ok(Ok(response)) if is_chunked => reply::closing(response).map(Either::Right),
            Ok(Ok(response)) => response.map(Either::Right),
            Err(_) => {
                let late = "the request was not answered in time; it may still take effect";
                closing(Failure::new(StatusCode::SERVICE_UNAVAILABLE, late), line)
            }
        }
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), HeaderLimit> {
        if headers.len() > self.limits.header_fields {
            return Err(HeaderLimit::Fields(self.limits.header_fields));
        }
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_EXTRA_BYTES).sum();
        if bytes > self.limits.header_bytes {
            Err(HeaderLimit::Bytes(self.limits.header_bytes))
        } else {
            Ok(())
        }
    }

    fn observe(&self, tell: impl Fn(&dyn Observe)) {
        self.observers.iter().for_each(|observer| tell(&**observer));
    }
}

/// What a principal may know of a denial of its own request: the route, and the permission that it lacks.
fn explain(request: &Request, forbidden: &Forbidden, policies: &PolicySet) -> Failure {
    let roles = &forbidden.principal.roles;
    let covering = policies.permissions_for(request);
    // When it holds one of them, another rule is in the way, which is not for it to know.
    let lacks_all = covering.iter().all(|name| policies.holds_permission(roles, name) == Some(false));
    let lacking = if lacks_all { covering } else { Vec::new() };

    let mut message = format!("this token may not `{} {}`", request.method(), request.path());
    for (at, name) in lacking.iter().enumerate() {
        message.push_str(if at == 0 { ": it takes the permission `" } else { " or `" });
        message.push_str(name);
        message.push('`');
    }
    message.push_str(&format!(" (decision {})", forbidden.id));
    Failure::new(StatusCode::FORBIDDEN, message)
}

/// The request in canonical spelling and in origin form, without the token that was spent on it.
fn rebuild(request: Request, uri: Uri) -> Option<http::Request<()>> {
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

fn own<B>(reply: Reply) -> Answered<B> {
    reply.map(|body| Either::Left(Full::new(body)))
}

/// Runs a future to its end; `None` when it panicked, which must end one request and no more.
async fn catching<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
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
