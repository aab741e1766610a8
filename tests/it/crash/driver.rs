//! Kills a process at random moments and compares what is left with what it had acknowledged.
//!
//! The process prints `try` before each change and `done` after its acknowledgement. Whatever is `done` has
//! to hold after the kill; of what was only tried, all or nothing.

use rolegate::store::embedded::EmbeddedStore;
use rolegate::store::{AfterDelete, Insertion, Names, Store};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How many clients change tokens at once.
pub(crate) const CLIENTS: u64 = 8;
/// How many tokens a client keeps before it deletes more than it creates.
const KEEP: usize = 12;
/// A kill comes at the latest after so many lines of the process.
const LINES_MAX: u64 = 400;
/// The signal that cannot be caught.
pub(crate) const SIGKILL: i32 = 9;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a client did to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Create(TokenId),
    Delete(TokenId),
}

/// Starts, kills and checks.
#[derive(Debug)]
pub(crate) struct Driver {
    folder: PathBuf,
    random: u64,
    /// The tokens that have to be there.
    live: BTreeSet<TokenId>,
    /// The tokens that must not be there any more, and whose digests are spent.
    gone: BTreeSet<TokenId>,
    tally: Tally,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Creations that were acknowledged.
    pub(crate) created: u64,
    /// Deletions that were acknowledged.
    pub(crate) deleted: u64,
    /// Changes that the kill came before the answer of.
    pub(crate) unanswered: u64,
    /// Changes without an answer that had happened all the same.
    pub(crate) happened: u64,
}

impl Driver {
    /// A driver over the store of a folder that is new; the same seed kills after the same numbers of lines.
    pub(crate) fn new(folder: &Path, seed: u64) -> Self {
        let (live, gone) = (BTreeSet::new(), BTreeSet::new());
        Self { folder: folder.to_owned(), random: seed, live, gone, tally: Tally::default() }
    }

    /// Runs the process, kills it at a random moment, and checks what it left.
    pub(crate) fn round(&mut self, round: u64, mut command: Command) -> Outcome<()> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().ok_or("the process has no output")?;
        // One time in ten the kill comes while the store is being opened, or before.
        let lines = if self.random(10) == 0 { self.random(3) } else { 3 + self.random(LINES_MAX) };
        let mut open = BTreeMap::new();
        let mut read = BufReader::new(output).lines();
        for line in read.by_ref().take(usize::try_from(lines)?) {
            self.note(&line?, &mut open)?;
        }
        child.kill()?;
        let status = child.wait()?;
        if status.signal() != Some(SIGKILL) {
            return Err(format!("round {round}: the process ended by itself: {status}").into());
        }
        // What was acknowledged up to the kill lies in the pipe still.
        for line in read {
            self.note(&line?, &mut open)?;
        }
        self.check(&open).map_err(|error| format!("round {round}: {error}").into())
    }

    /// What happened so far.
    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    fn note(&mut self, line: &str, open: &mut BTreeMap<TokenId, Change>) -> Outcome<()> {
        if line.starts_with("failed") {
            return Err(line.into());
        }
        let Some((stage, change)) = read_line(line) else { return Ok(()) };
        let (Change::Create(id) | Change::Delete(id)) = change;
        match stage {
            "try" if open.insert(id, change).is_some() => {
                return Err(format!("{change:?} was tried while another change was under way").into());
            }
            "done" => {
                if open.remove(&id) != Some(change) {
                    return Err(format!("{change:?} was answered, but not tried").into());
                }
                self.settle(change);
            }
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, change: Change) {
        match change {
            Change::Create(id) => {
                self.tally.created += 1;
                self.live.insert(id);
            }
            Change::Delete(id) => {
                self.tally.deleted += 1;
                self.live.remove(&id);
                self.gone.insert(id);
            }
        }
    }

    fn check(&mut self, open: &BTreeMap<TokenId, Change>) -> Outcome<()> {
        let store = EmbeddedStore::open(&self.folder)?;
        let mut found = BTreeSet::new();
        let mut wrong = Vec::new();
        store.load(&mut |token| {
            if token.to_record() != record(token.id) {
                wrong.push(token.id);
            }
            found.insert(token.id);
        })?;
        if !wrong.is_empty() {
            return Err(format!("{wrong:?} are there, but not as they were created").into());
        }
        // Whatever had no answer may have happened or not; from now on it holds as it is.
        for (id, change) in open {
            self.tally.unanswered += 1;
            let happened = match change {
                Change::Create(_) => found.contains(id),
                Change::Delete(_) => !found.contains(id),
            };
            if happened {
                self.tally.happened += 1;
                match change {
                    Change::Create(_) => self.live.insert(*id),
                    Change::Delete(_) => self.live.remove(id) && self.gone.insert(*id),
                };
            }
        }
        let lost: Vec<_> = self.live.difference(&found).collect();
        let revived: Vec<_> = found.difference(&self.live).collect();
        if !lost.is_empty() || !revived.is_empty() {
            return Err(format!("lost {lost:?}, revived {revived:?}").into());
        }
        for id in &self.gone {
            if !store.is_spent(&record(*id).digest)? {
                return Err(format!("the digest of the deleted {id} is not spent").into());
            }
        }
        Ok(())
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = scramble(self.random);
        self.random % below
    }
}

