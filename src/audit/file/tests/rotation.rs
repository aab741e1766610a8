//! Files that are full, and what a crash leaves between two of them.

use super::*;

/// A log whose files take two entries each.
fn small(path: &Path) -> FileAudit {
    let length = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        FileAudit::open(&path).unwrap().record(&started()).unwrap();
        fs::read(&path).unwrap().len() as u64
    };
    FileAudit::open(path).unwrap().with_max_bytes(2 * length)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn whole(path: &Path, entries: u64) {
    assert_eq!(verify(path).unwrap(), Verified { entries, first: 1, torn: 0 });
}

#[test]
fn full_file_is_renamed_and_the_chain_goes_on_in_a_new_one() {
    let (folder, path) = place();
    let audit = small(&path);
    (0..2).for_each(|_| audit.record(&started()).unwrap());
    assert_eq!(names(folder.path()), ["audit.log"], "what just fits is no reason for a new file");
    (0..3).for_each(|_| audit.record(&started()).unwrap());
    assert_eq!(names(folder.path()), ["audit.log", "audit.log.000000000002", "audit.log.000000000004"]);
    whole(&path, 5);
    let mode = fs::metadata(folder.path().join("audit.log.000000000002")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(audit);
    let audit = small(&path);
    (0..2).for_each(|_| audit.record(&started()).unwrap());
    whole(&path, 7);
    assert_eq!(names(folder.path()).len(), 4);
}

#[test]
fn log_behind_a_link_has_its_parts_beside_the_file_and_the_link_stays() {
    let (folder, path) = place();
    let other = tempfile::tempdir().unwrap();
    // One link leads to another, the one relative and the other absolute; the file is not there yet.
    std::os::unix::fs::symlink("link", &path).unwrap();
    std::os::unix::fs::symlink(other.path().join("real.log"), folder.path().join("link")).unwrap();
    let audit = small(&path);
    (0..5).for_each(|_| audit.record(&started()).unwrap());
    assert_eq!(names(folder.path()), ["audit.log", "link"]);
    assert_eq!(names(other.path()), ["real.log", "real.log.000000000002", "real.log.000000000004"]);
    whole(&path, 5);
    drop(audit);
    // Also after a crash between two files.
    fs::rename(other.path().join("real.log"), other.path().join("real.log.000000000005")).unwrap();
    small(&path).record(&started()).unwrap();
    whole(&path, 6);
    whole(&other.path().join("real.log"), 6);
}

#[test]
fn entry_that_is_longer_than_a_file_may_be_has_one_of_its_own() {
    let (folder, path) = place();
    let audit = FileAudit::open(&path).unwrap().with_max_bytes(1);
    (0..3).for_each(|_| audit.record(&started()).unwrap());
    assert_eq!(names(folder.path()).len(), 3);
    whole(&path, 3);
}

#[test]
fn crash_at_any_moment_of_a_rotation_leaves_a_log_that_goes_on() {
    let (_made, path) = place();
    let audit = small(&path);
    (0..3).for_each(|_| audit.record(&started()).unwrap());
    let full = fs::read(path.with_extension("log.000000000002")).unwrap();
    let next = fs::read(&path).unwrap();
    // Renamed, and no new file; or so many bytes of its first line.
    let lengths = [None].into_iter().chain((0..=next.len()).map(Some));
    for length in lengths {
        let (folder, path) = place();
        fs::write(path.with_extension("log.000000000002"), &full).unwrap();
        if let Some(length) = length {
            fs::write(&path, &next[..length]).unwrap();
        }
        small(&path).record(&started()).unwrap();
        let verified = verify(&path).unwrap();
        // A line that lacks its end alone is an entry all the same.
        let is_entry = length.is_some_and(|length| length + 1 >= next.len());
        let is_torn = length.is_some_and(|length| length > 0) && !is_entry;
        let entries = 3 + u64::from(is_entry);
        assert_eq!(verified, Verified { entries, first: 1, torn: u64::from(is_torn) }, "{length:?}");
        assert_eq!(names(folder.path()).len(), 2, "{length:?}");
        // The old file is tied to the new one whatever the crash left.
        let text = String::from_utf8(full.clone()).unwrap();
        let (before, after) = text.rsplit_once("00ab").unwrap();
        let changed = format!("{before}00ac{after}");
        fs::write(path.with_extension("log.000000000002"), changed).unwrap();
        let error = verify(&path).unwrap_err().to_string();
        assert!(error.contains("changed: entry 2"), "{length:?}: {error}");
    }
}

#[test]
fn file_that_cannot_be_renamed_grows_on_and_is_renamed_when_it_can_be() {
    let (folder, path) = place();
    let audit = small(&path);
    let taken = path.with_extension("log.000000000002");
    fs::write(&taken, "mine").unwrap();
    (0..3).for_each(|_| audit.record(&started()).unwrap());
    assert_eq!(text(&path).lines().count(), 3);
    assert_eq!(text(&taken), "mine", "nothing is overwritten");
    fs::remove_file(&taken).unwrap();
    // So long a file is tried again.
    let long = TokenRecord { name: "x".repeat(70_000), ..token(1) };
    audit.record(&entry(None, AuditEvent::TokenCreated(&long))).unwrap();
    audit.record(&started()).unwrap();
    assert!(names(folder.path()).len() > 1);
    whole(&path, 5);
}

#[test]
fn entry_is_refused_while_no_new_file_can_be_made_and_then_goes_on() {
    let (folder, path) = place();
    let audit = small(&path);
    (0..2).for_each(|_| audit.record(&started()).unwrap());
    // What a crash of nobody leaves: renamed, and something in the way of the new file.
    fs::rename(&path, path.with_extension("log.000000000002")).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(audit.record(&started()).is_err());
    fs::remove_dir(&path).unwrap();
    audit.record(&started()).unwrap();
    whole(&path, 3);
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn many_writers_share_syncs_and_leave_one_chain_over_many_files() {
    let (folder, path) = place();
    let audit = small(&path);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| (0..2).for_each(|_| audit.record(&started()).unwrap()));
        }
    });
    whole(&path, 128);
    assert!(names(folder.path()).len() > 40);
}

#[test]
fn log_is_looked_at_on_demand_and_goes_on_where_it_belongs() {
    let (_folder, path) = place();
    let audit = FileAudit::open(&path).unwrap();
    audit.record(&started()).unwrap();
    assert!(!audit.reopen().unwrap());
    let moved = path.with_extension("log-20300131");
    fs::rename(&path, &moved).unwrap();
    assert!(audit.reopen().unwrap());
    assert_eq!(text(&path), "");
    assert!(FileAudit::open(&moved).is_ok(), "nobody writes the old file");
    drop(audit);
    written(&path, 1);
    whole(&path, 2);
}

#[test]
fn log_is_verified_while_it_is_written_and_renamed() {
    let (_folder, path) = place();
    let audit = small(&path);
    audit.record(&started()).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let done = std::sync::atomic::Ordering::SeqCst;
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..200).for_each(|_| audit.record(&started()).unwrap());
            is_done.store(true, done);
        });
        let mut most = 0;
        while !is_done.load(done) {
            match verify(&path) {
                Ok(verified) => {
                    assert!(verified.entries >= most && verified.first == 1, "{verified:?}");
                    most = verified.entries;
                }
                // Here a file is full with every second entry.
                Err(VerifyError::Restless { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    whole(&path, 201);
}
