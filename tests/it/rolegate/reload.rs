//! `rolegate serve` while its policies change on disk.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use super::Run;
use super::serving::{Running, TOKEN, configured};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const BROKEN: &str = "role(\"reader\").alow(\"GET /x\");";
const RELOADED: &str = "outcome=\"loaded\"";
const REFUSED: &str = "outcome=\"refused\"";

/// Policies by which the reader may ask for one path more.
fn policy(path: &str) -> String {
    format!(
        "open([\"GET /health\", \"GET /health/policies\"]);\n\
         role(\"reader\").allow(\"GET {path}\").allow(\"POST /api/rolegate/policies/reload\");\n"
    )
}

/// A server with these policies as its only file.
fn serving(more: &str, path: &str) -> Running {
    let config = format!("rolegate:\n  listen: 127.0.0.1:0\n  policies: [policies]\n{more}");
    let run = configured(&["serve"]).file("config/rolegate.yaml", &config);
    Running::start(run.file("policies/p.rhai", &policy(path)))
}

impl Running {
    /// Writes the policies as careful programs do: beside them, and then in their place.
    fn put(&self, text: &str) {
        let folder = self.folder.path().join("policies");
        fs::write(folder.join("p.new"), text).unwrap();
        fs::rename(folder.join("p.new"), folder.join("p.rhai")).unwrap();
    }

    fn status(&self, path: &str) -> String {
        self.get(path, Some(TOKEN)).split(' ').nth(1).unwrap().to_owned()
    }

    fn version(&self) -> String {
        let answer = self.get("/health", None);
        let line = answer.lines().find_map(|line| line.strip_prefix("x-rolegate-policy: "));
        line.unwrap_or_default().to_owned()
    }

    fn state(&self) -> String {
        let answer = self.get("/health/policies", None);
        let state = answer.split("\"state\":\"").nth(1).unwrap();
        state.split('"').next().unwrap().to_owned()
    }
}

#[test]
fn changed_file_is_loaded_and_the_audit_log_tells() {
    let mut running = serving("", "/api/server/info");
    let before = running.version();
    assert_eq!(before.len(), 16);
    running.put(&policy("/api/server/status"));
    running.wait_for_log(RELOADED);
    assert_eq!(
        (running.status("/api/server/info"), running.status("/api/server/status")),
        ("403".into(), "200".into())
    );
    let after = running.version();
    assert_ne!(after, before);
    let audit = fs::read(running.folder.path().join("data/audit.jsonl")).unwrap();
    let last = String::from_utf8(audit).unwrap().lines().last().unwrap().to_owned();
    let told = format!("\"actor\":\"rolegate\",\"policy_before\":\"{before}\",\"policy\":\"{after}\"");
    assert!(last.contains("\"event\":\"policies_replaced\"") && last.contains(&told), "{last}");
}

#[test]
fn broken_policies_are_told_and_the_last_good_ones_stay() {
    let mut running = serving("", "/api/server/info");
    running.put(BROKEN);
    running.wait_for_log(REFUSED);
    assert_eq!((running.state(), running.status("/api/server/info")), ("STALE".into(), "200".into()));
    let told = running.get("/health/policies", Some(TOKEN));
    assert!(told.contains("policies/p.rhai:1:16") && told.contains("`allow`"), "{told}");
    assert!(!running.get("/health/policies", None).contains("p.rhai"));
    running.put(&policy("/api/server/status"));
    running.wait_for_log(RELOADED);
    assert_eq!((running.state(), running.status("/api/server/status")), ("LOADED".into(), "200".into()));
}

#[test]
fn policies_without_a_role_of_a_configured_token_are_refused() {
    let mut running = serving("", "/api/server/info");
    running.put("open(\"GET /health/policies\"); role(\"other\").allow(\"GET /x\");");
    running.wait_for_log(REFUSED);
    assert_eq!((running.state(), running.status("/api/server/info")), ("STALE".into(), "200".into()));
}

