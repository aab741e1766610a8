//! What is imported, which is read twice: a file as it is, and what can be read but once by way of a copy.

use super::super::Failure;
use crate::backup::{BackupError, Entry, Whole, read, read_again};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How standard input is called among files.
const STANDARD_INPUT: &str = "<stdin>";
/// The most that is copied: as much as the most tokens of the usual size take.
const COPY_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// How many names are tried for a copy.
const NAMES_MAX: u32 = 100;

/// What is imported.
pub(super) struct Input {
    path: PathBuf,
    /// What is read, again and again.
    file: File,
    /// What has to be read into the file first.
    stream: Option<Box<dyn Read>>,
}

/// Reads from one and writes what was read to the other.
struct Copying<'a> {
    from: Box<dyn Read>,
    to: &'a File,
    left: u64,
    folder: &'a Path,
}

impl Input {
    /// Opens a file, a pipe, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            let path = PathBuf::from(STANDARD_INPUT);
            return Self::copied(path, Box::new(io::stdin()));
        }
        let failed = |error: io::Error| failure(path, error.into());
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() {
            return Ok(Self { path: path.to_owned(), file, stream: None });
        }
        if metadata.is_dir() {
            return Err(failed(io::Error::other("it is a folder; name a file in it")));
        }
        Self::copied(path.to_owned(), Box::new(file))
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all of it.
    pub(super) fn entries(
        &mut self,
        mut each: impl FnMut(u64, Entry) -> Result<(), Failure>,
    ) -> Result<Whole, Failure> {
        let folder = std::env::temp_dir();
        let each = |failed: &mut Option<Failure>, line, entry| hold(failed, each(line, entry));
        match self.stream.take() {
            Some(from) => {
                let copying = Copying { from, to: &self.file, left: COPY_MAX_BYTES, folder: &folder };
                self.handing_on(BufReader::new(copying), each)
            }
            None => self.handing_on(BufReader::new(self.again()?), each),
        }
    }

    /// Reads all of it again, in parts, each of which is as it was.
    pub(super) fn parts(
        &self,
        whole: &Whole,
        mut each: impl FnMut(Vec<(u64, Entry)>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut failed = None;
        let read = read_again(BufReader::new(self.again()?), whole, |part| hold(&mut failed, each(part)));
        failed.map_or_else(|| read.map_err(|error| failure(&self.path, error)), Err)
    }

    fn again(&self) -> Result<&File, Failure> {
        (&self.file).rewind().map_err(|error| failure(&self.path, error.into()))?;
        Ok(&self.file)
    }

    fn handing_on(
        &self,
        from: impl BufRead,
        mut each: impl FnMut(&mut Option<Failure>, u64, Entry) -> Result<(), BackupError>,
    ) -> Result<Whole, Failure> {
        let mut failed = None;
        let whole = read(from, |line, entry| each(&mut failed, line, entry));
        match failed {
            Some(failure) => Err(failure),
            None => whole.map_err(|error| failure(&self.path, error)),
        }
    }

    fn copied(path: PathBuf, stream: Box<dyn Read>) -> Result<Self, Failure> {
        let folder = std::env::temp_dir();
        let file =
            nameless(&folder).map_err(|cause| failure(&path, BackupError::Io(uncopied(&folder, &cause))))?;
        Ok(Self { path, file, stream: Some(stream) })
    }
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        let rest = self.left.checked_sub(count as u64);
        self.left = rest.ok_or_else(|| {
            let most = COPY_MAX_BYTES >> 30;
            io::Error::other(format!(
                "it has more than {most} GiB, which only a file may have: save it as one first"
            ))
        })?;
        let read = buffer.get(..count).unwrap_or_default();
        self.to.write_all(read).map_err(|cause| uncopied(self.folder, &cause))?;
        Ok(count)
    }
}

fn failure(path: &Path, error: BackupError) -> Failure {
    Failure::Backup { path: path.to_owned(), error }
}

/// Keeps what ends a reading from outside.
fn hold(failed: &mut Option<Failure>, done: Result<(), Failure>) -> Result<(), BackupError> {
    done.map_err(|failure| {
        *failed = Some(failure);
        BackupError::Stopped
    })
}

/// A file for this program alone, which goes with it however that ends: its name is taken away at once.
fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in 0..NAMES_MAX {
        let path = folder.join(format!(".rolegate-import.{}.{number}", std::process::id()));
        match options.open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

fn uncopied(folder: &Path, cause: &io::Error) -> io::Error {
    io::Error::other(format!(
        "it is read twice, and no copy of it can be kept in `{}`: {cause}; save it as a file first, or name a folder \
         with more room by TMPDIR",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_has_a_limit_and_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let copied = |left| {
            let to = nameless(folder.path()).unwrap();
            let from = Box::new(io::Cursor::new(b"12345".to_vec()));
            let mut copying = Copying { from, to: &to, left, folder: folder.path() };
            let read = copying.read_to_end(&mut Vec::new());
            let mut text = String::new();
            (&to).rewind().unwrap();
            (&to).read_to_string(&mut text).unwrap();
            (read.map_err(|error| error.to_string()), text)
        };
        assert_eq!(copied(5), (Ok(5), "12345".to_owned()));
        assert!(copied(4).0.unwrap_err().contains("more than 8 GiB"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(nameless(&folder.path().join("none")).is_err());
    }
}
