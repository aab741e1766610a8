//! `rolegate serve` with TLS: certificates from files, which are renewed while it runs, and `sts` as its client.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use super::serving::{Running, TOKEN, configured};
use super::{Run, Told};
use crate::secure::{Authority, Client, Made, ask, first, self_signed, shown};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

const REPLACED: &str = "new connections get the certificate anew";
const KEPT: &str = "the certificate stays as it was";
const POLICY: &str = "open(\"GET /health\"); role(\"reader\").allow(\"GET /api/**\");";

fn run(arguments: &[&str], more: &str, made: &Made) -> Run {
    let config = format!(
        "rolegate:\n  listen: 127.0.0.1:0\n  policies: [p.rhai]\n  tls:\n    certificate: tls/own.crt\n    \
         key: tls/own.key\n{more}"
    );
    configured(arguments)
        .file("config/rolegate.yaml", &config)
        .file("p.rhai", POLICY)
        .file("tls/own.crt", &made.certificate)
        .file("tls/own.key", &made.key)
}

fn checked(more: &str, made: &Made) -> Told {
    run(&["config", "check"], more, made).told()
}

impl Running {
    fn socket(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    /// Writes a file as careful programs do: beside it, and then in its place.
    fn renew(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn is_served_by(&self, made: &Made) -> bool {
        let answer = Client::trusting(&made.certificate).get(self.socket(), "/health");
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

#[test]
fn server_tells_its_certificate_and_its_scheme() {
    let made = self_signed();
    let running = Running::start(run(&["serve"], "", &made));
    assert!(
        running.told.contains("tls        tls/own.crt (valid until 4096-01-01T00:00:00.000Z)"),
        "{}",
        running.told
    );
    assert!(running.told.contains("listening  https://127.0.0.1:"), "{}", running.told);
    assert!(running.is_served_by(&made));
}

#[test]
fn renewed_certificate_is_taken_without_ending_a_connection() {
    let (old, new) = (self_signed(), self_signed());
    let mut running = Running::start(run(&["serve"], "  watch_policies: false\n", &old));
    let mut open = Client::trusting(&old.certificate).connect(running.socket());
    ask(&mut open, "/health", "}");

    // The certificate comes before its key, as it does when nobody takes care.
    running.renew("tls/own.crt", &new.certificate);
    running.wait_for_log(KEPT);
    assert!(running.is_served_by(&old));
    running.renew("tls/own.key", &new.key);
    running.wait_for_log(REPLACED);
    assert!(running.is_served_by(&new) && !running.is_served_by(&old));
    ask(&mut open, "/health", "}");
    assert_eq!(shown(&open), first(&old.certificate));
}

#[test]
fn broken_renewals_keep_what_is_in_force_and_say_why() {
    let made = self_signed();
    let mut running = Running::start(run(&["serve"], "", &made));
    for (name, text, why) in [
        ("tls/own.crt", "nonsense", "`tls/own.crt` holds no certificate"),
        ("tls/own.crt", made.certificate.as_str(), REPLACED),
        ("tls/own.key", self_signed().key.as_str(), "`tls/own.key` does not hold the key"),
    ] {
        running.renew(name, text);
        running.wait_for_log(why);
        assert!(running.is_served_by(&made), "{why}");
    }
    fs::remove_file(running.folder.path().join("tls/own.key")).unwrap();
    running.wait_for_log("`tls/own.key` cannot be read");
    assert!(running.is_served_by(&made));
}

#[test]
fn hang_up_reads_the_files_again_and_tells_what_came_of_it() {
    let made = self_signed();
    let mut running = Running::start(run(&["serve"], "", &made));
    running.signal("HUP");
    running.wait_for_log(REPLACED);
    assert!(running.is_served_by(&made));
    running.signal("TERM");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn check_names_the_file_that_is_wrong_and_what_is_wrong_with_it() {
    let (made, other) = (self_signed(), self_signed());
    assert_eq!(checked("", &made).code, Some(0));
    let with =
        |certificate: &str, key: &str| Made { certificate: certificate.to_owned(), key: key.to_owned() };
    for (more, made, why) in [
        (
            "",
            with("", &made.key),
            "yaml:5:18: `rolegate.tls.certificate`: `tls/own.crt` holds no certificate",
        ),
        (
            "",
            with(&made.certificate, "x"),
            "yaml:6:10: `rolegate.tls.key`: `tls/own.key` holds no private key",
        ),
        ("", with(&made.certificate, &other.key), "`tls/own.key` does not hold the key of the certificate"),
        ("    client_ca: gone.crt\n", made, "`rolegate.tls.client_ca`: `gone.crt` cannot be read"),
    ] {
        let told = checked(more, &made);
        assert_eq!(told.code, Some(1));
        assert!(told.err.contains(why), "{why}: {}", told.err);
        // What cannot be checked cannot be served, and leaves nothing behind.
        let (told, folder) = run(&["serve"], more, &made).told_with_folder();
        assert!(told.code == Some(1) && told.err.contains(why), "{}", told.err);
        assert!(!folder.path().join("data").exists());
    }
}

#[test]
fn clients_that_need_a_certificate_are_served_with_one() {
    let (made, authority) = (self_signed(), Authority::new());
    let run = run(&["serve"], "    client_ca: clients.crt\n", &made).file("clients.crt", &authority.pem());
    let running = Running::start(run);
    assert!(!running.is_served_by(&made));
    let brings = authority.sign();
    let client = Client { brings: Some(&brings), ..Client::trusting(&made.certificate) };
    let answer = client.get(running.socket(), "/health").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn client_program_works_over_tls() {
    let made = self_signed();
    let running = Running::start(run(&["serve"], "", &made));
    let sts = |trusts: &[&str]| {
        let url = format!("https://{}", running.address);
        let mut command = Command::new(env!("CARGO_BIN_EXE_sts"));
        command.current_dir(running.folder.path()).env_clear().env("HOME", running.folder.path());
        command.args(["service-token", "list", "--service-token", TOKEN, "--url", &url]).args(trusts);
        command.output().unwrap()
    };
    let output = sts(&["--ca-cert-path", "tls/own.crt"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && out.contains("bootstrap"), "{out}");
    assert_eq!(sts(&[]).status.code(), Some(4));
}