#[test]
fn folder_that_is_gone_is_an_error_until_it_is_back() {
    let mut running = serving("", "/api/server/info");
    let (folder, away) = (running.folder.path().join("policies"), running.folder.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    running.wait_for_log("outcome=\"unreadable\"");
    assert_eq!((running.state(), running.status("/api/server/info")), ("ERROR".into(), "200".into()));
    fs::rename(&away, &folder).unwrap();
    running.wait_for_log("outcome=\"unchanged\"");
    assert_eq!(running.state(), "LOADED");
}

#[test]
fn hang_up_loads_policies_that_nobody_watches() {
    let mut running = serving("  watch_policies: false\n", "/api/server/info");
    running.put(&policy("/api/server/status"));
    assert_eq!(running.status("/api/server/info"), "200");
    running.signal("HUP");
    running.wait_for_log("by=\"signal\"");
    assert_eq!(
        (running.status("/api/server/info"), running.status("/api/server/status")),
        ("403".into(), "200".into())
    );
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

/// Loading may take long, and whoever writes policies may not know that the server has only just started.
#[test]
fn hang_up_while_the_server_starts_does_not_end_it() {
    let slow = "print(\"loading\"); let n = 0; while n < 100000 { n += 1; }\n";
    let config = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policies]\n";
    let run = configured(&["serve"]).file("config/rolegate.yaml", config);
    let run = run.file("policies/p.rhai", &format!("{slow}{}", policy("/api/server/info")));
    let running = Running::start_signalled(run, "a policy prints", "HUP");
    assert_eq!(running.status("/api/server/info"), "200");
}

/// A pipe has an end only when somebody writes to it: the server must not wait for that.
#[test]
fn pipe_in_the_place_of_policies_is_an_error_and_is_not_opened() {
    let config = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policies/p.rhai]\n";
    let run = configured(&["serve"]).file("config/rolegate.yaml", config);
    let mut running = Running::start(run.file("policies/p.rhai", &policy("/api/server/info")));
    let folder = running.folder.path().join("policies");
    let made = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(made.success());
    fs::rename(folder.join("pipe"), folder.join("p.rhai")).unwrap();
    running.wait_for_log("outcome=\"unreadable\"");
    assert_eq!((running.state(), running.status("/api/server/info")), ("ERROR".into(), "200".into()));
    running.put(&policy("/api/server/status"));
    running.wait_for_log(RELOADED);
    assert_eq!((running.state(), running.status("/api/server/status")), ("LOADED".into(), "200".into()));
}

/// The rules that deny may stand in the file that is missing.
#[test]
fn link_to_nothing_is_an_error_unless_it_is_hidden() {
    let mut running = serving("", "/api/server/info");
    let folder = running.folder.path().join("policies");
    symlink("nobody@here", folder.join(".#p.rhai")).unwrap();
    running.put(&policy("/api/server/status"));
    running.wait_for_log(RELOADED);
    symlink("../nothing", folder.join("denies.rhai")).unwrap();
    running.wait_for_log("outcome=\"unreadable\"");
    assert!(running.get("/health/policies", Some(TOKEN)).contains("policies/denies.rhai"));
    assert_eq!((running.state(), running.status("/api/server/status")), ("ERROR".into(), "200".into()));
}

#[test]
fn guard_of_the_configuration_refuses_what_no_line_says() {
    let mut running = serving("  reload_guard: refuse-gains\n", "/api/server/info");
    let more = policy("/api/server/*");
    running.put(&more);
    running.wait_for_log("outcome=\"guarded\"");
    assert_eq!((running.state(), running.status("/api/server/status")), ("STALE".into(), "403".into()));
    running.put(&format!("{more}// rolegate: opens GET /api/server/* to reader\n"));
    running.wait_for_log(RELOADED);
    assert_eq!((running.state(), running.status("/api/server/status")), ("LOADED".into(), "200".into()));
}

#[test]
fn version_header_is_switched_off_by_configuration() {
    let running = serving("  policy_version_header: false\n", "/api/server/info");
    assert_eq!(running.version(), "");
    assert_eq!(running.status("/api/server/info"), "200");
}

/// The kubelet writes a new folder, points `..data_tmp` to it, renames that over `..data` and removes the old one.
fn mount(root: &Path, name: &str, text: &str) {
    let mount = root.join("mounted");
    let old = fs::read_link(mount.join("..data")).ok();
    fs::create_dir_all(mount.join(name)).unwrap();
    fs::write(mount.join(name).join("p.rhai"), text).unwrap();
    symlink(name, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    match old {
        Some(old) => fs::remove_dir_all(mount.join(old)).unwrap(),
        None => symlink("..data/p.rhai", mount.join("p.rhai")).unwrap(),
    }
}

fn mounted(policies: &str) -> Run {
    let config = format!("rolegate:\n  listen: 127.0.0.1:0\n  policies: [{policies}]\n");
    let run = configured(&["serve"]).file("config/rolegate.yaml", &config);
    mount(run.folder.path(), "..2030_01_01_00_00_00.0", &policy("/api/server/info"));
    run
}

#[test]
fn swap_of_a_mounted_volume_is_loaded_time_after_time() {
    for place in ["mounted", "mounted/p.rhai"] {
        let mut running = Running::start(mounted(place));
        for (name, path) in
            [("..1", "/api/server/status"), ("..2", "/api/server/info"), ("..3", "/api/server/status")]
        {
            mount(running.folder.path(), name, &policy(path));
            running.wait_for_log(RELOADED);
            let other = if path.ends_with("info") { "/api/server/status" } else { "/api/server/info" };
            assert_eq!(
                (running.status(path), running.status(other)),
                ("200".into(), "403".into()),
                "{place}"
            );
        }
    }
}
