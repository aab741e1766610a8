//! `rolegate token export` and `import`: what goes out comes back, and nothing else.

mod files;

use super::Run;
use super::serving::{Running, TOKEN, configured};
use crate::store::bare;
use rolegate::Secret;
use rolegate::store::embedded::{EmbeddedStore, StoreView};
use rolegate::store::{AfterDelete, Insertion, Names, Store as _};
use rolegate::time::Timestamp;
use rolegate::token::{FormerSecret, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const CONFIG: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n  data_dir: data\n  \
                      audit_file: audit.jsonl\n";
const POLICY: &str = "permission(\"export-tokens\", [\"ANY /api/rolegate/tokens/export\"]);\n\
                      permission(\"import-tokens\", [\"ANY /api/rolegate/tokens/import\"]);\n\
                      role(\"reader\").grants([\"export-tokens\", \"import-tokens\"]);\nrole(\"guest\");\n\
                      role(\"high\").allow(\"GET /high\");\nrole(\"reader\").allow(\"ANY /api/security/tokens/**\");\n\
                      role(\"reader\").allow(\"ANY /api/security/tokens\");\n";

type Kept = (Vec<TokenRecord>, Vec<TokenDigest>);

#[expect(clippy::unwrap_used, reason = "a test without randomness fails")]
fn record(at: u64, role: &str) -> TokenRecord {
    let (secret, kind) = Secret::parse(Secret::generate().unwrap().expose()).unwrap();
    TokenRecord {
        name: format!("token {at} \u{1f511} \"quoted\""),
        roles: vec![RoleName::parse(role).unwrap()],
        created: Timestamp::from_millis(1_000_000 - i64::try_from(at).unwrap_or(0)),
        updated: Timestamp::from_millis(2_000_000),
        ..bare(TokenId::new(TokenId::MIN + at).unwrap(), secret.digest(), kind)
    }
}

/// Tokens of every kind.
fn records() -> Vec<TokenRecord> {
    let former = record(0, "guest");
    let expires = Timestamp::from_millis(4_102_444_800_000);
    vec![
        record(1, "guest"),
        TokenRecord {
            description: Some("for \u{e4} job".to_owned()),
            dedicated_subject: Some("ci".to_owned()),
            expires: Some(expires),
            former: Some(FormerSecret {
                digest: former.digest,
                kind: former.kind,
                expires: Timestamp::from_millis(3_000_000),
            }),
            ..record(2, "reader")
        },
        TokenRecord { disabled: Some(Timestamp::EPOCH), ..record(3, "guest") },
        TokenRecord { expires: Some(Timestamp::from_millis(5)), ..record(4, "guest") },
        TokenRecord { origin: TokenOrigin::Declared, ..record(5, "guest") },
        TokenRecord { roles: Vec::new(), ..record(6, "guest") },
    ]
}

/// Puts tokens into the store of a folder, and one that is deleted for good.
#[expect(clippy::unwrap_used, reason = "a test without its store fails")]
fn fill(folder: &Path, records: &[TokenRecord]) {
    let store = EmbeddedStore::open(&folder.join("data")).unwrap();
    for token in records {
        assert_eq!(store.insert(token, Names::MayRepeat).unwrap(), Insertion::Inserted);
    }
    let gone = TokenRecord { origin: TokenOrigin::Bootstrap, ..record(900, "guest") };
    assert_eq!(store.insert(&gone, Names::MayRepeat).unwrap(), Insertion::Inserted);
    assert!(store.delete(gone.id, AfterDelete::RefuseDigest).unwrap());
}

/// Everything that is kept in the store of a folder.
#[expect(clippy::unwrap_used, reason = "a test without its store fails")]
fn kept(folder: &Path) -> Kept {
    let store = StoreView::open(&folder.join("data")).unwrap();
    let mut tokens = Vec::new();
    store.load(&mut |token| tokens.push(token.to_record())).unwrap();
    (tokens, store.spent(None, 100).unwrap())
}

fn offline(arguments: &[&str]) -> Run {
    let arguments = [&["token"], arguments, &["-c", "rolegate.yaml"]].concat();
    Run::new(&arguments).file("rolegate.yaml", CONFIG).file("policy.rhai", POLICY)
}

/// An export of these tokens.
fn exported(records: &[TokenRecord]) -> String {
    let run = offline(&["export"]);
    fill(run.folder.path(), records);
    let told = run.told();
    assert_eq!((told.code, told.err.lines().count()), (Some(0), 1), "{}", told.err);
    told.out
}

/// What comes of an import into the folder.
#[expect(clippy::unwrap_used, reason = "a test that cannot run its program fails")]
fn import(folder: &Path, file: &str, arguments: &[&str]) -> (i32, String, String) {
    fs::write(folder.join("rolegate.yaml"), CONFIG).unwrap();
    fs::write(folder.join("policy.rhai"), POLICY).unwrap();
    fs::write(folder.join("tokens.jsonl"), file).unwrap();
    let arguments = [&["token", "import", "-c", "rolegate.yaml", "tokens.jsonl"], arguments].concat();
    let mut run = Run::new(&arguments);
    run.command.current_dir(folder);
    let told = run.told();
    (told.code.unwrap(), told.out, told.err)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn audit(folder: &Path) -> String {
    fs::read(folder.join("audit.jsonl")).map(text).unwrap_or_default()
}

#[test]
fn help_of_export_and_of_import() {
    insta::assert_snapshot!(Run::new(&["token", "export", "--help"]).told().out);
    insta::assert_snapshot!(Run::new(&["token", "import", "--help"]).told().out);
}

#[test]
fn what_is_exported_is_the_same_after_its_import_into_an_empty_store() {
    let run = offline(&["export", "-f", "tokens.jsonl"]);
    fill(run.folder.path(), &records());
    let before = kept(run.folder.path());
    let Run { folder, mut command } = run;
    let told = command.output().unwrap();
    assert_eq!(text(told.stderr), "exported 6 tokens and 1 digest of deleted ones\n");
    assert!(told.status.success() && told.stdout.is_empty());
    let path = folder.path().join("tokens.jsonl");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(audit(folder.path()).contains("\"tokens_exported\""));
    assert!(
        !folder
            .path()
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with(".part") })
    );

    let other = tempfile::tempdir().unwrap();
    let file = text(fs::read(path).unwrap());
    let (code, out, err) = import(other.path(), &file, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("6 tokens: 6 created\n1 digest of deleted tokens: 1 created\n"), "{out}");
    assert_eq!(kept(other.path()), before);
    assert_eq!(audit(other.path()).matches("\"token_created\"").count(), 6);
    assert_eq!(audit(other.path()).matches("\"tokens_imported\"").count(), 2);

    // A second time, nothing is left to do.
    let (code, out, _) = import(other.path(), &file, &[]);
    assert_eq!((code, out.as_str()), (0, "6 tokens: 6 unchanged\n1 digest of deleted tokens: 1 unchanged\n"));
    assert_eq!(kept(other.path()), before);
    assert_eq!(audit(other.path()).matches("\"tokens_imported\"").count(), 2);
}

