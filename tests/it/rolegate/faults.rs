//! `rolegate serve` while its writes fail, by strace: it answers an error, goes on, and loses nothing.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use super::Run;
use super::serving::{Running, TOKEN};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

const POLICY: &str = "open(\"GET /health\"); authenticated(\"GET /api/server/info\");\n\
    permission(\"tokens\", [\"GET,POST /api/security/tokens\", \"DELETE /api/security/tokens/{id}\"]);\n\
    role(\"admin\").grants([\"tokens\"]);";
const CONFIG: &str = "rolegate: {listen: '127.0.0.1:0', policies: [policy.rhai]}\n\
    stackstate: {authentication: {servicetoken: {bootstrap: \
    {token: 4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u, roles: [admin]}}}}\n";
const TOKENS: &str = "/api/security/tokens";
/// So many changes have to be refused while the writes fail,
const REFUSALS: usize = 3;
/// of so many attempts at the most.
const ATTEMPTS_MAX: usize = 20;

/// Lets the writes of a server to a file fail, until it is dropped.
struct Fault(Child);

impl Fault {
    fn of(running: &Running, file: &str, calls: &str, error: &str) -> Self {
        let mut child = Command::new("strace")
            .args(["-f", "-p", &running.process().to_string(), "-o", "/dev/null"])
            .arg("-P")
            .arg(running.folder.path().join(file))
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is missing: install it (`apt install strace`), or run `./check`, which does");
        let mut told = String::new();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        while !told.contains("attached") {
            let is_told = err.read_line(&mut told).unwrap() > 0;
            assert!(
                is_told,
                "strace may not look at the server: run as root, or allow it (ptrace_scope): {told}"
            );
        }
        Self(child)
    }

    fn end(mut self) {
        let script = format!("kill -TERM {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        self.0.wait().unwrap();
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
    let mut running = Running::start(run);
    let (status, first) = running.create("before");
    let first = first.unwrap();
    assert_eq!(status, "200");

    let fault = Fault::of(&running, file, calls, error);
    let (mut kept, mut refused) = (vec!["before".to_owned()], 0);
    for number in 0..ATTEMPTS_MAX {
        let name = format!("meanwhile {number}");
        match running.create(&name) {
            (status, None) => {
                assert_eq!(status, "500");
                running.wait_for_log(logged);
                refused += 1;
            }
            // On a busy machine a thread may write before strace stops it. What was acknowledged counts all the same.
            (status, Some(_)) => {
                assert_eq!(status, "200");
                kept.push(name);
            }
        }
        assert_eq!(running.names(), kept);
        assert!(running.lets_in(&first) && running.lets_in(TOKEN), "tokens authenticate all the while");
        if refused == REFUSALS {
            break;
        }
    }
    assert_eq!(refused, REFUSALS, "of {ATTEMPTS_MAX} attempts, so many were to fail");
    fault.end();

    let (status, second) = running.create("after");
    assert_eq!(status, "200");
    assert!(running.lets_in(&second.clone().unwrap()));
    running.signal("KILL");
    let (_, _, log) = running.end();
    assert!([TOKEN, &first].iter().all(|secret| !log.contains(*secret)), "{log}");
    let running = Running::start(running.again(&["serve", "-c", "config.yaml"]));
    kept.push("after".to_owned());
    assert_eq!(running.names(), kept);
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
