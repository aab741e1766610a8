//! Which of the tokens are live: by the store, and by a running server.

use super::super::Run;
use super::super::serving::{Running, TOKEN, configured};
use super::{fingerprint, generated, scan};
use rolegate::store::embedded::EmbeddedStore;
use rolegate::store::{Insertion, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{FormerSecret, RoleName, Secret, TokenId, TokenRecord};
use std::fmt::Write as _;

const CONFIG: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n  data_dir: data\n";
const CHOSEN: &str = "4f1c9a70-77ab=4e0d/9f3e+Tb2mXk81Qz5u";
/// Far enough that no test comes near.
const IN_2100: Timestamp = Timestamp::from_millis(4_102_444_800_000);
const IN_2000: Timestamp = Timestamp::from_millis(946_684_800_000);

#[expect(clippy::unwrap_used, reason = "a secret that is none fails the test")]
fn record(at: u64, secret: &str) -> TokenRecord {
    let (secret, kind) = Secret::parse(secret).unwrap();
    TokenRecord {
        name: format!("token {at}"),
        roles: RoleName::parse("reader").into_iter().collect(),
        ..crate::store::bare(TokenId::new(TokenId::MIN + at).unwrap_or(TokenId::LEAST), secret.digest(), kind)
    }
}

/// The secrets of one token of each state, with that of another installation last.
struct Secrets(Vec<String>);

impl Secrets {
    /// A file that has one a line.
    fn file(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, secret| {
            let _ = writeln!(text, "token: \"{secret}\"");
            text
        })
    }

    /// What came of a run, without what is random. It must hold no secret.
    fn told(&self, run: Run) -> String {
        let mut whole = run.whole();
        for (at, secret) in self.0.iter().enumerate() {
            assert!(!whole.contains(secret.trim_start_matches("svctok-")), "{whole}");
            whole = whole.replace(&fingerprint(secret), &format!("PRINT{at}"));
        }
        whole
    }
}

/// The store of a data folder with a token of each state.
#[expect(clippy::unwrap_used, reason = "a test without its store fails")]
fn store(folder: &std::path::Path) -> Secrets {
    let secrets: [String; 7] = std::array::from_fn(|_| generated());
    let former = |secret: &str, expires| {
        let (secret, kind) = Secret::parse(secret).unwrap();
        Some(FormerSecret { digest: secret.digest(), kind, expires })
    };
    let store = EmbeddedStore::open(&folder.join("data")).unwrap();
    let [live, former_live, disabled, expired, rotated, after, _] = &secrets;
    let records = [
        TokenRecord { former: former(former_live, IN_2100), ..record(1, live) },
        TokenRecord { disabled: Some(IN_2000), ..record(2, disabled) },
        TokenRecord { expires: Some(IN_2000), ..record(3, expired) },
        TokenRecord { former: former(rotated, IN_2000), expires: Some(IN_2100), ..record(4, after) },
        record(5, CHOSEN),
    ];
    for record in &records {
        let inserted = store.insert(record, Names::MayRepeat).unwrap();
        assert_eq!(inserted, Insertion::Inserted);
    }
    Secrets(secrets.to_vec())
}

fn offline(arguments: &[&str]) -> Run {
    scan(&[&["-c", "rolegate.yaml"], arguments].concat()).file("rolegate.yaml", CONFIG)
}

#[test]
fn store_tells_the_state_of_each_token() {
    let run = offline(&["leak"]);
    let secrets = store(run.folder.path());
    let run = run.file("leak", &secrets.file());
    insta::assert_snapshot!(secrets.told(run));
    let run = offline(&["-o", "json", "leak"]);
    let secrets = store(run.folder.path());
    let run = run.file("leak", &secrets.file());
    insta::assert_snapshot!(secrets.told(run));
}

#[test]
fn exit_code_is_3_for_live_tokens_alone() {
    for (at, code) in [(0, 3), (1, 3), (2, 0), (3, 0), (4, 0), (5, 3), (6, 0)] {
        let run = offline(&["leak"]);
        let secrets = store(run.folder.path());
        let told = run.file("leak", &secrets.0[at]).told();
        assert_eq!(told.code, Some(code), "{at}: {}{}", told.out, told.err);
    }
}

