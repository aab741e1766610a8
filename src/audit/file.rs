//! The audit log on disk: one JSON line an entry, each naming the digest of the line before it. A file that is full
//! gets another name and stays; the chain goes on in a new one, as it does when somebody moves the file away.

mod chain;
mod line;
mod place;
mod rotated;
mod verify;

pub(crate) use line::Visible;
pub use rotated::beside;
#[cfg(feature = "cli")]
pub(crate) use rotated::{is_earlier_part, place as target};
pub use verify::{
    FINDINGS_MAX, FileReport, Finding, Inspection, LastEntry, LastEntryError, Verified, VerifyError, Wrong,
    inspect, verify,
};

use self::chain::Tail;
use self::place::{LockedFile, Opened};
use super::{Audit, AuditEntry, AuditError};
use crate::batch::Batches;
use parking_lot::Mutex;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The longest line; whatever is read back is read up to this length.
pub const LINE_MAX_BYTES: usize = 256 * 1024;
/// A file that is full and cannot get another name grows on, and is tried again after so many bytes.
const RETRY_BYTES: u64 = 64 * 1024;

/// The most entries that are written together.
const BATCH_MAX: usize = 128;

/// An audit log in a file that only grows. One process at a time writes it.
#[derive(Debug)]
pub struct FileAudit {
    path: PathBuf,
    max_bytes: u64,
    /// Entries without their links. Those that wait together are written and synced together.
    batches: Batches<Vec<u8>, Result<(), AuditError>>,
    /// Held by whoever writes a batch, or looks whether the file was moved away.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    file: LockedFile,
    /// How the next entry continues the log.
    tail: Tail,
    /// So many bytes of the file are in `tail`.
    end: u64,
    /// Whether a write failed, and what it left could not be taken away.
    is_uncertain: bool,
    /// The file gets another name when it would be longer than this.
    full_at: u64,
}

/// Entries that are written and synced at once.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    answers: Vec<Result<(), AuditError>>,
}

impl FileAudit {
    /// Opens the log, or creates it. A last line that a crash cut short is ended, so that the next entry stands
    /// on a line of its own. Where there is no file and older ones lie beside it, their chain goes on.
    ///
    /// # Errors
    /// When the operating system refuses, when another process writes the log, and when the file holds
    /// something else.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let Opened { file, text, tail } = place::open(path)?;
        let end = text.end;
        let tail = match tail {
            Some(tail) => tail,
            None => {
                // A crash between two files, or in the first line of the second.
                let mut tail = place::older_tail(path)?.in_next_file();
                tail.extend(&text.bytes);
                tail
            }
        };
        let writer = Writer { file, tail, end, is_uncertain: false, full_at: u64::MAX };
        Ok(Self {
            path: path.to_owned(),
            max_bytes: u64::MAX,
            batches: Batches::new(BATCH_MAX),
            writer: Mutex::new(writer),
        })
    }

    /// The same log with a limit to each file. One that is full is renamed to the same name with a dot and the
    /// number of its last entry, and a new one begun. Nothing is ever deleted.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self.writer.get_mut().full_at = max_bytes;
        self
    }

    /// Appends the entries and syncs them; the answer of each says whether it is on disk.
    fn write(&self, bodies: &[&Vec<u8>]) -> Vec<Result<(), AuditError>> {
        let writer = &mut *self.writer.lock();
        let mut answers = Vec::with_capacity(bodies.len());
        while let Some(rest) = bodies.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            match self.write_part(writer, rest) {
                Ok(part) => answers.extend(part),
                Err(error) => answers.extend(rest.iter().map(|_| Err(copy(&error)))),
            }
        }
        answers
    }

    /// Writes as many of the entries as the file has room for, and at least one; gives their answers. Those that
    /// are not too long are all written, or none.
    fn write_part(
        &self,
        writer: &mut Writer,
        bodies: &[&Vec<u8>],
    ) -> Result<Vec<Result<(), AuditError>>, AuditError> {
        match writer.file.length_at(&self.path) {
            None => self.go_on(writer)?,
            Some(length) => writer.look_again(length).map_err(|source| self.io("read", source))?,
        }
        let (mut part, mut after) = writer.part(bodies, false);
        if part.answers.is_empty() {
            self.rotate(writer)?;
            (part, after) = writer.part(bodies, true);
        }
        writer.append(&part.bytes, after).map_err(|source| self.io("write", source))?;
        Ok(part.answers)
    }

    /// Gives the full file another name and begins a new one. Where that cannot be done, the full one grows on.
    fn rotate(&self, writer: &mut Writer) -> Result<(), AuditError> {
        let place = rotated::place(&self.path);
        let name = rotated::name(&place, writer.tail.seq);
        let renamed = match fs::symlink_metadata(&name) {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Err(_) => fs::rename(&place, &name),
        };
        match renamed {
            Ok(()) => self.go_on(writer),
            Err(reason) => {
                // A log that is too long is better than none. With the next entry it would have another name.
                tracing::warn!(%reason, name = %name.display(), "the audit log is full and cannot be renamed: it grows on");
                writer.full_at = writer.end.saturating_add(RETRY_BYTES);
                Ok(())
            }
        }
    }

    /// Goes on in the file that the path names now, and creates it. An entry in the old one, which was moved or
    /// removed, might be in no log that anybody finds.
    fn go_on(&self, writer: &mut Writer) -> Result<(), AuditError> {
        let Opened { file, text, tail } = place::open(&self.path)?;
        if let Ok(length) = writer.file.length() {
            // Whatever cannot be read of the old file now, `verify` reads later.
            let _ = writer.look_again(length);
        }
        writer.tail = match tail {
            Some(tail) => tail,
            None => {
                // A new file follows from the old one, so that both are one chain.
                let mut tail = writer.tail.clone().in_next_file();
                tail.extend(&text.bytes);
                tail
            }
        };
        (writer.end, writer.is_uncertain, writer.full_at) = (text.end, false, self.max_bytes);
        writer.file = file;
        Ok(())
    }

    fn io(&self, action: &'static str, source: io::Error) -> AuditError {
        AuditError::Io { action, path: self.path.clone(), source }
    }
}

