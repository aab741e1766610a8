//! The audit log on disk: one JSON line an entry, each naming the digest of the line before it. When the file is
//! moved away while the log is open, as log rotation does, the log goes on in a new one.

mod line;
mod verify;

pub(crate) use line::Visible;
pub use verify::{Verified, VerifyError, verify};

use self::line::{Link, Tail};
use super::{Audit, AuditEntry, AuditError};
use crate::batch::Batches;
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest line; whatever is read back is read up to this length.
pub const LINE_MAX_BYTES: usize = 256 * 1024;
const FILE_MODE: u32 = 0o600;
/// The most entries that are written together.
const BATCH_MAX: usize = 128;

/// An audit log in a file that only grows. One process at a time writes it.
#[derive(Debug)]
pub struct FileAudit {
    path: PathBuf,
    /// Entries without their links. Those that wait together are written and synced together.
    batches: Batches<Vec<u8>, Result<(), AuditError>>,
    /// Held by whoever writes a batch, and by nobody else.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    file: LockedFile,
    /// Where the file ends; `None` when a write failed and the file has to be looked at again.
    tail: Option<Tail>,
}

/// A file that no other process writes as long as it is open here.
#[derive(Debug)]
struct LockedFile(File);

impl FileAudit {
    /// Opens the log, or creates it. A last line that a crash cut short is ended, so that the next entry stands
    /// on a line of its own.
    ///
    /// # Errors
    /// When the operating system refuses, when another process writes the log, and when the file holds
    /// something else.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let (file, tail) = open_log(path)?;
        let writer = Mutex::new(Writer { file, tail: Some(tail) });
        Ok(Self { path: path.to_owned(), batches: Batches::new(BATCH_MAX), writer })
    }

    /// Appends the entries and syncs them; the answer of each says whether it is on disk.
    fn write(&self, bodies: &[&Vec<u8>]) -> Vec<Result<(), AuditError>> {
        let mut lengths = Vec::new();
        let written = self.write_batch(bodies, &mut lengths);
        let answer = |at| match (&written, lengths.iter().find(|(too_long, _)| *too_long == at)) {
            (Err(error), _) => Err(copy(error)),
            (Ok(()), Some((_, length))) => {
                Err(AuditError::TooLong { length: *length, limit: LINE_MAX_BYTES })
            }
            (Ok(()), None) => Ok(()),
        };
        (0..bodies.len()).map(answer).collect()
    }

    /// Notes which entries are too long, with their lengths; all others are written, or none.
    fn write_batch(&self, bodies: &[&Vec<u8>], too_long: &mut Vec<(usize, usize)>) -> Result<(), AuditError> {
        let writer = &mut *self.writer.lock();
        if !writer.file.is_at(&self.path) {
            writer.go_on_in(open_log(&self.path)?, &self.path);
        }
        let before = match writer.tail {
            Some(tail) => tail,
            None => read_tail(&writer.file.0, &self.path)?,
        };
        let (mut bytes, mut after) = (Vec::new(), before);
        for (at, body) in bodies.iter().enumerate() {
            match line::append(&mut bytes, body, after) {
                Ok(tail) => after = tail,
                Err(length) => too_long.push((at, length)),
            }
        }
        let length = writer.file.0.metadata().map_err(|source| self.io("write", source))?.len();
        writer.tail = None;
        let written = (&writer.file.0).write_all(&bytes).and_then(|()| writer.file.0.sync_data());
        writer.tail = match &written {
            Ok(()) => Some(after),
            // After a failed sync nobody knows what of it is on disk, and a later sync that succeeds says nothing of it.
            // What comes next is written in its place, so that the chain has no hole after a loss of power.
            Err(_) => writer.file.0.set_len(length).ok().map(|()| before),
        };
        written.map_err(|source| self.io("write", source))
    }

    fn io(&self, action: &'static str, source: io::Error) -> AuditError {
        AuditError::Io { action, path: self.path.clone(), source }
    }
}

