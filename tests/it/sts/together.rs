//! The client's program and the server of this package, each written against the wire contract alone.

use super::world::{Outcome, Sts};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

const BOOTSTRAP: &str = "7d1b0c52-5a0e-4a57-8c64-Qm3rV9tL2xYe";

/// `rolegate serve` with the shipped policies. It is killed when the test is over.
struct Rolegate {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

#[expect(clippy::unwrap_used, reason = "a test that cannot run its server fails")]
impl Rolegate {
    fn serve() -> Self {
        Self::serve_with(&[])
    }

    /// The same with these variables in its environment.
    fn serve_with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/stackstate.rhai");
        let config = format!(
            "rolegate:\n  listen: 127.0.0.1:0\n  data_dir: data\n  policies: ['{policies}']\nstackstate:\n  authentication:\n    \
             servicetoken:\n      bootstrap:\n        token: {BOOTSTRAP}\n        roles: [stackstate-admin]\n"
        );
        std::fs::write(folder.path().join("rolegate.yaml"), config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args(["serve", "--config", "rolegate.yaml"])
            .current_dir(folder.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !told.contains("listening") {
            assert!(out.read_line(&mut told).unwrap() > 0, "the server did not start: {told}");
        }
        let url = format!("http://{}", told.rsplit("http://").next().unwrap().trim_end());
        Self { child, url, _folder: folder }
    }

    /// A run of the program against this server, with the bootstrap token.
    fn sts(&self, words: &str) -> Sts {
        self.sts_with(words, BOOTSTRAP)
    }

    fn sts_with(&self, words: &str, token: &str) -> Sts {
        Sts::of(words).env("STS_CLI_URL", &self.url).env("STS_CLI_SERVICE_TOKEN", token)
    }
}

impl Drop for Rolegate {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a successful run printed, as JSON.
#[expect(clippy::unwrap_used, reason = "a test whose program fails fails")]
fn json(outcome: &Outcome) -> serde_json::Value {
    assert_eq!(outcome.code, 0, "{}", outcome.shown());
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn token_is_created_listed_used_and_deleted() {
    let server = Rolegate::serve();
    let created = server.sts("service-token create -n ci --roles stackstate-guest,stackstate-admin -o json");
    let created = json(&created.run());
    let token = created["service-token"]["token"].as_str().unwrap();
    assert_eq!(server.sts_with("user-session roles", token).run().code, 0);

    let listed = json(&server.sts("service-token list -o json").run());
    let names: Vec<_> =
        listed["service-tokens"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["bootstrap", "ci"]);
    let id = listed["service-tokens"][1]["id"].to_string();
    let table = server.sts("service-token list").run().stdout;
    assert!(
        table.contains(&format!("{id} | ci        |            | [stackstate-guest stackstate-admin]\n")),
        "{table}"
    );

    let deleted = server.sts("service-token delete").arg(&id).run();
    assert_eq!(deleted.stdout, format!("✅ Service token deleted: {id}\n"));
    assert_eq!(server.sts_with("service-token list", token).run().code, 4);
    let again = server.sts("service-token delete").arg(&id).run();
    assert_eq!(again.code, 3);
    assert!(again.stderr.starts_with("❌ 404 Not Found\n_type: ErrorsResponse\n"), "{}", again.stderr);
}

#[test]
fn token_that_may_not_is_told_what_it_lacks() {
    let server = Rolegate::serve();
    let created = json(&server.sts("service-token create -n pu --roles stackstate-power-user -o json").run());
    let token = created["service-token"]["token"].as_str().unwrap();
    let refused = server.sts_with("service-token list", token).run();
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.starts_with("❌ 403 Forbidden\n"), "{}", refused.stderr);
    assert!(refused.stderr.contains("manage-service-tokens"), "{}", refused.stderr);
}

#[test]
fn expiry_in_the_past_is_refused_and_one_in_the_future_is_shown() {
    let server = Rolegate::serve();
    let create = |date: &str| {
        let words = format!("service-token create -n x --roles stackstate-guest --expiration {date}");
        server.sts(&words).run()
    };
    let past = create("2001-01-01");
    assert_eq!(past.code, 3);
    assert!(past.stderr.contains("_type: ServiceTokenInvalidExpiryError\n"), "{}", past.stderr);
    assert_eq!(create("2100-12-31").code, 0);
    assert!(server.sts("service-token list").run().stdout.contains("| x         | 2100-12-31 |"));
}

#[test]
fn wrong_token_is_told_to_wait_once_it_was_tried_often_and_the_right_one_is_not() {
    let server = Rolegate::serve_with(&[
        ("ROLEGATE_LIMITS_FAILED_AUTHENTICATIONS_BURST", "2"),
        ("ROLEGATE_LIMITS_FAILED_AUTHENTICATIONS_PER_MINUTE", "1"),
    ]);
    let wrong = || server.sts_with("service-token list", "svctok-nobody-has-this-one").run();
    for _ in 0..2 {
        assert!(wrong().stderr.starts_with("❌ Authentication failed"));
    }
    let refused = wrong();
    assert_eq!(refused.code, 4);
    let told = ["(429 Too Many Requests, try again in ", "seconds): too many requests from this address"];
    assert!(told.iter().all(|text| refused.stderr.contains(text)), "{}", refused.stderr);
    assert_eq!(server.sts("service-token list").run().code, 0);
}

#[test]
fn context_is_saved_and_validated() {
    let server = Rolegate::serve();
    let save = Sts::of("context save --service-token-file - --url").arg(&server.url).input(BOOTSTRAP).run();
    assert_eq!(save.code, 0, "{}", save.shown());
    let validated = Sts::of("context validate").after(save).run();
    assert!(validated.stdout.contains("✅ Context default is valid."), "{}", validated.shown());
    assert_eq!(Sts::of("service-token list").after(validated).run().code, 0);
}
