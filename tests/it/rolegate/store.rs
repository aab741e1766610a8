//! `rolegate store check` and `rolegate store repair`: what they say, and what they change.

use super::Run;
use rolegate::store::embedded::{EmbeddedStore, FILE_NAME};
use rolegate::store::{Insertion, Names, Store as _};
use std::fs;
use std::path::Path;

/// A store of 60 tokens in the folder `data` of a run.
#[expect(clippy::unwrap_used, reason = "a test without a store fails")]
fn with_store(run: Run) -> Run {
    let store = EmbeddedStore::open(&run.folder.path().join("data")).unwrap();
    for number in 0..60 {
        let record = crate::store::token(u64::from(number), number);
        assert_eq!(store.insert(&record, Names::MayRepeat).unwrap(), Insertion::Inserted);
    }
    run
}

/// Alters a byte of the first row that is found.
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test without a store fails")]
fn with_damage(run: Run) -> Run {
    let run = with_store(run);
    let file = run.folder.path().join("data").join(FILE_NAME);
    let mut bytes = fs::read(&file).unwrap();
    // Rows alone have the roles of a token, and pages that count no more may have them too: all are altered.
    let places: Vec<_> = (0..bytes.len() - 8).filter(|at| &bytes[*at..*at + 8] == b"ci:x/y@z").collect();
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    fs::write(&file, bytes).unwrap();
    run
}

fn data(run: &Run) -> String {
    run.folder.path().join("data").display().to_string()
}

#[expect(clippy::unwrap_used, reason = "a test without a store fails")]
fn content(folder: &str) -> Vec<u8> {
    fs::read(Path::new(folder).join(FILE_NAME)).unwrap()
}

#[test]
fn help_of_store_and_of_its_commands() {
    for command in [&["store", "--help"][..], &["store", "check", "--help"], &["store", "repair", "--help"]] {
        insta::assert_snapshot!(Run::new(command).told().out);
    }
}

#[test]
fn whole_store_is_told_so_and_needs_no_repair() {
    insta::assert_snapshot!(with_store(Run::new(&["store", "check", "--data-dir", "data"])).whole(), @"
    exit code 0
    -- stdout
    data/tokens.redb: whole
      format 2: 60 tokens, 0 of them with a known use, 0 spent digests
    -- stderr
    ");
    insta::assert_snapshot!(with_store(Run::new(&["store", "repair", "--data-dir", "data"])).whole(), @"
    exit code 0
    -- stdout
    data/tokens.redb: whole
      format 2: 60 tokens, 0 of them with a known use, 0 spent digests
    there is nothing to repair
    -- stderr
    ");
    let json = with_store(Run::new(&["store", "check", "--data-dir", "data", "-o", "json"])).told();
    insta::assert_snapshot!(json.out, @r#"
    {
      "faults": [],
      "file": "data/tokens.redb",
      "format": 2,
      "furtherFaults": 0,
      "furtherLostTokens": 0,
      "lostSpentDigests": 0,
      "lostTokens": [],
      "outcome": null,
      "repairable": true,
      "spent": 0,
      "tokens": 60,
      "used": 0,
      "whole": true
    }
    "#);
}

#[test]
fn damage_is_told_and_repaired_only_when_told_to() {
    let run = with_damage(Run::new(&["store", "repair", "--data-dir", "data"]));
    let (folder, before) = (data(&run), content(&data(&run)));
    let (told, _folder) = run.told_with_folder();
    assert!(content(&folder) == before, "nobody said `--yes`");
    assert_eq!(told.code, Some(3), "{}", told.err);
    assert!(
        told.out.contains("nothing was changed; `--yes` repairs it, and loses what is told above"),
        "{}",
        told.out
    );

    let run = with_damage(Run::new(&["store", "repair", "--data-dir", "data", "--yes", "-o", "json"]));
    let (folder, before) = (data(&run), content(&data(&run)));
    let (told, _folder) = run.told_with_folder();
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(
        told.out.contains(
            "\"outcome\": \"repaired; the damaged file is kept as data/tokens.redb.before-repair-1\""
        ),
        "{}",
        told.out
    );
    assert!(fs::read(Path::new(&folder).join("tokens.redb.before-repair-1")).unwrap() == before);
    assert!(EmbeddedStore::open(Path::new(&folder)).is_ok());
}

#[test]
fn check_and_server_tell_of_damage_and_change_nothing() {
    let run = with_damage(Run::new(&["store", "check", "--data-dir", "data"]));
    let (folder, before) = (data(&run), content(&data(&run)));
    let (told, _folder) = run.told_with_folder();
    assert_eq!(told.code, Some(3), "{}", told.err);
    assert!(told.out.starts_with("data/tokens.redb: "), "{}", told.out);
    assert!(told.out.contains("its sum does not agree; a repair leaves it out"), "{}", told.out);
    assert!(told.out.contains("a repair loses "), "{}", told.out);
    assert!(content(&folder) == before);

    let run = with_damage(
        Run::new(&["serve", "-c", "rolegate.yaml", "--listen", "127.0.0.1:0", "--data-dir", "data"])
            .file("rolegate.yaml", "rolegate:\n  policies: [p.rhai]\n")
            .file("p.rhai", "open(\"GET /health\");\n"),
    );
    let told = run.told();
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("is damaged or is no token store"), "{}", told.err);
    assert!(told.err.contains("`rolegate store check` tells what is wrong with it"), "{}", told.err);
}

#[test]
fn store_in_use_and_missing_store_are_not_checked() {
    let run = with_store(Run::new(&["store", "check", "--data-dir", "data"]));
    let open = EmbeddedStore::open(Path::new(&data(&run))).unwrap();
    let told = run.told();
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("is in use"), "{}", told.err);
    drop(open);
    insta::assert_snapshot!(Run::new(&["store", "check", "--data-dir", "data", "-o", "json"]).whole(), @r#"
    exit code 1
    -- stdout
    {
      "errors": [
        "cannot open `data/tokens.redb`: No such file or directory (os error 2)"
      ]
    }
    -- stderr
    "#);
}

#[test]
fn file_that_was_cut_short_is_told_once_and_with_one_way_out() {
    // What was added behind the pages is no loss.
    for (kept, is_repairable) in [(1, false), (10, false), (100, true)] {
        for command in ["check", "repair"] {
            let run = with_store(Run::new(&["store", command, "--data-dir", "data"]));
            let file = run.folder.path().join("data").join(FILE_NAME);
            let mut bytes = fs::read(&file).unwrap();
            bytes.truncate(bytes.len() * kept / 100);
            bytes.extend(is_repairable.then_some(0));
            fs::write(&file, bytes).unwrap();
            let told = run.told();
            assert_eq!(told.code, Some(3), "{}", told.err);
            assert!(told.out.contains(": 1 fault\n") && !told.out.contains("file_len"), "{}", told.out);
            assert_eq!(told.out.contains("a repair mends it"), is_repairable, "{}", told.out);
            assert_eq!(told.out.contains("it cannot be repaired: restore"), !is_repairable, "{}", told.out);
        }
    }
}
