//! The guard before every route: reads the request in one spelling, asks the engine, and hands on what is
//! permitted, together with the permit. Nothing else reaches a route.

use super::access::Line;
use super::body::{BodyFault, RequestBody};
use super::connection::{Respond, Responding};
use super::forward_auth::ForwardAuth;
use super::gate::{Admitted, Gate, Halted, Head, Later, Origin, Refused};
use super::limits::Limits;
use crate::decision::PolicyVersion;
use crate::front::reply::{self, Failure, Reply};
use crate::front::{Clock, rebuild};
use crate::policy::PolicySet;
use crate::time::Timestamp;
use arc_swap::ArcSwap;
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
use std::task::{Context, Poll, Waker};
use tower_service::Service;

/// What stands before every route.
pub(super) struct Guard<S> {
    pub(super) gate: Gate,
    pub(super) forward_auth: Option<ForwardAuth>,
    pub(super) routes: S,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    /// Absent where answers do not tell by which policies they were decided.
    pub(super) version: Option<VersionHeader>,
    /// At which paths an answer bears the id that a client gave its request, and not its own.
    pub(super) echoes: fn(&str) -> bool,
}

/// The version of policies as a header tells it, made once for each.
pub(super) struct VersionHeader(ArcSwap<(PolicyVersion, Option<HeaderValue>)>);

/// An answer of ours, or of the routes.
type Answered<B> = http::Response<Either<Full<Bytes>, B>>;

/// What is known of a request from its beginning to its end.
struct Asked {
    now: Timestamp,
    policies: Arc<PolicySet>,
    line: Line,
    /// The id that the answer bears in the place of the line's.
    echoed: Option<HeaderValue>,
    is_crowded: bool,
}

/// How far a request came at once.
enum Begun<B> {
    Answered(Answered<B>),
    Refusing { later: Box<Later>, has_body: bool },
    Called(Called<B>),
}

/// Routes that have not answered yet.
struct Called<B> {
    answer: Pin<Box<dyn Future<Output = Result<http::Response<B>, Infallible>> + Send>>,
    fault: BodyFault,
    /// Parsers differ over chunks more than over anything else, so that nothing may follow them.
    is_chunked: bool,
}

impl<S, B> Respond for Guard<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Body = Either<Full<Bytes>, B>;

    /// Most requests are answered at once, before anything is set up for one that has to wait. They are gone when the
    /// connection reads on, and its buffer is free for the next one.
    fn respond(
        self: &Arc<Self>,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        is_crowded: bool,
    ) -> Responding<Self::Body> {
        let now = (self.clock)();
        let mut line = Line::start(&request);
        let echoed =
            if (self.echoes)(request.uri().path()) { client_request_id(request.headers()) } else { None };
        echoed.iter().for_each(|id| line.asked_as(id));
        // One set of policies from here on: whatever is told of a request comes from the one that decided it.
        let mut asked = Asked { now, policies: self.gate.engine.policies(), line, echoed, is_crowded };
        let begun = catch_unwind(AssertUnwindSafe(|| self.begin(request, peer, &mut asked)));
        let begun = match begun {
            Ok(Begun::Answered(answered)) => return Responding::Now(self.end(answered, asked)),
            Err(_) => return Responding::Now(self.end(asked.panicked(), asked)),
            Ok(begun) => begun,
        };
        let guard = Arc::clone(self);
        Responding::Later(Box::pin(async move {
            let answered = catching(pin!(guard.go_on(begun, &mut asked))).await;
            let answered = answered.unwrap_or_else(|| asked.panicked());
            guard.end(answered, asked)
        }))
    }
}

