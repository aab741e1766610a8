//! The connection loop: accepts, serves HTTP within its limits, and drains when told to shut down.

mod http2;
mod transport;

pub(super) use transport::Transport;

use super::limits::Limits;
use super::timer::ConnectionTimer;
use crate::path::TARGET_MAX_BYTES;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// The first pause after a failed accept; it doubles with each failure that follows.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What hyper buffers of a connection, at most.
const BUFFER_MAX_BYTES: usize = 64 * 1024;
/// Room for method, version and line ends on top of target and header fields.
const REQUEST_LINE_EXTRA_BYTES: usize = 1024;
/// Up to here hyper keeps header fields on the stack; the exact limit is the guard's.
const PARSED_FIELDS_MIN: usize = 100;

/// Where connections come from.
pub(super) trait Accept: Send {
    /// The next connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

/// Answers one request of one peer. While it is crowded, others wait for a connection: whoever has no claim to this
/// one had better be told that it ends with the answer.
pub(super) trait Respond: Send + Sync + 'static {
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    fn respond(
        self: &Arc<Self>,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        is_crowded: bool,
    ) -> Responding<Self::Body>;
}

/// An answer, or how long it takes.
pub(super) enum Responding<B> {
    Now(hyper::Response<B>),
    Later(Pin<Box<dyn Future<Output = hyper::Response<B>> + Send>>),
    /// It was given.
    Over,
}

/// What answers the requests of one connection, and how it ends.
struct Exchange<R> {
    responder: Arc<R>,
    peer: SocketAddr,
    limits: Limits,
    draining: watch::Receiver<bool>,
    is_full: Arc<AtomicBool>,
    /// Put among the extensions of each request.
    certificate: Option<ClientCertificate>,
}

/// Among the extensions of a request, where clients are asked for certificates: whether its client brought one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    /// A good one.
    #[cfg(feature = "tls")]
    Good,
    /// None, which it may.
    Missing,
}

/// Room for connections.
#[derive(Clone)]
struct Slots {
    free: Arc<Semaphore>,
    is_full: Arc<AtomicBool>,
}

// A response is handed out and never looked at in its place.
impl<B> Unpin for Responding<B> {}

impl<B> Future for Responding<B> {
    type Output = Result<hyper::Response<B>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut *self {
            Self::Later(response) => ready!(response.as_mut().poll(cx)),
            Self::Now(_) | Self::Over => match std::mem::replace(&mut *self, Self::Over) {
                Self::Now(response) => response,
                // Nobody asks again for what was given.
                Self::Later(_) | Self::Over => return Poll::Pending,
            },
        };
        Poll::Ready(Ok(response))
    }
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// Serves until `shutdown` ends; then lets running requests finish, and drops those that do not within
/// [`Limits::drain_timeout`].
pub(super) async fn serve(
    mut listener: impl Accept,
    responder: Arc<impl Respond>,
    limits: Limits,
    transport: Transport,
    draining: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let slots = Slots::new(limits.connections);
    let transport = Arc::new(transport);
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            (stream, peer, slot) = next(&mut listener, &slots) => {
                let exchange = Exchange {
                    responder: Arc::clone(&responder),
                    peer,
                    limits,
                    draining: draining.subscribe(),
                    is_full: Arc::clone(&slots.is_full),
                    certificate: None,
                };
                let transport = Arc::clone(&transport);
                connections.spawn(async move {
                    let _slot = slot;
                    transport.serve(stream, exchange).await;
                });
            }
        }
    }
    // Closing the listener refuses new connections at once, while those that are open come to their end.
    drop(listener);
    draining.send_replace(true);
    tracing::info!(connections = connections.len(), "shutting down: running requests finish");
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "dropping connections that did not end in time");
        connections.shutdown().await;
    }
}

