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
        Self::serve_for("stackstate-admin", "", variables)
    }

    /// The same with another role of the bootstrap token, and more configuration of authentication.
    fn serve_for(role: &str, more: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/stackstate.rhai");
        let config = format!(
            "rolegate:\n  listen: 127.0.0.1:0\n  data_dir: data\n  policies: ['{policies}']\nstackstate:\n  authentication:\n    \
             servicetoken:\n      bootstrap:\n        token: {BOOTSTRAP}\n        roles: [{role}]\n{more}"
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

#[test]
fn token_with_more_reach_than_its_creator_is_refused_with_the_routes_that_are_too_much() {
    let server = Rolegate::serve();
    let create = |role: &str| server.sts(&format!("service-token create -n x --roles {role}")).run();
    for role in ["stackstate-guest", "stackstate-power-user", "stackstate-admin"] {
        assert_eq!(create(role).code, 0, "{role}");
    }
    let refused = create("stackstate-platform-admin");
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""));
    let message = refused.stderr.lines().find(|line| line.contains("message:")).unwrap_or_default();
    insta::assert_snapshot!(message, @"    message: 'the token of the request does not have what it would hand on: `ANY /admin/**`; grant less, or use a token that holds the permission `grant-any-role`'");
    let names = json(&server.sts("service-token list -o json").run());
    assert_eq!(names["service-tokens"].as_array().map(Vec::len), Some(4));
}

