//! The same against the real server: clients create and delete tokens by HTTP until the server is killed, and the
//! next server has to know whatever they were answered.

use super::driver::{CLIENTS, Outcome, SIGKILL, Tally, scramble};
use rolegate::audit::file::verify;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// A kill comes at the latest after so many answers.
const ANSWERS_MAX: u64 = 60;
/// How many secrets of each sort are tried after each kill, the newest first.
const SECRETS_TRIED: usize = 12;
/// Far longer than any answer takes: a server that hangs fails the test, and does not hang it.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKENS: &str = "/api/security/tokens";
const ADMIN: &str = "the-admin-token-of-the-crash-test";

const CONFIG: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n  log: {level: error}\n\
    stackstate: {authentication: {servicetoken: {bootstrap: \
    {token: the-admin-token-of-the-crash-test, roles: [admin]}}}}\n";
const POLICY: &str = r#"
permission("manage-service-tokens", ["GET,POST /api/security/tokens", "DELETE /api/security/tokens/{id}"]);
role("admin").grants(["manage-service-tokens"]);
authenticated("GET /api/server/info");
"#;

/// Starts servers, kills and checks.
#[derive(Debug)]
pub(crate) struct ServerDriver {
    program: PathBuf,
    folder: PathBuf,
    random: u64,
    names: u64,
    /// The tokens that have to be there, by name, with their secrets as far as the answer told them.
    live: BTreeMap<String, Option<String>>,
    /// The tokens that must not be there any more.
    gone: BTreeMap<String, Option<String>>,
    /// Changes that the last kill came before the answer of.
    open: BTreeSet<Change>,
    tally: Tally,
}

/// What a client does to the token of this name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Create(String),
    Delete(String),
}

#[derive(Debug)]
enum Event {
    Tried(Change),
    /// Answered; a creation tells the secret.
    Done(Change, Option<String>),
    /// An answer that must not be.
    Wrong(String),
}

/// One connection to the server.
#[derive(Debug)]
struct Client {
    stream: BufReader<TcpStream>,
}

impl ServerDriver {
    /// A driver over a folder that is new, with a configuration that it writes there.
    pub(crate) fn new(program: &Path, folder: &Path, seed: u64) -> Outcome<Self> {
        for (name, text) in [("rolegate.yaml", CONFIG), ("policy.rhai", POLICY)] {
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(folder.join(name));
            file?.write_all(text.as_bytes())?;
        }
        Ok(Self {
            program: fs::canonicalize(program)?,
            folder: folder.to_owned(),
            random: seed,
            names: 0,
            live: BTreeMap::new(),
            gone: BTreeMap::new(),
            open: BTreeSet::new(),
            tally: Tally::default(),
        })
    }