/// The next connection, once there is room for one. Accept errors pass: a process that is out of files for a
/// moment must not end for it.
async fn next(
    listener: &mut impl Accept,
    slots: &Slots,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let slot = slots.take().await;
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            // These concern one connection that was gone before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

impl Slots {
    fn new(connections: usize) -> Self {
        let free = Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS));
        Self { free: Arc::new(free), is_full: Arc::default() }
    }

    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let free = Arc::clone(&self.free);
        let slot = match Arc::clone(&free).try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) => {
                self.is_full.store(true, Ordering::Relaxed);
                free.acquire_owned().await.ok()
            }
        };
        self.is_full.store(false, Ordering::Relaxed);
        slot
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves a connection by HTTP/1.1, and gives its socket back.
async fn http1<S>(stream: S, exchange: Exchange<impl Respond>) -> S
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Exchange { responder, peer, limits, mut draining, is_full, certificate } = exchange;
    let service = service_fn(|mut request| {
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate);
        }
        responder.respond(request, peer, is_full.load(Ordering::Relaxed))
    });
    let mut connection = builder(&limits).serve_connection(TokioIo::new(stream), service);
    let is_draining = draining.clone();
    let mut drained = pin!(draining.wait_for(|draining| *draining));
    // The task has one waker as long as it lives, and each registration takes a lock.
    let (mut registered, mut told) = (None::<Waker>, false);
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(ended);
            }
            let is_registered = registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if told || is_registered && is_draining.has_changed().is_ok_and(|has| !has) {
                return Poll::Pending;
            }
            if drained.as_mut().poll(cx).is_pending() {
                registered = Some(cx.waker().clone());
                return Poll::Pending;
            }
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
    connection.into_parts().io.into_inner()
}

