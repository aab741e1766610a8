//! The same against the real server: clients change tokens by HTTP until the server is killed, and the next server has
//! to know whatever they were answered.

use super::driver::{CLIENTS, Outcome, SIGKILL, Tally, scramble};
use rolegate::audit::file::verify;
use rolegate::token::Secret;
use serde_json::Value;
use std::collections::BTreeMap;
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
/// How many tokens are described, and their secrets tried, after each kill, beside those that were being changed.
const TOKENS_TRIED: usize = 12;
/// How many secrets that were replaced or deleted are tried, the newest first.
const GONE_TRIED: usize = 12;
/// Far longer than any answer takes: a server that hangs fails the test, and does not hang it.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKENS: &str = "/api/security/tokens";
const ADMIN: &str = "the-admin-token-of-the-crash-test";

const CONFIG: &str = "rolegate:\n  listen: 127.0.0.1:0\n  policies: [policy.rhai]\n  log: {level: error}\n  limits: {failed_authentications: {limited: false}}\n\
    stackstate: {authentication: {servicetoken: {bootstrap: \
    {token: the-admin-token-of-the-crash-test, roles: [admin]}}}}\n";
const POLICY: &str = r#"
permission("manage-service-tokens", ["GET,POST /api/security/tokens",
    "GET,PATCH,DELETE /api/security/tokens/{id}", "POST /api/security/tokens/{id}/rotate",
    "POST /api/security/tokens/{id}/disable", "POST /api/security/tokens/{id}/enable"]);
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
    /// The tokens that have to be there, by name.
    live: BTreeMap<String, Token>,
    /// Secrets that must not work any more.
    gone: Vec<String>,
    /// Changes that the last kill came before the answer of, by the name of their tokens.
    open: BTreeMap<String, Change>,
    tally: Tally,
}

/// What a token has to be.
#[derive(Clone, Debug, Default)]
struct Token {
    /// Its secret, as far as an answer told it.
    secret: Option<String>,
    fingerprint: String,
    /// Whether the secret before lives on, and which it is.
    former: Option<Option<String>>,
    state: State,
}

/// What of a token everybody may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    is_disabled: bool,
    /// The number in its description.
    description: u64,
}

/// A token as the list has it.
#[derive(Clone, Debug)]
struct Listed {
    id: u64,
    name: String,
    state: State,
}

/// What a client does to the token of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    name: String,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Create,
    Rotate { has_grace: bool },
    Disable,
    Enable,
    Describe(u64),
    Delete,
}