    /// What happened so far.
    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Starts a server, checks what the one before left, lets clients work, and kills it.
    pub(crate) fn round(&mut self, round: u64) -> Outcome<()> {
        let mut child = Command::new(&self.program)
            .args(["serve", "--config", "rolegate.yaml"])
            .current_dir(&self.folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let outcome = self.work(&mut child);
        child.kill()?;
        let status = child.wait()?;
        let outcome = outcome.and_then(|()| match status.signal() {
            Some(SIGKILL) => Ok(()),
            _ => Err(format!("the server ended by itself: {status}").into()),
        });
        outcome.map_err(|error| format!("round {round}: {error}").into())
    }

    /// Starts one more server, checks what the last kill left, and reads the audit log to its end.
    pub(crate) fn finish(&mut self) -> Outcome<u64> {
        let mut child = Command::new(&self.program)
            .args(["serve", "--config", "rolegate.yaml"])
            .current_dir(&self.folder)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let checked = address(&mut child, usize::MAX).and_then(|address| {
            let address = address.ok_or("the server did not start")?;
            self.check(&address)
        });
        child.kill()?;
        child.wait()?;
        checked?;
        let entries = verify(&self.folder.join("data/audit.jsonl"))?.entries;
        // Each acknowledged change has its entry, and so have the bootstrap token and each start.
        let least = self.tally.created + self.tally.deleted;
        if entries < least {
            return Err(format!("{entries} audit entries for {least} changes").into());
        }
        Ok(entries)
    }

    fn work(&mut self, child: &mut Child) -> Outcome<()> {
        // One time in ten the kill comes while the server starts.
        let lines = if self.random(10) == 0 { usize::try_from(self.random(5))? } else { usize::MAX };
        let Some(address) = address(child, lines)? else {
            return if lines == usize::MAX { Err("the server did not start".into()) } else { Ok(()) };
        };
        let listed = self.check(&address)?;
        let answers = self.random(ANSWERS_MAX);
        let (sender, events) = mpsc::channel();
        let first = self.names;
        self.names += 1 << 20;
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let mine = listed.iter().filter(|(id, _)| id % CLIENTS == client).cloned().collect();
                let (address, sender) = (&address, sender.clone());
                scope.spawn(move || change(address, mine, first + (client << 16), &sender));
            }
            drop(sender);
            let mut answered = 0;
            let mut killed = false;
            loop {
                if answered == answers && !killed {
                    child.kill()?;
                    killed = true;
                }
                // The clients end when the server is gone, and the channel with them.
                let Ok(event) = events.recv() else { break };
                answered += u64::from(matches!(event, Event::Done(..)));
                self.note(event)?;
            }
            if killed { Ok(()) } else { Err("all clients gave up".into()) }
        })
    }

    fn note(&mut self, event: Event) -> Outcome<()> {
        match event {
            Event::Tried(change) => {
                self.open.insert(change);
            }
            Event::Done(change, secret) => {
                self.open.remove(&change);
                match change {
                    Change::Create(name) => {
                        self.tally.created += 1;
                        self.live.insert(name, secret);
                    }
                    Change::Delete(name) => {
                        self.tally.deleted += 1;
                        let secret = self.live.remove(&name).flatten();
                        self.gone.insert(name, secret);
                    }
                }
            }
            Event::Wrong(what) => return Err(what.into()),
        }
        Ok(())
    }

    /// Compares what the server lists and admits with what was answered; gives the ids and names it lists.
    fn check(&mut self, address: &str) -> Outcome<Vec<(u64, String)>> {
        let mut client = Client::connect(address)?;
        let (status, body) = client.ask("GET", TOKENS, ADMIN, "")?;
        if status != 200 {
            return Err(format!("the list was answered with {status}").into());
        }
        let list: Vec<Value> = serde_json::from_slice(&body)?;
        let listed: Vec<(u64, String)> = list
            .iter()
            .filter_map(|token| Some((token.get("id")?.as_u64()?, token.get("name")?.as_str()?.to_owned())))
            .filter(|(_, name)| name != "bootstrap")
            .collect();
        let found: BTreeSet<&str> = listed.iter().map(|(_, name)| name.as_str()).collect();
        for change in std::mem::take(&mut self.open) {
            self.tally.unanswered += 1;
            match change {
                Change::Create(name) if found.contains(name.as_str()) => {
                    self.tally.happened += 1;
                    self.live.insert(name, None);
                }
                Change::Delete(name) if !found.contains(name.as_str()) => {
                    self.tally.happened += 1;
                    let secret = self.live.remove(&name).flatten();
                    self.gone.insert(name, secret);
                }
                Change::Create(_) | Change::Delete(_) => {}
            }
        }
        let expected: BTreeSet<&str> = self.live.keys().map(String::as_str).collect();
        let lost: Vec<_> = expected.difference(&found).collect();
        let revived: Vec<_> = found.difference(&expected).collect();
        if !lost.is_empty() || !revived.is_empty() || found.len() != listed.len() {
            return Err(format!("lost {lost:?}, revived {revived:?} of {} tokens", listed.len()).into());
        }
        for (tokens, admitted) in [(&self.live, 200), (&self.gone, 401)] {
            let newest = tokens.iter().rev().filter_map(|(name, secret)| Some((name, secret.as_ref()?)));
            for (name, secret) in newest.take(SECRETS_TRIED) {
                let (status, _) = client.ask("GET", "/api/server/info", secret, "")?;
                if status != admitted {
                    return Err(format!("{name} was answered with {status}, not {admitted}").into());
                }
            }
        }
        Ok(listed)
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = scramble(self.random);
        self.random % below
    }
}

/// Reads so many lines of the server's output; gives the address when it is among them.
fn address(child: &mut Child, lines: usize) -> Outcome<Option<String>> {
    let output = child.stdout.as_mut().ok_or("the server has no output")?;
    for line in BufReader::new(output).lines().take(lines) {
        if let Some((_, address)) = line?.split_once("http://") {
            return Ok(Some(address.to_owned()));
        }
    }
    Ok(None)
}

/// Creates and deletes tokens until the server is gone.
fn change(address: &str, mut mine: Vec<(u64, String)>, first: u64, events: &Sender<Event>) {
    // An error is a connection that broke off: the server was killed.
    let _ = || -> io::Result<()> {
        let mut client = Client::connect(address)?;
        for number in first.. {
            let (method, path, body, change) = match mine.pop() {
                Some((id, name)) if number % 2 == 0 || mine.len() > 8 => {
                    ("DELETE", format!("{TOKENS}/{id}"), String::new(), Change::Delete(name))
                }
                kept => {
                    mine.extend(kept);
                    let name = format!("token {number:016}");
                    let body = format!("{{\"name\": \"{name}\", \"roles\": [\"admin\"]}}");
                    ("POST", TOKENS.to_owned(), body, Change::Create(name))
                }
            };
            let _ = events.send(Event::Tried(change.clone()));
            let (status, body) = client.ask(method, &path, ADMIN, &body)?;
            let secret = serde_json::from_slice(&body)
                .ok()
                .and_then(|body: Value| Some(body.get("token")?.as_str()?.to_owned()));
            let event = match (&change, status) {
                (Change::Create(_), 200) if secret.is_some() => Event::Done(change, secret),
                (Change::Delete(_), 204) => Event::Done(change, None),
                _ => Event::Wrong(format!(
                    "{change:?} was answered with {status}: {}",
                    String::from_utf8_lossy(&body)
                )),
            };
            let _ = events.send(event);
        }
        Ok(())
    }();
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The status and the body of the answer.
    fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ApiKey {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