#[test]
fn permission_to_grant_any_role_lets_a_token_grant_what_it_does_not_have() {
    let server = Rolegate::serve_for(
        "token-granter",
        "    roles:\n      custom:\n        token-granter:\n          systemPermissions: [manage-service-tokens, grant-any-role]\n        \
         token-keeper:\n          systemPermissions: [manage-service-tokens]\n",
        &[],
    );
    let create = |token: &str, role: &str| {
        server.sts_with(&format!("service-token create -n x --roles {role} -o json"), token).run()
    };
    let keeper = json(&create(BOOTSTRAP, "token-keeper"));
    let keeper = keeper["service-token"]["token"].as_str().unwrap();
    assert_eq!(create(BOOTSTRAP, "stackstate-platform-admin").code, 0);
    assert_eq!(create(keeper, "token-keeper").code, 0);
    let refused = |role: &str| {
        let refused = create(keeper, role);
        assert_eq!(refused.code, 3);
        let told: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap_or_default();
        told["error-body"]["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(refused("token-granter"), @"the token of the request does not have what it would hand on: the permission `grant-any-role`, which has no routes; grant less, or use a token that holds the permission `grant-any-role`");
    insta::assert_snapshot!(refused("stackstate-power-user"), @"the token of the request does not have what it would hand on: `GET /api/anomalies/export`, `GET /api/components/{component}/streams/latest`, `GET /api/eventSources`, `GET /api/eventTags`, `GET /api/eventTypes`, `POST /api/events`, `GET /api/events/{event}`, `POST /api/export`, `POST /api/import`, `GET /api/monitors` and 41 more; grant less, or use a token that holds the permission `grant-any-role`");
}

/// The program's words about one token, with ids, secrets and times taken out.
fn lines(outcome: &Outcome, id: &str) -> String {
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{}", outcome.shown());
    let text = outcome.stdout.replace(id, "[id]");
    let line = |line: &str| {
        let words = line.split(' ').map(|word| match word {
            word if word.starts_with("svctok-") => "[token]",
            word if word.len() == 10 && word.starts_with("20") && word.as_bytes().get(4) == Some(&b'-') => {
                "[day]"
            }
            word if word.len() == 8 && word.as_bytes().get(2) == Some(&b':') => "[time]",
            word if word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) => "[digest]",
            word => word,
        });
        format!("{}\n", words.collect::<Vec<_>>().join(" ").trim_end())
    };
    text.lines().map(line).collect()
}

#[test]
fn token_lives_from_creation_to_deletion() {
    let server = Rolegate::serve();
    let created = server
        .sts("service-token create -n ci --roles stackstate-guest --expiration 2100-12-31 --unique -o json")
        .args("--description nightly")
        .run();
    let created = json(&created)["service-token"].clone();
    let (id, first) = (created["id"].to_string(), created["token"].as_str().unwrap().to_owned());
    let run = |words: &str| server.sts(&words.replace("ID", &id)).run();
    let code = |token: &str| server.sts_with("user-session roles", token).run().code;
    let rotated = |words: &str| {
        let told = json(&run(&format!("service-token rotate ID {words} -o json")))["service-token"].clone();
        (told["token"].as_str().unwrap().to_owned(), told)
    };

    let mut story = lines(&run("service-token describe ID"), &id);
    let (second, told) = rotated("--grace 10m");
    assert_eq!((code(&first), code(&second)), (0, 0), "both live");
    assert!(told["formerExpiration"].is_i64() && told["id"] == created["id"]);
    story += &lines(&run("service-token describe --id ID"), &id);
    let (third, told) = rotated("");
    assert_eq!([&first, &second, &third].map(|token| code(token)), [4, 4, 0]);
    assert!(told.get("formerExpiration").is_none());
    story += &lines(&run("service-token rotate ID --grace 1h"), &id);

    story += &lines(&run("service-token disable ID"), &id);
    assert_eq!(code(&third), 4);
    story += &lines(&run("service-token list --name ci"), &id);
    story += &lines(&run("service-token enable ID"), &id);
    assert_eq!(code(&third), 0);
    story += &lines(
        &run("service-token update ID -n cd --roles stackstate-admin --no-expiration --no-description"),
        &id,
    );
    let told = json(&run("service-token describe ID -o json"))["service-token"].clone();
    assert_eq!((&told["name"], &told["roles"]), (&"cd".into(), &serde_json::json!(["stackstate-admin"])));
    assert!(told.get("expiration").is_none() && told.get("description").is_none());
    story += &lines(&run("service-token delete ID"), &id);
    assert_eq!(code(&third), 4);
    insta::assert_snapshot!(story);
    let gone = run("service-token describe ID");
    assert_eq!(gone.code, 3);
    assert!(gone.stderr.contains(&format!("no service token has the id {id}")), "{}", gone.stderr);
}

#[test]
fn list_chooses_sorts_and_turns_pages() {
    let server = Rolegate::serve();
    for (name, more) in [("ci-1", ""), ("ci-2", "--expiration 2100-12-31"), ("exporter", "")] {
        let words = format!("service-token create -n {name} --roles stackstate-guest {more}");
        assert_eq!(server.sts(&words).run().code, 0);
    }
    let names = |words: &str| {
        let listed = json(&server.sts(&format!("service-token list -o json {words}")).run());
        let names = listed["service-tokens"].as_array().unwrap().iter().map(|token| token["name"].clone());
        names.map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("--name ci-*"), ["ci-1", "ci-2"]);
    assert_eq!(names("--name ci-* --sort -name"), ["ci-2", "ci-1"]);
    assert_eq!(names("--sort created --limit 2"), ["bootstrap", "ci-1"]);
    assert_eq!(names("--role stackstate-admin"), ["bootstrap"]);
    assert_eq!(names("--expires-before 2101-01-01 --name ci-*"), ["ci-2"]);
    assert_eq!(names("--expires-before 2100-12-31 --name ci-*"), [""; 0], "the date itself is not before it");
    assert_eq!(names("--unused-since 1s --role stackstate-power-user"), [""; 0]);
    assert_eq!(names("--unused-since 2000-01-01"), [""; 0]);
    let unknown = server.sts("service-token list --role a,b").run();
    assert_eq!(unknown.code, 3);
    assert!(unknown.stderr.contains("`role`: a role''s name consists of"), "{}", unknown.stderr);
}