/// Clients in one process that change the tokens of an embedded store until they are killed.
#[derive(Debug)]
pub(crate) struct StoreClients {
    store: EmbeddedStore,
    next: AtomicU64,
}

impl StoreClients {
    /// Opens the store and changes tokens for ever.
    pub(crate) fn run(folder: &Path) -> Outcome<()> {
        // The test harness has begun a line of its own.
        say("")?;
        let store = EmbeddedStore::open(folder)?;
        let mut tokens = Vec::new();
        store.load(&mut |token| tokens.push(token.id))?;
        let clients = Self { store, next: AtomicU64::new(u64::from(std::process::id()) << 20) };
        say("open")?;
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let mine = tokens.iter().copied().filter(|id| id.get() % CLIENTS == client).collect();
                let clients = &clients;
                scope.spawn(move || {
                    clients.change(client, mine).or_else(|error| say(&format!("failed: {error}")))
                });
            }
        });
        Ok(())
    }

    fn change(&self, client: u64, mut mine: Vec<TokenId>) -> Outcome<()> {
        let mut random = scramble(u64::from(std::process::id()) * CLIENTS + client);
        loop {
            random = scramble(random);
            let at = usize::try_from(random)? % mine.len().max(1);
            if mine.len() > KEEP || (random.is_multiple_of(3) && !mine.is_empty()) {
                let id = mine.swap_remove(at);
                say(&format!("try delete {id}"))?;
                if !self.store.delete(id, AfterDelete::RefuseDigest)? {
                    return Err(format!("{id} was not there to be deleted").into());
                }
                say(&format!("done delete {id}"))?;
            } else if let Some(id) = self.new_id() {
                say(&format!("try create {id}"))?;
                match self.store.insert(&record(id), Names::MayRepeat)? {
                    Insertion::Inserted => {}
                    other => return Err(format!("{id} was not created: {other:?}").into()),
                }
                say(&format!("done create {id}"))?;
                mine.push(id);
            }
        }
    }

    /// A number that no process used before, as far as 8 random-looking digits go.
    fn new_id(&self) -> Option<TokenId> {
        let number = scramble(self.next.fetch_add(1, Ordering::Relaxed));
        TokenId::new(TokenId::MIN + number % (TokenId::MAX - TokenId::MIN))
    }
}

/// All of the token with this id follows from the id, so that every byte of it can be checked.
fn record(id: TokenId) -> TokenRecord {
    let mut digest = [0; 32];
    for (chunk, salt) in digest.chunks_exact_mut(8).zip(0..) {
        chunk.copy_from_slice(&scramble(id.get().wrapping_add(salt)).to_le_bytes());
    }
    let time = Timestamp::from_millis(i64::try_from(id.get()).unwrap_or(0));
    TokenRecord {
        id,
        digest: TokenDigest::from_bytes(digest),
        kind: SecretKind::Generated,
        origin: TokenOrigin::Api,
        name: format!("token {id}"),
        description: id.get().is_multiple_of(2).then(|| "x".repeat(usize::from(digest[0]))),
        roles: RoleName::parse("guest").into_iter().collect(),
        dedicated_subject: None,
        disabled: None,
        former: None,
        created: time,
        updated: time,
        expires: id.get().is_multiple_of(3).then_some(time),
    }
}

/// Reads `try create 123`, `done delete 123` and their like.
fn read_line(line: &str) -> Option<(&str, Change)> {
    let (stage, rest) = line.split_once(' ')?;
    let (what, id) = rest.split_once(' ')?;
    let id = TokenId::new(id.parse().ok()?)?;
    match what {
        "create" => Some((stage, Change::Create(id))),
        "delete" => Some((stage, Change::Delete(id))),
        _ => None,
    }
}

/// Writes a line to the driver in one call, so that it arrives whole or not at all.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

/// The mixing function of SplitMix64: numbers that look random and repeat from their seed.
pub(crate) const fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
