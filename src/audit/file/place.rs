//! The file of a log: opened, locked, and read from its end.

use super::chain::Tail;
use super::line::{Link, may_be_torn};
use super::rotated::Beside;
use super::{LINE_MAX_BYTES, rotated};
use crate::audit::AuditError;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FILE_MODE: u32 = 0o600;
/// Several torn lines may follow the last whole one.
const END_BYTES: u64 = 4 * LINE_MAX_BYTES as u64;
/// How often a file is opened anew that was moved away meanwhile.
const TRIES_MAX: usize = 8;

/// A file that no other process writes as long as it is open here.
#[derive(Debug)]
pub(super) struct LockedFile(pub(super) File);

/// A log that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: LockedFile,
    pub(super) text: End,
    /// How it ends; `None` when there is no whole entry in it.
    pub(super) tail: Option<Tail>,
}

/// The last lines of a file.
#[derive(Debug)]
pub(super) struct End {
    pub(super) bytes: Vec<u8>,
    /// The length of the file.
    pub(super) end: u64,
    /// Whether the file has more before them.
    is_cut: bool,
}

impl LockedFile {
    /// The length of the file, if the path names it.
    pub(super) fn length_at(&self, path: &Path) -> Option<u64> {
        let (own, named) = (self.0.metadata().ok()?, fs::metadata(path).ok()?);
        ((own.dev(), own.ino()) == (named.dev(), named.ino())).then_some(own.len())
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started shares it for a moment. When
        // this fails, the end of the process releases the lock.
        let _ = self.0.unlock();
    }
}

/// Opens or creates the file, and finds its end.
pub(super) fn open(path: &Path) -> Result<Opened, AuditError> {
    let io = |source| AuditError::Io { action: "open", path: path.to_owned(), source };
    let file = lock(path)?;
    let metadata = file.0.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(AuditError::Foreign { path: path.to_owned(), what: "it is not a file" });
    }
    let text = End::read(&file.0, path)?;
    let tail = text.tail(path)?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        // The file may belong to somebody else, who then decides who reads it.
        let _ = file.0.set_permissions(Permissions::from_mode(mode & 0o700));
    }
    if text.end == 0 {
        sync_parent(&rotated::place(path)).map_err(io)?;
    }
    Ok(Opened { file, text, tail })
}

/// How the newest of the older files ends that lie beside this one, so that the next file goes on from it.
pub(super) fn older_tail(path: &Path) -> Result<Tail, AuditError> {
    let read = |path: &Path, source| AuditError::Io { action: "read", path: path.to_owned(), source };
    let Beside { files: older, packed } = rotated::beside(path).map_err(|source| read(path, source))?;
    let mut newest: Option<(u64, PathBuf, File)> = None;
    for older in older {
        let file = File::open(&older).map_err(|source| read(&older, source))?;
        let first = rotated::first_seq(&file).map_err(|source| read(&older, source))?;
        if let Some(first) = first
            && newest.as_ref().is_none_or(|(newest, ..)| first > *newest)
        {
            newest = Some((first, older, file));
        }
    }
    let Some((_, older, file)) = newest else {
        if let Some(packed) = packed.last() {
            tracing::warn!(
                log = %path.display(), packed = %packed.display(),
                "the audit log begins anew, since its earlier parts are packed: let the newest part stay unpacked until \
                 the log has entries again"
            );
        }
        return Ok(Tail::default());
    };
    Ok(End::read(&file, &older)?.tail(&older)?.unwrap_or_default())
}

/// The file at the path, locked. One that was locked too late, since the process that wrote it had just given it
/// another name, is left alone.
fn lock(path: &Path) -> Result<LockedFile, AuditError> {
    let io = |source| AuditError::Io { action: "open", path: path.to_owned(), source };
    for _ in 0..TRIES_MAX {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(FILE_MODE);
        let file = LockedFile(options.open(path).map_err(io)?);
        match file.0.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        if file.length_at(path).is_some() {
            return Ok(file);
        }
    }
    Err(io(io::Error::other("it is moved away again and again")))
}

impl End {
    fn read(file: &File, path: &Path) -> Result<Self, AuditError> {
        let io = |source| AuditError::Io { action: "read", path: path.to_owned(), source };
        let end = file.metadata().map_err(io)?.len();
        let start = end.saturating_sub(END_BYTES);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(&mut bytes, start).map_err(io)?;
        let is_cut = start > 0;
        if is_cut {
            let foreign = || AuditError::Foreign { path: path.to_owned(), what: "its last line is too long" };
            let line = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(foreign)?;
            bytes.drain(..=line);
        }
        Ok(Self { bytes, end, is_cut })
    }

    /// How the log ends; `None` when it has no whole entry, which a crash in the first line leaves behind.
    fn tail(&self, path: &Path) -> Result<Option<Tail>, AuditError> {
        if self.end == 0 {
            return Ok(None);
        }
        let lines = || self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes).split(|byte| *byte == b'\n');
        let first = lines().position(|line| Link::read(line).is_some());
        let Some(first) = first else {
            if !self.is_cut && lines().all(may_be_torn) {
                return Ok(None);
            }
            return Err(AuditError::Foreign { path: path.to_owned(), what: "it holds no audit entries" });
        };
        let skipped: usize = lines().take(first).map(|line| line.len() + 1).sum();
        let mut tail = Tail::default();
        tail.extend(self.bytes.get(skipped..).unwrap_or_default());
        Ok(Some(tail))
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
