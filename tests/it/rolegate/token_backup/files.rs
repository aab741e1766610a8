//! Where an export goes and where an import comes from: files, pipes, standard streams, and what is none of them.

use super::{CONFIG, POLICY, audit, exported, fill, import, kept, offline, records, text};
use crate::rolegate::Run;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

/// What comes of an import with this text on standard input.
#[expect(clippy::unwrap_used, reason = "a test that cannot run its program fails")]
fn piped(folder: &Path, text: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    fs::write(folder.join("rolegate.yaml"), CONFIG).unwrap();
    fs::write(folder.join("policy.rhai"), POLICY).unwrap();
    let mut run = Run::new(&[&["token", "import"], arguments].concat());
    run.command.current_dir(folder).env("TMPDIR", folder.join("tmp"));
    let (stdout, stderr) = (Stdio::piped(), Stdio::piped());
    let mut child = run.command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
    // A program that refuses what it is given reads no more of it.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), super::text(output.stdout), super::text(output.stderr))
}

#[test]
fn tokens_are_imported_from_a_pipe_and_no_copy_of_it_stays() {
    let file = exported(&records());
    for name in ["-", "/dev/stdin"] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = &["-c", "rolegate.yaml", name];
        let (code, _, err) = piped(folder.path(), &file, arguments);
        assert_eq!(code, Some(1));
        assert!(
            err.contains("it is read twice, and no copy of it can be kept in `") && err.contains("TMPDIR"),
            "{err}"
        );
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let (code, out, err) = piped(folder.path(), &file, arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("6 tokens: 6 created\n"), "{out}");
        assert_eq!(kept(folder.path()).0.len(), 6);
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn pipe_that_is_not_whole_is_refused_before_anything_changes() {
    let file = exported(&records());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    let arguments = &["-c", "rolegate.yaml", "-"];
    let cut = file.rsplit_once("{\"end\"").unwrap().0;
    for (sent, problem) in [
        (cut, "error: <stdin>: line 9: the file ends before its last line"),
        ("", "error: <stdin>: line 1: this is no export"),
        ("tokens, please\n", "error: <stdin>: line 1: this is no export"),
    ] {
        let (code, out, err) = piped(folder.path(), sent, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.starts_with(problem), "{err}");
        assert!(!folder.path().join("data").exists() && audit(folder.path()).is_empty());
    }
    assert_eq!(piped(folder.path(), &file, arguments).0, Some(0));
}

#[test]
fn named_pipe_is_read_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, pipe) = (exported(&records()), folder.path().join("pipe"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir(folder.path().join("tmp")).unwrap();
    let (code, out, err) = std::thread::scope(|scope| {
        scope.spawn(|| File::create(&pipe).unwrap().write_all(file.as_bytes()).unwrap());
        piped(folder.path(), "", &["-c", "rolegate.yaml", "pipe"])
    });
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
}

#[test]
fn standard_input_holds_either_the_token_or_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = &["--url", "http://127.0.0.1:1", "--service-token-file", "-", "-"];
    let (code, _, err) = piped(folder.path(), "", arguments);
    let told = "error: standard input cannot hold both the token and what is imported\n";
    assert_eq!((code, err.as_str()), (Some(2), told));
}

#[test]
fn folder_is_no_file_to_import() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = piped(folder.path(), "", &["-c", "rolegate.yaml", "."]);
    assert_eq!((code, err.as_str()), (Some(1), "error: .: it is a folder; name a file in it\n"));
}

#[test]
fn hyphen_is_standard_output() {
    let run = offline(&["export", "-f", "-"]);
    fill(run.folder.path(), &records());
    let (told, folder) = run.told_with_folder();
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(told.out.starts_with("{\"format\":\"rolegate-tokens\"") && !folder.path().join("-").exists());
    assert_eq!(import(tempfile::tempdir().unwrap().path(), &told.out, &[]).0, 0);
}

#[test]
fn target_that_cannot_be_written_is_told_before_anything_is_read_or_audited() {
    for (target, problem) in [
        ("missing/tokens.jsonl", "cannot write `missing/tokens.jsonl`: No such file or directory"),
        ("data", "cannot write `data`: it is the data folder"),
        (".", "cannot write `.`: it is a folder; name a file in it"),
        ("tokens.jsonl/", "cannot write `tokens.jsonl/`: it is a folder; name a file in it"),
        ("rolegate.yaml/tokens.jsonl", "cannot write `rolegate.yaml/tokens.jsonl`: Not a directory"),
        ("data/tokens.redb", "it has the name of a file of the token store"),
        ("audit.jsonl", "it is the file of the audit log"),
        ("audit.jsonl.1", "it has the name of an earlier part of the audit log"),
        ("data/clock", "it has the name of a file that keeps the time"),
    ] {
        let run = offline(&["export", "-f", target]);
        fill(run.folder.path(), &records());
        let before = kept(run.folder.path());
        let (told, folder) = run.told_with_folder();
        assert_eq!(told.code, Some(1), "{target}");
        assert!(told.err.starts_with("error: cannot write `") && told.err.contains(problem), "{}", told.err);
        assert_eq!(told.err.lines().count(), 1);
        assert!(audit(folder.path()).is_empty() && kept(folder.path()) == before);
    }
}

#[test]
fn what_a_killed_export_left_goes_with_the_next_one() {
    let run = offline(&["export", "-f", "tokens.jsonl"]).file(".tokens.jsonl.rolegate-part", "half");
    fill(run.folder.path(), &records());
    let (told, folder) = run.told_with_folder();
    assert_eq!(told.code, Some(0), "{}", told.err);
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let parts: Vec<_> = names.filter(|name| name.to_string_lossy().contains("part")).collect();
    assert!(parts.is_empty(), "{parts:?}");
    assert!(text(fs::read(folder.path().join("tokens.jsonl")).unwrap()).ends_with("\"}}\n"));
}

#[test]
fn export_that_is_under_way_is_not_disturbed_by_another_one() {
    let run = offline(&["export", "-f", "tokens.jsonl"]).file(".tokens.jsonl.rolegate-part", "half");
    fill(run.folder.path(), &records());
    let part = File::open(run.folder.path().join(".tokens.jsonl.rolegate-part")).unwrap();
    part.lock().unwrap();
    let (told, folder) = run.told_with_folder();
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("`tokens.jsonl`: another export writes it at this moment"), "{}", told.err);
    assert!(audit(folder.path()).is_empty());
    assert_eq!(fs::read(folder.path().join(".tokens.jsonl.rolegate-part")).unwrap(), b"half");
}
