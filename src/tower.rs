//! A layer for axum, tonic, hyper and whatever else calls its routes as tower services: nothing behind it is called
//! for a request that the policies do not permit.
//!

mod body;
mod grpc;

pub use crate::front::{Clock, Observe, wall_clock};
pub use body::GuardBody;

use crate::engine::Engine;
use crate::front::check::{Admitted, Check, Head, Refusal};
use crate::front::rebuild;
use crate::front::reply::{self, Reply};
use crate::token::Principal;
use http::header::TRANSFER_ENCODING;
use http::{Extensions, Request, Response, Version, request};
use pin_project_lite::pin_project;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// Puts a [`Guard`] before a service. Cheap to clone.
///
/// For a permitted request the service finds among the extensions the [`Permit`](crate::Permit), the [`Principal`] if
/// there is one, and the `Arc<`[`PolicySet`](crate::PolicySet)`>` that decided. The request has the one spelling that
/// was decided on, and neither the token nor any header field that begins with `x-rolegate-`. Every other request is
/// answered with 400, 401, 403, 414, 431 or 501, and for gRPC with the status that stands for it. A connection of
/// HTTP/1.1 ends with the answer to a request that came in chunks.
///
/// It counts uses of tokens in memory: somebody has to call [`Engine::flush_uses`] now and then, and once at the end.
/// It does not slow down those who try tokens: that takes a limit before it, or the server of this crate.
#[derive(Clone)]
pub struct GuardLayer(Arc<Shared>);

/// A service that calls another one for permitted requests alone. Made by [`GuardLayer`].
///
/// It is always ready. The service behind it is asked whether it is ready after the decision, and for a request that is
/// refused it is not asked at all: what sheds load belongs before the guard.
#[derive(Clone)]
pub struct Guard<S> {
    shared: Arc<Shared>,
    inner: S,
}

pin_project! {
    /// The answer to a request: of the guard, or of the service behind it.
    pub struct GuardFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
        closes: bool,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Refused { reply: Option<Reply> },
        // Dropped before anything else is done with the service once the request has left.
        Waiting { service: S, request: Option<Request<B>> },
        Called { #[pin] future: S::Future },
    }
}

type ClientIp = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

#[derive(Clone)]
struct Shared {
    check: Check,
    client_ip: Option<Arc<ClientIp>>,
}

impl GuardLayer {
    /// A layer around everything that chooses a route: a whole axum router, a tonic server, a hyper service. A path in
    /// another spelling is handed on in the one that was decided on, and the route is chosen by that.
    pub fn before_routing(engine: Arc<Engine>) -> Self {
        Self::new(engine, false)
    }

    /// A layer behind what chooses a route by the path as it was sent, such as `axum::Router::layer`. A path that has
    /// another spelling than the one that policies see is answered with 400: the route would not be the one that was
    /// decided on. Where a router has taken a prefix away, as nested ones do, the policies see the path without it.
    pub fn after_routing(engine: Arc<Engine>) -> Self {
        Self::new(engine, true)
    }

    fn new(engine: Arc<Engine>, is_after_routing: bool) -> Self {
        Self(Arc::new(Shared { check: Check::new(engine, is_after_routing), client_ip: None }))
    }

    /// The same layer with another clock than that of the operating system.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.changed(|shared| shared.check.clock = clock)
    }

    /// The same layer with another number of header fields that a request may have; more are answered with 431.
    #[must_use]
    pub fn with_header_fields_max(self, fields: usize) -> Self {
        self.changed(|shared| shared.check.header_limits.fields = fields)
    }

    /// The same layer with another length of all header fields of a request, counted as on the wire; more are answered
    /// with 431.
    #[must_use]
    pub fn with_header_max_bytes(self, bytes: usize) -> Self {
        self.changed(|shared| shared.check.header_limits.bytes = bytes)
    }

    /// The same layer with a way to tell where a request comes from: what listens puts it among the extensions. Without
    /// one the address is not known, and conditions about it do not hold.
    #[must_use]
    pub fn with_client_ip(
        self,
        client_ip: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.changed(|shared| shared.client_ip = Some(Arc::new(client_ip)))
    }

    /// The same layer with one more who is told of every decision, after those before it.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observe>) -> Self {
        self.changed(|shared| shared.check.observers.push(observer))
    }

    fn changed(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { shared: Arc::clone(&self.0), inner }
    }
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<GuardBody<R>>;
    type Error = S::Error;
    type Future = GuardFuture<S, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> GuardFuture<S, B> {
        let (head, body) = request.into_parts();
        let is_grpc = grpc::is_call(&head);
        // Parsers differ over chunks more than over anything else, so that nothing may follow them.
        let closes = head.version <= Version::HTTP_11 && head.headers.contains_key(TRANSFER_ENCODING);
        let state = match self.shared.decide(head) {
            Ok(head) => {
                State::Waiting { service: self.inner.clone(), request: Some(Request::from_parts(head, body)) }
            }
            Err(refusal) => {
                let reply = if is_grpc { grpc::reply(&refusal) } else { refusal.reply() };
                State::Refused { reply: Some(reply) }
            }
        };
        GuardFuture { state, closes }
    }
}

impl Shared {
    /// The head of the request to hand on.
    fn decide(&self, mut head: request::Parts) -> Result<request::Parts, Refusal> {
        let client_ip = self.client_ip.as_ref().and_then(|client_ip| client_ip(&head.extensions));
        let asked = Head {
            method: head.method.clone(),
            uri: &head.uri,
            version: head.version,
            headers: std::mem::take(&mut head.headers),
            client_ip,
        };
        let Admitted { request, permit, policies } = self.check.admit(asked)?;
        let (rebuilt, ()) = rebuild(request, std::mem::take(&mut head.uri))
            .ok_or_else(|| self.check.broken(head.version))?
            .into_parts();
        (head.method, head.uri, head.headers) = (rebuilt.method, rebuilt.uri, rebuilt.headers);
        // Whatever stood there before is not of this decision.
        head.extensions.remove::<Principal>();
        if let Some(principal) = permit.principal() {
            head.extensions.insert(principal.clone());
        }
        head.extensions.insert(policies);
        head.extensions.insert(permit);
        Ok(head)
    }
}

impl<S, B, R> Future for GuardFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<GuardBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let called = match this.state.as_mut().project() {
                StateProjection::Refused { reply } => match reply.take() {
                    Some(reply) => return Poll::Ready(Ok(reply.map(GuardBody::own))),
                    // It was answered, and nobody polls on after that.
                    None => return Poll::Pending,
                },
                StateProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    match request.take() {
                        Some(request) => State::Called { future: service.call(request) },
                        None => return Poll::Pending,
                    }
                }
                StateProjection::Called { future } => {
                    let response = ready!(future.poll(cx))?.map(GuardBody::inner);
                    return Poll::Ready(Ok(if *this.closes { reply::closing(response) } else { response }));
                }
            };
            this.state.set(called);
        }
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardLayer").field(&self.0.check).finish()
    }
}

impl<S> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("check", &self.shared.check).finish_non_exhaustive()
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for GuardFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Refused { .. } => "refused",
            State::Waiting { .. } => "waiting",
            State::Called { .. } => "called",
        };
        f.debug_tuple("GuardFuture").field(&state).finish()
    }
}
