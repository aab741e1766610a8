//! A socket that fails when its peer accepts nothing for too long, and the polite way to close one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The most that is read from a connection after its last answer.
const LINGER_MAX_BYTES: usize = 4 * 1024 * 1024;
const LINGER_BUFFER_BYTES: usize = 8 * 1024;
/// An answer of so few bytes is written in one piece: the system takes that faster than several pieces.
const PIECE_MAX_BYTES: usize = 1024;

/// A socket whose writes end in [`io::ErrorKind::TimedOut`] when no byte was accepted for the given time.
pub(super) struct Socket<S> {
    inner: S,
    write_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(super) const fn new(inner: S, write_timeout: Duration) -> Self {
        Self { inner, write_timeout, stalled: None }
    }

    /// Passes on what the socket answered to a write, or times how long it has not.
    fn time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Reads and drops what the peer still sends, up to `timeout`. Closing a socket with unread bytes resets
    /// the connection, and the peer may then never see the answer that came before.
    pub(super) async fn linger(mut self, timeout: Duration) {
        let read_on = async {
            // On the heap: an array would make every connection's task larger all the time.
            let mut buffer = vec![0_u8; LINGER_BUFFER_BYTES];
            let mut read = 0;
            while read < LINGER_MAX_BYTES {
                match self.inner.read(&mut buffer).await {
                    Ok(bytes) if bytes > 0 => read += bytes,
                    Ok(_) | Err(_) => break,
                }
            }
        };
        // However it ends, the connection is over.
        let _ended = tokio::time::timeout(timeout, read_on).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.time(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE_MAX_BYTES];
        let polled = match joined(slices, &mut piece) {
            Some(piece) => Pin::new(&mut self.inner).poll_write(cx, piece),
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, slices),
        };
        self.time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.time(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.time(cx, polled)
    }
}

/// All slices in one, when they fit.
fn joined<'a>(slices: &[io::IoSlice<'_>], piece: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        let start = end;
        end += slice.len();
        piece.get_mut(start..end)?.copy_from_slice(slice);
    }
    piece.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn slices_that_fit_are_one_piece_and_longer_ones_are_not() {
        let joins = |lengths: &[usize]| {
            let bytes: Vec<u8> = (0..lengths.iter().sum::<usize>()).map(|at| (at % 251) as u8).collect();
            let mut rest = &*bytes;
            let split = |length: &usize| {
                let (slice, after) = rest.split_at(*length);
                rest = after;
                io::IoSlice::new(slice)
            };
            let slices: Vec<_> = lengths.iter().map(split).collect();
            joined(&slices, &mut [0; PIECE_MAX_BYTES]).map(|piece| piece == bytes)
        };
        assert_eq!(joins(&[]), Some(true));
        assert_eq!(joins(&[200, 0, PIECE_MAX_BYTES - 200]), Some(true));
        assert_eq!(joins(&[200, PIECE_MAX_BYTES - 199]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn write_to_a_peer_that_does_not_read_times_out() {
        let (ours, _theirs) = tokio::io::duplex(4);
        let mut socket = Socket::new(ours, TIMEOUT);
        socket.write_all(b"1234").await.unwrap();
        let error = socket.write_all(b"5").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn write_to_a_peer_that_reads_slowly_goes_on() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut socket = Socket::new(ours, TIMEOUT);
        let reading = tokio::spawn(async move {
            let mut read = [0_u8; 1];
            for _ in 0..4 {
                tokio::time::sleep(TIMEOUT - Duration::from_millis(1)).await;
                theirs.read_exact(&mut read).await.unwrap();
            }
        });
        socket.write_all(b"1234").await.unwrap();
        reading.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_with_the_peer_or_with_the_time() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let lingering = tokio::spawn(Socket::new(ours, TIMEOUT).linger(TIMEOUT));
        theirs.write_all(&[0; 1000]).await.unwrap();
        drop(theirs);
        lingering.await.unwrap();

        let (ours, _silent) = tokio::io::duplex(64);
        Socket::new(ours, TIMEOUT).linger(TIMEOUT).await;
    }
}