fn builder(limits: &Limits) -> http1::Builder {
    let head_bytes = limits.header_bytes.saturating_add(TARGET_MAX_BYTES + REQUEST_LINE_EXTRA_BYTES);
    let mut builder = http1::Builder::new();
    builder
        .timer(ConnectionTimer::default())
        .header_read_timeout(limits.header_read_timeout)
        .max_header_size(head_bytes)
        .max_buf_size(BUFFER_MAX_BYTES.max(head_bytes))
        .pipeline_flush(false)
        .half_close(false)
        .keep_alive(true);
    if limits.header_fields >= PARSED_FIELDS_MIN {
        builder.max_headers(limits.header_fields.saturating_add(1));
    }
    builder
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{Notify, mpsc, oneshot};

    const LARGE_BYTES: usize = 64 * 1024 * 1024;
    /// Far longer than anything takes on the slowest machine.
    pub(super) const MINUTE: Duration = Duration::from_secs(60);

    /// Tells what arrived; `/hold` is answered once it is released, `/large` with more than any buffer holds,
    /// `/peer` with the client's address.
    pub(super) struct Echo {
        arrived: mpsc::UnboundedSender<String>,
        pub(super) release: Notify,
    }

    impl Respond for Echo {
        type Body = Full<Bytes>;

        fn respond(
            self: &Arc<Self>,
            request: hyper::Request<Incoming>,
            peer: SocketAddr,
            _: bool,
        ) -> Responding<Self::Body> {
            let path = request.uri().path().to_owned();
            self.arrived.send(path.clone()).unwrap();
            let is_held = path == "/hold";
            let body = match path.as_str() {
                "/large" => Bytes::from(vec![b'x'; LARGE_BYTES]),
                "/peer" => Bytes::from(peer.to_string()),
                _ => Bytes::from(path.clone()),
            };
            let mut response = hyper::Response::new(Full::new(body));
            if path == "/close" {
                response.headers_mut().insert("connection", "close".parse().unwrap());
            }
            if !is_held {
                return Responding::Now(response);
            }
            let echo = Arc::clone(self);
            Responding::Later(Box::pin(async move {
                echo.release.notified().await;
                response
            }))
        }
    }

    pub(super) struct World {
        pub(super) address: SocketAddr,
        pub(super) echo: Arc<Echo>,
        pub(super) arrived: mpsc::UnboundedReceiver<String>,
        shutdown: Option<oneshot::Sender<()>>,
        pub(super) serving: tokio::task::JoinHandle<()>,
    }

    impl World {
        async fn start(limits: Limits) -> Self {
            Self::start_below(limits, Transport::default()).await
        }

        pub(super) async fn start_below(limits: Limits, transport: Transport) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            Self::start_all(listener, limits, transport, |listener| listener)
        }

        fn start_on<L: Accept + 'static>(
            listener: TcpListener,
            limits: Limits,
            wrap: impl FnOnce(TcpListener) -> L,
        ) -> Self {
            Self::start_all(listener, limits, Transport::default(), wrap)
        }

        fn start_all<L: Accept + 'static>(
            listener: TcpListener,
            limits: Limits,
            transport: Transport,
            wrap: impl FnOnce(TcpListener) -> L,
        ) -> Self {
            let address = listener.local_addr().unwrap();
            let (sender, arrived) = mpsc::unbounded_channel();
            let echo = Arc::new(Echo { arrived: sender, release: Notify::new() });
            let (shutdown, told) = oneshot::channel::<()>();
            let serving = serve(
                wrap(listener),
                Arc::clone(&echo),
                limits,
                transport,
                watch::Sender::new(false),
                async {
                    let _told = told.await;
                },
            );
            Self { address, echo, arrived, shutdown: Some(shutdown), serving: tokio::spawn(serving) }
        }

        pub(super) async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        pub(super) async fn get(&self, path: &str) -> TcpStream {
            let mut stream = self.connect().await;
            send(&mut stream, path).await;
            stream
        }

        pub(super) fn shut_down(&mut self) {
            self.shutdown.take().unwrap().send(()).unwrap();
        }
    }

    async fn send(stream: &mut TcpStream, path: &str) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    }

    /// What the server sends up to its close.
    pub(super) async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let _reset_is_a_close_too = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    /// Reads one answer, which ends with `end`.
    pub(super) async fn until(stream: &mut TcpStream, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(bytes).unwrap()
    }

    pub(super) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }

    /// Limits for a test in which nothing is late.
    pub(super) fn patient() -> Limits {
        limits(|limits| {
            limits.handshake_timeout = MINUTE;
            limits.header_read_timeout = MINUTE;
            limits.write_timeout = MINUTE;
            limits.drain_timeout = MINUTE;
        })
    }

    // A clock that is paused jumps to the next timer as soon as nobody can go on, also when that is because bytes are on
    // their way through the system. It is paused only where all have arrived.

    #[tokio::test(start_paused = true)]
    async fn client_that_sends_nothing_is_closed() {
        let world = World::start(Limits::default()).await;
        let mut stream = world.connect().await;
        let started = tokio::time::Instant::now();
        assert_eq!(rest(&mut stream).await, "");
        assert!(started.elapsed() >= Limits::HEADER_READ_TIMEOUT);
        assert!(started.elapsed() < Limits::HEADER_READ_TIMEOUT * 2);
    }

    #[tokio::test]
    async fn client_that_sends_its_header_slowly_is_closed_and_one_in_time_is_answered() {
        let mut world = World::start(limits(|limits| limits.linger_timeout = Duration::ZERO)).await;
        for (pause, answered) in [(1, true), (3, false)] {
            let mut stream = world.get("/first").await;
            until(&mut stream, "/first").await;
            tokio::time::pause();
            for part in ["GET /a HTTP/1.1\r\n", "Host: h\r\n", "Connection: close\r\n\r\n"] {
                tokio::time::advance(Duration::from_secs(pause)).await;
                // Writing to a connection that the server closed may fail, which is the point.
                let _closed = stream.write_all(part.as_bytes()).await;
            }
            tokio::time::resume();
            assert_eq!(rest(&mut stream).await.starts_with("HTTP/1.1 200"), answered, "{pause}");
        }
        let arrived: Vec<String> = std::iter::from_fn(|| world.arrived.try_recv().ok()).collect();
        assert_eq!(arrived, ["/first", "/a", "/first"]);
    }

    #[tokio::test]
    async fn idle_connection_is_closed_after_its_answer() {
        let world = World::start(patient()).await;
        let mut stream = world.get("/a").await;
        let answer = until(&mut stream, "/a").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::pause();
        assert_eq!(rest(&mut stream).await, "");
    }

    #[tokio::test]
    async fn pipelined_requests_are_answered_in_order() {
        let world = World::start(patient()).await;
        let mut stream = world.connect().await;
        let two = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(two.as_bytes()).await.unwrap();
        let answers = rest(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
        assert!(answers.ends_with("/2"), "{answers}");
        assert!(answers.find("\r\n\r\n/1").unwrap() < answers.find("\r\n\r\n/2").unwrap());
    }

    #[tokio::test]
    async fn head_beyond_what_the_parser_buffers_is_refused_and_never_arrives() {
        let mut world = World::start(patient()).await;
        let mut stream = world.connect().await;
        let long = format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(500_000));
        let (mut reading, mut writing) = stream.split();
        let mut answer = String::new();
        let (_, read) = tokio::join!(writing.write_all(long.as_bytes()), reading.read_to_string(&mut answer));
        read.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(world.arrived.try_recv().is_err());
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_their_turn() {
        let mut world = World::start(Limits { connections: 2, ..patient() }).await;
        let mut first = world.get("/hold").await;
        let second = world.get("/hold").await;
        let mut third = world.get("/third").await;
        assert_eq!(world.arrived.recv().await.unwrap(), "/hold");
        assert_eq!(world.arrived.recv().await.unwrap(), "/hold");
        tokio::time::pause();
        let none = tokio::time::timeout(Duration::from_secs(1), world.arrived.recv()).await;
        tokio::time::resume();
        assert!(none.is_err(), "the third connection was served beside two others");

        world.echo.release.notify_one();
        until(&mut first, "/hold").await;
        drop(first);
        until(&mut third, "/third").await;
        drop(second);
    }

    #[tokio::test]
    async fn running_request_finishes_while_new_connections_are_refused() {
        let mut world = World::start(patient()).await;
        let mut running = world.get("/hold").await;
        world.arrived.recv().await.unwrap();
        let mut idle = world.get("/idle").await;
        until(&mut idle, "/idle").await;

        world.shut_down();
        assert_eq!(rest(&mut idle).await, "", "an idle connection is closed at once");
        assert!(TcpStream::connect(world.address).await.is_err());
        world.echo.release.notify_one();
        let answer = rest(&mut running).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        drop((running, idle));
        world.serving.await.unwrap();
    }

    #[tokio::test]
    async fn request_that_does_not_finish_is_dropped_at_the_deadline() {
        let mut world = World::start(Limits::default()).await;
        let mut running = world.get("/hold").await;
        world.arrived.recv().await.unwrap();
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        world.shut_down();
        world.serving.await.unwrap();
        assert!(started.elapsed() >= Limits::DRAIN_TIMEOUT);
        assert_eq!(rest(&mut running).await, "");
    }

    #[tokio::test]
    async fn peer_that_does_not_read_is_dropped_and_one_that_reads_gets_all() {
        let mut world = World::start(patient()).await;
        let mut deaf = world.get("/large").await;
        world.arrived.recv().await.unwrap();
        // Nothing else runs, so that time passes up to the write timeout and the end of lingering.
        tokio::time::pause();
        tokio::time::sleep(MINUTE * 3).await;
        tokio::time::resume();
        assert!(rest(&mut deaf).await.len() < LARGE_BYTES);

        let mut reader = world.connect().await;
        let request = b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        reader.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes.len() > LARGE_BYTES);
    }

    /// Fails as a process that is out of files does, then accepts.
    struct OutOfFiles(TcpListener, u32);

    impl Accept for OutOfFiles {
        async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
            if self.1 > 0 {
                self.1 -= 1;
                let kind = if self.1.is_multiple_of(2) {
                    io::ErrorKind::Other
                } else {
                    io::ErrorKind::ConnectionAborted
                };
                return Err(io::Error::new(kind, "too many open files"));
            }
            Accept::accept(&mut self.0).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failing_accepts_do_not_end_the_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::start_on(listener, Limits::default(), |listener| OutOfFiles(listener, 20));
        until(&mut world.get("/a").await, "/a").await;
    }
}
