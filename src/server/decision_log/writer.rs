//! The thread that writes: in batches, into a file of limited size, and on after errors.

use super::DecisionLogError;
use super::line::Entry;
use prometheus_client::metrics::counter::Counter;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

/// So many bytes are gathered before they are written.
const BATCH_BYTES: usize = 64 * 1024;
const FILE_MODE: u32 = 0o600;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Entry(Box<Entry>),
    /// Everything before it is written once this is answered.
    Flush(SyncSender<()>),
}

/// What the writer and those who hand over decisions both look at.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) written: Counter,
    pub(super) lost: Counter,
    /// Another entry stands for them.
    pub(super) left_out: Counter,
    /// Whether decisions are being lost, which is told once.
    pub(super) is_losing: AtomicBool,
}

pub(super) struct Writer {
    path: PathBuf,
    max_bytes: u64,
    shared: Arc<Shared>,
    file: Option<OpenFile>,
}

/// A file that this process alone writes.
struct OpenFile {
    file: File,
    bytes: u64,
    /// Whether its last line may lack its end.
    is_torn: bool,
}

impl Writer {
    pub(super) fn open(path: PathBuf, max_bytes: u64, shared: Arc<Shared>) -> Result<Self, DecisionLogError> {
        let file = Some(open(&path)?);
        Ok(Self { path, max_bytes, shared, file })
    }

    /// Writes until nobody is left who could hand over decisions.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut batch = Batch::default();
        while let Ok(first) = messages.recv() {
            batch.take(first, &self.shared);
            let mut is_drained = false;
            while batch.bytes.len() < BATCH_BYTES && !is_drained {
                match messages.try_recv() {
                    Ok(next) => batch.take(next, &self.shared),
                    Err(_) => is_drained = true,
                }
            }
            let is_written = self.write(&batch);
            if is_written && is_drained && self.shared.is_losing.swap(false, Ordering::Relaxed) {
                tracing::warn!(lost = self.shared.lost.get(), "the decision log keeps up again");
            }
            batch.settle(is_written, &self.shared);
        }
    }

    /// Writes a batch; `false` when it is lost.
    fn write(&mut self, batch: &Batch) -> bool {
        if batch.bytes.is_empty() {
            return true;
        }
        match self.try_write(&batch.bytes) {
            Ok(()) => true,
            Err(error) => {
                if !self.shared.is_losing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason = %error, "the decision log loses decisions");
                }
                false
            }
        }
    }

    /// Appends to the file, which is renamed before when it is full.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> Result<(), DecisionLogError> {
        let length = bytes.len() as u64;
        // Moved away, as log rotation does: it goes on in a new one.
        if self.file.as_ref().is_some_and(|open| !open.is_at(&self.path)) {
            self.file = None;
        }
        if self.file.as_ref().is_some_and(|open| open.bytes > 0 && open.bytes + length > self.max_bytes) {
            let io = |source| DecisionLogError::Io { action: "rename", path: self.path.clone(), source };
            fs::rename(&self.path, older(&self.path)).map_err(io)?;
            self.file = None;
        }
        let mut open = match self.file.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        let written = open.append(bytes);
        self.file = Some(open);
        written.map_err(|source| DecisionLogError::Io { action: "write", path: self.path.clone(), source })
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    entries: u64,
    flushes: Vec<SyncSender<()>>,
}

impl Batch {
    fn take(&mut self, message: Message, shared: &Shared) {
        match message {
            Message::Entry(entry) if entry.append_to(&mut self.bytes) => self.entries += 1,
            Message::Entry(_) => {
                shared.lost.inc();
            }
            Message::Flush(written) => self.flushes.push(written),
        }
    }

    /// Counts, answers those who wait, and is empty again.
    fn settle(&mut self, is_written: bool, shared: &Shared) {
        let counter = if is_written { &shared.written } else { &shared.lost };
        counter.inc_by(self.entries);
        for flush in self.flushes.drain(..) {
            let _nobody_waits = flush.try_send(());
        }
        self.bytes.clear();
        self.bytes.shrink_to(2 * BATCH_BYTES);
        self.entries = 0;
    }
}

impl OpenFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
        }
        self.is_torn = true;
        self.file.write_all(bytes)?;
        self.is_torn = false;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether this is the file that the path names.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(own), Ok(named)) = (self.file.metadata(), fs::metadata(path)) else { return false };
        (own.dev(), own.ino()) == (named.dev(), named.ino())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started shares it for a moment. When
        // this fails, the end of the process releases the lock.
        let _ = self.file.unlock();
    }
}

/// The name that a full log gets.
pub fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn open(path: &Path) -> Result<OpenFile, DecisionLogError> {
    let io = |source| DecisionLogError::Io { action: "open", path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(FILE_MODE).open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DecisionLogError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(io(io::Error::other("it is not a file")));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        // The file may belong to somebody else, who then decides who reads it.
        let _ = file.set_permissions(Permissions::from_mode(mode & 0o700));
    }
    let bytes = metadata.len();
    Ok(OpenFile { is_torn: !ends_whole(&file, bytes).map_err(io)?, file, bytes })
}

/// Whether the file is empty or ends with the end of a line.
fn ends_whole(file: &File, bytes: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let Some(last) = bytes.checked_sub(1) else { return Ok(true) };
    let mut end = [0];
    file.read_exact_at(&mut end, last)?;
    Ok(end == *b"\n")
}
