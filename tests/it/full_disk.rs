//! A disk without room: an error, nothing lost that was acknowledged, and all well when there is room again.

use crate::process;
use crate::store::{all, token};
use rolegate::store::embedded::{EmbeddedStore, FILE_NAME};
use rolegate::store::{AfterDelete, Insertion, Names, Store, StoreError};
use std::fs;
use std::path::Path;
use std::process::Output;

/// Runs the part in a process without room, and expects it to succeed.
#[expect(clippy::unwrap_used, reason = "a test helper")]
fn run(part: &str, folder: &Path, blocks: u32) -> Output {
    let output = process::part_without_room(part, folder, blocks).unwrap().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    output
}

#[test]
fn full_disk_loses_nothing_acknowledged_and_the_store_recovers() {
    let folder = tempfile::tempdir().unwrap();
    run("full_disk::store_part", folder.path(), 1000);
    let tokens = all(&EmbeddedStore::open(folder.path()).unwrap()).unwrap();
    assert!(tokens.len() > 20, "only {} tokens fitted", tokens.len());
}

#[test]
fn store_part() {
    let Some(folder) = process::argument() else { return };
    let store = EmbeddedStore::open(&folder).unwrap();
    let mut kept = Vec::new();
    let error = loop {
        let mut next = token(kept.len() as u64, u8::try_from(kept.len()).unwrap());
        next.description = Some("x".repeat(2000));
        match store.insert(&next, Names::MayRepeat) {
            Ok(Insertion::Inserted) => kept.push(next),
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("there is no room left for `") && text.ends_with("free some space"), "{text}");

    // Reading goes on, and another try is another error.
    assert_eq!(all(&store).unwrap(), kept);
    let big = rolegate::token::TokenRecord { description: Some("x".repeat(100_000)), ..token(500, 255) };
    for _ in 0..3 {
        assert!(matches!(store.insert(&big, Names::MayRepeat), Err(StoreError::Full { .. })));
        assert!(!store.is_spent(&big.digest).unwrap());
    }
    assert_eq!(all(&store).unwrap(), kept);

    process::make_room().unwrap();
    assert_eq!(store.insert(&big, Names::MayRepeat).unwrap(), Insertion::Inserted);
    assert!(store.delete(kept.pop().unwrap().id, AfterDelete::RefuseDigest).unwrap());
    kept.push(big);
    assert_eq!(all(&store).unwrap(), kept);
    drop(store);
    assert_eq!(all(&EmbeddedStore::open(&folder).unwrap()).unwrap(), kept);
}

#[test]
fn store_that_cannot_be_created_for_want_of_room_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    run("full_disk::creation_part", folder.path(), 16);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(all(&EmbeddedStore::open(folder.path()).unwrap()).unwrap(), []);
}

#[test]
fn creation_part() {
    let Some(folder) = process::argument() else { return };
    let error = EmbeddedStore::open(&folder).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
}

#[test]
fn store_opens_for_reading_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        EmbeddedStore::open(folder.path()).unwrap().insert(&token(1, 1), Names::MayRepeat).unwrap(),
        Insertion::Inserted
    );
    let before = fs::read(folder.path().join(FILE_NAME)).unwrap();
    run("full_disk::opening_part", folder.path(), 0);
    assert!(fs::read(folder.path().join(FILE_NAME)).unwrap() == before);
}

#[test]
fn opening_part() {
    let Some(folder) = process::argument() else { return };
    let store = EmbeddedStore::open(&folder).unwrap();
    assert_eq!(all(&store).unwrap(), [token(1, 1)]);
    assert!(matches!(store.insert(&token(2, 2), Names::MayRepeat), Err(StoreError::Full { .. })));
    assert_eq!(all(&store).unwrap(), [token(1, 1)]);
}

#[cfg(feature = "server")]
mod audit {
    use super::run;
    use crate::process;
    use crate::store::token;
    use rolegate::audit::file::{FileAudit, verify};
    use rolegate::audit::{Actor, Audit, AuditEntry, AuditError, AuditEvent, BestEffort, Loss};
    use rolegate::time::Timestamp;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const FILE: &str = "audit.log";

    fn record(audit: &FileAudit, number: u64) -> Result<(), AuditError> {
        record_in(audit, number)
    }

    fn record_in(audit: &dyn Audit, number: u64) -> Result<(), AuditError> {
        let token = token(number, 1);
        audit.record(&AuditEntry {
            at: Timestamp::EPOCH,
            actor: Actor::Program,
            event: AuditEvent::TokenCreated(&token),
            client_ip: None,
            request_id: None,
        })
    }

    #[expect(clippy::unwrap_used, reason = "a test helper")]
    fn entries(folder: &Path) -> u64 {
        verify(&folder.join(FILE)).unwrap().entries
    }

    #[test]
    fn entry_without_room_is_an_error_and_the_log_goes_on_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        run("full_disk::audit::audit_part", folder.path(), 20);
        assert!(entries(folder.path()) > 20);
    }

    #[test]
    fn audit_part() {
        let Some(folder) = process::argument() else { return };
        let audit = FileAudit::open(&folder.join(FILE)).unwrap();
        let mut written = 0;
        let error = loop {
            match record(&audit, written) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AuditError::Io { action: "write", .. }), "{error:?}");
        assert!(record(&audit, 0).is_err());
        assert_eq!(entries(&folder), written);

        process::make_room().unwrap();
        record(&audit, written).unwrap();
        assert_eq!(entries(&folder), written + 1);
        drop(audit);
        record(&FileAudit::open(&folder.join(FILE)).unwrap(), 0).unwrap();
        assert_eq!(entries(&folder), written + 2);
    }

    #[test]
    fn change_goes_on_without_room_where_that_is_asked_for_and_the_log_says_what_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        run("full_disk::audit::best_effort_part", folder.path(), 20);
        let text = String::from_utf8(std::fs::read(folder.path().join(FILE)).unwrap()).unwrap();
        let lost = text.lines().rev().nth(1).unwrap();
        assert!(lost.contains("\"event\":\"entries_lost\",\"outcome\":\"failed\""), "{lost}");
        assert!(lost.contains("\"count\":5,"), "{lost}");
    }

    #[test]
    fn best_effort_part() {
        let Some(folder) = process::argument() else { return };
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let audit = BestEffort::new(FileAudit::open(&folder.join(FILE)).unwrap(), move |loss: &Loss<'_>| {
            if matches!(loss, Loss::Lost { .. }) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut written = 0;
        while lost.load(Ordering::SeqCst) < 5 {
            record_in(&audit, written).unwrap();
            written += 1;
        }
        assert_eq!(entries(&folder), written - 5);
        process::make_room().unwrap();
        record_in(&audit, written).unwrap();
        assert_eq!((entries(&folder), lost.load(Ordering::SeqCst)), (written - 5 + 2, 5));
    }
}
