//! The body of an answer: of the guard, or of the service behind it.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// The body of an answer: of the guard, or of the service behind it.
    pub struct GuardBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        // Empty once it was given.
        Own { bytes: Bytes },
        Inner { #[pin] body: B },
    }
}

impl<B> GuardBody<B> {
    pub(super) const fn own(bytes: Bytes) -> Self {
        Self { kind: Kind::Own { bytes } }
    }

    pub(super) const fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }
}

impl<B: Body<Data = Bytes>> Body for GuardBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Own { bytes } if bytes.is_empty() => Poll::Ready(None),
            KindProjection::Own { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            KindProjection::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own { bytes } => bytes.is_empty(),
            Kind::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own { bytes } => SizeHint::with_exact(bytes.len().try_into().unwrap_or(u64::MAX)),
            Kind::Inner { body } => body.size_hint(),
        }
    }
}

impl<B> fmt::Debug for GuardBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Own { .. } => "of the guard",
            Kind::Inner { .. } => "of the service",
        };
        f.debug_tuple("GuardBody").field(&kind).finish()
    }
}
