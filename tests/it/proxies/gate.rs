//! `rolegate serve` with the forward-auth configuration of the examples and the policies of the corpora.

use super::Who;
use rolegate::token::Secret;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the corpora say of the policies.
const POLICIES: &str = include_str!("../../corpora/fixture.rhai");
/// What else they say here: of clients and hosts that are what they are, and of others.
const CLIENTS: &str = r#"
authenticated("GET /client/own").when(|request| request.client_ip == "127.0.0.1");
authenticated("GET /client/told").when(|request| request.client_ip != "127.0.0.1");
authenticated("GET /host/own").when(|request| request.header("host") == "localhost");
authenticated("GET /host/told").when(|request| request.header("host") != "localhost");
"#;
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/proxies/rolegate.yaml");

/// A running server, with the tokens of the corpora.
pub(super) struct Gate {
    pub(super) address: SocketAddr,
    user: Secret,
    admin: Secret,
    expired: Secret,
    unknown: Secret,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Gate {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [user, admin, expired, unknown] = [(); 4].map(|()| Secret::generate().unwrap());
        let mut config =
            "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policies.rhai, clients.rhai]\n  limits: \
                          {failed_authentications: {limited: false}}\n  tokens:\n"
                .to_owned();
        for (name, role, secret, expires) in [
            ("token of user", "user", &user, "2100-01-01T00:00:00Z"),
            ("token of admin", "admin", &admin, "2100-01-01T00:00:00Z"),
            ("token of the past", "admin", &expired, "2001-01-01T00:00:00Z"),
        ] {
            let digest: String =
                secret.digest().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(
                config,
                "    - {{name: {name}, digest: 'sha256:{digest}', roles: [{role}], expires: {expires}}}"
            )
            .unwrap();
        }
        write(&folder.path().join("test.yaml"), &config);
        write(&folder.path().join("policies.rhai"), POLICIES);
        write(&folder.path().join("clients.rhai"), CLIENTS);
        let mut child = Command::new(env!("CARGO_BIN_EXE_rolegate"))
            .args(["serve", "--config", SHIPPED, "--config", "test.yaml"])
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !told.contains("listening") {
            assert!(out.read_line(&mut told).unwrap() > 0, "rolegate did not start: {told}");
        }
        let address = told.rsplit("http://").next().unwrap().trim_end().parse().unwrap();
        Self { address, user, admin, expired, unknown, child, _folder: folder }
    }

    pub(super) fn token(&self, who: Who) -> Option<&str> {
        match who {
            Who::Nobody => None,
            Who::User => Some(self.user.expose()),
            Who::Admin => Some(self.admin.expose()),
        }
    }

    /// The token that a row of the corpus names; `None` when it brings none of its own.
    pub(super) fn named(&self, directive: Option<&str>) -> Option<&str> {
        match directive {
            None => self.token(Who::User),
            Some("none") => None,
            Some("expired") => Some(self.expired.expose()),
            Some("unknown") => Some(self.unknown.expose()),
            Some(other) => panic!("`@token={other}`"),
        }
    }

    /// The text with live tokens in the place of their names.
    pub(super) fn with_tokens(&self, text: &str) -> String {
        text.replace("USER", self.user.expose()).replace("ADMIN", self.admin.expose())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Writes a file that nobody else may read.
fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