impl<S, B> Guard<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    /// Answers a request as far as it can be without waiting.
    fn begin(&self, request: hyper::Request<Incoming>, peer: SocketAddr, asked: &mut Asked) -> Begun<B> {
        let (head, body) = request.into_parts();
        if let Some(endpoint) = self.forward_auth.as_ref().filter(|endpoint| endpoint.is_asked(&head.uri)) {
            let has_body = !body.is_end_stream();
            let decided_by = (asked.now, &asked.policies);
            return match endpoint.answer(&self.gate, head, has_body, peer.ip(), decided_by, &mut asked.line) {
                Ok(reply) => Begun::Answered(own(reply)),
                Err(later) => Begun::Refusing { later, has_body: false },
            };
        }
        let uri = head.uri;
        let head = Head {
            method: head.method,
            uri: &uri,
            version: head.version,
            headers: head.headers,
            origin: Origin::Peer(peer.ip()),
        };
        let judged = self.gate.judge(head, asked.now, &asked.policies, &mut asked.line);
        let Admitted { request, permit } = match judged {
            Ok(admitted) => admitted,
            Err(Halted::Refused(refused)) => {
                return Begun::Answered(asked.refuse(*refused, !body.is_end_stream()));
            }
            Err(Halted::Waits(later)) => return Begun::Refusing { later, has_body: !body.is_end_stream() },
        };
        let Some(mut handed) = rebuild(request, uri) else {
            return Begun::Answered(asked.close(&Failure::internal()));
        };
        handed.extensions_mut().insert(permit);
        handed.extensions_mut().insert(Arc::clone(&asked.policies));
        self.hand_on(handed, body, asked)
    }

    /// Calls the routes with the one spelling that was decided on.
    fn hand_on(&self, handed: http::Request<()>, body: Incoming, asked: &mut Asked) -> Begun<B> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.limits.body_bytes {
            return Begun::Answered(asked.close_with(super::BodyError::TooLarge.into()));
        }
        let is_chunked = !body.is_end_stream() && handed.headers().contains_key(TRANSFER_ENCODING);
        let (body, fault) = RequestBody::new(body, self.limits.body_bytes, self.limits.body_read_timeout);
        let (handed, mut routes) = (handed.map(|()| body), self.routes.clone());
        // Whoever waits is asked again with a waker that wakes.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut called = Called {
            answer: if let Poll::Ready(Ok(())) = routes.poll_ready(&mut nobody) {
                Box::pin(routes.call(handed))
            } else {
                Box::pin(async move {
                    let Ok(()) = poll_fn(|cx| routes.poll_ready(cx)).await;
                    routes.call(handed).await
                })
            },
            fault,
            is_chunked,
        };
        match called.answer.as_mut().poll(&mut nobody) {
            Poll::Ready(answer) => Begun::Answered(called.end(Some(answer), asked)),
            Poll::Pending => Begun::Called(called),
        }
    }

    /// Waits for what could not be answered at once.
    async fn go_on(&self, begun: Begun<B>, asked: &mut Asked) -> Answered<B> {
        match begun {
            Begun::Answered(answered) => answered,
            Begun::Refusing { later, has_body } => {
                let refused = self.gate.finish(*later, asked.now, &mut asked.line).await;
                asked.refuse(refused, has_body)
            }
            Begun::Called(mut called) => {
                let deadline = asked.line.started + self.limits.request_timeout;
                let answer = tokio::time::timeout_at(deadline, called.answer.as_mut()).await;
                called.end(answer.ok(), asked)
            }
        }
    }
}

impl<S> Guard<S> {
    /// Adds what every answer has, and logs it.
    fn end<B>(&self, mut answered: Answered<B>, asked: Asked) -> Answered<B> {
        let Asked { policies, line, echoed, is_crowded, .. } = asked;
        reply::complete(answered.headers_mut(), &line.request_id);
        if let Some(id) = echoed {
            answered.headers_mut().insert(reply::REQUEST_ID, id);
        }
        if let Some(version) = self.version.as_ref().and_then(|version| version.of(policies.version())) {
            answered.headers_mut().insert(reply::POLICY_VERSION, version);
        }
        line.log(answered.status(), &self.gate.metrics);
        // While connections are short they are for live tokens: all others have to queue for each request.
        if is_crowded && !line.is_authenticated() { reply::closing(answered) } else { answered }
    }
}

impl VersionHeader {
    pub(super) fn new(version: PolicyVersion) -> Self {
        Self(ArcSwap::from_pointee((version, reply::version(version))))
    }

    fn of(&self, version: PolicyVersion) -> Option<HeaderValue> {
        let known = self.0.load();
        if known.0 == version {
            return known.1.clone();
        }
        let value = reply::version(version);
        self.0.store(Arc::new((version, value.clone())));
        value
    }
}

impl Asked {
    fn refuse<B>(&self, refused: Refused, has_body: bool) -> Answered<B> {
        match refused {
            // After a request that can be read in two ways nobody knows where the next one begins.
            Refused::Malformed(failure) => self.close(&failure),
            // Reading a body that nobody asked for could take for ever.
            Refused::Decided(reply) if has_body => own(reply::closing(reply)),
            Refused::Decided(reply) => own(reply),
        }
    }

    fn close<B>(&self, failure: &Failure) -> Answered<B> {
        own(reply::closing(failure.reply(&self.line.request_id, self.now)))
    }

    /// The same, and the log tells it.
    fn close_with<B>(&mut self, failure: Failure) -> Answered<B> {
        self.line.note(&failure.message);
        self.close(&failure)
    }

    fn panicked<B>(&mut self) -> Answered<B> {
        self.line.note(&"answering ended in a panic");
        own(Failure::internal().reply(&self.line.request_id, self.now))
    }
}

impl<B> Called<B> {
    /// What the client is told; `None` when the routes did not answer in time.
    fn end(self, answer: Option<Result<http::Response<B>, Infallible>>, asked: &mut Asked) -> Answered<B> {
        // Whatever the routes made of half a body, the client is told that it was half.
        if let Some(error) = self.fault.get() {
            return asked.close_with(error.into());
        }
        match answer {
            Some(Ok(response)) if self.is_chunked => reply::closing(response).map(Either::Right),
            Some(Ok(response)) => response.map(Either::Right),
            None => {
                let late = "the request was not answered in time; it may still take effect";
                asked.close_with(Failure::new(StatusCode::SERVICE_UNAVAILABLE, late))
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