#[test]
fn dry_run_tells_the_same_and_changes_nothing() {
    let file = exported(&records());
    for has_store in [false, true] {
        let (dry, wet) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if has_store {
            let other = TokenRecord { name: "other".to_owned(), ..record(1, "guest") };
            for folder in [dry.path(), wet.path()] {
                fill(folder, std::slice::from_ref(&other));
            }
        }
        let store = dry.path().join("data/tokens.redb");
        let before = fs::read(&store).ok();
        let (code, out, _) = import(dry.path(), &file, &["--dry-run", "-o", "json"]);
        let (wet_code, wet_out, _) = import(wet.path(), &file, &["-o", "json"]);
        assert_eq!((code, code), (wet_code, if has_store { 3 } else { 0 }));
        assert_eq!(out.replace("\"dryRun\": true", "\"dryRun\": false"), wet_out);
        assert!(fs::read(&store).ok() == before && audit(dry.path()).is_empty());
        assert_eq!(dry.path().join("data").exists(), has_store);
    }
}

#[test]
fn conflicts_are_told_and_left_alone_and_everything_else_is_imported() {
    let tokens = records();
    let file = exported(&tokens);
    let folder = tempfile::tempdir().unwrap();
    let renamed = TokenRecord { name: "kept".to_owned(), ..tokens[0].clone() };
    let same_secret = TokenRecord { digest: tokens[2].digest, ..record(700, "guest") };
    let same_former = TokenRecord { digest: tokens[1].former.unwrap().digest, ..record(701, "guest") };
    fill(folder.path(), &[renamed.clone(), same_secret, same_former]);
    let store = EmbeddedStore::open(&folder.path().join("data")).unwrap();
    let spent = TokenRecord { digest: tokens[3].digest, ..record(702, "guest") };
    assert_eq!(store.insert(&spent, Names::MayRepeat).unwrap(), Insertion::Inserted);
    assert!(store.delete(spent.id, AfterDelete::RefuseDigest).unwrap());
    drop(store);

    let (code, out, err) = import(folder.path(), &file, &[]);
    assert_eq!((code, err.as_str()), (3, ""));
    let conflicts: Vec<&str> =
        out.lines().filter_map(|line| line.split_once(": conflict: ").map(|(_, reason)| reason)).collect();
    assert_eq!(
        conflicts,
        [
            "a token with this secret was deleted here for good",
            "the token 100000000000700 has the same secret",
            "the token 100000000000701 has the same secret",
            "the token is kept with other content (name)",
        ],
        "{out}"
    );
    assert!(out.contains("6 tokens: 2 created, 4 in conflict\n"), "{out}");
    assert!(kept(folder.path()).0.contains(&renamed));

    // What differs is replaced when it is asked for, and other conflicts stay.
    let (code, out, _) = import(folder.path(), &file, &["--replace"]);
    assert_eq!(code, 3);
    assert!(out.contains("6 tokens: 1 replaced, 2 unchanged, 3 in conflict\n"), "{out}");
    assert!(kept(folder.path()).0.contains(&tokens[0]));
}

