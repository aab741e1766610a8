//! The guard before every route: reads the request in one spelling, asks the engine, and hands on what is
//! permitted, together with the permit. Nothing else reaches a route.

use super::access::Line;
use super::body::RequestBody;
use super::connection::Respond;
use super::forward_auth::ForwardAuth;
use super::gate::{Admitted, Gate, Head, Origin, Refused};
use super::limits::Limits;
use crate::front::reply::{self, Failure, Reply};
use crate::front::{Clock, rebuild};
use crate::policy::PolicySet;
use crate::time::Timestamp;
use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tower_service::Service;

/// What stands before every route.
pub(super) struct Guard<S> {
    pub(super) gate: Gate,
    pub(super) forward_auth: Option<ForwardAuth>,
    pub(super) routes: S,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) tells_version: bool,
    /// At which paths an answer bears the id that a client gave its request, and not its own.
    pub(super) echoes: fn(&str) -> bool,
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
        let echoed =
            if (self.echoes)(request.uri().path()) { client_request_id(request.headers()) } else { None };
        echoed.iter().for_each(|id| line.asked_as(id));
        // One set of policies from here on: whatever is told of a request comes from the one that decided it.
        let policies = self.gate.engine.policies();
        let answered = catching(pin!(self.answer(request, peer, now, &policies, &mut line))).await;
        let mut response = answered.unwrap_or_else(|| {
            line.note(&"answering ended in a panic");
            own(Failure::internal().reply(&line.request_id, now))
        });
        reply::complete(response.headers_mut(), &line.request_id);
        if let Some(id) = echoed {
            response.headers_mut().insert(reply::REQUEST_ID, id);
        }
        if self.tells_version {
            reply::tell_version(response.headers_mut(), policies.version());
        }
        line.log(response.status(), &self.gate.metrics);
        // While connections are short they are for live tokens: all others have to queue for each request.
        if is_crowded && !line.is_authenticated() { reply::closing(response) } else { response }
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
        if let Some(endpoint) = self.forward_auth.as_ref().filter(|endpoint| endpoint.is_asked(&head.uri)) {
            let has_body = !body.is_end_stream();
            let decided_by = (now, policies);
            return own(endpoint.answer(&self.gate, head, has_body, peer.ip(), decided_by, line).await);
        }
        let uri = head.uri;
        let asked = Head {
            method: head.method,
            uri: &uri,
            version: head.version,
            headers: head.headers,
            origin: Origin::Peer(peer.ip()),
        };
        let Admitted { request, permit } = match self.gate.admit(asked, now, policies, line).await {
            Ok(admitted) => admitted,
            // After a request that can be read in two ways nobody knows where the next one begins.
            Err(Refused::Malformed(failure)) => {
                return own(reply::closing(failure.reply(&line.request_id, now)));
            }
            // Reading a body that nobody asked for could take for ever.
            Err(Refused::Decided(reply)) if !body.is_end_stream() => return own(reply::closing(reply)),
            Err(Refused::Decided(reply)) => return own(reply),
        };
        let Some(mut handed) = rebuild(request, uri) else {
            return own(reply::closing(Failure::internal().reply(&line.request_id, now)));
        };
        handed.extensions_mut().insert(permit);
        handed.extensions_mut().insert(Arc::clone(policies));
        self.hand_on(handed, body, now, line).await
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
}

/// The id that a client gave its request, when it gave it one.
fn client_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut ids = headers.get_all(reply::REQUEST_ID).iter();
    ids.next().filter(|_| ids.next().is_none()).cloned()
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
