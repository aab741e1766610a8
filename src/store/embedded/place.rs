//! Where a store is: its folder and its lock, and what goes wrong there, in our words.

use crate::store::StoreError;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The file in the data folder.
pub const FILE_NAME: &str = "tokens.redb";

/// What every redb file starts with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
const FOLDER_MODE: u32 = 0o700;
/// The most files that are kept by one name.
pub(super) const KEPT_MAX: u32 = 100;

/// Where the store is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) file: PathBuf,
}

/// The lock that keeps other processes out.
#[derive(Debug)]
pub(super) struct FolderLock(File);

/// Device and number of a file: no other file has them while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Place {
    /// The place of the store in a data folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: folder.join(FILE_NAME) }
    }

    pub(super) fn create_folder(&self) -> Result<(), StoreError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        let gain_an_entry = folders_without(&self.folder);
        let created = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.folder);
        created.map_err(|source| refused("create", &self.folder, source))?;
        // Without this a loss of power could take the new folders with it.
        gain_an_entry.into_iter().try_for_each(sync_folder)
    }

    /// Which file lies there now.
    pub(super) fn identity(&self) -> Result<Identity, StoreError> {
        let metadata = fs::metadata(&self.file).map_err(|source| self.io("find", source))?;
        Ok(Identity(metadata.dev(), metadata.ino()))
    }

    pub(super) fn lock_folder(&self) -> Result<FolderLock, StoreError> {
        self.lock_folder_by(File::try_lock)
    }

    /// The same, together with others who only look.
    pub(super) fn lock_folder_shared(&self) -> Result<FolderLock, StoreError> {
        self.lock_folder_by(File::try_lock_shared)
    }

    fn lock_folder_by(
        &self,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<FolderLock, StoreError> {
        let folder = File::open(&self.folder).map_err(|source| match source.kind() {
            // What is missed is the file.
            io::ErrorKind::NotFound => self.io("open", source),
            _ => refused("open", &self.folder, source),
        })?;
        match lock(&folder) {
            Ok(()) => Ok(FolderLock(folder)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { folder: self.folder.clone() }),
            // Some network file systems lock no folders; redb's own lock on the file is still taken there.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(FolderLock(folder))
            }
            Err(TryLockError::Error(source)) => Err(refused("lock", &self.folder, source)),
        }
    }

    /// Opens the file to read it.
    pub(super) fn open_to_read(&self) -> Result<File, StoreError> {
        // Asked first: opening a pipe would wait for whoever writes to it.
        let metadata = fs::metadata(&self.file).map_err(|source| self.io("open", source))?;
        if !metadata.is_file() {
            return Err(self.corrupt("it is not a file"));
        }
        let mut file = File::open(&self.file).map_err(|source| self.io("open", source))?;
        self.refuse_other_content(&mut file)?;
        Ok(file)
    }

    /// Refuses what cannot be a store before redb sees it.
    pub(super) fn refuse_other_content(&self, file: &mut File) -> Result<(), StoreError> {
        let metadata = file.metadata().map_err(|source| self.io("read", source))?;
        if !metadata.is_file() {
            return Err(self.corrupt("it is not a file"));
        }
        let mut start = Vec::new();
        let read = file.take(MAGIC.len() as u64).read_to_end(&mut start);
        read.map_err(|source| self.io("read", source))?;
        if start.is_empty() {
            return Err(self.corrupt("it is empty"));
        }
        if start != MAGIC {
            return Err(self.corrupt("it does not start as a store does"));
        }
        Ok(())
    }

    /// Gives the file a second name that starts so, under which it stays when another file is laid in its place. Where
    /// a file cannot have two names, it is copied.
    pub(super) fn keep(&self, name: &str) -> Result<PathBuf, StoreError> {
        for number in 1..=KEPT_MAX {
            let kept = self.folder.join(format!("{name}-{number}"));
            match fs::hard_link(&self.file, &kept) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let identity = |path: &Path| {
                        fs::symlink_metadata(path)
                            .map(|metadata| Identity(metadata.dev(), metadata.ino()))
                            .ok()
                    };
                    // It has this name already if it was kept before and then nothing came of it.
                    if identity(&kept).is_none_or(|other| Some(other) != identity(&self.file)) {
                        continue;
                    }
                }
                Err(_) => self.copy_to(&kept)?,
            }
            sync_folder(&self.folder)?;
            return Ok(kept);
        }
        let source = io::Error::other(format!("there are {KEPT_MAX} of them already; move them away"));
        Err(refused("keep", &self.folder.join(name), source))
    }

    fn copy_to(&self, kept: &Path) -> Result<(), StoreError> {
        let copied = fs::copy(&self.file, kept).and_then(|_| File::open(kept)?.sync_all());
        copied.map_err(|source| {
            // Half a copy is none.
            let _ = fs::remove_file(kept);
            refused("create", kept, source)
        })
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { path: self.file.clone(), what: what.into() }
    }

    pub(super) fn io(&self, action: &'static str, source: io::Error) -> StoreError {
        refused(action, &self.file, source)
    }

    /// Says in our words what redb said in its own.
    pub(super) fn explain(&self, action: &'static str, error: redb::Error) -> StoreError {
        match error {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { folder: self.folder.clone() },
            redb::Error::Corrupted(what) => self.corrupt(in_our_words(what)),
            redb::Error::Io(source) => match source.kind() {
                io::ErrorKind::InvalidData => self.corrupt(in_our_words(source.to_string())),
                io::ErrorKind::UnexpectedEof => self.corrupt("it is cut short"),
                _ => self.io(action, source),
            },
            redb::Error::UpgradeRequired(version) => {
                self.corrupt(format!("it has the outdated file format {version}"))
            }
            error @ (redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
                self.corrupt(error.to_string())
            }
            error => StoreError::Other(Box::new(error)),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started shares it for a moment. When
        // this fails, the end of the process releases the lock.
        let _ = self.0.unlock();
    }
}

/// Turns a panic of redb, which files altered by others may cause, into an error.
pub(super) fn guard<T>(place: &Place, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(place.corrupt("reading it failed")))
}

/// What redb says of lengths is of use to its authors alone.
fn in_our_words(what: String) -> String {
    if what.contains("file_len=") {
        "it has another length than it was written with, as when it is cut short".to_owned()
    } else {
        what
    }
}

/// The folders that get a new one when all of this path is created.
fn folders_without(folder: &Path) -> Vec<&Path> {
    let missing = folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let parents = missing.filter_map(Path::parent);
    parents.map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent }).collect()
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| refused("write", folder, source))
}

/// Sorts what the operating system refuses by what can be done about it.
pub(super) fn refused(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Denied { path, source }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full { path, source }
        }
        _ => StoreError::Io { action, path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_gets_a_new_one_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path();
        assert_eq!(folders_without(there), Vec::<&Path>::new());
        assert_eq!(folders_without(&there.join("a/b/c")), [&there.join("a/b"), &there.join("a"), there]);
        assert_eq!(folders_without(Path::new("none/a")), [Path::new("none"), Path::new(".")]);
        Place::of(&there.join("a/b/c")).create_folder().unwrap();
        assert!(there.join("a/b/c").is_dir());
    }
}
