//! A proxy of this machine, started by the command that stands in its example, on an address of its own.

use super::client::exchange;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/proxies");
/// Where `./check` puts the programs that Debian does not have.
const FETCHED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../proxies");
/// Programs with the arguments by which they tell their version.
const PROGRAMS: [(&str, &str); 5] = [
    ("nginx", "-v"),
    ("caddy", "version"),
    ("haproxy", "-v"),
    ("envoy", "--version"),
    ("traefik", "version"),
];

/// How often, and how many times, a proxy that starts is tried.
const PAUSE: Duration = Duration::from_millis(10);
const TRIES_MAX: usize = 6_000;

/// A running proxy.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    /// Its name and its version, as `nginx 1.22.1`.
    pub(super) version: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts the proxy of this name in front of a program, and waits until it hands requests on or refuses them.
    pub(super) fn start(name: &str, gate: SocketAddr, api: SocketAddr) -> Self {
        Self::start_changed(name, gate, api, ("", ""))
    }

    /// The same with one text of the example in the place of another.
    pub(super) fn start_changed(name: &str, gate: SocketAddr, api: SocketAddr, change: (&str, &str)) -> Self {
        let version = version(name);
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let command = place(name, folder.path(), [address, gate, api], change);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = shell(&format!("exec {command}"))
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let is_ready = || {
            // Traefik listens before it has read its routes, and answers with 404 until then.
            let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            TcpStream::connect(address).is_ok()
                && exchange(address, health, &["GET"]).first().is_some_and(|answer| answer.status != 404)
        };
        let mut tries = 0;
        while !is_ready() {
            tries += 1;
            assert!(tries < TRIES_MAX, "`{command}` runs and does not answer");
            if let Some(status) = child.try_wait().unwrap() {
                let told = fs::read(folder.path().join("log")).unwrap();
                panic!("`{command}` ended with {status}: {}", String::from_utf8_lossy(&told));
            }
            // Nothing tells of a proxy that it listens but that it does.
            std::thread::park_timeout(PAUSE);
        }
        Self { address, version, child, _folder: folder }
    }

    /// Ends it, and with it all of its connections.
    pub(super) fn end(mut self) {
        self.terminate();
    }

    /// Asks it to end, which ends the processes that it started too.
    fn terminate(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let pid = self.child.id().to_string();
            let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
            assert!(told.success());
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// A copy of the examples that names these addresses, and the command that its first lines tell.
fn place(name: &str, folder: &Path, [own, gate, api]: [SocketAddr; 3], change: (&str, &str)) -> String {
    let (ip, port) = (own.ip(), own.port());
    let (gate_port, api_port) = (gate.port(), api.port());
    let names = [
        ("127.0.0.1:8000", own.to_string()),
        ("127.0.0.1:8080", gate.to_string()),
        ("127.0.0.1:9000", api.to_string()),
        ("http://:8000", format!("http://:{port}")),
        ("bind 127.0.0.1\n", format!("bind {ip}\n")),
        ("address: 127.0.0.1, port_value: 8000", format!("address: {ip}, port_value: {port}")),
        ("port_value: 8080", format!("port_value: {gate_port}")),
        ("port_value: 9000", format!("port_value: {api_port}")),
    ];
    let below = PathBuf::from("examples/proxies").join(name);
    fs::create_dir_all(folder.join(&below)).unwrap();
    let mut commands = Vec::new();
    let mut is_changed = change.0.is_empty();
    for entry in fs::read_dir(Path::new(EXAMPLES).join(name)).unwrap() {
        let entry = entry.unwrap();
        let mut text = String::from_utf8(fs::read(entry.path()).unwrap()).unwrap();
        commands.extend(text.lines().find_map(|line| line.strip_prefix("# Run: ")).map(str::to_owned));
        for (written, named) in &names {
            text = text.replace(written, named);
        }
        if !change.0.is_empty() && text.contains(change.0) {
            text = text.replace(change.0, change.1);
            is_changed = true;
        }
        for left in ["8000", "8080", "9000"] {
            let is_own = [port, gate_port, api_port].iter().any(|port| port.to_string().contains(left));
            assert!(is_own || !text.contains(left), "a port {left} is left in {}", entry.path().display());
        }
        fs::write(folder.join(&below).join(entry.file_name()), text).unwrap();
    }
    assert!(is_changed, "nothing of the example is `{}`", change.0);
    assert_eq!(commands.len(), 1, "one file of the example of {name} tells how to run it");
    let page = include_str!("../../../docs/proxies.md");
    assert!(
        page.contains(&format!("$ {}\n", commands[0])),
        "docs/proxies.md has another command: {commands:?}"
    );
    commands.remove(0)
}

/// An address that nobody else of this machine takes: all of 127.0.0.0/8 is its own.
fn free_address() -> SocketAddr {
    static STARTED: AtomicU8 = AtomicU8::new(0);
    let started = STARTED.fetch_add(1, Ordering::SeqCst);
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 + started % 64, high, low);
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Its name and its version; what to do when it is not there.
fn version(name: &str) -> String {
    let argument = PROGRAMS.iter().find(|(program, _)| *program == name).unwrap().1;
    let Output { status, stdout, stderr } = shell(&format!("{name} {argument}")).output().unwrap();
    let told = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(
        status.success(),
        "cannot run {name}, which this test is about: `./check` installs it (nginx, caddy and haproxy are \
         packages of Debian, envoy and traefik are fetched to target/proxies): {told}"
    );
    let is_version =
        |word: &&str| word.split('.').count() == 3 && word.starts_with(|c: char| c.is_ascii_digit());
    let number = told.split(|c: char| !c.is_ascii_digit() && c != '.').find(is_version).unwrap();
    format!("{name} {number}")
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    let path = format!("{FETCHED}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    shell.args(["-c", command]).env_clear().env("PATH", path);
    shell
}
