//! The files of a log, all opened before the first is read, so that none slips away while the log is written.

use super::VerifyError;
use crate::audit::file::rotated::{self, Beside};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How often the files are listed anew that changed their names meanwhile.
const TRIES_MAX: usize = 16;

/// One file of a log.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) length: u64,
    /// What tells the file from others, whatever its name is.
    identity: (u64, u64),
    first: Option<u64>,
}

/// The files of a log, and those of it that are packed.
type LogFiles = (Vec<LogFile>, Vec<PathBuf>);

/// Opens the files and those beside them, in the order of their entries; also tells of the packed ones.
pub(super) fn all(paths: &[PathBuf]) -> Result<LogFiles, VerifyError> {
    for _ in 0..TRIES_MAX {
        let Some((mut files, packed)) = once(paths)? else { continue };
        // A file without entries holds what a crash left of the first entry after all others, or nothing.
        files.sort_by_key(|file| (file.first.is_none(), file.first));
        return Ok((files, packed));
    }
    Err(VerifyError::Restless { path: paths.first().cloned().unwrap_or_default() })
}

/// The files; `None` when one of them was renamed between the listing and the opening.
fn once(paths: &[PathBuf]) -> Result<Option<LogFiles>, VerifyError> {
    let (names, packed) = list(paths)?;
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for name in &names {
        match LogFile::open(name) {
            Ok(file) if seen.insert(file.identity) => files.push(file),
            // The same file once more, by another name.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !paths.contains(name) => {
                return Ok(None);
            }
            // Between two files, or after a crash there: what there is lies beside it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && names.len() > paths.len() => {}
            Err(source) => return Err(VerifyError::Io { path: name.clone(), source }),
        }
    }
    let is_settled = list(paths)?.0 == names
        && files.iter().all(|file| {
            fs::metadata(&file.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == file.identity)
        });
    Ok(is_settled.then_some((files, packed)))
}

fn list(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), VerifyError> {
    let (mut names, mut packed) = (Vec::new(), Vec::new());
    for path in paths {
        let io = |source| VerifyError::Io { path: path.clone(), source };
        let Beside { files, packed: more } = rotated::beside(path).map_err(io)?;
        packed.extend(more);
        names.extend(files);
        names.push(path.clone());
    }
    names.sort();
    Ok((names, packed))
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let (length, identity) = (metadata.len(), (metadata.dev(), metadata.ino()));
        let first = rotated::first_seq(&file)?;
        rewind(&file)?;
        Ok(Self { path: path.to_owned(), file, length, identity, first })
    }
}

fn rewind(mut file: &File) -> io::Result<()> {
    io::Seek::rewind(&mut file)
}
