//! `rolegate policy explain`, as operators type it.

use super::serving::{Running, TOKEN, configured};
use super::{Run, Told};
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
fn documentation_shows_what_is_told() {
    let page = include_str!("../../../docs/policies.md");
    let policy = page.split("```rhai\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let chapter = page.split("## Why was this denied?").nth(1).unwrap();
    let shown =
        chapter.split("```console\n$ rolegate ").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (command, answer) = shown.split_once('\n').unwrap();
    let arguments: Vec<&str> = command.split(' ').collect();
    assert_eq!(Run::new(&arguments).file("policy.rhai", policy).told().out, answer);
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
    let told = explain(&["GET", "/x", "--token-id", "svctok-aaaaa-bbbb-ccccc-ddddd"]).told();
    assert!(!told.err.contains("aaaaa"), "{}", told.err);
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

const LOGGED_POLICY: &str = r#"role("reader").allow("GET /api/server/**");
role("reader").allow("GET /api/jobs/{id}").when(|request| request.header("x-env") == "test");
role("reader").allow("GET /api/runs/{id}").when(|request| request.header("x-user") == "ann");
open("GET /health");
deny("GET /api/secrets/**").unless(|request| request.query("why") == "drill");
role("reader").allow("GET /api/secrets/{id}");
"#;
const LOGGED: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n  decision_log:\n    file: decisions.jsonl\n    headers: [x-env]\n";

/// What a server with a decision log leaves behind, and its answers to these requests: a path and more headers each.
fn logged(requests: &[(&str, &str)]) -> (Running, Vec<String>) {
    let run = configured(&["serve"]).file("config/rolegate.yaml", LOGGED).file("policy.rhai", LOGGED_POLICY);
    let mut running = Running::start(run);
    let ask = |(path, headers): &(&str, &str)| {
        // The last header of a request takes the next ones with it.
        running.get(path, Some(&format!("{TOKEN}\r\n{headers}X-Last: 1")))
    };
    let answers = requests.iter().map(ask).collect();
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
    (running, answers)
}

/// The id in the body of a denial.
fn decision_id(answer: &str) -> String {
    let id = answer.split_once("(decision ").and_then(|(_, rest)| rest.split(')').next());
    assert!(id.is_some(), "no decision id: {answer}");
    id.unwrap_or_default().to_owned()
}

fn replay(running: &Running, arguments: &[&str]) -> Told {
    let mut run = Run::new(&[&["policy", "explain", "--log", "decisions.jsonl"], arguments].concat());
    run.command.current_dir(running.folder.path());
    run.told()
}

/// Without what differs from run to run.
fn settled(text: &str, id: &str) -> String {
    let settle = |word: &str| match word {
        word if word.len() == 15 && word.parse::<u64>().is_ok() => "ID".to_owned(),
        word if word.len() == 24 && word.ends_with('Z') => "TIME".to_owned(),
        word if word.len() == 25 && word.ends_with("Z,") => "TIME,".to_owned(),
        word => word.replace(id, "DECISION"),
    };
    let lines = text.lines().map(|line| line.split(' ').map(settle).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn denial_of_a_server_is_found_by_the_id_in_its_body_and_replayed() {
    let (running, answers) = logged(&[
        ("/api/jobs/1", "X-Env: prod\r\n"),
        ("/api/runs/1", "X-User: bob\r\n"),
        ("/api/secrets/1?why=fun", ""),
        ("/api/nothing", ""),
    ]);
    let mut texts = Vec::new();
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        let id = decision_id(answer);
        let told = replay(&running, &["--decision", &id]);
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{}", told.out);
        assert!(
            told.out.contains("replayed by the policies that made it: the same decision"),
            "{}",
            told.out
        );
        texts.push(settled(&told.out, &id));
    }
    insta::assert_snapshot!(texts.join("\n\n----\n\n"));
    let json = replay(&running, &["--decision", &decision_id(&answers[0]), "-o", "json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["policy_changed"], &json["same_decision"]), (&false.into(), &true.into()));
    assert_eq!(json["replayed"]["near"][0]["condition"]["reads"][0]["value"], "prod");
}

#[test]
fn changed_policies_are_told_and_what_they_say_is_marked() {
    let (running, answers) = logged(&[("/api/jobs/1", "X-Env: prod\r\n")]);
    let id = decision_id(&answers[0]);
    let policy = running.folder.path().join("policy.rhai");
    std::fs::write(&policy, LOGGED_POLICY.replace("\"test\"", "\"prod\"")).unwrap();
    let told = replay(&running, &["--decision", &id]);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    assert!(told.out.contains("the policies have changed: it was made by version "), "{}", told.out);
    assert!(
        told.out.contains("the present policies decide it another way:\n\nallowed: GET /api/jobs/1\n"),
        "{}",
        told.out
    );
    let json: serde_json::Value =
        serde_json::from_str(&replay(&running, &["--decision", &id, "-o", "json"]).out).unwrap();
    assert_eq!((&json["policy_changed"], &json["same_decision"]), (&true.into(), &false.into()));
    // A new condition reads what the log does not have: nobody knows what it would have said.
    std::fs::write(&policy, LOGGED_POLICY.replace("\"x-env\"", "\"x-other\"")).unwrap();
    let told = replay(&running, &["--decision", &id]);
    assert!(told.out.contains("reads what was not recorded"), "{}", told.out);
}

#[test]
fn log_holds_denials_and_no_secret() {
    let (running, _) = logged(&[
        (
            "/api/jobs/1?password=hunter2",
            "X-Env: prod\r\nX-User: secret-of-ann\r\nCookie: session=of-ann-too\r\n",
        ),
        ("/api/server/info", ""),
        ("/health", ""),
    ]);
    let log =
        String::from_utf8(std::fs::read(running.folder.path().join("decisions.jsonl")).unwrap()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("\"headers\":{\"x-env\":\"prod\"}"), "{log}");
    for secret in [TOKEN, "hunter2", "secret-of-ann", "of-ann-too", "cookie", "uthorization"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(running.folder.path().join("decisions.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn edited_log_does_not_steer_the_terminal() {
    let (running, answers) = logged(&[("/api/jobs/1", "")]);
    let id = decision_id(&answers[0]);
    let path = running.folder.path().join("decisions.jsonl");
    let log = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
    let edits = [
        (
            "\"rule\":null",
            "\"cause\":\"\\u001b[31mcause\",\"rule\":{\"place\":\"p\\u001b[2J\",\"number\":4294967295}",
        ),
        ("\"policy_version\":\"", "\"policy_version\":\"\\u001b]0;version\\u0007"),
        ("\"name\":\"", "\"name\":\"\\u202e"),
    ];
    let line = edits.iter().fold(log, |line, (from, to)| line.replacen(from, to, 1));
    std::fs::write(&path, format!("odd\n{line}\n")).unwrap();
    let told = replay(&running, &["--decision", &id]);
    assert_eq!(told.code, Some(0), "{} {line}", told.err);
    assert!(
        told.err.contains("1 line of `decisions.jsonl` is no decision and was passed over"),
        "{}",
        told.err
    );
    for shown in ["p\\u{1b}[2J", "\\u{1b}]0;version\\u{7}", "\\u{1b}[31mcause", "\\u{202e}bootstrap"] {
        assert!(told.out.contains(shown), "{shown}: {}", told.out);
    }
    assert!(!told.out.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{}", told.out);
}

#[test]
fn log_without_the_decision_and_torn_lines_are_told() {
    let (running, answers) = logged(&[("/api/jobs/1", "")]);
    let id = decision_id(&answers[0]);
    let path = running.folder.path().join("decisions.jsonl");
    let log = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
    std::fs::write(&path, format!("something else\n{}\n{log}{}", "x".repeat(300_000), "{\"time\":\"20"))
        .unwrap();
    let told = replay(&running, &["--decision", &id]);
    assert_eq!(told.code, Some(0));
    assert!(told.err.contains("2 lines of `decisions.jsonl` are no decisions"), "{}", told.err);
    let told = replay(&running, &["--decision", "00000000-000000"]);
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert!(
        told.err.contains("has no decision `00000000-000000`; its last line lacks its end"),
        "{}",
        told.err
    );
    // A log that was full has another name, and is looked at as well.
    std::fs::rename(&path, running.folder.path().join("decisions.jsonl.1")).unwrap();
    std::fs::write(&path, "").unwrap();
    assert_eq!(replay(&running, &["--decision", &id]).code, Some(0));
    std::fs::remove_file(&path).unwrap();
    let told = replay(&running, &["--decision", &id]);
    assert!(told.err.contains("cannot read the decision log `decisions.jsonl`"), "{}", told.err);
    for arguments in
        [&["--decision", "x", "GET", "/x"][..], &["GET", "/x"], &["--decision", "x", "--role", "a"]]
    {
        assert_eq!(replay(&running, arguments).code, Some(2), "{arguments:?}");
    }
}
