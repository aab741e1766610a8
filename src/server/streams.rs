//! The requests of one connection by HTTP/2, followed from outside: whether any is open, whose turn it is, and how
//! many were taken back.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// So many requests of a connection may be taken back before they are answered, whatever the others are. More, and
/// more than half of all, are a flood: each costs the server a start and the client nothing.
pub(super) const CUT_MAX: usize = 100;

/// What is known of the requests of one connection.
pub(super) struct Streams {
    started: Instant,
    idle_timeout: Duration,
    stall_timeout: Duration,
    /// When anything went on last, in milliseconds since the start.
    progress_ms: AtomicU64,
    /// Requests that are being answered, which has its own time limits.
    answering: AtomicUsize,
    /// Answers of which the next part is to come from us.
    sending: AtomicUsize,
    /// Answers of which the client has to take the last part first.
    waiting: AtomicUsize,
    opened: AtomicUsize,
    cut: AtomicUsize,
    is_closing: AtomicBool,
    news: Notify,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It takes no new requests.
    Finish,
    /// It ends at once, for this cause.
    Drop(&'static str),
}

/// A request that is being answered.
pub(super) struct Open {
    streams: Arc<Streams>,
    is_answered: bool,
}

/// The body of an answer.
pub(super) struct Followed<B> {
    body: Pin<Box<B>>,
    streams: Arc<Streams>,
    is_waiting: bool,
}

impl Streams {
    /// A connection without requests. It may be so for `idle_timeout`, and its client may take no part of any answer
    /// for `stall_timeout`.
    pub(super) fn new(idle_timeout: Duration, stall_timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            idle_timeout,
            stall_timeout,
            progress_ms: AtomicU64::new(0),
            answering: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
            news: Notify::new(),
        }
    }

    /// A request begins.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
        self.go_on();
        Open { streams: Arc::clone(self), is_answered: false }
    }

    /// Waits until the connection is to end. One that was told so already may stay for `patience` without requests.
    pub(super) async fn judge(&self, is_told: bool, patience: Duration) -> Judgement {
        let idle_timeout = if is_told { patience } else { self.idle_timeout };
        let mut next = self.idle_timeout.min(self.stall_timeout).min(idle_timeout);
        loop {
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(next) => {}
            }
            if self.is_flood() {
                return Judgement::Drop("its client takes back more requests than it lets be answered");
            }
            if !is_told && self.is_closing.load(Ordering::Relaxed) {
                return Judgement::Finish;
            }
            let [answering, sending, waiting] =
                [&self.answering, &self.sending, &self.waiting].map(|count| count.load(Ordering::Relaxed));
            let timeout = match (answering + sending, waiting) {
                (0, 0) => idle_timeout,
                (0, _) => self.stall_timeout,
                // It is our turn.
                _ => {
                    next = idle_timeout;
                    continue;
                }
            };
            match timeout.checked_sub(self.quiet()) {
                Some(left) if !left.is_zero() => next = left,
                _ if waiting > 0 => return Judgement::Drop("its client does not read its answers"),
                _ if is_told => return Judgement::Drop("its client does not end it"),
                _ => return Judgement::Finish,
            }
        }
    }

    /// How long nothing went on.
    fn quiet(&self) -> Duration {
        let last = Duration::from_millis(self.progress_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    fn go_on(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(now, Ordering::Relaxed);
    }

    fn is_flood(&self) -> bool {
        let cut = self.cut.load(Ordering::Relaxed);
        cut > CUT_MAX && cut.saturating_mul(2) > self.opened.load(Ordering::Relaxed)
    }
}

impl Open {
    /// The answer begins. Where the connection is to end, it takes no further requests.
    pub(super) fn answer<B>(mut self, body: B, is_closing: bool) -> Followed<B> {
        self.is_answered = true;
        let streams = Arc::clone(&self.streams);
        streams.waiting.fetch_add(1, Ordering::Relaxed);
        if is_closing {
            streams.is_closing.store(true, Ordering::Relaxed);
            streams.news.notify_one();
        }
        Followed { body: Box::pin(body), streams, is_waiting: true }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.answering.fetch_sub(1, Ordering::Relaxed);
        self.streams.go_on();
        if !self.is_answered {
            self.streams.cut.fetch_add(1, Ordering::Relaxed);
            if self.streams.is_flood() {
                self.streams.news.notify_one();
            }
        }
    }
}

impl<B> Followed<B> {
    /// Notes whose turn it is, of us and the client.
    fn turn(&mut self, is_waiting: bool) {
        let streams = &self.streams;
        let (from, to) = if is_waiting {
            (&streams.sending, &streams.waiting)
        } else {
            (&streams.waiting, &streams.sending)
        };
        if self.is_waiting != is_waiting {
            self.is_waiting = is_waiting;
            to.fetch_add(1, Ordering::Relaxed);
            from.fetch_sub(1, Ordering::Relaxed);
        }
        streams.go_on();
    }
}

impl<B: Body<Data = Bytes>> Body for Followed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // Nobody asks for a part before there is room for it.
        self.turn(false);
        let polled = self.body.as_mut().poll_frame(cx);
        if polled.is_ready() {
            self.turn(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Followed<B> {
    fn drop(&mut self) {
        let counted = if self.is_waiting { &self.streams.waiting } else { &self.streams.sending };
        counted.fetch_sub(1, Ordering::Relaxed);
        self.streams.go_on();
    }
}
