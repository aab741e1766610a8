//! A file under another name, until it is whole.

use super::Failure;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How often the place of the file is taken anew, when others come and go there at the same moment.
const TRIES_MAX: usize = 8;
const FILE_MODE: u32 = 0o600;

/// A file that gets its name once it is whole. The name that it has until then is always the same one, so that what a
/// killed program left behind is found; a lock tells that from what a living one still writes.
pub(super) struct PartFile<'a> {
    path: &'a Path,
    part: PathBuf,
    file: File,
}

impl<'a> PartFile<'a> {
    /// Begins a file that will be at the path, which may hold a file already.
    pub(super) fn create(path: &'a Path) -> Result<Self, Failure> {
        create(path).map_err(|cause| Failure::Write { path: path.to_owned(), cause })
    }

    pub(super) fn write(&mut self, lines: &str) -> Result<(), Failure> {
        let written = self.file.write_all(lines.as_bytes());
        written.map_err(|cause| Failure::Write { path: self.path.to_owned(), cause })
    }

    /// Gives the file its name, when it is on disk.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let named = || -> io::Result<()> {
            self.file.sync_all()?;
            refuse_what_is_no_file(self.path)?;
            fs::rename(&self.part, self.path)?;
            File::open(folder(self.path))?.sync_all()
        };
        named().map_err(|cause| Failure::Write { path: self.path.to_owned(), cause })
    }
}

impl Drop for PartFile<'_> {
    fn drop(&mut self) {
        // It has its name already, or is of no use to anybody. Another one in its place is not this program's.
        if is_at(&self.file, &self.part) {
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn create(path: &Path) -> io::Result<PartFile<'_>> {
    refuse_what_is_no_file(path)?;
    let part = part_of(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    for _ in 0..TRIES_MAX {
        match options.open(&part) {
            Ok(file) => {
                // Whoever came in between takes it for one that was left behind.
                if lock(&file)? && is_at(&file, &part) {
                    return Ok(PartFile { path, part, file });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove_left_behind(&part)?,
            Err(error) => return Err(error),
        }
    }
    Err(in_use(&part))
}

/// A pipe, a device or a link would be replaced by a file, and whoever reads there would get nothing.
fn refuse_what_is_no_file(path: &Path) -> io::Result<()> {
    if path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir() {
        return Err(io::Error::other("it is a folder; name a file in it"));
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is there and no regular file; choose another name"));
    }
    Ok(())
}

fn part_of(path: &Path) -> io::Result<PathBuf> {
    let own = path.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
    let mut name = OsString::from(".");
    name.push(own);
    name.push(".rolegate-part");
    Ok(path.with_file_name(name))
}

/// Removes what a program left behind that was killed; one that lives holds a lock on it.
fn remove_left_behind(part: &Path) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    if !fs::symlink_metadata(part).is_ok_and(|found| found.is_file()) {
        // Nothing that a program of this kind leaves. A link is removed itself, and a folder is refused.
        return gone(fs::remove_file(part));
    }
    let file = match File::open(part) {
        Ok(file) => file,
        Err(error) => return gone(Err(error)),
    };
    if !lock(&file)? {
        return Err(in_use(part));
    }
    if is_at(&file, part) { gone(fs::remove_file(part)) } else { Ok(()) }
}

/// Whether this program alone holds the file from now on, as far as its file system knows locks.
fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn in_use(part: &Path) -> io::Error {
    let what = format!("another export writes it at this moment (`{}`); let that one end", part.display());
    io::Error::other(what)
}

fn is_at(file: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).ok();
    let own = file.metadata().ok();
    named.zip(own).is_some_and(|(named, own)| (named.dev(), named.ino()) == (own.dev(), own.ino()))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn refusal(path: &Path) -> String {
        create(path).err().unwrap().to_string()
    }

    #[test]
    fn what_a_killed_program_left_is_replaced_and_what_a_living_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.jsonl");
        fs::write(folder.path().join(".tokens.jsonl.rolegate-part"), "half of it and more than that")
            .unwrap();
        let mut file = PartFile::create(&path).unwrap();
        assert!(refusal(&path).contains("another export writes it at this moment"));
        file.write("whole").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["tokens.jsonl"]);
        // It can be written anew, and one that is given up leaves what was there.
        drop(PartFile::create(&path).unwrap());
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(folder.path()).len()), (&b"whole"[..], 1));
    }

    #[test]
    fn link_in_the_place_of_the_part_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("t"), folder.path().join("other"));
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(".t.rolegate-part")).unwrap();
        let mut file = PartFile::create(&path).unwrap();
        file.write("whole").unwrap();
        file.finish().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&other).unwrap()),
            (b"whole".to_vec(), b"other".to_vec())
        );
    }

    #[test]
    fn targets_that_can_be_no_file_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("none", at("link")).unwrap();
        fs::create_dir(at(".busy.rolegate-part")).unwrap();
        assert_eq!(refusal(&at("folder")), "it is a folder; name a file in it");
        assert_eq!(refusal(&at("none/")), "it is a folder; name a file in it");
        assert_eq!(refusal(&at("folder/..")), "it is a folder; name a file in it");
        assert!(refusal(&at("link")).contains("no regular file"));
        assert!(refusal(&at("none/t")).contains("No such file"));
        assert!(refusal(&at("busy")).contains("directory"));
        assert_eq!(refusal(Path::new("")), "it is no name of a file");
        assert!(create(&at("folder/t")).is_ok());
    }
}
