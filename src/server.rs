//! The HTTP front: a connection loop with limits, the guard that decides before any route runs, and the
//! API for service tokens.

mod limits;
mod clock;
mod attempts;
mod timer;
mod socket;
mod body;
mod proxy_protocol;
mod streams;
mod metrics;
#[cfg(feature = "tls")]
mod tls;
mod transport_metrics;
mod connection;
mod reload;
mod shadow;
mod uses;
mod denials;
pub mod decision_log;
mod trace;
mod access;
mod gate;
mod forward_auth;
mod guard;
mod api;

pub use crate::front::{Clock, Observe, wall_clock};
pub use body::{BodyError, RequestBody};
pub use clock::{CLOCK_FILE_NAME, ClockError, SteadyClock, Stopwatch, WentBack, stopwatch};
pub use decision_log::DecisionLog;
pub use forward_auth::{FORWARD_AUTH_PATH_MAX_BYTES, ForwardAuth, ForwardAuthError};
pub use limits::{FailedAuthentications, Limits};
pub use metrics::{BoundedCounter, Metrics};
pub use reload::{
    PolicySource, PolicyState, PolicyStatus, ReloadGuard, ReloadOutcome, Reloaded, Reloader, SourceError,
    Trigger,
};
pub use shadow::{
    SHADOW_DIFFERENCES_MAX, SHADOW_QUEUE, SHADOW_QUEUE_MAX_BYTES, Shadow, ShadowChange, ShadowDifference,
    ShadowReport, ShadowRequest,
};

#[cfg(feature = "tls")]
pub use tls::{
    CHAIN_MAX_CERTIFICATES, CLIENT_AUTHORITIES_MAX, ClientCertificates, Tls, TlsError, TlsMaterial, TlsPart,
    TlsProblem,
};

pub use crate::network::{NETWORKS_MAX, Network, NetworkError, Networks, TooManyNetworks};
pub use crate::public_url::{PublicUrl, PublicUrlError};

use crate::engine::Engine;
use crate::front::HeaderLimits;
use api::Api;
#[cfg(feature = "cli")]
pub(crate) use api::usage::{GrantReport, PrivilegeReport, UsageReport};
use attempts::Attempts;
use bytes::Bytes;
use connection::Transport;
use denials::LeftOutTeller;
use gate::Gate;
use guard::{Guard, VersionHeader};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;
use transport_metrics::TransportMetrics;
use uses::UseWriter;

/// A server around one engine: either with rolegate's own API behind the guard, or with routes of your own.
pub struct Server {
    engine: Arc<Engine>,
    limits: Limits,
    clock: Clock,
    stopwatch: Stopwatch,
    observers: Vec<Arc<dyn Observe>>,
    metrics: Arc<Metrics>,
    reloader: Option<Arc<Reloader>>,
    shadow: Option<Arc<Shadow>>,
    forward_auth: Option<ForwardAuth>,
    tells_version: bool,
    transport: Transport,
    public_url: Option<PublicUrl>,
}

/// Which paths are those of the program's own API.
struct Own {
    /// Of its administration.
    is_admin: fn(&str) -> bool,
    /// Those whose answers bear the id that a client gave its request.
    echoes: fn(&str) -> bool,
}

