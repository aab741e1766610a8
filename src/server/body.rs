//! The body of a request, read with a limit on its size and on the time between its parts.

use crate::front::reply::Failure;
use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// The body of a request. It ends in a [`BodyError`] past its limits, and carries no trailers: nothing that
/// follows the body may take part in what was decided before it.
#[derive(Debug)]
pub struct RequestBody<B = Incoming>(Option<Box<Reading<B>>>);

/// A body that does not end where it begins.
#[derive(Debug)]
struct Reading<B> {
    inner: B,
    bytes_left: usize,
    timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    fault: BodyFault,
}

/// Why a request body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit.
    #[error("the request body is longer than this server reads")]
    TooLarge,
    /// The client paused for too long.
    #[error("the request body did not arrive in time")]
    TimedOut,
    /// Cut short, or not framed as HTTP frames a body.
    #[error("the request body is cut short or badly framed")]
    Broken,
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

/// Remembers, for the guard, how reading a body failed, whatever the routes made of it. Nothing is where there is no
/// body, as in most requests.
#[derive(Clone, Debug)]
pub(super) struct BodyFault(Option<Arc<AtomicU8>>);

impl BodyFault {
    pub(super) fn get(&self) -> Option<BodyError> {
        match self.0.as_ref()?.load(Ordering::Acquire) {
            1 => Some(BodyError::TooLarge),
            2 => Some(BodyError::TimedOut),
            3 => Some(BodyError::Broken),
            _ => None,
        }
    }

    fn set(&self, error: BodyError) {
        let code = match error {
            BodyError::TooLarge => 1,
            BodyError::TimedOut => 2,
            BodyError::Broken => 3,
        };
        if let Some(fault) = &self.0 {
            fault.store(code, Ordering::Release);
        }
    }
}

impl<B: Body> RequestBody<B> {
    pub(super) fn new(inner: B, max_bytes: usize, timeout: Duration) -> (Self, BodyFault) {
        if inner.is_end_stream() {
            return (Self(None), BodyFault(None));
        }
        let fault = BodyFault(Some(Arc::default()));
        let reading = Reading { inner, bytes_left: max_bytes, timeout, waiting: None, fault: fault.clone() };
        (Self(Some(Box::new(reading))), fault)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Reading<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // A failed body stays failed: reading on would give the rest for the whole.
        if let Some(error) = self.fault.get() {
            return Poll::Ready(Some(Err(error)));
        }
        let Poll::Ready(polled) = Pin::new(&mut self.inner).poll_frame(cx) else {
            let timeout = self.timeout;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            return if waiting.as_mut().poll(cx).is_ready() {
                self.fail(BodyError::TimedOut)
            } else {
                Poll::Pending
            };
        };
        self.waiting = None;
        let data = match polled.map(|frame| frame.map(Frame::into_data)) {
            None | Some(Ok(Err(_))) => return Poll::Ready(None),
            Some(Err(_)) => return self.fail(BodyError::Broken),
            Some(Ok(Ok(data))) => data,
        };
        match self.bytes_left.checked_sub(data.len()) {
            None => self.fail(BodyError::TooLarge),
            Some(left) => {
                self.bytes_left = left;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn fail(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.fault.set(error);
        Poll::Ready(Some(Err(error)))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |reading| reading.poll(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|reading| reading.fault.get().is_none() && reading.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |reading| reading.inner.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::collections::VecDeque;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Gives its parts one by one, each after a pause.
    struct Parts(VecDeque<Result<Frame<Bytes>, &'static str>>, Duration, Option<Pin<Box<Sleep>>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let pause = self.1;
            let sleep = self.2.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            std::task::ready!(sleep.as_mut().poll(cx));
            self.2 = None;
            Poll::Ready(self.0.pop_front())
        }
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    async fn read(
        parts: Vec<Result<Frame<Bytes>, &'static str>>,
        max_bytes: usize,
        pause: Duration,
    ) -> (Result<Bytes, BodyError>, Option<BodyError>) {
        let (body, fault) = RequestBody::new(Parts(parts.into(), pause, None), max_bytes, TIMEOUT);
        let read = body.collect().await.map(http_body_util::Collected::to_bytes);
        (read, fault.get())
    }

    #[test]
    fn errors_have_their_status() {
        for (error, status) in
            [(BodyError::TooLarge, 413), (BodyError::TimedOut, 408), (BodyError::Broken, 400)]
        {
            assert_eq!(Failure::from(error).status, status, "{error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn body_at_the_limit_is_read_and_one_byte_more_is_not() {
        let at_limit = read(vec![data("123"), data("45")], 5, Duration::ZERO).await;
        assert_eq!(at_limit, (Ok(Bytes::from_static(b"12345")), None));
        let over = read(vec![data("123"), data("456")], 5, Duration::ZERO).await;
        assert_eq!(over, (Err(BodyError::TooLarge), Some(BodyError::TooLarge)));
    }

    #[tokio::test(start_paused = true)]
    async fn pause_within_the_limit_is_waited_for_and_a_longer_one_is_not() {
        let parts = || vec![data("1"), data("2"), data("3")];
        let slow = read(parts(), 5, TIMEOUT - Duration::from_millis(1)).await;
        assert_eq!(slow, (Ok(Bytes::from_static(b"123")), None));
        let stalled = read(parts(), 5, TIMEOUT + Duration::from_millis(1)).await;
        assert_eq!(stalled, (Err(BodyError::TimedOut), Some(BodyError::TimedOut)));
    }

    #[tokio::test(start_paused = true)]
    async fn broken_body_stays_broken() {
        let parts = Parts(vec![data("1"), Err("reset"), data("2")].into(), Duration::ZERO, None);
        let (mut body, _) = RequestBody::new(parts, 5, TIMEOUT);
        assert!(body.frame().await.unwrap().is_ok());
        for _ in 0..2 {
            assert_eq!(body.frame().await.unwrap().unwrap_err(), BodyError::Broken);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_end_the_body_and_are_not_handed_on() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("authorization", http::HeaderValue::from_static("ApiKey x"));
        let parts = Parts(vec![data("1"), Ok(Frame::trailers(trailers))].into(), Duration::ZERO, None);
        let (body, _) = RequestBody::new(parts, 5, TIMEOUT);
        let collected = body.collect().await.unwrap();
        assert!(collected.trailers().is_none());
    }
}
