//! `rolegate serve` while its writes fail, by strace: it answers an error, goes on, and loses nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use super::Run;
use super::serving::{Running, TOKEN};
use crate::strace::Injection;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const POLICY: &str = "open(\"GET /health\"); authenticated(\"GET /api/server/info\");\n\
    permission(\"tokens\", [\"GET,POST /api/security/tokens\", \"DELETE /api/security/tokens/{id}\"]);\n\
    role(\"admin\").grants([\"tokens\"]);";
const CONFIG: &str = "rolegate: {listen: '127.0.0.1:0', policies: [policy.rhai]}\n\
    stackstate: {authentication: {servicetoken: {bootstrap: \
    {token: 4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u, roles: [admin]}}}}\n";
const TOKENS: &str = "/api/security/tokens";
/// So many changes are tried while the writes fail.
const REFUSALS: usize = 5;

/// The folder of a server, whose writes fail as long as this lives. It has another name meanwhile: strace compares the
/// name that an open file has at the time of the call, and the server itself uses names within its folder alone.
struct Failing {
    folder: PathBuf,
    meanwhile: PathBuf,
}

impl Failing {
    /// The run under strace, which makes these calls fail.
    fn prepare(mut run: Run, file: &str, calls: &str, error: &str) -> Run {
        let folder = run.folder.path().canonicalize().unwrap();
        let mut program = Command::new("env");
        // The server has an empty environment; strace is found by that of the test.
        program.arg("-i").arg(run.command.get_program()).args(run.command.get_args());
        let injection = Injection { calls, error, when: None, files: vec![Self::name(&folder).join(file)] };
        run.command = injection.around(&program);
        run.command.current_dir(folder);
        run
    }

    fn begin(folder: &Path) -> Self {
        let folder = folder.canonicalize().unwrap();
        let meanwhile = Self::name(&folder);
        fs::rename(&folder, &meanwhile).unwrap();
        Self { folder, meanwhile }
    }

    fn name(folder: &Path) -> PathBuf {
        folder.with_extension("failing")
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = fs::rename(&self.meanwhile, &self.folder);
    }
}

impl Running {
    /// The status of the answer to a creation, and the secret.
    fn create(&self, name: &str) -> (String, Option<String>) {
        let body = format!("{{\"name\": \"{name}\", \"roles\": [\"admin\"]}}");
        let answer = self.ask("POST", TOKENS, Some(TOKEN), &body);
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        (status, body.get("token").and_then(|token| token.as_str()).map(str::to_owned))
    }

    fn names(&self) -> Vec<String> {
        let answer = self.get(TOKENS, Some(TOKEN));
        let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let names = body.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_owned());
        names.filter(|name| name != "bootstrap").collect()
    }

    fn lets_in(&self, secret: &str) -> bool {
        self.get("/api/server/info", Some(secret)).starts_with("HTTP/1.1 200 ")
    }
}

fn goes_on(file: &str, calls: &str, error: &str, logged: &str) {
    let run =
        Run::new(&["serve", "-c", "config.yaml"]).file("config.yaml", CONFIG).file("policy.rhai", POLICY);
    let mut running = Running::start_under_strace(Failing::prepare(run, file, calls, error));
    let (status, first) = running.create("before");
    let first = first.unwrap();
    assert_eq!(status, "200");

    let failing = Failing::begin(running.folder.path());
    for number in 0..REFUSALS {
        assert_eq!(running.create(&format!("meanwhile {number}")), ("500".to_owned(), None));
        running.wait_for_log(logged);
        assert_eq!(running.names(), ["before"]);
        assert!(running.lets_in(&first) && running.lets_in(TOKEN), "tokens authenticate all the while");
    }
    drop(failing);

    let (status, second) = running.create("after");
    assert_eq!(status, "200");
    assert!(running.lets_in(&second.clone().unwrap()));
    running.signal("KILL");
    let (_, _, log) = running.end();
    assert!([TOKEN, &first].iter().all(|secret| !log.contains(*secret)), "{log}");
    let running = Running::start(running.again(&["serve", "-c", "config.yaml"]));
    assert_eq!(running.names(), ["before", "after"]);
    assert!(running.lets_in(&first) && running.lets_in(&second.unwrap()));
}

#[test]
fn store_that_cannot_sync_refuses_changes_and_goes_on_when_it_can() {
    let logged = "cannot write `data/tokens.redb`: Input/output error (os error 5); the disk fails";
    goes_on("data/tokens.redb", "fdatasync", "EIO", logged);
}

#[test]
fn store_without_room_refuses_changes_and_goes_on_when_there_is_some() {
    let logged = "there is no room left for `data/tokens.redb`: No space left on device (os error 28)";
    goes_on("data/tokens.redb", "pwrite64,ftruncate", "ENOSPC", logged);
}

#[test]
fn audit_log_that_cannot_sync_refuses_changes_and_goes_on_when_it_can() {
    let logged = "cannot write the audit log `data/audit.jsonl`: Input/output error (os error 5)";
    goes_on("data/audit.jsonl", "fdatasync", "EIO", logged);
}

#[test]
fn audit_log_without_room_refuses_changes_and_goes_on_when_there_is_some() {
    let logged = "cannot write the audit log `data/audit.jsonl`: No space left on device (os error 28)";
    goes_on("data/audit.jsonl", "write", "ENOSPC", logged);
}
