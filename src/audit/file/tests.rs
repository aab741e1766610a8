//! What is on disk after which calls, crashes and interferences.

mod rotation;
mod verifying;

use super::*;
use crate::audit::{Actor, AuditEvent, AuditOutcome, Change};
use crate::decision::PolicyVersion;
use crate::time::Timestamp;
use crate::token::{
    ForeignId, FormerSecret, Principal, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord,
};
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
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
        created: Timestamp::EPOCH,
        updated: Timestamp::EPOCH,
        expires: None,
        disabled: None,
        former: None,
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
fn secret_that_a_client_sends_as_something_else_is_in_no_line() {
    let (_folder, path) = place();
    let audit = FileAudit::open(&path).unwrap();
    let secret = crate::token::Secret::generate().unwrap();
    let (text_of, fingerprint) = (secret.expose(), secret.digest().fingerprint());
    let named = TokenRecord {
        name: text_of.into(),
        description: Some(format!("is {text_of}, \u{1f511}")),
        ..token(1)
    };
    let (owner, path_of) = (named.principal(), format!("/api/security/tokens/{text_of}"));
    audit.record(&entry(Some(&owner), AuditEvent::TokenCreated(&named))).unwrap();
    let denied = AuditEvent::AdminDenied { method: "GET", path: &path_of, decision_id: "d-1", left_out: 0 };
    audit.record(&entry(None, denied)).unwrap();
    let written = text(&path);
    assert!(!written.contains(text_of), "a secret is in the log");
    let word = format!("secret-of-token-{fingerprint}");
    assert_eq!(written.matches(&word).count(), 4, "{written}");
    assert!(written.contains(&format!("\"path\":\"/api/security/tokens/{word}\"")), "{written}");
}

#[test]
fn every_event_is_one_line_without_secrets() {
    let (_folder, path) = place();
    let audit = FileAudit::open(&path).unwrap();
    let (before, owner) = (token(1), token(2).principal());
    let foreign = Principal { id: ForeignId::new("door", "alice").unwrap().into(), ..owner.clone() };
    let former =
        FormerSecret { digest: before.digest, kind: before.kind, expires: Timestamp::from_millis(2) };
    let rotated =
        TokenRecord { digest: token(3).digest, description: None, former: Some(former), ..before.clone() };
    let disabled = TokenRecord { disabled: Some(Timestamp::EPOCH), ..before.clone() };
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
        AuditEvent::AdminDenied {
            method: "POST",
            path: "/api/security/tokens",
            decision_id: "0000002a-000001",
            left_out: 0,
        },
        AuditEvent::PoliciesReplaced { before: PolicyVersion(1), after: PolicyVersion(2) },
        AuditEvent::TokenRotated { before: &before, after: &rotated },
        AuditEvent::TokenDisabled(&disabled),
        AuditEvent::TokenEnabled(&before),
        AuditEvent::TokensExported { count: 7 },
        AuditEvent::TokensImported { count: 7 },
        AuditEvent::ChangeRefused {
            change: Change::Delete,
            token: Some(before.id),
            reason: "no service token has the id 100000000000001",
            left_out: 3,
        },
        AuditEvent::PoliciesKept {
            policy: PolicyVersion(2),
            outcome: AuditOutcome::Refused,
            reason: "policy.rhai:1:16: no such method",
        },
        AuditEvent::DenialsLeftOut { principal: Some(&owner.id), count: 9_990, since: Timestamp::EPOCH },
        AuditEvent::DenialsLeftOut { principal: Some(&foreign.id), count: 1, since: Timestamp::EPOCH },
        AuditEvent::DigestSpent(&before.digest),
        AuditEvent::SpendFailed { digest: &before.digest, reason: "no room" },
        AuditEvent::LogReopened,
        AuditEvent::EntriesLost { count: 3, since: Timestamp::EPOCH },
    ];
    audit.record(&started()).unwrap();
    for event in events {
        audit.record(&entry(Some(&owner), event)).unwrap();
    }
    audit.record(&entry(Some(&foreign), AuditEvent::LogReopened)).unwrap();
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
         make room for it, or let the user that runs rolegate write it"
    );
}

#[test]
fn entry_of_the_longest_length_is_written_and_one_byte_more_is_not() {
    let (_folder, path) = place();
    let audit = FileAudit::open(&path).unwrap();
    let denied = |reason: &str| {
        audit.record(&entry(
            None,
            AuditEvent::ChangeRefused { change: Change::Create, token: None, reason, left_out: 0 },
        ))
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

#[test]
fn log_that_is_moved_away_goes_on_in_a_new_file_of_the_same_chain() {
    let (folder, path) = place();
    let moved = folder.path().join("audit.log.1");
    let audit = FileAudit::open(&path).unwrap();
    audit.record(&started()).unwrap();
    fs::rename(&path, &moved).unwrap();
    audit.record(&started()).unwrap();
    audit.record(&started()).unwrap();
    assert_eq!(text(&path).lines().count(), 2);
    assert_eq!(verify(&path).unwrap(), Verified { entries: 3, first: 1, torn: 0 });
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(FileAudit::open(&path), Err(AuditError::InUse { .. })));
    assert!(FileAudit::open(&moved).is_ok(), "the old file is free");

    fs::remove_file(&path).unwrap();
    audit.record(&started()).unwrap();
    let missing = format!("{}:1: missing: entries 2 to 3 have to stand before this line", path.display());
    assert_eq!(verify(&path).unwrap_err().to_string(), missing);
    fs::remove_file(&moved).unwrap();
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
fn write_that_failed_is_looked_at_again_before_the_next() {
    let (_folder, path) = place();
    let audit = FileAudit::open(&path).unwrap();
    audit.record(&started()).unwrap();
    // What a write leaves that ran out of room: some bytes, and an end that is not known.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":2,\"pr").unwrap();
    audit.writer.lock().is_uncertain = true;
    audit.record(&started()).unwrap();
    assert_eq!(verify(&path).unwrap(), Verified { entries: 2, first: 1, torn: 1 });

    // The same in the first line of a new file.
    fs::rename(&path, path.with_extension("log.1")).unwrap();
    audit.record(&started()).unwrap();
    fs::write(&path, b"{\"seq\":3,\"pr").unwrap();
    let mut writer = audit.writer.lock();
    (writer.end, writer.is_uncertain, writer.tail) = (0, true, Tail::default());
    writer.tail.extend(&fs::read(path.with_extension("log.1")).unwrap());
    drop(writer);
    audit.record(&started()).unwrap();
    assert_eq!(verify(&path).unwrap(), Verified { entries: 3, first: 1, torn: 2 });
}
