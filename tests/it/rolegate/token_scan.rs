//! `rolegate token scan`: what it finds, what it says, and that it never says a token.

mod live;

use super::Run;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
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
        "former": 0,
        "links": 0,
        "live": 0,
        "not_looked_up": 1,
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

#[test]
fn binary_files_utf16_and_secrets_of_kubernetes_are_read() {
    let secret = generated();
    let base64 = STANDARD_NO_PAD.encode(&secret);
    let utf16: Vec<u8> =
        format!("\u{feff}key={secret}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let run = scan(&["a"])
        .file("a/app.bin", &format!("\u{7f}ELF\u{0}\u{1}{secret}\u{0}\u{2}"))
        .file("a/minified.js", &format!("!function(){{var a=\"{secret}\";{}}}", "b(a);".repeat(100_000)))
        .file("a/secret.yaml", &format!("kind: Secret\ndata:\n  token: {base64}\n"));
    std::fs::write(run.folder.path().join("a/windows.reg"), utf16).unwrap();
    std::fs::write(run.folder.path().join("a/x.gz"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00").unwrap();
    let whole = told(run, &secret);
    assert!(!whole.contains(&base64));
    insta::assert_snapshot!(whole, @"
    exit code 3
    -- stdout
    a/app.bin:1:7: not looked up: token svctok-…, fingerprint FINGERPRINT
    a/minified.js:1:20: not looked up: token svctok-…, fingerprint FINGERPRINT
    a/secret.yaml:3:10: not looked up: token svctok-…, fingerprint FINGERPRINT, in base64
    a/windows.reg:1:11: not looked up: token svctok-…, fingerprint FINGERPRINT, in UTF-16
    5 files, 488.5 KiB: 4 tokens found: 4 not looked up
    -- stderr
    note: the content of 1 file is compressed, and was not seen
    ");
}

#[test]
fn tree_of_ten_thousand_files_is_told_in_the_order_of_its_names() {
    let secret = generated();
    let run = scan(&["tree"]);
    let mut expected = Vec::new();
    for folder in 0..100 {
        let path = format!("tree/{folder:02}");
        std::fs::create_dir_all(run.folder.path().join(&path)).unwrap();
        for file in 0..100 {
            let path = format!("{path}/{file:02}");
            let is_leak = file == folder;
            std::fs::write(run.folder.path().join(&path), if is_leak { &secret } else { "nothing" }).unwrap();
            expected.extend(is_leak.then(|| format!("{path}:1:1")));
        }
    }
    let told = run.told();
    let places: Vec<&str> =
        told.out.lines().filter_map(|line| line.split_once(": ").map(|(place, _)| place)).collect();
    assert_eq!(
        places.split_last().map(|(_, places)| places),
        Some(expected.iter().map(String::as_str).collect::<Vec<_>>().as_slice())
    );
    assert!(
        told.out.ends_with("100 tokens found: 100 not looked up\n") && told.out.contains("\n10000 files, "),
        "{}",
        told.out
    );
}

#[test]
#[cfg(target_os = "linux")]
fn file_that_breaks_while_it_is_read_is_told() {
    // It opens, and its first bytes are nobody's.
    insta::assert_snapshot!(scan(&["/proc/self/mem"]).whole(), @"
    exit code 1
    -- stdout
    0 files, 0 bytes: no token was found
    -- stderr
    error: cannot read `/proc/self/mem`: Input/output error (os error 5)
    note: 1 file or folder could not be read
    ");
}