impl Server {
    /// A server with default limits and the clock of the operating system.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            limits: Limits::default(),
            clock: wall_clock(),
            stopwatch: stopwatch(),
            observers: Vec::new(),
            metrics: Arc::new(Metrics::new()),
            reloader: None,
            shadow: None,
            forward_auth: None,
            tells_version: true,
            transport: Transport::default(),
            public_url: None,
        }
    }

    /// The same server with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same server with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The same server measuring by another stopwatch how long ago a client failed to authenticate.
    #[must_use]
    pub fn with_stopwatch(mut self, stopwatch: Stopwatch) -> Self {
        self.stopwatch = stopwatch;
        self
    }

    /// The same server with one more who is told of every decision, after those before it.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observe>) -> Self {
        self.observers.push(observer);
        self
    }

    /// The same server counting into these metrics, which others may count into as well.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// The same server loading policies anew by this reloader, when its own API is asked to.
    #[must_use]
    pub fn with_reloader(mut self, reloader: Arc<Reloader>) -> Self {
        self.reloader = Some(reloader);
        self
    }

    /// The same server with candidate policies that decide beside those in force; its own API tells what they would
    /// decide otherwise.
    #[must_use]
    pub fn with_shadow(mut self, shadow: Arc<Shadow>) -> Self {
        self.shadow = Some(Arc::clone(&shadow));
        self.with_observer(shadow)
    }

    /// The same server with an endpoint at which proxies ask about the requests that they hold. Without a word about
    /// it, there is none.
    #[must_use]
    pub fn with_forward_auth(mut self, forward_auth: ForwardAuth) -> Self {
        self.forward_auth = Some(forward_auth);
        self
    }

    /// The same server with or without the header `x-rolegate-policy`, by which every answer names the version of
    /// the policies that decided. Without a word about it, it is there.
    #[must_use]
    pub fn with_version_header(mut self, tells_version: bool) -> Self {
        self.tells_version = tells_version;
        self
    }

    /// The same server speaking TLS alone.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<Tls>) -> Self {
        self.transport.tls = Some(tls);
        self
    }

    /// The same server with or without HTTP/2 for clients that begin with it where no TLS is spoken. Without a word
    /// about it, there is none; TLS has it, as far as its material offers it.
    #[must_use]
    pub fn with_cleartext_http2(mut self, is_served: bool) -> Self {
        self.transport.is_http2_cleartext = is_served;
        self
    }

    /// The same server behind load balancers in these networks: each connection from them has to begin with a header
    /// of the PROXY protocol, version 2, and its client is the one that the header tells of.
    #[must_use]
    pub fn with_proxy_protocol(mut self, proxies: Networks) -> Self {
        self.transport.proxies = proxies;
        self
    }

    /// The same server knowing the address under which clients know it. Its own API tells it at
    /// `/.well-known/authzen-configuration`.
    #[must_use]
    pub fn with_public_url(mut self, url: PublicUrl) -> Self {
        self.public_url = Some(url);
        self
    }

    /// Serves rolegate's own API until `shutdown` ends and running requests are answered.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let draining = watch::Sender::new(false);
        let api = Api {
            engine: Arc::clone(&self.engine),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            reloader: self.reloader.clone(),
            reloads: Arc::new(Semaphore::new(api::RELOADS_AT_ONCE)),
            reports: Arc::new(Semaphore::new(api::REPORTS_AT_ONCE)),
            imports: Arc::new(Semaphore::new(api::IMPORTS_AT_ONCE)),
            evaluations: Arc::new(Semaphore::new(api::EVALUATIONS_AT_ONCE)),
            public_url: self.public_url.clone(),
            shadow: self.shadow.clone(),
            started: (self.clock)(),
            draining: draining.subscribe(),
        };
        let api = Arc::new(api);
        let teller = LeftOutTeller::start(Arc::clone(&self.engine), Arc::clone(&self.clock));
        let own = Own { is_admin: api::is_admin, echoes: api::echoes };
        self.drive(listener, warp::service(api::routes(&api)), own, draining, shutdown).await;
        teller.finish().await;
    }

    /// Serves routes of your own until `shutdown` ends and running requests are answered: a warp filter by
    /// [`warp::service`], or any other service of this shape.
    ///
    /// A request reaches them only when the policies permit it, with its path in canonical spelling and with
    /// the [`Permit`](crate::engine::Permit) and the `Arc` of the [`PolicySet`](crate::policy::PolicySet) that
    /// decided among its extensions. The token itself is taken away.
    ///
    /// ```no_run
    /// # use rolegate::{engine::{Engine, Permit}, server::Server};
    /// # use std::sync::Arc;
    /// use warp::Filter as _;
    ///
    /// # async fn example(engine: Arc<Engine>, listener: tokio::net::TcpListener) {
    /// let greeting = warp::path!("greeting").and(warp::ext::get::<Permit>()).map(|permit: Permit| {
    ///     let name = permit.principal().map_or("nobody", |principal| &principal.name);
    ///     format!("hello, {name}")
    /// });
    /// Server::new(engine).serve(listener, warp::service(greeting), std::future::pending()).await;
    /// # }
    /// ```
    pub async fn serve<S, B>(self, listener: TcpListener, routes: S, shutdown: impl Future<Output = ()>)
    where
        S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let own = Own { is_admin: |_| false, echoes: |_| false };
        self.drive(listener, routes, own, watch::Sender::new(false), shutdown).await;
    }

    async fn drive<S, B>(
        self,
        listener: TcpListener,
        routes: S,
        own: Own,
        draining: watch::Sender<bool>,
        shutdown: impl Future<Output = ()>,
    ) where
        S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let Self {
            engine,
            limits,
            clock,
            stopwatch,
            observers,
            metrics,
            forward_auth,
            tells_version,
            mut transport,
            ..
        } = self;
        transport.metrics = TransportMetrics::within(&metrics);
        let attempts = Attempts::new(limits.failed_authentications, stopwatch);
        let writer = UseWriter::start(Arc::clone(&engine), Arc::clone(&metrics));
        let denials = Arc::new(Semaphore::new(denials::DENIALS_WAITING_MAX));
        let gate = Gate {
            engine,
            header_limits: HeaderLimits { fields: limits.header_fields, bytes: limits.header_bytes },
            attempts,
            observers,
            metrics,
            is_admin: own.is_admin,
            denials,
            record_timeout: limits.request_timeout,
        };
        let version = tells_version.then(|| VersionHeader::new(gate.engine.policies().version()));
        let guard = Guard { gate, forward_auth, routes, limits, clock, version, echoes: own.echoes };
        connection::serve(listener, Arc::new(guard), limits, transport, draining, shutdown).await;
        writer.finish().await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).finish_non_exhaustive()
    }
}
