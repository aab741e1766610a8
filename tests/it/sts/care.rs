//! What the program takes better care of than the original: secrets, files and terminals.

use super::world::{ONE_TOKEN, Reply, Server, Sts, TOKEN};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

fn mode(path: &Path) -> Option<u32> {
    Some(path.metadata().ok()?.mode() & 0o777)
}

fn save() -> Sts {
    Sts::of("context save --url http://h --service-token x --skip-validate")
}

#[test]
fn configuration_file_is_for_its_owner_alone() {
    let saved = save().run();
    let path = saved.config_path();
    assert_eq!(mode(&path), Some(0o600));
    assert_eq!(mode(path.parent().unwrap()), Some(0o700));
}

#[test]
fn file_that_others_can_read_is_closed_to_them() {
    let run = save().config("contexts: []\n");
    let path = run.home().join(".config/stackstate-cli/config.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let folder = path.parent().unwrap().to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let saved = run.run();
    assert_eq!((saved.code, mode(&path)), (0, Some(0o600)));
    assert_eq!(mode(&folder), Some(0o755), "a folder that was there may be used for other things");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no draft is left behind");
}

#[test]
fn link_to_the_file_stays_a_link() {
    let run = save();
    let (real, link) = (run.home().join("real.yaml"), run.home().join("link.yaml"));
    std::fs::write(&real, "contexts: []\n").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let saved = run.arg("--config").arg(&link).run();
    assert_eq!(saved.code, 0);
    let written = String::from_utf8(std::fs::read(&real).unwrap()).unwrap();
    assert!(link.is_symlink() && written.contains("url: http://h"));
}

#[test]
fn file_that_cannot_be_written_is_exit_6() {
    let run = save();
    let file = run.home().join("file");
    std::fs::write(&file, "").unwrap();
    // A folder cannot be made where a file is.
    let outcome = run.arg("--config").arg(file.join("config.yaml")).run();
    assert!([1, 6].contains(&outcome.code), "{}", outcome.shown());
    let folder = save();
    let path = folder.home().join("folder");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(folder.arg("--config").arg(path).run().code, 1);
}

#[test]
fn verbose_output_never_holds_a_token() {
    let server = Server::start()
        .with("POST /api/security/tokens", Reply::json(r#"{"name":"n","token":"svctok-new-secret"}"#));
    for words in ["-v", "-vv", "-vvvv", "-v -o json"] {
        let outcome = Sts::of(&format!("service-token create -n n --roles a {words}")).server(&server).run();
        assert_eq!(outcome.code, 0);
        assert!(outcome.stdout.contains("svctok-new-secret"), "the result itself is the point");
        assert!(outcome.stderr.contains("POST "), "requests are told: {}", outcome.stderr);
        for secret in [TOKEN, "svctok-new-secret"] {
            assert!(!outcome.stderr.contains(secret), "{words}: {}", outcome.stderr);
        }
    }
    let outcome = Sts::of("service-token create -n n --roles a -v").server(&server).run();
    insta::assert_snapshot!(outcome.stderr, @r#"
    > GET http://127.0.0.1:[port]/api/server/info
    > X-API-Key: (not shown)
    < 200 OK (application/json, 116 bytes)
    > POST http://127.0.0.1:[port]/api/security/tokens
    > X-API-Key: (not shown)
    < 200 OK (application/json, 40 bytes)
    "#);
}

#[test]
fn piped_output_has_symbols_and_neither_colours_nor_a_spinner() {
    let server = Server::start()
        .with("POST /api/security/tokens", Reply::json(r#"{"name":"n","token":"t"}"#))
        .with("GET /api/security/tokens", Reply::json(ONE_TOKEN));
    for words in
        ["service-token create -n n --roles a", "service-token list", "service-token nope", "version"]
    {
        let outcome = Sts::of(words).server(&server).env("TERM", "xterm-256color").run();
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(['\u{1b}', '\r']), "{words}: {text:?}");
        }
    }
    let created = Sts::of("service-token create -n n --roles a").server(&server).run();
    assert!(created.stdout.starts_with("✅ "));
}

#[test]
fn colours_are_switched_off_by_flag_and_environment() {
    let server =
        Server::start().with("DELETE /api/security/tokens/1", Reply::new("204 No Content", None, b""));
    let delete = |words: &str| Sts::of(&format!("{words} service-token delete 1")).server(&server);
    for run in [
        delete("--no-color"),
        delete("").env("NO_COLOR", ""),
        delete("").env("NO_COLOR", "false"),
        delete("").env("TERM", "DUMB"),
    ] {
        assert_eq!(run.run().stdout, "[SUCCESS] Service token deleted: 1\n");
    }
    assert_eq!(delete("--no-color=false").run().stdout, "✅ Service token deleted: 1\n");
}

#[test]
fn piped_table_is_never_cut() {
    let roles: Vec<String> = (0..50).map(|at| format!("\"a-rather-long-role-{at}\"")).collect();
    let tokens = format!(r#"[{{"id":1,"name":"{}","roles":[{}]}}]"#, "n".repeat(200), roles.join(","));
    let server = Server::start().with("GET /api/security/tokens", Reply::json(&tokens));
    let outcome = Sts::of("service-token list").server(&server).env("COLUMNS", "40").run();
    assert_eq!(outcome.stdout.lines().count(), 2);
}

#[test]
fn names_cannot_steer_the_terminal() {
    let tokens = r#"[{"id":1,"name":"a\u001b]0;x\u0007\nb","roles":["r\u009b1m"]}]"#;
    let server = Server::start().with("GET /api/security/tokens", Reply::json(tokens));
    let outcome = Sts::of("service-token list").server(&server).run();
    assert!(!outcome.stdout.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{:?}", outcome.stdout);
    assert_eq!(outcome.stdout.lines().count(), 2);
}

#[test]
fn token_does_not_follow_a_redirect() {
    let other = Server::start();
    let server = Server::start().with("GET /api/security/tokens", Reply::redirect("/api/server/info"));
    let outcome = Sts::of("service-token list").server(&server).run();
    assert_eq!(outcome.code, 3);
    assert_eq!(server.lines(), ["GET /api/server/info", "GET /api/security/tokens"]);
    assert!(other.lines().is_empty());
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_sts"))
        .arg("version")
        .env_clear()
        .stdout(full)
        .output();
    let output = child.unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Cannot write `standard output`"));
}

#[test]
fn argument_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let outcome = Sts::of("service-token").arg(std::ffi::OsStr::from_bytes(b"\xff")).run();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (3, "❌ An argument is not UTF-8\n"));
}
