//! `rolegate serve` while the clock of its machine jumps, by libfaketime, and in time namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use super::Run;
use super::serving::{Running, TOKEN};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const POLICY: &str = "open(\"GET /health\"); role(\"reader\").allow(\"GET /api/server/info\");";
const CONFIG: &str = "rolegate: {listen: '127.0.0.1:0', policies: [policy.rhai]}\n\
    stackstate: {authentication: {servicetoken: {bootstrap: \
    {token: 4f1c9a70-77ab-4e0d-9f3e-Tb2mXk81Qz5u, roles: [reader], ttl: 1h}}}}\n";
/// How far the clock is from the true time, as libfaketime reads it.
const OFFSET: &str = "offset";
const HOURS_LATER: &str = "+7200";
const TRUE: &str = "+0";

/// The library that lies about the time.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|library| library.is_file());
    found.expect("libfaketime is missing: install it (`apt install faketime`), or run `./check`, which does")
}

fn run() -> Run {
    Run::new(&["serve", "-c", "config.yaml"]).file("config.yaml", CONFIG).file("policy.rhai", POLICY)
}

/// Removes what the library left in memory for servers that were killed.
fn sweep() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("faketime_shm_").or(name.strip_prefix("sem.faketime_sem_"));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another test may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The same run with a clock that is so far from the true time.
fn off_by(run: Run, offset: &str) -> Run {
    sweep();
    let run = run.file(OFFSET, offset);
    let file = run.folder.path().join(OFFSET);
    run.variable("LD_PRELOAD", faketime())
        .variable("FAKETIME_TIMESTAMP_FILE", file)
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .variable("DONT_FAKE_MONOTONIC", "1")
}

impl Running {
    /// Lets the clock jump.
    fn jump_to(&self, offset: &str) {
        let new = self.folder.path().join("offset.new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, self.folder.path().join(OFFSET)).unwrap();
    }

    fn admits(&self) -> bool {
        let answer = self.get("/api/server/info", Some(TOKEN));
        match answer.split(' ').nth(1) {
            Some("200") => true,
            Some("401") => false,
            _ => panic!("{answer}"),
        }
    }

    fn next(self) -> Run {
        self.again(&["serve", "-c", "config.yaml"])
    }
}

#[test]
fn token_seen_expired_stays_so_when_the_clock_comes_back_and_lives_after_a_restart() {
    let mut running = Running::start(off_by(run(), TRUE));
    assert!(running.admits());
    running.jump_to(HOURS_LATER);
    assert!(!running.admits(), "a clock ahead is obeyed");
    running.wait_for_log("the clock jumped ahead");
    running.jump_to(TRUE);
    assert!(!running.admits());
    let running = Running::start(off_by(running.next(), TRUE));
    assert!(running.admits(), "a token that has not expired was lost by a clock that was wrong for a moment");
}

#[test]
fn token_that_nobody_used_meanwhile_lives_when_the_clock_comes_back() {
    let mut running = Running::start(off_by(run(), TRUE));
    running.jump_to(HOURS_LATER);
    running.wait_for_log("the clock jumped ahead");
    running.jump_to(TRUE);
    assert!(running.admits());
}

#[test]
fn clock_that_goes_back_revives_no_expired_token_whether_it_was_used_or_not() {
    let first = Running::start(off_by(run(), TRUE));
    assert!(first.admits());
    // Two hours go by without a server, and then the clock goes back.
    let mut second = Running::start(off_by(first.next(), HOURS_LATER));
    second.jump_to(TRUE);
    assert!(!second.admits());
    second.wait_for_log("the clock jumped back");
}

#[test]
fn start_with_a_clock_that_went_back_warns_and_revives_no_expired_token() {
    let first = Running::start(off_by(run(), TRUE));
    assert!(first.admits());
    let second = Running::start(off_by(first.next(), HOURS_LATER));
    assert!(!second.admits());
    let mut third = Running::start(off_by(second.next(), TRUE));
    third.wait_for_log("warning: the clock of this machine says 20");
    assert!(!third.admits());
    // The way out that the warning names, for a clock that had been wrong before.
    fs::remove_file(third.folder.path().join("data/clock")).unwrap();
    let fourth = Running::start(off_by(third.next(), TRUE));
    assert!(fourth.admits());
}

#[test]
fn stopwatch_that_starts_elsewhere_changes_nothing() {
    // The clocks that time namespaces shift, ten days ahead and back again: only the clock on the wall counts.
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    let mut run = run();
    for days in ["864000", "-1", "0"] {
        let Run { folder, command } = run;
        let mut shifted = Command::new("unshare");
        if id.trim_ascii() != b"0" {
            shifted.args(["--user", "--map-root-user"]);
        }
        shifted.args(["--time", "--monotonic", days, "--boottime", days, "--fork", "--kill-child"]);
        shifted.arg(command.get_program()).args(command.get_args());
        shifted.current_dir(folder.path()).env_clear().stdin(Stdio::null());
        let mut running = Running::start(Run { folder, command: shifted });
        assert!(running.admits(), "{days}");
        // What is killed is its parent, and its output ends when it has ended too.
        running.signal("KILL");
        running.end();
        run = running.next();
    }
    assert!(Running::start(off_by(run, HOURS_LATER)).get("/health", None).starts_with("HTTP/1.1 200 "));
}