impl Writer {
    /// As many of the entries as the file has room for, as they continue it, and how it ends then. None only when the
    /// file is to get another name first; `was_rotated` when that was tried.
    fn part(&self, bodies: &[&Vec<u8>], was_rotated: bool) -> (Part, Tail) {
        let (mut part, mut after) = (Part::default(), self.tail.clone());
        for body in bodies {
            let length = part.bytes.len();
            match line::append(&mut part.bytes, body, &after) {
                Err(length) => {
                    part.answers.push(Err(AuditError::TooLong { length, limit: LINE_MAX_BYTES }));
                }
                Ok(tail) => {
                    let end = self.end.saturating_add(part.bytes.len() as u64);
                    let has_entries = length > 0 || (!was_rotated && self.end > 0 && self.tail.seq > 0);
                    if end > self.full_at && has_entries {
                        part.bytes.truncate(length);
                        break;
                    }
                    part.answers.push(Ok(()));
                    after = tail;
                }
            }
        }
        (part, after)
    }

    /// Writes and syncs.
    fn append(&mut self, bytes: &[u8], after: Tail) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = self.file.length()?;
        let written = (&self.file.0).write_all(bytes).and_then(|()| self.file.0.sync_data());
        if written.is_ok() {
            self.tail = after;
            self.end = length + bytes.len() as u64;
        } else {
            // After a failed sync nobody knows what of it is on disk, and a later sync that succeeds says nothing of it.
            // What comes next is written in its place, so that the chain has no hole after a loss of power.
            self.is_uncertain = self.file.0.set_len(length).is_err();
            self.end = length;
        }
        written
    }

    /// Takes in what a write left that failed.
    fn look_again(&mut self, length: u64) -> io::Result<()> {
        if length < self.end {
            // Emptied by somebody. What stands there is not in the chain that goes on.
            self.end = length;
        }
        if !self.is_uncertain {
            return Ok(());
        }
        // No more than one batch was being written.
        let left = usize::try_from(length - self.end).unwrap_or(usize::MAX).min(BATCH_MAX * LINE_MAX_BYTES);
        let mut bytes = vec![0; left];
        self.file.0.read_exact_at(&mut bytes, self.end)?;
        self.tail.extend(&bytes);
        (self.end, self.is_uncertain) = (length, false);
        Ok(())
    }
}

impl Audit for FileAudit {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        let body = line::body(entry).map_err(|source| self.io("write", source))?;
        let answer = self.batches.submit(body, |bodies| self.write(bodies));
        answer.unwrap_or_else(unanswered)
    }

    fn record_all(&self, entries: &[AuditEntry<'_>]) -> Vec<Result<(), AuditError>> {
        let bodies: Result<Vec<_>, _> = entries.iter().map(line::body).collect();
        let bodies = match bodies.map_err(|source| self.io("write", source)) {
            Ok(bodies) => bodies,
            Err(error) => return entries.iter().map(|_| Err(copy(&error))).collect(),
        };
        let answers = self.batches.submit_all(bodies, |bodies| self.write(bodies));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    fn reopen(&self) -> Result<bool, AuditError> {
        let writer = &mut *self.writer.lock();
        if writer.file.length_at(&self.path).is_some() {
            return Ok(false);
        }
        self.go_on(writer)?;
        Ok(true)
    }
}

fn unanswered() -> Result<(), AuditError> {
    Err(AuditError::Other("an entry got no answer".into()))
}

/// The same error for another of those who waited for one write.
fn copy(error: &AuditError) -> AuditError {
    match error {
        AuditError::Io { action, path, source } => {
            let source = match source.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(source.kind(), source.to_string()),
            };
            AuditError::Io { action, path: path.clone(), source }
        }
        AuditError::InUse { path } => AuditError::InUse { path: path.clone() },
        AuditError::Foreign { path, what } => AuditError::Foreign { path: path.clone(), what },
        AuditError::TooLong { length, limit } => AuditError::TooLong { length: *length, limit: *limit },
        AuditError::Other(cause) => AuditError::Other(cause.to_string().into()),
    }
}

#[cfg(test)]
mod tests;