impl Writer {
    /// Leaves the old file, which was moved or removed: an entry in it might be in no log that anybody finds.
    fn go_on_in(&mut self, (file, tail): (LockedFile, Tail), path: &Path) {
        let before = self.tail.or_else(|| read_tail(&self.file.0, path).ok());
        self.tail = Some(match before {
            // A new file follows from the old one, so that both are one chain.
            Some(before) if tail == Tail::default() => Tail { is_torn: false, ..before },
            _ => tail,
        });
        self.file = file;
    }
}

impl LockedFile {
    /// Whether this is the file that the path names.
    fn is_at(&self, path: &Path) -> bool {
        let (Ok(own), Ok(named)) = (self.0.metadata(), fs::metadata(path)) else { return false };
        (own.dev(), own.ino()) == (named.dev(), named.ino())
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is just being started shares it for a moment. When
        // this fails, the end of the process releases the lock.
        let _ = self.0.unlock();
    }
}

impl Audit for FileAudit {
    fn record(&self, entry: &AuditEntry<'_>) -> Result<(), AuditError> {
        let body = line::body(entry).map_err(|source| self.io("write", source))?;
        let answer = self.batches.submit(body, |bodies| self.write(bodies));
        answer.unwrap_or_else(|| Err(AuditError::Other("an entry got no answer".into())))
    }
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

/// Opens or creates the file, and finds its end.
fn open_log(path: &Path) -> Result<(LockedFile, Tail), AuditError> {
    let io = |source| AuditError::Io { action: "open", path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(FILE_MODE);
    let file = LockedFile(options.open(path).map_err(io)?);
    match file.0.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AuditError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    let metadata = file.0.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(AuditError::Foreign { path: path.to_owned(), what: "it is not a file" });
    }
    let tail = read_tail(&file.0, path)?;
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        // The file may belong to somebody else, who then decides who reads it.
        let _ = fs::set_permissions(path, Permissions::from_mode(mode & 0o700));
    }
    if metadata.len() == 0 {
        sync_parent(path).map_err(io)?;
    }
    Ok((file, tail))
}