#[test]
fn spent_digest_of_a_token_here_is_a_conflict() {
    let file = exported(&[]);
    let folder = tempfile::tempdir().unwrap();
    let digest =
        file.split("\"spent\":\"").nth(1).and_then(|rest| TokenDigest::from_hex(rest.get(..64)?)).unwrap();
    let live = TokenRecord { digest, ..record(1, "guest") };
    let store = EmbeddedStore::open(&folder.path().join("data")).unwrap();
    assert_eq!(store.insert(&live, Names::MayRepeat).unwrap(), Insertion::Inserted);
    drop(store);
    let (code, out, _) = import(folder.path(), &file, &[]);
    assert_eq!(code, 3);
    assert!(out.contains(": conflict: the token 100000000000001 has the same secret\n"), "{out}");
    assert_eq!(kept(folder.path()), (vec![live], Vec::new()));
}

#[test]
fn file_that_is_not_whole_or_not_as_it_was_written_is_refused_and_nothing_changes() {
    let file = exported(&records());
    let (cut_at, _) = file.match_indices('\n').nth(2).unwrap();
    let last = file.trim_end().rfind('\n').unwrap();
    let head = |bytes: usize| file.get(..bytes).unwrap().to_owned();
    let lines: Vec<&str> = file.lines().collect();
    let twice = [&lines[..2], &[lines[1]], &lines[2..]].concat().join("\n") + "\n";
    let long = format!("{}\n{{\"token\":\"{}\"}}\n", lines[0], "x".repeat(64 * 1024));
    for (text, problem) in [
        (String::new(), "line 1: this is no export of `rolegate token export`"),
        ("{\"format\":\"other\",\"version\":1}\n".to_owned(), "line 1: this is no export"),
        (head(cut_at + 1), "line 4: the file ends before its last line"),
        (head(cut_at - 5), "line 3: the file ends before its last line"),
        (head(last + 1), "line 9: the file ends before its last line"),
        (
            file.replacen("\"version\":1", "\"version\":2", 1),
            "line 1: the export has version 2, and this version",
        ),
        (file.replacen("guest", "power", 1), "line 9: the sum of the lines before is another one"),
        (format!("{file}{{}}\n"), "line 10: the file goes on after its last line"),
        (twice, "line 3: the token 100000000000006 stands there twice"),
        (long, "line 2: it has more than 65536 bytes"),
        (
            file.replacen("\"kind\"", "\"secret\":\"svctok-x\",\"kind\"", 1),
            "line 2: it has other fields than it may",
        ),
        (file.replacen("\"id\":1", "\"id\":9991", 1), "line 2: `id` is not what a token may have there"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (code, out, err) = import(folder.path(), &text, &[]);
        assert_eq!(code, 1, "{problem}\n{out}{err}");
        assert!(err.starts_with(&format!("error: tokens.jsonl: {problem}")), "{problem}\n{err}");
        assert!(!folder.path().join("data").exists() && audit(folder.path()).is_empty());
        assert!(!err.contains("svctok"), "{err}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(import(folder.path(), &file, &[]).0, 0);
}

#[test]
fn former_secret_that_would_live_too_long_is_told_with_its_line_and_left_alone() {
    let former = |at, expires| TokenRecord {
        former: Some(FormerSecret {
            digest: record(0, "guest").digest,
            expires,
            kind: SecretKind::Generated,
        }),
        ..record(at, "guest")
    };
    let tokens = [former(1, Timestamp::from_millis(4_102_444_800_000)), former(2, Timestamp::from_millis(1))];
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = import(folder.path(), &exported(&tokens), &[]);
    assert_eq!(code, 3, "{out}");
    let told = "line 3: 100000000000001 `token 1 \u{1f511} \\\"quoted\\\"`: conflict: the former secret of the token would \
                live on for more than 30 days from now: set the clock right if it is behind, or rotate the token where \
                it comes from and export it again";
    assert!(out.lines().any(|line| line == told), "{out}");
    assert_eq!(kept(folder.path()).0, [tokens[1].clone()]);
}

#[test]
fn token_that_was_deleted_while_the_file_was_written_is_not_imported() {
    let tokens = [record(1, "guest"), TokenRecord { origin: TokenOrigin::Declared, ..record(2, "guest") }];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let whole = exported(&tokens);
    let (lines, _) = whole.split_at(whole.find("{\"spent\"").unwrap());
    let lines = format!("{lines}{{\"spent\":\"{}\"}}\n", hex(tokens[1].digest.as_bytes()));
    let sum = hex(&Sha256::digest(lines.as_bytes()));
    let file = format!("{lines}{{\"end\":{{\"tokens\":2,\"spent\":1,\"sha256\":\"{sum}\"}}}}\n");
    let folder = tempfile::tempdir().unwrap();
    let (dry_code, dry, _) = import(folder.path(), &file, &["--dry-run"]);
    let (code, out, err) = import(folder.path(), &file, &[]);
    // It is not here as the file has it, and that is told like a conflict.
    assert_eq!((code, err.as_str(), dry_code), (3, "", 3));
    assert_eq!(dry.replace("dry run: ", ""), out);
    assert!(out.contains(": deleted: it was deleted while the file was written\n"), "{out}");
    assert!(out.contains("2 tokens: 1 created, 1 deleted\n"), "{out}");
    assert_eq!(kept(folder.path()), (vec![tokens[0].clone()], vec![tokens[1].digest]));
}

#[test]
fn older_export_brings_back_what_was_deleted_since_unless_its_digest_is_spent_here() {
    let tokens = [record(1, "guest"), TokenRecord { origin: TokenOrigin::Declared, ..record(2, "guest") }];
    let file = exported(&tokens);
    for (is_the_same_store, code, count) in [(true, 3, 1), (false, 0, 2)] {
        let folder = tempfile::tempdir().unwrap();
        if is_the_same_store {
            fill(folder.path(), &tokens);
            let store = EmbeddedStore::open(&folder.path().join("data")).unwrap();
            assert!(store.delete(tokens[0].id, AfterDelete::ForgetDigest).unwrap());
            assert!(store.delete(tokens[1].id, AfterDelete::RefuseDigest).unwrap());
        }
        let (told, out, _) = import(folder.path(), &file, &[]);
        assert_eq!((told, kept(folder.path()).0.len()), (code, count), "{out}");
        assert!(kept(folder.path()).0.contains(&tokens[0]));
    }
}

#[test]
fn replacing_makes_a_former_secret_good_again_and_importing_alone_does_not() {
    let old = [record(1, "guest")];
    let file = exported(&old);
    let rotated = TokenRecord { digest: record(7, "guest").digest, ..old[0].clone() };
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), std::slice::from_ref(&rotated));
    assert_eq!(import(folder.path(), &file, &[]).0, 3);
    assert_eq!(kept(folder.path()).0, [rotated]);
    assert_eq!(import(folder.path(), &file, &["--replace"]).0, 0);
    assert_eq!(kept(folder.path()).0, old);
}

#[test]
fn role_that_no_policy_defines_is_imported_with_a_warning() {
    let file = exported(&[record(1, "gone")]);
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = import(folder.path(), &file, &[]);
    assert_eq!(code, 0);
    let expected =
        "warning: the role `gone` of 1 token is defined by no policy, and permits nothing until one does\n";
    assert_eq!(err, expected);
    assert_eq!(kept(folder.path()).0.len(), 1);
}

#[test]
fn export_replaces_a_file_and_nothing_else() {
    for (is_link, code) in [(false, Some(0)), (true, Some(1))] {
        let run = offline(&["export", "-f", "tokens.jsonl"]).file("before", "before");
        fill(run.folder.path(), &records());
        let (before, path) = (run.folder.path().join("before"), run.folder.path().join("tokens.jsonl"));
        if is_link {
            std::os::unix::fs::symlink(&before, &path).unwrap();
        } else {
            fs::copy(&before, &path).unwrap();
        }
        let Run { folder: _folder, mut command } = run;
        let told = command.output().unwrap();
        assert_eq!(told.status.code(), code, "{}", String::from_utf8_lossy(&told.stderr));
        assert_eq!(fs::symlink_metadata(&path).unwrap().is_symlink(), is_link);
        assert_eq!(fs::read(&before).unwrap(), b"before");
    }
}

fn serving() -> Running {
    let run = configured(&["serve"]);
    fill(&run.folder.path().join("other"), &[]);
    Running::start(run.file("policy.rhai", POLICY))
}

/// A command on the running server, in its folder.
#[expect(clippy::unwrap_used, reason = "a test that cannot write its files fails")]
fn online(running: &Running, arguments: &[&str]) -> (i32, String, String) {
    let folder = running.folder.path();
    fs::write(folder.join("token"), TOKEN).unwrap();
    let url = format!("http://{}", running.address);
    let mut run =
        Run::new(&[&["token"], arguments, &["--url", &url, "--service-token-file", "token"]].concat());
    run.command.current_dir(folder);
    let told = run.told();
    assert!(!told.out.contains(TOKEN) && !told.err.contains(TOKEN));
    (told.code.unwrap(), told.out, told.err)
}

#[test]
fn running_server_exports_and_imports_within_reach_alone() {
    let running = serving();
    let path = running.folder.path().join("in.jsonl");
    let tokens = [
        record(1, "guest"),
        record(2, "high"),
        record(3, "gone"),
        TokenRecord { origin: TokenOrigin::Declared, ..record(4, "guest") },
    ];
    fs::write(&path, exported(&tokens)).unwrap();
    let (code, dry, _) = online(&running, &["import", "in.jsonl", "--dry-run"]);
    assert_eq!(code, 3);
    let (code, out, err) = online(&running, &["import", "in.jsonl"]);
    assert_eq!((code, err.as_str()), (3, ""));
    assert_eq!(dry.replace("dry run: ", ""), out);
    assert!(out.contains("`token 1 \u{1f511} \\\"quoted\\\"`: created\n"), "{out}");
    assert!(out.contains("does not have what it would hand on: `GET /high`"), "{out}");
    assert!(out.contains("no policy defines the role `gone`"), "{out}");
    assert!(out.contains("is ruled by the configuration of the server"), "{out}");
    assert!(out.contains("4 tokens: 1 created, 3 in conflict\n"), "{out}");

    let (code, out, err) = online(&running, &["export"]);
    assert_eq!((code, err.as_str()), (0, "exported 2 tokens and 1 digest of deleted ones\n"));
    let ids = out.lines().filter(|line| line.contains("\"token\"")).count();
    assert!(ids == 2 && out.contains("\"id\":100000000000001"), "{out}");
}

#[test]
fn restored_server_lets_the_same_tokens_in() {
    let mut running = serving();
    let secret = Secret::generate().unwrap();
    let known = TokenRecord { digest: secret.digest(), ..record(1, "reader") };
    fs::write(running.folder.path().join("in.jsonl"), exported(&[known])).unwrap();
    assert_eq!(online(&running, &["import", "in.jsonl"]).0, 0);
    assert_eq!(online(&running, &["export", "-f", "out.jsonl"]).0, 0);
    running.signal("TERM");
    running.end();

    let file = text(fs::read(running.folder.path().join("out.jsonl")).unwrap());
    let run =
        configured(&["token", "import", "in.jsonl"]).file("policy.rhai", POLICY).file("in.jsonl", &file);
    let Run { folder, mut command } = run;
    let told = command.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut run = Run::new(&["serve"]);
    run.command.current_dir(folder.path());
    run.folder = folder;
    let running = Running::start(run);
    for token in [secret.expose(), TOKEN] {
        let answer = running.get("/api/security/tokens", Some(token));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(running.told.contains("(2 tokens)"), "{}", running.told);
}

#[test]
fn store_in_use_says_how_to_ask_its_server() {
    let running = serving();
    fs::write(running.folder.path().join("in.jsonl"), exported(&[])).unwrap();
    for arguments in [&["token", "export"][..], &["token", "import", "in.jsonl"]] {
        let mut run = Run::new(arguments);
        run.command.current_dir(running.folder.path());
        let told = run.told();
        assert_eq!(told.code, Some(1));
        assert!(
            told.err.contains("is in use, as by a running server: ask that server with `--url URL"),
            "{}",
            told.err
        );
    }
}
