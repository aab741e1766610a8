//! The world of these tests: the program with nothing of the caller's environment, and a scripted server.
#![expect(clippy::unwrap_used, reason = "a test's world either stands or the test fails")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The token that the program is given where a test does not say another.
pub(super) const TOKEN: &str = "svctok-of-the-caller";
/// A server's answer to the first question, as a server of that time gives it.
pub(super) const SERVER_INFO: &str = r#"{"version":{"major":5,"minor":0,"patch":3,"diff":"","commit":"abc1234","isDev":false},"deploymentMode":"SelfHosted"}"#;
/// The list of tokens that the tests know.
pub(super) const ONE_TOKEN: &str =
    r#"[{"id":107484341630693,"name":"my-service-token","roles":["stackstate-power-user"]}]"#;

/// One run of the program, to be described and started.
pub(super) struct Sts {
    command: Command,
    home: tempfile::TempDir,
    port: Option<u16>,
    input: String,
}

/// What a run did.
pub(super) struct Outcome {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// The home folder that the program had.
    pub(super) home: tempfile::TempDir,
}

/// The certificate of the server that speaks TLS, which vouches for itself. Its key is for these tests alone.
pub(super) const CERTIFICATE: &str = include_str!("tls/certificate.pem");
const KEY: &str = include_str!("tls/key.pem");

/// A server on this machine that answers as told and keeps what it was asked.
pub(super) struct Server {
    scheme: &'static str,
    port: u16,
    stop: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that the server got.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Method and path.
    pub(super) line: String,
    /// Headers by their names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// What the server answers.
#[derive(Clone)]
pub(super) struct Reply {
    status: &'static str,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    headers: Vec<(&'static str, &'static str)>,
}

#[derive(Default)]
struct State {
    replies: BTreeMap<String, Reply>,
    seen: Vec<Seen>,
}

impl Sts {
    /// The program with these words as arguments.
    pub(super) fn of(words: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sts"));
        command.env_clear().env("HOME", home.path()).env("TZ", "UTC").args(words.split_whitespace());
        Self { command, home, port: None, input: String::new() }
    }

    /// The same with more words.
    pub(super) fn args(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    /// The same with one more argument.
    pub(super) fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// The same with a variable in its environment.
    pub(super) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same with this server and a service token in its environment.
    pub(super) fn server(self, server: &Server) -> Self {
        let url = server.url();
        self.near(server).env("STS_CLI_URL", url).env("STS_CLI_SERVICE_TOKEN", TOKEN)
    }

    /// The same; this server's port is not to show in what is compared.
    pub(super) fn near(mut self, server: &Server) -> Self {
        self.port = Some(server.port);
        self
    }

    /// The same with this text at its standard input.
    pub(super) fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// The same in the home folder of an earlier run.
    pub(super) fn after(mut self, earlier: Outcome) -> Self {
        self.command.env("HOME", earlier.home.path());
        self.home = earlier.home;
        self
    }

    /// The same with this configuration file.
    pub(super) fn config(self, text: &str) -> Self {
        let path = config_path(self.home.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// The home folder that the program will have.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs it.
    pub(super) fn run(mut self) -> Outcome {
        let pipes = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        // A program that does not read its input closes it early.
        drop(child.stdin.take().unwrap().write_all(self.input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| {
            let text =
                String::from_utf8(bytes).unwrap().replace(self.home.path().to_str().unwrap(), "[home]");
            self.port.map_or(text.clone(), |port| text.replace(&format!(":{port}"), ":[port]"))
        };
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Outcome { code: output.status.code().unwrap(), stdout, stderr, home: self.home }
    }
}

impl Outcome {
    /// All that a caller notices, for a snapshot.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("exit {}\n", self.code);
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                shown.push_str(&format!("--- {name}\n{text}"));
                if !text.ends_with('\n') {
                    shown.push_str("(no line end)\n");
                }
            }
        }
        shown
    }

    /// The configuration file that the run left behind.
    pub(super) fn config(&self) -> String {
        String::from_utf8(std::fs::read(config_path(self.home.path())).unwrap()).unwrap()
    }

    /// Where that is.
    pub(super) fn config_path(&self) -> PathBuf {
        config_path(self.home.path())
    }
}

impl Server {
    /// A server that says what it is, and knows nothing else.
    pub(super) fn start() -> Self {
        Self::silent().with("GET /api/server/info", Reply::json(SERVER_INFO))
    }

    /// A server that answers 404 to everything.
    pub(super) fn silent() -> Self {
        Self::speaking(None)
    }

    /// A server that says what it is, over TLS.
    pub(super) fn start_tls() -> Self {
        use rustls::pki_types::pem::PemObject as _;
        let certificate = rustls::pki_types::CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::speaking(Some(Arc::new(config))).with("GET /api/server/info", Reply::json(SERVER_INFO))
    }

    fn speaking(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, state) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(State::default())));
        let thread = std::thread::spawn({
            let (stop, state) = (Arc::clone(&stop), Arc::clone(&state));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    // A client that goes away in the middle is not the server's trouble.
                    drop(stream.map(|stream| match &tls {
                        None => answer(stream, &state),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(Arc::clone(tls)).unwrap();
                            answer(rustls::StreamOwned::new(session, stream), &state)
                        }
                    }));
                }
            }
        });
        Self { scheme, port, stop, state, thread: Some(thread) }
    }

    /// The same with an answer to requests of this method and path.
    pub(super) fn with(self, line: &str, reply: Reply) -> Self {
        self.state.lock().unwrap().replies.insert(line.to_owned(), reply);
        self
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// What it was asked so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The methods and paths of that.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, so that it sees the flag.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Reply {
    /// A success with this JSON.
    pub(super) fn json(body: &str) -> Self {
        Self::new("200 OK", Some("application/json"), body.as_bytes())
    }

    /// Any answer.
    pub(super) fn new(status: &'static str, content_type: Option<&'static str>, body: &[u8]) -> Self {
        Self { status, content_type, body: body.to_vec(), headers: Vec::new() }
    }

    /// An answer that need not be HTTP.
    pub(super) fn raw(bytes: &[u8]) -> Self {
        Self::new("", None, bytes)
    }

    /// A redirect.
    pub(super) fn redirect(location: &'static str) -> Self {
        Self::new("302 Found", None, b"").with_header("Location", location)
    }

    /// The same with a header field.
    pub(super) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

fn config_path(home: &Path) -> PathBuf {
    home.join(".config/stackstate-cli/config.yaml")
}

/// Reads one request and answers it.
fn answer<S: Read + Write>(stream: S, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;

    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let body = String::from_utf8(body).unwrap();
    let reply = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen { line: line.clone(), headers, body });
        let unknown = Reply::new("404 Not Found", None, b"");
        state.replies.get(&line).cloned().unwrap_or(unknown)
    };
    if reply.status.is_empty() {
        return reader.into_inner().write_all(&reply.body);
    }
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", reply.status);
    if let Some(content_type) = reply.content_type {
        head.push_str(&format!("Content-Type: {content_type}\r\n"));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.status.starts_with("204") {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    let mut stream = reader.into_inner();
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&reply.body)?;
    stream.flush()
}
