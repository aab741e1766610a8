//! The names of files that hold earlier parts of a log.

use super::LINE_MAX_BYTES;
use super::line::Link;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// How many digits the number in a name has at least, so that names sort as their entries do.
const DIGITS: usize = 12;
/// So many links are followed, as many as Linux does.
const LINKS_MAX: usize = 40;
/// What programs call a file that they have packed.
const PACKED: [&str; 5] = [".gz", ".bz2", ".xz", ".zst", ".Z"];

/// What lies beside a log and has its name with a number or a date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Earlier parts, in no particular order.
    pub files: Vec<PathBuf>,
    /// The same, packed, so that nothing can be said of them.
    pub packed: Vec<PathBuf>,
}

/// A part of a log, as somebody else may have packed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Plain,
    Packed,
}

/// Where the file of a log lies when its path is a link, or a link to one, whether it is there or not: its parts lie
/// beside the file, and the link stays.
pub(crate) fn place(path: &Path) -> PathBuf {
    let mut place = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&place) else { break };
        // A target that is absolute stands for itself.
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    place
}

/// The name that a full file gets, by the number of its last entry.
pub(super) fn name(path: &Path, last: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{last:0DIGITS$}"));
    PathBuf::from(name)
}

/// The earlier parts of a log: what a full file is renamed to, and the names that programs give that rotate logs,
/// such as `audit.jsonl.1` and `audit.jsonl-20300131`. They lie beside the file, also where the path is a link to it.
///
/// # Errors
/// When the folder cannot be read.
pub fn beside(path: &Path) -> io::Result<Beside> {
    let path = &*place(path);
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = Beside::default();
    let Some(own) = path.file_name() else { return Ok(beside) };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(part) = part(own, &name) else { continue };
        if !fs::metadata(entry.path()).is_ok_and(|it| it.is_file()) {
            continue;
        }
        // Spelled as the log itself is.
        let found = path.with_file_name(&name);
        match part {
            Part::Packed => beside.packed.push(found),
            Part::Plain => beside.files.push(found),
        }
    }
    beside.packed.sort();
    Ok(beside)
}

/// The number of the first entry in a file; `None` when it has none.
pub(super) fn first_seq(file: &File) -> io::Result<Option<u64>> {
    let mut reader = BufReader::new(file).take(2 * LINE_MAX_BYTES as u64);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Some(link) = Link::read(&line) {
            return Ok(Some(link.seq));
        }
        line.clear();
    }
    Ok(None)
}

/// Whether a file has the name of an earlier part of a log, packed or not.
#[cfg(feature = "cli")]
pub(crate) fn is_earlier_part(log: &Path, file: &Path) -> bool {
    let names = log.file_name().zip(file.file_name());
    log.parent() == file.parent() && names.is_some_and(|(log, file)| part(log, file).is_some())
}

/// What a name is beside that of the log.
fn part(log: &OsStr, name: &OsStr) -> Option<Part> {
    let rest = name.as_encoded_bytes().strip_prefix(log.as_encoded_bytes())?;
    let rest = std::str::from_utf8(rest).ok()?;
    let unpacked = PACKED.iter().find_map(|end| rest.strip_suffix(end));
    let part = if unpacked.is_some() { Part::Packed } else { Part::Plain };
    is_of_rotation(unpacked.unwrap_or(rest)).then_some(part)
}

fn is_of_rotation(rest: &str) -> bool {
    let Some(number) = rest.strip_prefix(['.', '-']) else { return false };
    number.starts_with(|first: char| first.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_parts_are_told_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let parts = [
            "audit.jsonl.000000000012",
            "audit.jsonl.1",
            "audit.jsonl-20300131",
            "audit.jsonl-20300131-1900000000",
        ];
        let others = [
            "audit.jsonl",
            "audit.jsonl.bak",
            "audit.jsonl.",
            "audit.jsonl~",
            "audit.jsonl1",
            "other.jsonl.1",
            "audit.jsonl.1.orig",
        ];
        for name in parts.iter().chain(&others).chain(&["audit.jsonl.2.gz"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("audit.jsonl.3")).unwrap();
        let mut beside = beside(&log).unwrap();
        beside.files.sort();
        let mut expected = parts.map(|name| folder.path().join(name)).to_vec();
        expected.sort();
        assert_eq!(beside.files, expected);
        assert_eq!(beside.packed, [folder.path().join("audit.jsonl.2.gz")]);
    }

    #[test]
    fn names_of_full_files_sort_as_their_entries_do() {
        let name = |last| name(Path::new("a/audit.jsonl"), last);
        assert_eq!(name(7), Path::new("a/audit.jsonl.000000000007"));
        assert!(name(99) < name(100) && name(999_999_999_998) < name(999_999_999_999));
        assert!(is_of_rotation(name(u64::MAX).to_str().unwrap().strip_prefix("a/audit.jsonl").unwrap()));
    }
}
