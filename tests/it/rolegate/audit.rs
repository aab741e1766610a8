//! `rolegate audit verify`, and the audit log of `rolegate serve`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use super::serving::{Running, configured};
use super::{POLICY, Run, SERVER};
use rolegate::audit::file::FileAudit;
use rolegate::audit::{Actor, Audit, AuditEntry, AuditEvent};
use rolegate::time::Timestamp;
use std::fs;
use std::path::Path;

/// Adds so many entries, in files of two entries each.
fn write(path: &Path, entries: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let audit = FileAudit::open(path).unwrap().with_max_bytes(400);
    for count in 1..=entries {
        audit
            .record(&AuditEntry {
                at: Timestamp::EPOCH,
                actor: Actor::Program,
                event: AuditEvent::TokensExported { count },
                client_ip: None,
                request_id: None,
            })
            .unwrap();
    }
}

/// A run beside a log of five entries in three files.
fn beside_a_log(arguments: &[&str]) -> Run {
    let run = Run::new(arguments);
    write(&run.folder.path().join("data/audit.jsonl"), 5);
    run
}

fn change(run: &Run, name: &str, from: &str, to: &str) {
    let path = run.folder.path().join(name);
    let text = fs::read(&path).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn help_of_audit() {
    insta::assert_snapshot!(Run::new(&["audit", "--help"]).whole());
}

#[test]
fn help_of_audit_verify() {
    insta::assert_snapshot!(Run::new(&["audit", "verify", "--help"]).whole());
}

#[test]
fn whole_log_is_told_with_its_files_and_its_last_entry() {
    insta::assert_snapshot!(beside_a_log(&["audit", "verify", "data/audit.jsonl"]).whole());
    let run = beside_a_log(&["audit", "verify"]);
    let run = run.file("config/rolegate.yaml", SERVER).file("config/authentication.yaml", "stackstate: {}\n");
    let told = run.file("policy.rhai", POLICY).told();
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 5), "{}{}", told.out, told.err);
}

#[test]
fn log_that_was_changed_is_told_with_files_and_lines() {
    let broken = |arguments: &[&str]| {
        let run = beside_a_log(arguments);
        change(&run, "data/audit.jsonl.000000000002", "\"count\":2", "\"count\":7");
        fs::remove_file(run.folder.path().join("data/audit.jsonl.000000000004")).unwrap();
        fs::write(run.folder.path().join("data/audit.jsonl.1.gz"), "").unwrap();
        run
    };
    insta::assert_snapshot!(broken(&["audit", "verify", "data/audit.jsonl"]).whole());
    let run = beside_a_log(&["audit", "verify", "data/audit.jsonl"]);
    change(&run, "data/audit.jsonl.000000000002", "\"count\":2", "\"count\":7");
    insta::assert_snapshot!(run.whole());
    let told = broken(&["audit", "verify", "data/audit.jsonl", "-o", "json"]).told();
    assert_eq!((told.code, told.err.as_str()), (Some(1), ""));
    insta::assert_snapshot!(told.out);
}

#[test]
fn entry_that_has_to_be_there_tells_a_log_that_was_cut_off() {
    let told = beside_a_log(&["audit", "verify", "data/audit.jsonl"]).told();
    let last = told.out.lines().find_map(|line| line.strip_prefix("last entry ")).unwrap().to_owned();
    assert!(last.starts_with("5:") && last.len() == 66, "{last}");
    let arguments = ["audit", "verify", "data/audit.jsonl", "--last", &last];
    assert_eq!(beside_a_log(&arguments).told().code, Some(0));
    let run = beside_a_log(&arguments);
    fs::remove_file(run.folder.path().join("data/audit.jsonl")).unwrap();
    insta::assert_snapshot!(run.whole().replace(&last, "LAST"));
    for wrong in ["x", "0", "5:short"] {
        let told = Run::new(&["audit", "verify", "a", "--last", wrong]).told();
        assert_eq!(told.code, Some(2), "{wrong}: {}", told.err);
    }
}

#[test]
fn log_that_is_not_there_is_an_error() {
    let told = Run::new(&["audit", "verify", "nowhere/audit.jsonl"]).told();
    assert_eq!(told.code, Some(1));
    assert!(told.err.starts_with("error: cannot read the audit log `nowhere/audit.jsonl`"), "{}", told.err);
}

fn serving(more: &str) -> Running {
    let config = format!("rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n{more}");
    Running::start(configured(&["serve"]).file("config/rolegate.yaml", &config))
}

#[test]
fn log_that_was_moved_away_goes_on_in_a_new_file_at_the_signal() {
    let mut running = serving("");
    let log = running.folder.path().join("data/audit.jsonl");
    fs::rename(&log, log.with_extension("jsonl.1")).unwrap();
    running.signal("HUP");
    running.wait_for_log("policies reloaded");
    let text = String::from_utf8(fs::read(&log).unwrap()).unwrap();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "log_reopened");
    assert_eq!((&events[1]["event"], &events[1]["outcome"]), (&"policies_kept".into(), &"done".into()));
    // While the server runs.
    let verified = rolegate::audit::file::verify(&log).unwrap();
    assert_eq!((verified.entries, verified.first), (4, 1));
    running.signal("HUP");
    running.wait_for_log("policies reloaded");
    assert!(
        !String::from_utf8(fs::read(&log).unwrap())
            .unwrap()
            .lines()
            .skip(1)
            .any(|line| line.contains("log_reopened"))
    );
}

#[test]
fn mode_and_samples_without_a_rule_are_told_at_the_start() {
    let running = serving(
        "  audit:\n    mode: best-effort\n  decision_log:\n    file: d.jsonl\n    sampling:\n      - {rule: no-such, one_in: 10}\n",
    );
    let told = &running.told;
    assert!(told.contains("audit      data/audit.jsonl (best-effort)\n"), "{told}");
    let unknown = "decisions  `no-such` is sampled, and no policy has a rule of this name\n";
    assert!(told.contains(unknown), "{told}");
}