/// Where the file ends and how the next entry continues it.
fn read_tail(file: &File, path: &Path) -> Result<Tail, AuditError> {
    let io = |source| AuditError::Io { action: "read", path: path.to_owned(), source };
    let foreign = |what| AuditError::Foreign { path: path.to_owned(), what };
    let length = file.metadata().map_err(io)?.len();
    // Several torn lines may follow the last whole one.
    let start = length.saturating_sub(4 * LINE_MAX_BYTES as u64);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start).map_err(io)?;
    if bytes.is_empty() {
        return Ok(Tail::default());
    }
    let is_torn = bytes.last() != Some(&b'\n');
    let lines: Vec<&[u8]> =
        bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n').collect();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(Tail::default()) };
    if start > 0 && lines.len() < 2 {
        return Err(foreign("its last line is too long"));
    }
    let seq = match lines.iter().rev().find_map(|line| Link::read(line)) {
        Some(link) => link.seq,
        // A crash while the very first entry was written leaves its beginning alone.
        None if start == 0 && lines.len() == 1 && line::may_be_torn(first) => 0,
        None => return Err(foreign("it holds no audit entries")),
    };
    Ok(Tail { seq, prev: line::digest(last), is_torn })
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, AuditEvent, Change};
    use crate::decision::PolicyVersion;
    use crate::time::Timestamp;
    use crate::token::{Principal, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
    use std::thread;

    fn token(number: u8) -> TokenRecord {
        TokenRecord {
            id: TokenId::new(TokenId::MIN + u64::from(number)).unwrap(),
            digest: TokenDigest::from_bytes([number; 32]),
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name: "ci \"main\"".into(),
            description: Some("described".into()),
            roles: vec![RoleName::parse("admin").unwrap(), RoleName::parse("guest").unwrap()],
            dedicated_subject: None,
            disabled: None,
            former: None,
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
            expires: None,
        }
    }

    fn entry<'a>(actor: Option<&'a Principal>, event: AuditEvent<'a>) -> AuditEntry<'a> {
        AuditEntry {
            at: Timestamp::from_millis(1_772_354_096_789),
            actor: actor.map_or(Actor::Program, Actor::Principal),
            event,
            client_ip: actor.map(|_| [10, 0, 0, 7].into()),
            request_id: actor.map(|_| "req-1"),
        }
    }

    fn started() -> AuditEntry<'static> {
        entry(None, AuditEvent::Started { policy: PolicyVersion(0xab) })
    }

    /// A new folder with the path of a log in it.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        (folder, path)
    }

    fn text(path: &Path) -> String {
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    }

    /// A log with so many entries.
    fn written(path: &Path, entries: u8) {
        let audit = FileAudit::open(path).unwrap();
        (0..entries).for_each(|number| {
            audit.record(&entry(None, AuditEvent::TokenCreated(&token(number)))).unwrap();
        });
    }

    #[test]
    fn every_event_is_one_line_without_secrets() {
        let (_folder, path) = place();
        let audit = FileAudit::open(&path).unwrap();
        let (before, owner) = (token(1), token(2).principal());
        let after = TokenRecord {
            name: "two\nlines \u{1b}[31m\u{202e}\u{9b} \u{1f511} \u{e0041}".into(),
            roles: Vec::new(),
            origin: TokenOrigin::Declared,
            expires: Some(Timestamp::from_millis(1)),
            ..before.clone()
        };
        let events = [
            AuditEvent::TokenCreated(&before),
            AuditEvent::TokenUpdated { before: &before, after: &after },
            AuditEvent::ChangeFailed { change: Change::Update, token: &after, reason: "no room" },
            AuditEvent::TokenDeleted(&after),
            AuditEvent::AdminDenied { method: "POST", path: "/api/security/tokens" },
            AuditEvent::PoliciesReplaced { before: PolicyVersion(1), after: PolicyVersion(2) },
        ];
        audit.record(&started()).unwrap();
        for event in events {
            audit.record(&entry(Some(&owner), event)).unwrap();
        }
        let text = text(&path);
        insta::assert_snapshot!("audit_lines", text);
        assert!(!text.contains(&"01".repeat(8)), "more than a fingerprint");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[2]["token"]["name"], after.name.as_str(), "escaped, and read as it was");
    }

    #[test]
    fn numbers_and_links_continue_after_a_restart() {
        let (_folder, path) = place();
        for _ in 0..3 {
            written(&path, 2);
        }
        assert_eq!(verify(&path).unwrap(), Verified { entries: 6, first: 1, torn: 0 });
    }

    #[test]
    fn line_cut_at_any_byte_is_ended_and_the_next_stands_on_its_own() {
        let (_folder, path) = place();
        written(&path, 2);
        let whole = fs::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            written(&path, 1);
            let kept = fs::read(&path).unwrap();
            assert!(kept.starts_with(&whole[..length]), "cut to {length}: something was taken away");
            let verified = verify(&path).unwrap();
            let cut_off = whole[..length].last().is_some_and(|byte| *byte != b'\n');
            // A line that lacks its end alone is an entry all the same.
            let is_entry = whole[length] == b'\n';
            let before = u64::from(length >= second) + u64::from(is_entry);
            assert_eq!(verified.entries, before + 1, "cut to {length}");
            assert_eq!(verified.torn, u64::from(cut_off && !is_entry), "cut to {length}");
        }
    }

    #[test]
    fn second_writer_is_refused() {
        let (_folder, path) = place();
        let first = FileAudit::open(&path).unwrap();
        let error = FileAudit::open(&path).unwrap_err();
        assert!(matches!(error, AuditError::InUse { .. }), "{error:?}");
        drop(first);
        assert!(FileAudit::open(&path).is_ok());
    }

    #[test]
    fn file_with_something_else_is_refused_and_not_changed() {
        let (folder, path) = place();
        for content in ["important notes\n", "x", "{}\n", "{\"seq\":1}\nmore\n"] {
            fs::write(&path, content).unwrap();
            let error = FileAudit::open(&path).unwrap_err();
            assert!(matches!(error, AuditError::Foreign { .. }), "{content}: {error:?}");
            assert_eq!(text(&path), content);
        }
        let long = vec![b'x'; 5 * LINE_MAX_BYTES];
        fs::write(&path, &long).unwrap();
        assert!(FileAudit::open(&path).unwrap_err().to_string().contains("its last line is too long"));
        let folder_error = FileAudit::open(folder.path()).unwrap_err();
        assert!(folder_error.to_string().starts_with("cannot open the audit log"), "{folder_error}");
        let device = FileAudit::open(Path::new("/dev/null")).unwrap_err();
        assert!(device.to_string().contains("it is not a file"), "{device}");
    }

    #[test]
    fn log_is_for_its_owner_alone() {
        let (_folder, path) = place();
        written(&path, 1);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        written(&path, 1);
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn path_that_cannot_be_written_is_a_clear_error() {
        let error = FileAudit::open(Path::new("/nowhere/audit.log")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open the audit log `/nowhere/audit.log`: No such file or directory (os error 2); \
             no token is changed until it can be written"
        );
    }

    #[test]
    fn entry_of_the_longest_length_is_written_and_one_byte_more_is_not() {
        let (_folder, path) = place();
        let audit = FileAudit::open(&path).unwrap();
        let denied = |reason: &str| {
            audit.record(&entry(None, AuditEvent::AdminDenied { method: "GET", path: reason }))
        };
        denied("").unwrap();
        let room = LINE_MAX_BYTES - fs::read(&path).unwrap().len();
        assert!(denied(&"x".repeat(room)).is_ok());
        assert!(matches!(denied(&"x".repeat(room + 1)), Err(AuditError::TooLong { .. })));
        denied("").unwrap();
        assert_eq!(verify(&path).unwrap().entries, 3);
        drop(audit);
        written(&path, 1);
        assert_eq!(verify(&path).unwrap().entries, 4);
    }

    /// The chain of several files, one after the other.
    fn verified(paths: &[&Path]) -> Verified {
        let (_folder, whole) = place();
        fs::write(&whole, paths.iter().map(|path| text(path)).collect::<String>()).unwrap();
        verify(&whole).unwrap()
    }

    #[test]
    fn log_that_is_moved_away_goes_on_in_a_new_file_of_the_same_chain() {
        let (folder, path) = place();
        let moved = folder.path().join("audit.log.1");
        let audit = FileAudit::open(&path).unwrap();
        audit.record(&started()).unwrap();
        fs::rename(&path, &moved).unwrap();
        audit.record(&started()).unwrap();
        audit.record(&started()).unwrap();
        assert_eq!(verify(&path).unwrap(), Verified { entries: 2, first: 2, torn: 0 });
        assert_eq!(verified(&[&moved, &path]), Verified { entries: 3, first: 1, torn: 0 });
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(FileAudit::open(&path), Err(AuditError::InUse { .. })));
        assert!(FileAudit::open(&moved).is_ok(), "the old file is free");

        fs::remove_file(&path).unwrap();
        audit.record(&started()).unwrap();
        assert_eq!(verify(&path).unwrap(), Verified { entries: 1, first: 4, torn: 0 });
        drop(audit);
        written(&path, 1);
        assert_eq!(verify(&path).unwrap(), Verified { entries: 2, first: 4, torn: 0 });
    }

    #[test]
    fn file_that_was_laid_in_the_place_of_the_log_is_continued_or_refused() {
        let (folder, path) = place();
        let other = folder.path().join("other.log");
        written(&other, 3);
        let audit = FileAudit::open(&path).unwrap();
        audit.record(&started()).unwrap();
        fs::rename(&other, &path).unwrap();
        audit.record(&started()).unwrap();
        assert_eq!(verify(&path).unwrap(), Verified { entries: 4, first: 1, torn: 0 });

        fs::remove_file(&path).unwrap();
        fs::write(&path, "something else\n").unwrap();
        assert!(matches!(audit.record(&started()), Err(AuditError::Foreign { .. })));
        assert_eq!(text(&path), "something else\n");
        fs::remove_file(&path).unwrap();
        audit.record(&started()).unwrap();
        assert_eq!(verify(&path).unwrap(), Verified { entries: 1, first: 5, torn: 0 });
    }

    #[test]
    fn entry_is_refused_while_its_folder_is_gone_and_written_when_it_is_back() {
        let (folder, _) = place();
        let (inner, away) = (folder.path().join("log"), folder.path().join("away"));
        fs::create_dir(&inner).unwrap();
        let path = inner.join("audit.log");
        let audit = FileAudit::open(&path).unwrap();
        audit.record(&started()).unwrap();
        fs::rename(&inner, &away).unwrap();
        assert!(matches!(audit.record(&started()), Err(AuditError::Io { action: "open", .. })));
        fs::rename(&away, &inner).unwrap();
        audit.record(&started()).unwrap();
        assert_eq!(verify(&path).unwrap(), Verified { entries: 2, first: 1, torn: 0 });
    }

    #[test]
    fn many_writers_leave_one_chain() {
        let (_folder, path) = place();
        let audit = FileAudit::open(&path).unwrap();
        thread::scope(|scope| {
            for number in 0..8 {
                let audit = &audit;
                scope.spawn(move || {
                    for _ in 0..25 {
                        let token = token(number);
                        audit.record(&entry(None, AuditEvent::TokenDeleted(&token))).unwrap();
                    }
                });
            }
        });
        assert_eq!(verify(&path).unwrap(), Verified { entries: 200, first: 1, torn: 0 });
    }

    #[test]
    fn changed_missing_and_reordered_lines_are_found() {
        let (_folder, path) = place();
        written(&path, 4);
        let text = text(&path);
        let lines: Vec<&str> = text.lines().collect();
        let check = |lines: &[&str]| {
            fs::write(&path, lines.join("\n") + "\n").unwrap();
            verify(&path)
        };
        assert_eq!(check(&lines).unwrap().entries, 4);
        let renamed = lines[1].replace("main", "evil");
        assert!(matches!(
            check(&[lines[0], &renamed, lines[2], lines[3]]),
            Err(VerifyError::Broken { line: 3 })
        ));
        assert!(matches!(check(&[lines[0], lines[2], lines[3]]), Err(VerifyError::Broken { line: 2 })));
        assert!(matches!(
            check(&[lines[1], lines[0], lines[2], lines[3]]),
            Err(VerifyError::Broken { line: 2 })
        ));
        assert!(matches!(
            check(&[lines[0], "inserted", lines[1], lines[2], lines[3]]),
            Err(VerifyError::Broken { line: 3 })
        ));
        let first = "{\"seq\":0,\"prev\":\"\"}";
        assert!(matches!(check(&[first]), Err(VerifyError::Broken { line: 1 })));
        // What was moved away from the start is told by the first number.
        assert_eq!(check(&lines[2..]).unwrap(), Verified { entries: 2, first: 3, torn: 0 });
        let renumbered = lines[1].replace("\"seq\":2", "\"seq\":3");
        let error = check(&[lines[0], &renumbered]).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is entry 3, but entry 2 has to come here");
        fs::write(&path, vec![b'x'; LINE_MAX_BYTES + 1]).unwrap();
        assert!(matches!(verify(&path), Err(VerifyError::TooLong { line: 1 })));
    }

    #[test]
    fn write_that_failed_is_looked_at_again_before_the_next() {
        let (_folder, path) = place();
        let audit = FileAudit::open(&path).unwrap();
        audit.record(&started()).unwrap();
        // What a write leaves that ran out of room: some bytes, and an end that is not known.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":2,\"pr").unwrap();
        audit.writer.lock().tail = None;
        audit.record(&started()).unwrap();
        assert_eq!(verify(&path).unwrap(), Verified { entries: 2, first: 1, torn: 1 });
    }
}
