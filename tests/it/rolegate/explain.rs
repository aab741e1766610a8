//! `rolegate policy explain`, as operators type it.

use super::Run;
use super::serving::{Running, configured};
use std::path::PathBuf;

const POLICY: &str = r#"permission("packs", ["GET /api/packs", "POST /api/packs/{name}"]);
role("guest").allow("GET /api/views/{view}");
role("ci").includes("guest")
    .allow("POST /api/packs/{name}").when(|request| request.header("x-env") == "test" && request.query("dry") == ());
role("admin").grants(["packs"]);
open("GET /health");
deny("ANY /api/internal/**").unless(|request| request.token.name == "root" && request.client_ip == "192.0.2.1");
"#;
const TIME: &str = "2026-03-01T08:00:00Z";

fn explain(arguments: &[&str]) -> Run {
    let time = if arguments.contains(&"--time") { &[][..] } else { &["--time", TIME] };
    let start = ["policy", "explain", "--policies", "p.rhai"];
    Run::new(&[&start[..], arguments, time].concat()).file("p.rhai", POLICY)
}

#[test]
fn help_of_policy_explain() {
    insta::assert_snapshot!(Run::new(&["policy", "explain", "--help"]).whole());
}

#[test]
fn decision_comes_with_what_decided_and_exit_code_0_whatever_it_is() {
    let texts = [
        explain(&["GET", "/api/views/5", "--role", "ci"]).whole(),
        explain(&["POST", "/api/packs/web?dry=1", "-r", "ci", "-H", "X-Env: test"]).whole(),
        explain(&["GET", "/api/packs", "--role", "giest"]).whole(),
        explain(&["GET", "/api/internal/x", "--token-name", "root", "--client-ip", "192.0.2.1"]).whole(),
    ];
    insta::assert_snapshot!(texts.join("\n----\n"));
}

#[test]
fn programs_get_everything_as_json() {
    let told =
        explain(&["POST", "/api/packs/web", "--role", "ci", "--header", "x-env: prod", "-o", "json"]).told();
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(told.out);
}

#[test]
fn request_that_the_gate_refuses_is_told_with_the_reason() {
    insta::assert_snapshot!(explain(&["GET", "/api/../health"]).whole(), @r"
    exit code 0
    -- stdout
    refused: GET /api/../health, with 400
      the path has a segment of dots alone
      no policy is asked about such a request, whoever makes it
    -- stderr
    ");
    let told = explain(&["GET", "/api/..%2fhealth", "-o", "json"]).told();
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((json["decision"].as_str(), json["status"].as_u64()), (Some("refused"), Some(400)));
    assert_eq!(told.code, Some(0));
    assert_eq!(
        explain(&["GET", "/health#x"]).told().out.lines().next(),
        Some("refused: GET /health#x, with 400")
    );
}

#[test]
fn arguments_that_are_wrong_say_what_to_write() {
    for (arguments, part) in [
        (&["GET", "/x", "--time", "yesterday"][..], "write the time in UTC"),
        (&["GET", "/x", "--client-ip", "localhost"], "write an address"),
        (&["GET", "/x", "--token-id", "5"], "15 digits"),
        (&["GET", "/x", "--header", "x-env"], "`Name: value`"),
        (&["GET", "/x", "--header", "x env: 1"], "`Name: value`"),
        (&["GET", "/x", "--role", ""], "role"),
        (&["G(T", "/x"], "a method is a word"),
        (&["GET"], "PATH"),
    ] {
        let told = explain(arguments).told();
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(told.err.contains(part), "{arguments:?}: {}", told.err);
    }
    let told = explain(&["GET", "/x", "-H", "X-API-Key: 4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u"]).told();
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("--token-id") && !told.err.contains("4f1c9a70"), "{}", told.err);
    let told = Run::new(&["policy", "explain", "GET", "/x", "--policies", "none.rhai", "-o", "json"]).told();
    assert_eq!(told.code, Some(1));
    assert!(told.out.contains("cannot read `none.rhai`"), "{}", told.out);
}

/// Where the folder stands, and the id of the bootstrap token in its store.
fn served() -> (Running, String) {
    let running = Running::start(configured(&["serve"]));
    let id = running.told.split([' ', ',']).find(|word| word.len() == 15 && word.parse::<u64>().is_ok());
    let id = id.map(str::to_owned).unwrap_or_default();
    (running, id)
}

#[test]
fn token_is_looked_up_in_the_store_which_does_not_change() {
    let (mut running, id) = served();
    let arguments = ["policy", "explain", "GET", "/api/server/info", "--token-id", &id];
    let mut run = Run::new(&arguments);
    run.command.current_dir(running.folder.path());
    let told = run.told();
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert!(
        told.err.contains("open: say the roles of the token with `--role`, or stop the server"),
        "{}",
        told.err
    );
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));

    let store: PathBuf = running.folder.path().join("data/tokens.redb");
    let before = std::fs::read(&store).unwrap();
    let run = |arguments: &[&str]| {
        let mut run = Run::new(arguments);
        run.command.current_dir(running.folder.path());
        run.told()
    };
    let told = run(&arguments);
    assert!(told.out.starts_with("allowed: GET /api/server/info\n"), "{}{}", told.out, told.err);
    assert!(told.out.contains(&format!("token {id} \"bootstrap\" with the role reader")), "{}", told.out);
    let expired = run(&[&arguments[..], &["--time", "2999-01-01T00:00:00Z"]].concat());
    assert!(expired.out.starts_with("denied: GET /api/server/info"), "{}", expired.out);
    assert!(expired.out.contains("expired at") && expired.out.contains("without a token"), "{}", expired.out);
    let missing = run(&["policy", "explain", "GET", "/x", "--token-id", "100000000000000"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("has no token 100000000000000"), "{}", missing.err);
    assert!(std::fs::read(&store).unwrap() == before, "the store was changed");
}

#[test]
fn no_store_is_made_where_there_is_none() {
    let mut run = configured(&["policy", "explain", "GET", "/x", "--token-id", "100000000000000"]);
    let output = run.command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("cannot open `data/tokens.redb`") && err.contains("--role"), "{err}");
    assert!(!run.folder.path().join("data").exists());
}