#[derive(Debug)]
enum Event {
    Tried(Change),
    /// Answered; a creation and a rotation tell the secret.
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
            gone: Vec::new(),
            open: BTreeMap::new(),
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
            self.check(&address, usize::MAX)
        });
        child.kill()?;
        child.wait()?;
        checked?;
        let entries = verify(&self.folder.join("data/audit.jsonl"))?.entries;
        // Each acknowledged change has its entry, and so have the bootstrap token and each start.
        let least = self.tally.created + self.tally.updated + self.tally.deleted;
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
        let listed = self.check(&address, TOKENS_TRIED)?;
        let answers = self.random(ANSWERS_MAX);
        let (sender, events) = mpsc::channel();
        let first = self.names;
        self.names += 1 << 20;
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let mine = listed.iter().filter(|token| token.id % CLIENTS == client).cloned().collect();
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
                self.open.insert(change.name.clone(), change);
            }
            Event::Done(change, secret) => {
                self.open.remove(&change.name);
                match change.what {
                    What::Create => self.tally.created += 1,
                    What::Delete => self.tally.deleted += 1,
                    What::Rotate { .. } | What::Disable | What::Enable | What::Describe(_) => {
                        self.tally.updated += 1;
                    }
                }
                let fingerprint = match &secret {
                    Some(secret) => Secret::parse(secret)?.0.digest().fingerprint(),
                    None => String::new(),
                };
                self.settle(&change, secret, fingerprint);
            }
            Event::Wrong(what) => return Err(what.into()),
        }
        Ok(())
    }

    /// From now on the change has happened.
    fn settle(&mut self, change: &Change, secret: Option<String>, fingerprint: String) {
        let token = self.live.entry(change.name.clone()).or_default();
        match change.what {
            What::Create => *token = Token { secret, fingerprint, ..Token::default() },
            What::Rotate { has_grace } => {
                let before = std::mem::replace(&mut token.secret, secret);
                token.fingerprint = fingerprint;
                self.gone.extend(token.former.take().flatten());
                if has_grace {
                    token.former = Some(before);
                } else {
                    self.gone.extend(before);
                }
            }
            What::Disable => token.state.is_disabled = true,
            What::Enable => token.state.is_disabled = false,
            What::Describe(number) => token.state.description = number,
            What::Delete => {
                let token = self.live.remove(&change.name).unwrap_or_default();
                self.gone.extend(token.secret.into_iter().chain(token.former.flatten()));
            }
        }
    }

    /// Compares what the server lists and admits with what was answered; gives what it lists. So many tokens are
    /// looked at in every detail, and all that were being changed.
    fn check(&mut self, address: &str, tried: usize) -> Outcome<Vec<Listed>> {
        let mut client = Client::connect(address)?;
        let (status, body) = client.ask("GET", TOKENS, ADMIN, "")?;
        if status != 200 {
            return Err(format!("the list was answered with {status}").into());
        }
        let list: Vec<Value> = serde_json::from_slice(&body)?;
        let listed: Vec<Listed> =
            list.iter().filter_map(Listed::read).filter(|token| token.name != "bootstrap").collect();
        let found: BTreeMap<&str, &Listed> =
            listed.iter().map(|token| (token.name.as_str(), token)).collect();
        let mut looked_at: Vec<String> = self.open.keys().cloned().collect();
        for change in std::mem::take(&mut self.open).into_values() {
            self.tally.unanswered += 1;
            let now = found.get(change.name.as_str());
            let fingerprint = match now {
                Some(token) => client.describe(token.id)?.0,
                None => String::new(),
            };
            let happened = now.map_or(change.what == What::Delete, |now| match change.what {
                What::Create => true,
                What::Rotate { .. } => {
                    self.live.get(&change.name).is_some_and(|token| token.fingerprint != fingerprint)
                }
                What::Disable => now.state.is_disabled,
                What::Enable => !now.state.is_disabled,
                What::Describe(number) => now.state.description == number,
                What::Delete => false,
            });
            if happened {
                self.tally.happened += 1;
                self.settle(&change, None, fingerprint);
            }
        }
        let expected: Vec<(&str, State)> =
            self.live.iter().map(|(name, token)| (name.as_str(), token.state)).collect();
        let is: Vec<(&str, State)> = found.iter().map(|(name, token)| (*name, token.state)).collect();
        if expected != is || found.len() != listed.len() {
            let lost: Vec<_> = expected.iter().filter(|token| !is.contains(token)).collect();
            let wrong: Vec<_> = is.iter().filter(|token| !expected.contains(token)).collect();
            return Err(format!("lost {lost:?}, found {wrong:?} of {} tokens", listed.len()).into());
        }
        let start = usize::try_from(self.random(self.live.len().max(1) as u64))?;
        looked_at.extend(self.live.keys().cycle().skip(start).take(tried.min(self.live.len())).cloned());
        for name in looked_at {
            if let (Some(token), Some(listed)) = (self.live.get(&name), found.get(name.as_str())) {
                client.compare(listed.id, token).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        for secret in self.gone.iter().rev().take(GONE_TRIED) {
            if client.admits(secret)? {
                return Err("a secret that was replaced or deleted is let in".into());
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

/// Changes tokens until the server is gone.
fn change(address: &str, mut mine: Vec<Listed>, first: u64, events: &Sender<Event>) {
    // An error is a connection that broke off: the server was killed.
    let _ = || -> io::Result<()> {
        let mut client = Client::connect(address)?;
        for number in first.. {
            let random = scramble(number);
            let at = usize::try_from(random / 16).unwrap_or(0) % mine.len().max(1);
            let what = match (if mine.len() > 8 { 0 } else { random % 8 }, mine.get(at)) {
                (_, None) | (1..=2, _) => What::Create,
                (0, _) => What::Delete,
                (3, _) => What::Rotate { has_grace: true },
                (4, _) => What::Rotate { has_grace: false },
                (5 | 6, Some(token)) if token.state.is_disabled => What::Enable,
                (5 | 6, _) => What::Disable,
                (_, Some(_)) => What::Describe(number),
            };
            let token = match what {
                What::Create => {
                    let name = format!("token {number:016}");
                    Listed { id: 0, name, state: State::default() }
                }
                _ => mine.swap_remove(at),
            };
            let change = Change { name: token.name.clone(), what };
            let _ = events.send(Event::Tried(change.clone()));
            let (status, body) = client.make(&token, what)?;
            let answer: Option<Value> = serde_json::from_slice(&body).ok();
            let field = |name| answer.as_ref().and_then(|answer: &Value| answer.get(name));
            let secret = field("token").and_then(Value::as_str).map(str::to_owned);
            let state = match what {
                What::Disable | What::Enable => State { is_disabled: what == What::Disable, ..token.state },
                What::Describe(description) => State { description, ..token.state },
                What::Create | What::Rotate { .. } | What::Delete => token.state,
            };
            let is_right = match what {
                What::Create | What::Rotate { .. } => status == 200 && secret.is_some(),
                What::Disable | What::Enable | What::Describe(_) => status == 200,
                What::Delete => status == 204,
            };
            let id = field("id").and_then(Value::as_u64).unwrap_or(token.id);
            if what != What::Delete {
                mine.push(Listed { id, state, ..token });
            }
            let _ = events.send(if is_right {
                Event::Done(change, secret)
            } else {
                let body = String::from_utf8_lossy(&body);
                Event::Wrong(format!("{change:?} was answered with {status}: {body}"))
            });
        }
        Ok(())
    }();
}

impl Listed {
    fn read(token: &Value) -> Option<Self> {
        let description = token.get("description").and_then(Value::as_str);
        let state = State {
            is_disabled: token.get("disabled").is_some(),
            description: description.map_or(Some(0), |number| number.parse().ok())?,
        };
        let (id, name) = (token.get("id")?.as_u64()?, token.get("name")?.as_str()?.to_owned());
        Some(Self { id, name, state })
    }
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Makes the change.
    fn make(&mut self, token: &Listed, what: What) -> io::Result<(u16, Vec<u8>)> {
        let path = format!("{TOKENS}/{}", token.id);
        match what {
            What::Create => {
                let body = format!("{{\"name\": \"{}\", \"roles\": [\"admin\"]}}", token.name);
                self.ask("POST", TOKENS, ADMIN, &body)
            }
            What::Rotate { has_grace } => {
                let body = if has_grace { "{\"gracePeriod\": 86400000}" } else { "" };
                self.ask("POST", &format!("{path}/rotate"), ADMIN, body)
            }
            What::Disable => self.ask("POST", &format!("{path}/disable"), ADMIN, ""),
            What::Enable => self.ask("POST", &format!("{path}/enable"), ADMIN, ""),
            What::Describe(number) => {
                self.ask("PATCH", &path, ADMIN, &format!("{{\"description\": \"{number}\"}}"))
            }
            What::Delete => self.ask("DELETE", &path, ADMIN, ""),
        }
    }

    /// The fingerprint of a token, and whether it has a former secret.
    fn describe(&mut self, id: u64) -> Outcome<(String, bool)> {
        let (status, body) = self.ask("GET", &format!("{TOKENS}/{id}"), ADMIN, "")?;
        let token: Value = serde_json::from_slice(&body)?;
        let fingerprint = token.get("fingerprint").and_then(Value::as_str);
        let fingerprint = fingerprint.ok_or_else(|| format!("a token was described with {status}"))?;
        Ok((fingerprint.to_owned(), token.get("formerExpiration").is_some()))
    }

    fn admits(&mut self, secret: &str) -> Outcome<bool> {
        match self.ask("GET", "/api/server/info", secret, "")?.0 {
            200 => Ok(true),
            401 => Ok(false),
            other => Err(format!("a secret was answered with {other}").into()),
        }
    }

    /// Looks at all of a token.
    fn compare(&mut self, id: u64, token: &Token) -> Outcome<()> {
        let (fingerprint, has_former) = self.describe(id)?;
        if fingerprint != token.fingerprint || has_former != token.former.is_some() {
            return Err(format!("it has the fingerprint {fingerprint}, former: {has_former}").into());
        }
        let former = token.former.iter().flatten();
        for secret in token.secret.iter().chain(former) {
            if self.admits(secret)? == token.state.is_disabled {
                return Err("one of its secrets is answered wrongly".into());
            }
        }
        Ok(())
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
