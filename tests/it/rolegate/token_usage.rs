//! `rolegate token usage`: what a token may do, and what of that it did; by the store and by a running server.

use super::Run;
use super::serving::{Running, TOKEN, configured, settled};

const POLICY: &str = r#"
permission("read", ["GET /api/server/info"]);
permission("write", ["POST /x"]);
permission("manage-service-tokens", ["GET /api/security/tokens", "GET /api/security/tokens/{id}/usage"]);
role("reader").grants(["read", "write", "manage-service-tokens"]).allow("GET /own").allow("GET /other");
role("guest");
authenticated("GET /api/server/status");
authenticated("GET /api/user/session/availableRoles");
"#;
const ONLINE: [&str; 4] = ["--url", "http://ADDRESS", "--service-token-file", "token"];

/// A server whose token was used, with the id of that token.
#[expect(clippy::unwrap_used, reason = "an answer without an id fails the test")]
fn used() -> (Running, String) {
    let running = Running::start(configured(&["serve"]).file("policy.rhai", POLICY));
    for (path, count) in [("/api/server/info", 3), ("/own", 2), ("/api/server/status", 1), ("/nowhere", 1)] {
        (0..count).for_each(|_| drop(running.get(path, Some(TOKEN))));
    }
    let list = running.get("/api/security/tokens", Some(TOKEN));
    let id = list.split("\"id\":").nth(1).unwrap();
    let id = id.chars().take_while(char::is_ascii_digit).collect();
    (running, id)
}

fn usage(arguments: &[&str]) -> Vec<String> {
    ["token", "usage"].iter().chain(arguments).map(|it| (*it).to_owned()).collect()
}

fn run(arguments: &[String]) -> Run {
    Run::new(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn help_of_token_usage() {
    insta::assert_snapshot!(run(&usage(&["--help"])).whole());
}

#[test]
fn store_tells_what_the_server_had_written_when_it_stopped() {
    let (mut running, id) = used();
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    let told = running.again(&["token", "usage", &id]).told();
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(settled(&told.out));
    assert!(!told.out.contains(TOKEN));
}

#[test]
fn running_server_tells_it_up_to_the_moment_and_the_store_is_in_use() {
    let (running, id) = used();
    let online = ONLINE.map(|it| it.replace("ADDRESS", &running.address));
    let mut arguments = usage(&[&id, "-o", "json"]);
    arguments.extend(online);
    let told = run(&arguments).file("token", TOKEN).told();
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{}", told.out);
    let report: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((report["id"].to_string(), &report["useCount"]), (id.clone(), &9.into()));
    let privileges = report["privileges"].as_array().unwrap();
    let told: Vec<String> = privileges
        .iter()
        .map(|it| format!("{} {} {}", it["grant"].as_str().unwrap(), it["name"], it["useCount"]))
        .collect();
    insta::assert_snapshot!(told.join("\n"));

    let mut beside = Run::new(&["token", "usage", &id]);
    beside.command.current_dir(running.folder.path());
    let in_use = beside.told();
    assert_eq!(in_use.code, Some(1));
    insta::assert_snapshot!(in_use.err);
}

#[test]
fn what_is_not_there_is_an_error() {
    let (mut running, _) = used();
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    let told = running.again(&["token", "usage", "100000000000000"]).told();
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert_eq!(told.err, "error: the store has no token with the id 100000000000000\n");
    for wrong in ["1", "abc", "-5", TOKEN] {
        let told = run(&usage(&["--", wrong])).told();
        assert_eq!(told.code, Some(2), "{wrong}: {}", told.err);
        assert!(!told.err.contains(TOKEN), "{}", told.err);
    }
}
