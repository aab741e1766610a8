//! The log's way to standard error: a bounded queue and a thread of its own, so that a reader that stalls delays
//! neither a request nor the end of the program.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, at most. Further ones are dropped and counted.
pub(super) const LINES_MAX: usize = 4096;
/// How long the end of the program waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes log lines and never waits.
#[derive(Clone, Debug)]
pub(super) struct LogQueue {
    entries: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Everything before it is written once this is answered.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// A queue whose lines a thread of its own writes to `writer`.
    pub(super) fn start(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (entries, received) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(received, writer, &counted))?;
        Ok(Self { entries, dropped })
    }

    /// Waits until all lines so far are written, for as long as the end of a program may take.
    pub(super) fn flush(&self) {
        let (written, answered) = sync_channel(1);
        // A queue that is full has a reader that stalls, and waiting would not help.
        if self.entries.try_send(Entry::Flush(written)).is_ok() {
            let _late = answered.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Write for &LogQueue {
    /// Takes one whole line, as the subscriber hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn write(entries: Receiver<Entry>, mut writer: impl Write, dropped: &AtomicU64) {
    for entry in entries {
        match entry {
            // A full disk or a reader that went away must not end the server.
            Entry::Line(line) => {
                let _lost = writer.write_all(&line);
            }
            Entry::Flush(written) => {
                let _nobody_waits = writer.flush().and(Ok(written.try_send(())));
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "log lines were dropped: standard error is not read as fast as they come");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::{Condvar, Mutex};

    /// Writes once it is told to.
    #[derive(Clone, Default)]
    struct Held(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        is_released: bool,
        written: Vec<u8>,
    }

    impl Held {
        fn release(&self) {
            self.0.0.lock().is_released = true;
            self.0.1.notify_all();
        }

        fn written(&self) -> usize {
            self.0.0.lock().written.len()
        }
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock();
            self.0.1.wait_while(&mut state, |state| !state.is_released);
            state.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_before_a_flush_ends() {
        let held = Held::default();
        held.release();
        let queue = LogQueue::start(held.clone()).unwrap();
        (&queue).write_all(b"one\n").unwrap();
        (&queue).write_all(b"two\n").unwrap();
        queue.flush();
        assert_eq!(held.0.0.lock().written, b"one\ntwo\n");
    }

    #[test]
    fn writer_that_stalls_delays_nobody_and_gets_what_the_queue_holds() {
        let held = Held::default();
        let queue = LogQueue::start(held.clone()).unwrap();
        for _ in 0..LINES_MAX + 100 {
            (&queue).write_all(b"x").unwrap();
        }
        // One line may be with the writer already.
        let dropped = queue.dropped.load(Ordering::Relaxed);
        assert!((99..=100).contains(&dropped), "{dropped}");
        queue.flush();
        held.release();
        queue.flush();
        while held.written() < LINES_MAX {
            std::thread::yield_now();
        }
    }
}
