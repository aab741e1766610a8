//! `rolegate token scan`: what it finds, what it says, and that it never says a token.

mod live;

use super::Run;
use rolegate::Secret;
use std::os::unix::fs::symlink;
use std::process::Stdio;

#[expect(clippy::unwrap_used, reason = "a test without randomness fails")]
fn generated() -> String {
    Secret::generate().unwrap().expose().to_owned()
}

/// The same with another last letter, so that its checksum is wrong.
fn spoiled(secret: &str) -> String {
    let (rest, last) = secret.split_at(secret.len() - 1);
    format!("{rest}{}", if last == "a" { "b" } else { "a" })
}

fn fingerprint(secret: &str) -> String {
    Secret::parse(secret).map_or("never".to_owned(), |(secret, _)| secret.digest().fingerprint())
}

/// What came of a run, without the fingerprint; it must not hold the secret.
fn told(run: Run, secret: &str) -> String {
    let folder = run.folder.path().display().to_string();
    let whole = run.whole();
    assert!(!whole.contains(secret.trim_start_matches("svctok-")), "{whole}");
    whole.replace(&fingerprint(secret), "FINGERPRINT").replace(&folder, "FOLDER")
}

fn scan(arguments: &[&str]) -> Run {
    Run::new(&[&["token", "scan"], arguments].concat())
}

#[test]
fn help_of_token_and_of_scan() {
    insta::assert_snapshot!(Run::new(&["token", "--help"]).told().out);
    insta::assert_snapshot!(scan(&["--help"]).told().out);
}

#[test]
fn token_is_told_by_place_and_fingerprint_and_never_shown() {
    let secret = generated();
    let run = scan(&["repo"])
        .file("repo/deploy.sh", &format!("#!/bin/sh\n\ncurl -H 'X-API-Key: {secret}' https://host/\n"))
        .file("repo/.hidden/.env", &format!("TOKEN={secret}\r\n"))
        .file("repo/.gitignore", ".hidden\n");
    insta::assert_snapshot!(told(run, &secret), @"
    exit code 3
    -- stdout
    repo/.hidden/.env:1:7: not looked up: token svctok-…, fingerprint FINGERPRINT
    repo/deploy.sh:3:21: not looked up: token svctok-…, fingerprint FINGERPRINT
    3 files, 139 bytes: 2 tokens found: 2 not looked up
    -- stderr
    ");
    let run = scan(&["-o", "json", "a.json"]).file("a.json", &format!("{{\"token\":\"{secret}\"}}"));
    insta::assert_snapshot!(told(run, &secret), @r#"
    exit code 3
    -- stdout
    {
      "findings": [
        {
          "column": 11,
          "encoding": "plain",
          "fingerprint": "FINGERPRINT",
          "id": null,
          "kind": "generated",
          "line": 1,
          "name": null,
          "offset": 10,
          "path": "a.json",
          "since": null,
          "state": "not-looked-up",
          "until": null
        }
      ],
      "summary": {
        "bytes": 50,
        "compressed": 0,
        "disabled": 0,
        "expired": 0,
        "files": 1,
        "links": 0,
        "live": 0,
        "not_looked_up": 1,
        "rotated_out": 0,
        "special": 0,
        "unknown": 0,
        "unread": 0,
        "untold": 0,
        "wrong_checksum": 0
      }
    }
    -- stderr
    "#);
}

#[test]
fn where_nothing_is_found_the_exit_code_is_0() {
    insta::assert_snapshot!(scan(&["a"]).file("a", "svctok-aaaaa-bbbb-ccccc-ddddd\n").whole(), @"
    exit code 0
    -- stdout
    1 file, 30 bytes: no token was found
    -- stderr
    ");
}

#[test]
fn wrong_checksum_is_counted_and_told_when_all_is_asked_for() {
    let wrong = spoiled(&generated());
    insta::assert_snapshot!(told(scan(&["a"]).file("a", &wrong), &wrong), @"
    exit code 0
    -- stdout
    1 file, 38 bytes: no token was found
    -- stderr
    note: 1 text looks like a token and is none, since the checksum is wrong; `--all` tells where
    ");
    insta::assert_snapshot!(told(scan(&["--all", "a"]).file("a", &wrong), &wrong), @"
    exit code 0
    -- stdout
    a:1:1: none: the checksum is wrong
    1 file, 38 bytes: no token was found
    -- stderr
    ");
}

#[test]
fn names_of_files_are_searched_and_shown_without_the_token() {
    let secret = generated();
    let run = scan(&["repo"]).file(&format!("repo/{secret}.txt\u{1b}[31m"), "nothing");
    insta::assert_snapshot!(told(run, &secret), @r"
    exit code 3
    -- stdout
    repo/svctok-….txt\u{1b}[31m (its name): not looked up: token svctok-…, fingerprint FINGERPRINT
    1 file, 7 bytes: 1 token found: 1 not looked up
    -- stderr
    ");
}

#[test]
fn token_that_was_meant_as_a_path_is_not_repeated() {
    let secret = generated();
    insta::assert_snapshot!(told(scan(&[&secret]), &secret), @"
    exit code 3
    -- stdout
    svctok-… (its name): not looked up: token svctok-…, fingerprint FINGERPRINT
    0 files, 0 bytes: 1 token found: 1 not looked up
    -- stderr
    error: cannot read `svctok-…`: No such file or directory (os error 2)
    note: 1 file or folder could not be read
    ");
}

#[test]
fn standard_input_is_read_for_a_hyphen() {
    let secret = generated();
    let mut run = scan(&["-"]).file("history", &format!("+token: {secret}\n"));
    let file = std::fs::File::open(run.folder.path().join("history")).unwrap();
    run.command.stdin(Stdio::from(file));
    insta::assert_snapshot!(told(run, &secret), @"
    exit code 3
    -- stdout
    <stdin>:1:9: not looked up: token svctok-…, fingerprint FINGERPRINT
    1 file, 47 bytes: 1 token found: 1 not looked up
    -- stderr
    ");
}

#[test]
fn what_cannot_be_read_is_told_and_counts_in_the_exit_code() {
    insta::assert_snapshot!(scan(&["a", "missing"]).file("a", "x").whole(), @"
    exit code 1
    -- stdout
    1 file, 1 byte: no token was found
    -- stderr
    error: cannot read `missing`: No such file or directory (os error 2)
    note: 1 file or folder could not be read
    ");
    // Live tokens count more: nobody may take the code for a mere fault.
    let secret = generated();
    assert_eq!(scan(&["a", "missing"]).file("a", &secret).told().code, Some(3));
}

#[test]
fn links_pipes_and_sockets_are_passed_over_and_counted() {
    let secret = generated();
    let run = scan(&["repo"]).file("repo/a", "x").file("elsewhere/secret", &secret);
    let at = |name: &str| run.folder.path().join(name);
    symlink(at("elsewhere"), at("repo/outside")).unwrap();
    symlink(at("repo"), at("repo/loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("repo/socket")).unwrap();
    insta::assert_snapshot!(told(run, &secret), @"
    exit code 0
    -- stdout
    1 file, 1 byte: no token was found
    -- stderr
    note: 2 links are not followed
    note: 1 pipe or device is passed over
    ");
}

#[test]
fn link_that_is_named_is_followed() {
    let secret = generated();
    let run = scan(&["link"]).file("repo/a", &secret);
    symlink("repo", run.folder.path().join("link")).unwrap();
    assert_eq!(run.told().code, Some(3));
}
