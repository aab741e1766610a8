//! What is written, what is lost, and that nobody waits.

use super::*;
use crate::audit::MemoryAudit;
use crate::authenticator::{Authentication, Authenticator, ForeignPrincipal};
use crate::engine::Engine;
use crate::path::CanonicalPath;
use crate::policy::{RoleBindings, ScriptLimits, Source};
use crate::request::{Credential, RequestParts};
use crate::store::memory::MemoryStore;
use crate::time::Timestamp;
use crate::token::TokenId;
use http::{HeaderMap, Method};
use std::fs;
use std::path::Path;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const POLICY: &str =
    "open(\"GET /open\"); open(\"GET /dry\").when(|request| request.query(\"dry\") == \"1\");
    open(\"GET /bad\").when(|request| throw request.header(\"x-user\"));";

fn engine() -> Engine {
    engine_by(POLICY)
}

fn engine_by(text: &str) -> Engine {
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default()).unwrap();
    Engine::open(Box::new(MemoryStore::default()), Box::new(MemoryAudit::default()), policies, NOW).unwrap()
}

fn request(path: &str, query: &str, headers: &[(&'static str, &str)]) -> Request {
    let fields = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    Request::from(RequestParts {
        method: Method::GET,
        path: CanonicalPath::parse(path).unwrap(),
        query: (!query.is_empty()).then(|| query.into()),
        headers: HeaderMap::from_iter(fields),
        host: None,
        client_ip: Some("192.0.2.1".parse().unwrap()),
        credential: Credential::Missing,
        id: Some(Arc::from("request-1")),
    })
}

fn options(file: &Path) -> DecisionLogOptions {
    DecisionLogOptions {
        file: file.to_owned(),
        allowed: false,
        max_bytes: 1024 * 1024,
        headers: vec![HeaderName::from_static("x-env")],
        query: vec![Arc::from("dry"), Arc::from("long")],
        sampling: Vec::new(),
    }
}

/// Decides the request and tells the log; gives the id of a denial.
fn decide(engine: &Engine, log: &DecisionLog, request: &Request) -> Option<String> {
    let policies = engine.policies();
    let answer = engine.check_by(&policies, request, NOW);
    log.decided(request, &answer, &policies);
    match answer {
        Answer::Permitted(_) => None,
        Answer::Unauthenticated(denied) => Some(denied.id.to_string()),
        Answer::Forbidden(denied) => Some(denied.id.to_string()),
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

#[test]
fn denials_are_written_with_what_the_operator_asks_for_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let (engine, log) = (engine(), DecisionLog::open(options(&file)).unwrap());
    let long = format!("dry=0&long={}&secret=s3", "x".repeat(VALUE_MAX_BYTES + 1));
    let id = decide(&engine, &log, &request("/dry", &long, &[("x-env", "prod"), ("x-user", "s4")])).unwrap();
    assert_eq!(decide(&engine, &log, &request("/open", "", &[])), None);
    decide(&engine, &log, &request("/bad", "", &[("x-user", "s4")])).unwrap();
    log.flush();
    let text = text_of(&file).replace(&engine.policies().version().to_string(), "VERSION");
    let series = id.split('-').next().unwrap();
    insta::assert_snapshot!(text.replace(series, "SERIES"));
    assert_eq!((log.lost(), log.shared.written.get()), (0, 2));
}

#[test]
fn allowed_decisions_are_written_on_demand_and_found_by_their_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let log = DecisionLog::open(DecisionLogOptions { allowed: true, ..options(&file) }).unwrap();
    decide(&engine(), &log, &request("/dry", "dry=1", &[]));
    log.flush();
    let text = fs::read(&file).unwrap();
    let past = find(text.as_slice(), "request-1", |_| {}).unwrap().past.unwrap();
    assert!(past.is_allow && past.decision_id.is_none() && past.outcomes[0].result == Ok(true));
    assert_eq!(past.request.query_parameter("dry").unwrap().as_deref(), Some("1"));
    let knows = |fact| past.knows(&fact);
    use crate::policy::explain::Fact;
    assert!(knows(Fact::Query("dry".into())) && knows(Fact::Header("X-Env".into())) && knows(Fact::Path));
    assert!(!knows(Fact::Query("other".into())) && !knows(Fact::Header("x-user".into())));
    assert!(!knows(Fact::Call("f()".into())));
}

#[test]
fn foreign_principal_is_written_as_one_and_read_back() {
    #[derive(Debug)]
    struct Everybody;
    impl Authenticator for Everybody {
        fn authenticate(&self, _: &Request, _: Timestamp) -> Authentication {
            let subject = TokenId::LEAST.to_string();
            Authentication::Authenticated(ForeignPrincipal { subject, roles: Vec::new() })
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let log = DecisionLog::open(options(&file)).unwrap();
    let engine = engine().with_authenticator("door", Box::new(Everybody)).unwrap();
    let id = decide(&engine, &log, &request("/other", "", &[])).unwrap();
    log.flush();
    let text = text_of(&file);
    assert!(text.contains("\"token\":{\"foreign\":\"door:100000000000000\",\"name\""), "{text}");
    let read = |text: &str| find(text.as_bytes(), &id, |_| {}).unwrap().past;
    let known = read(&text).unwrap().principal.unwrap();
    assert_eq!((known.id.token(), known.id.to_string().as_str()), (None, "door:100000000000000"));
    // A line that somebody made another one of is no decision.
    for other in
        ["\"id\":100000000000000,\"foreign\":\"door:1\"", "\"foreign\":\"100000000000000\"", "\"x\":1"]
    {
        let text = text.replace("\"foreign\":\"door:100000000000000\"", other);
        assert!(
            find(text.as_bytes(), &id, |_| {}).is_err_and(|error| error.to_string().contains("principal")),
            "{other}"
        );
    }
}

#[test]
fn decisions_of_a_sampled_rule_are_written_with_their_rate_and_denials_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let engine = engine_by(
        "permission(\"metrics\", [\"GET /metrics\"]); role(\"scraper\").grants([\"metrics\"]); open(\"GET /open\");
        open([\"GET /a/**\", \"GET /b/{name}\"]); deny(\"GET /a/secret\"); deny(\"GET /a/noise\");",
    );
    let sampled = |rule: &str, one_in, denials| Sampled {
        rule: Arc::from(rule),
        one_in: std::num::NonZeroU32::new(one_in).unwrap(),
        denials,
    };
    let sampling = vec![
        sampled("GET /open", 10, false),
        sampled("GET /a/secret", 10, false),
        sampled("GET /a/noise", 10, true),
        sampled("GET /b/{name}", 5, false),
        sampled("*", 20, false),
        sampled("metrics", 2, false),
        sampled("metrisc", 2, false),
    ];
    let log = DecisionLog::open(DecisionLogOptions { allowed: true, sampling, ..options(&file) }).unwrap();
    assert_eq!(log.unknown_samples(&engine.policies()), [Arc::from("metrisc")]);
    for path in ["/open", "/a/secret", "/a/noise", "/a/other", "/b/x", "/nothing"] {
        for _ in 0..20 {
            decide(&engine, &log, &request(path, "", &[]));
        }
    }
    log.flush();
    let mut written = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for line in text_of(&file).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let (count, estimate) = written.entry(line["path"].as_str().unwrap().to_owned()).or_default();
        *count += 1;
        *estimate += line["one_in"].as_u64().unwrap_or(1);
    }
    let written: Vec<_> = written.iter().map(|(path, counts)| (path.as_str(), *counts)).collect();
    assert_eq!(
        written,
        [
            ("/a/noise", (2, 20)),
            ("/a/other", (1, 20)),
            ("/a/secret", (20, 20)),
            ("/b/x", (4, 20)),
            ("/nothing", (20, 20)),
            ("/open", (2, 20)),
        ]
    );
    assert_eq!((log.shared.left_out.get(), log.shared.written.get(), log.lost()), (71, 49, 0));
}

#[test]
fn queue_that_is_full_loses_decisions_and_counts_them() {
    let (messages, received) = sync_channel(2);
    let samples = Samples::default();
    let what = What { allowed: false, headers: Vec::new(), query: Vec::new(), samples };
    let log = DecisionLog { messages, shared: Arc::default(), what: Arc::new(what) };
    let engine = engine();
    for lost in [0, 0, 1, 2] {
        decide(&engine, &log, &request("/x", "", &[]));
        assert_eq!(log.lost(), lost);
    }
    // Nobody waits for a flush that cannot come.
    log.flush();
    drop(received);
    decide(&engine, &log, &request("/x", "", &[]));
    assert_eq!(log.lost(), 3);
}

#[test]
fn full_file_is_renamed_and_a_new_one_begun() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let mut writer = writer::Writer::open(file.clone(), 10, Arc::default()).unwrap();
    let mut write = |text: &str| {
        writer.try_write(text.as_bytes()).unwrap();
        let read = |path: &Path| if path.exists() { text_of(path) } else { String::new() };
        (read(&file), read(&older(&file)))
    };
    assert_eq!(write("one-\n"), ("one-\n".into(), String::new()));
    // What just fits is no reason to begin a new file.
    assert_eq!(write("two-\n"), ("one-\ntwo-\n".into(), String::new()));
    assert_eq!(write("3\n"), ("3\n".into(), "one-\ntwo-\n".into()));
    assert_eq!(write("longer than all\n"), ("longer than all\n".into(), "3\n".into()));
}

#[test]
fn file_that_was_moved_away_or_cannot_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let (engine, log) = (engine(), DecisionLog::open(options(&file)).unwrap());
    let write = || {
        decide(&engine, &log, &request("/x", "", &[]));
        log.flush();
    };
    write();
    fs::rename(&file, folder.path().join("moved")).unwrap();
    write();
    assert_eq!(text_of(&file).lines().count(), 1);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    write();
    write();
    assert_eq!(log.lost(), 2);
    fs::remove_dir(&file).unwrap();
    write();
    assert_eq!((text_of(&file).lines().count(), log.lost()), (1, 2));
}

#[test]
fn line_that_was_cut_short_is_ended_and_a_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    fs::write(&file, "{\"time\":\"20").unwrap();
    let (engine, log) = (engine(), DecisionLog::open(options(&file)).unwrap());
    assert!(matches!(DecisionLog::open(options(&file)), Err(DecisionLogError::InUse { .. })));
    let id = decide(&engine, &log, &request("/x", "", &[])).unwrap();
    log.flush();
    let text = fs::read(&file).unwrap();
    assert!(find(text.as_slice(), &id, |_| {}).unwrap().past.is_some());
    assert!(matches!(
        DecisionLog::open(options(folder.path())),
        Err(DecisionLogError::Io { action: "open", .. })
    ));
}

#[test]
fn lines_are_read_up_to_the_limit_and_longer_ones_are_passed_over() {
    let line = |padding: usize| format!("{{\"time\":{}}}\n", "x".repeat(padding)).into_bytes();
    let overhead = line(0).len() - 1;
    let odd = |padding| find(line(padding).as_slice(), "id", |_| {}).unwrap().odd_lines;
    assert_eq!(odd(LINE_MAX_BYTES - overhead), 0);
    assert_eq!(odd(LINE_MAX_BYTES - overhead + 1), 1);
    let found = find(&b"{\"time\":\"2"[..], "id", |_| {}).unwrap();
    assert_eq!((found.odd_lines, found.is_torn), (0, true));
    assert!(!find(&b""[..], "", |_| {}).unwrap().is_torn);
}

#[test]
fn denial_after_more_conditions_than_a_line_has_room_for_is_kept_without_some() {
    let folder = tempfile::tempdir().unwrap();
    let kept = |conditions: usize| {
        let file = folder.path().join(format!("{conditions}.jsonl"));
        let policy = format!(
            "for number in 0..{conditions} {{ open(\"GET /x\").when(|request| request.path == `${{number}}`); }}"
        );
        let (engine, log) = (engine_by(&policy), DecisionLog::open(options(&file)).unwrap());
        let id = decide(&engine, &log, &request("/x", "", &[])).unwrap();
        log.flush();
        assert_eq!((log.lost(), log.shared.written.get()), (0, 1));
        let text = fs::read(&file).unwrap();
        let past = find(text.as_slice(), &id, |_| {}).unwrap().past.unwrap();
        let line: serde_json::Value = serde_json::from_slice(&text).unwrap();
        (past.outcomes.len(), line["conditions_left_out"].as_u64())
    };
    assert_eq!(kept(10), (10, None));
    assert_eq!(kept(3_000), (1_500, Some(1_500)));
}

#[test]
fn decision_that_cannot_be_is_an_error_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let (engine, log) = (engine(), DecisionLog::open(options(&file)).unwrap());
    let id = decide(&engine, &log, &request("/x", "", &[])).unwrap();
    log.flush();
    let text = text_of(&file);
    for (from, to) in
        [("\"/x\"", "\"/../x\""), ("\"GET\"", "\"G T\""), ("192.0.2.1", "here"), ("2023-", "x-")]
    {
        let altered = format!("\n{}", text.replace(from, to));
        assert_ne!(altered.trim_start(), text);
        let wrong = find(altered.as_bytes(), &id, |_| {}).unwrap_err();
        assert!(matches!(wrong, FindError::Content { line: 2, .. }), "{wrong}");
    }
}