#[test]
fn looking_changes_nothing_in_the_store() {
    let run = offline(&["leak"]);
    let secrets = store(run.folder.path());
    let file = run.folder.path().join("data/tokens.redb");
    let before = std::fs::read(&file).unwrap();
    let Run { folder, mut command } = run.file("leak", &secrets.file());
    assert_eq!(command.output().unwrap().status.code(), Some(3));
    assert!(std::fs::read(&file).unwrap() == before);
    assert_eq!(folder.path().join("data").read_dir().unwrap().count(), 1);
}

#[test]
fn chosen_token_is_found_by_its_digest_however_it_stands_there() {
    let base64 = "NGYxYzlhNzAtNzdhYj00ZTBkLzlmM2UrVGIybVhrODFRejV1";
    for (text, place) in [
        (format!("bootstrap:\n  token: {CHOSEN}\n"), "leak:2:10"),
        (format!("token: '{CHOSEN}'"), "leak:1:9"),
        (format!("{{\"a\":[1,{{\"token\":\"{CHOSEN}\",\"b\":2}}]}}"), "leak:1:19"),
        (format!("TOKEN={CHOSEN};other"), "leak:1:7"),
        (format!("curl -H X-API-Key:{CHOSEN} https://host/"), "leak:1:19"),
        (format!("https://host/?a=b&token={CHOSEN}&c=d"), "leak:1:25"),
        (format!("\u{0}\u{1}{CHOSEN}\u{0}"), "leak:1:3"),
        (format!("data:\n  token: {base64}\n"), "leak:2:10"),
        (CHOSEN.to_owned(), "leak:1:1"),
    ] {
        let run = offline(&["--chosen", "leak"]);
        store(run.folder.path());
        let told = run.file("leak", &text).told();
        assert_eq!(told.code, Some(3), "{text}\n{}{}", told.out, told.err);
        assert!(
            told.out.starts_with(&format!("{place}: live: token chosen by its operator, fingerprint ")),
            "{text}\n{}",
            told.out
        );
        assert!(!told.out.contains(CHOSEN) && !told.err.contains(CHOSEN));
        assert!(!told.out.contains(base64));
    }
}

