//! Writes a file as a whole: whoever reads it finds what it held before or all that it holds now.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes the file. One that is a pipe or a device, such as `/dev/stdout`, is written to and not replaced.
///
/// # Errors
/// When it cannot be written; what it held before is left as it was.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = match fs::metadata(path) {
        Ok(known) if known.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(known) if !known.is_file() => return OpenOptions::new().write(true).open(path)?.write_all(bytes),
        // Through a link, so that the link stays one.
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    let (next, mut file) = create_beside(&target)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&next, &target));
    if written.is_err() {
        // It is of no use, and the reason to tell is the first one.
        let _ = fs::remove_file(&next);
    }
    written
}

/// A new file in the same folder, for only within one file system is a file moved as a whole.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    let Some(name) = target.file_name() else { return Err(io::Error::from(io::ErrorKind::InvalidFilename)) };
    let mut next = OsString::from(".");
    next.push(name);
    next.push(format!(".{}", std::process::id()));
    let next = target.with_file_name(next);
    let create = || OpenOptions::new().write(true).create_new(true).open(&next);
    let file = create().or_else(|error| match error.kind() {
        // Left by a process of the same number that was killed: in a container all have the same.
        io::ErrorKind::AlreadyExists => fs::remove_file(&next).and_then(|()| create()),
        _ => Err(error),
    })?;
    Ok((next, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<OsString> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn new_and_known_files_are_written_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.xml");
        for bytes in [&b"longer than the next"[..], b"one", b""] {
            write(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(names(folder.path()), ["report.xml"]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn reader_keeps_what_it_opened_and_a_link_stays_a_link() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("report.xml"), folder.path().join("link"));
        write(&path, b"before").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut reader = File::open(&path).unwrap();
        write(&link, b"after").unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!((read.as_str(), fs::read(&path).unwrap().as_slice()), ("before", &b"after"[..]));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn folders_and_files_without_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write(folder.path(), b"x").unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let path = folder.path().join("none/report.xml");
        assert_eq!(write(&path, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let left = format!(".report.xml.{}", std::process::id());
        fs::write(folder.path().join(left), "half of a rep").unwrap();
        let path = folder.path().join("report.xml");
        write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["report.xml"]);
    }

    #[cfg(unix)]
    #[test]
    fn device_is_written_to_and_stays() {
        use std::os::unix::fs::FileTypeExt as _;
        let device = Path::new("/dev/null");
        write(device, b"x").unwrap();
        assert!(fs::metadata(device).unwrap().file_type().is_char_device());
    }
}