#[test]
fn chosen_token_is_not_looked_for_unless_asked_for() {
    let run = offline(&["leak"]);
    store(run.folder.path());
    assert_eq!(run.file("leak", CHOSEN).told().code, Some(0));
    insta::assert_snapshot!(scan(&["--chosen", "leak"]).file("leak", CHOSEN).whole(), @"
    exit code 2
    -- stdout
    -- stderr
    error: `--chosen` knows tokens by their digests alone: it takes `--config` or `--url`
    ");
}

#[test]
fn words_that_are_nobodys_token_are_not_told() {
    let run = offline(&["--chosen", "leak"]);
    store(run.folder.path());
    let told = run
        .file("leak", "some-words-of-more-than-twenty-letters, and 4f1c9a70-77ab=4e0d/9f3e+Tb2mXk81Qz5")
        .told();
    assert_eq!((told.code, told.out.as_str()), (Some(0), "1 file, 79 bytes: no token was found\n"));
}

#[test]
fn without_a_store_nothing_is_searched() {
    let secret = generated();
    let run = offline(&["leak"]).file("leak", &secret);
    insta::assert_snapshot!(run.whole(), @"
    exit code 1
    -- stdout
    -- stderr
    error: cannot open `data/tokens.redb`: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(scan(&["-c", "none.yaml", "leak"]).whole(), @"
    exit code 1
    -- stdout
    -- stderr
    error: none.yaml: cannot be read: No such file or directory (os error 2); name the files with `--config`
    ");
}

const POLICY: &str = "permission(\"look-up-tokens\", [\"POST /api/rolegate/tokens/lookup\"]);\n\
                      role(\"reader\").grants([\"look-up-tokens\"]);\nrole(\"guest\");\n";

fn serving(policy: &str) -> Running {
    Running::start(configured(&["serve"]).file("policy.rhai", policy))
}

/// The arguments by which the server is asked, and its token in a file.
fn online(running: Running, arguments: &[&str]) -> (Running, Run) {
    let url = format!("http://{}/", running.address);
    let run = scan(&[&["--url", &url, "--service-token-file", "token"], arguments].concat());
    (running, run.file("token", &format!("{TOKEN}\n")))
}

#[test]
fn running_server_is_asked_by_digests() {
    let running = serving(POLICY);
    let secret = generated();
    let (running, run) = online(running, &["--chosen", "leak", "values.yaml"]);
    let address = running.address.clone();
    let told = run.file("leak", &secret).file("values.yaml", &format!("token: \"{TOKEN}\"\n")).told();
    assert!(!told.out.contains(TOKEN) && !told.err.contains(TOKEN) && !told.out.contains(&secret));
    assert_eq!(told.code, Some(3), "{}", told.err);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(
        lines[0],
        format!("leak:1:1: not known here: token svctok-…, fingerprint {}", fingerprint(&secret))
    );
    let start = format!(
        "values.yaml:1:9: live: token chosen by its operator, fingerprint {}, id ",
        fingerprint(TOKEN)
    );
    assert!(lines[1].starts_with(&start) && lines[1].contains("name `bootstrap`, until "), "{}", lines[1]);
    assert!(lines[2].ends_with("2 tokens found: 1 live, 1 not known here"), "{}", lines[2]);
    assert!(!told.err.contains(&address));
}

#[test]
fn server_that_does_not_answer_or_lets_nobody_in_is_told_before_anything_is_searched() {
    let running = serving("role(\"reader\").allow(\"GET /x\");\n");
    let address = running.address.clone();
    let (running, run) = online(running, &["leak"]);
    let whole = run.whole().replace(&address, "ADDRESS");
    let (told, _decision) = whole.split_once(" (decision ").unwrap();
    insta::assert_snapshot!(told, @"
    exit code 1
    -- stdout
    -- stderr
    error: http://ADDRESS answers 403 Forbidden: this token may not `POST /api/rolegate/tokens/lookup`
    ");
    let (mut running, run) = online(running, &["leak"]);
    insta::assert_snapshot!(run.file("token", &generated()).whole().replace(&address, "ADDRESS"), @"
    exit code 1
    -- stdout
    -- stderr
    error: http://ADDRESS answers 401 Unauthorized: the token of `--service-token-file` is not live there
    ");
    // Another program may have got the port of a server that has ended.
    let (nobody, _kept) = crate::process::address_of_nobody().unwrap();
    running.address = nobody.to_string();
    let address = running.address.clone();
    let (_, run) = online(running, &["leak"]);
    let whole = run.whole().replace(&address, "ADDRESS");
    assert!(
        whole.starts_with("exit code 1\n-- stdout\n-- stderr\nerror: no answer from http://ADDRESS: "),
        "{whole}"
    );
}

#[test]
fn store_in_use_says_how_to_ask_its_server() {
    let running = serving(POLICY);
    let files = ["token", "scan", "-c", "config/rolegate.yaml", "leak"];
    let mut run = configured(&files);
    run.command.current_dir(running.folder.path());
    insta::assert_snapshot!(run.whole(), @"
    exit code 1
    -- stdout
    -- stderr
    error: the token store in `data` is in use, as by a running server: ask that server with `--url URL --service-token-file FILE`, or stop it
    ");
}

#[test]
fn arguments_that_do_not_fit_together_are_wrong_usage() {
    for arguments in [
        &["--url", "http://localhost", "leak"][..],
        &["--service-token-file", "token", "leak"],
        &["--url", "http://localhost", "--service-token-file", "token", "-c", "rolegate.yaml", "leak"],
        &["--timeout", "1s", "leak"],
        &["--url", "http://localhost", "--service-token-file", "token", "--timeout", "0s", "leak"],
        &["--url", "http://localhost", "--service-token-file", "-", "-"],
        &[],
    ] {
        let told = scan(arguments).told();
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{arguments:?}");
    }
}
