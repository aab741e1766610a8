//! Kills a process at random moments and compares what is left with what it had acknowledged.
//!
//! The process prints `try` before each change and `done` after its acknowledgement. Whatever is `done` has
//! to hold after the kill; of what was only tried, all or nothing.

use rolegate::store::embedded::{EmbeddedStore, check};
use rolegate::store::usage::{TokenUse, Usage};
use rolegate::store::{AfterDelete, Insertion, Names, Store, Update};
use rolegate::time::Timestamp;
use rolegate::token::{FormerSecret, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use std::collections::BTreeMap;
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
    /// It becomes the version of this number: see [`record`].
    Update(TokenId, u64),
    /// Its use was written down: so often it has been used by now.
    Use(TokenId, u64),
    Delete(TokenId),
}

/// What a token has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    version: u64,
    uses: u64,
}

/// Starts, kills and checks.
#[derive(Debug)]
pub(crate) struct Driver {
    folder: PathBuf,
    random: u64,
    /// The tokens that have to be there.
    live: BTreeMap<TokenId, State>,
    /// The tokens that must not be there any more, and whose digests are spent, with their last version.
    gone: BTreeMap<TokenId, u64>,
    tally: Tally,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Creations that were acknowledged.
    pub(crate) created: u64,
    /// Rotations, disablings, enablings and renamings that were acknowledged.
    pub(crate) updated: u64,
    /// Batches of uses that were acknowledged.
    pub(crate) used: u64,
    /// Deletions that were acknowledged.
    pub(crate) deleted: u64,
    /// Changes that the kill came before the answer of.
    pub(crate) unanswered: u64,
    /// Changes without an answer that had happened all the same.
    pub(crate) happened: u64,
}

impl Change {
    const fn id(self) -> TokenId {
        match self {
            Self::Create(id) | Self::Update(id, _) | Self::Use(id, _) | Self::Delete(id) => id,
        }
    }
}

impl Driver {
    /// A driver over the store of a folder that is new; the same seed kills after the same numbers of lines.
    pub(crate) fn new(folder: &Path, seed: u64) -> Self {
        let (live, gone) = (BTreeMap::new(), BTreeMap::new());
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
        match stage {
            "try" if open.insert(change.id(), change).is_some() => {
                return Err(format!("{change:?} was tried while another change was under way").into());
            }
            "done" => {
                if open.remove(&change.id()) != Some(change) {
                    return Err(format!("{change:?} was answered, but not tried").into());
                }
                self.settle(change);
                match change {
                    Change::Create(_) => self.tally.created += 1,
                    Change::Update(..) => self.tally.updated += 1,
                    Change::Use(..) => self.tally.used += 1,
                    Change::Delete(_) => self.tally.deleted += 1,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// From now on the change has happened.
    fn settle(&mut self, change: Change) {
        match change {
            Change::Create(id) => {
                self.live.insert(id, State::default());
            }
            Change::Update(id, version) => self.live.entry(id).or_default().version = version,
            Change::Use(id, uses) => self.live.entry(id).or_default().uses = uses,
            Change::Delete(id) => {
                let state = self.live.remove(&id).unwrap_or_default();
                self.gone.insert(id, state.version);
            }
        }
    }

    fn check(&mut self, open: &BTreeMap<TokenId, Change>) -> Outcome<()> {
        let store = EmbeddedStore::open(&self.folder)?;
        let mut records = Vec::new();
        store.load(&mut |token| records.push(token.to_record()))?;
        let mut found = BTreeMap::new();
        for token in records {
            let version = version(&token);
            if token != record(token.id, version) {
                return Err(format!("{token:?} is no version that there ever was").into());
            }
            let uses = store.usage(token.id)?.map_or(0, |usage| usage.count);
            found.insert(token.id, State { version, uses });
        }
        // Whatever had no answer may have happened or not; from now on it holds as it is.
        for change in open.values() {
            self.tally.unanswered += 1;
            let state = found.get(&change.id());
            let happened = match change {
                Change::Create(_) => state.is_some(),
                Change::Update(_, version) => state.is_some_and(|state| state.version == *version),
                Change::Use(_, uses) => state.is_some_and(|state| state.uses == *uses),
                Change::Delete(_) => state.is_none(),
            };
            if happened {
                self.tally.happened += 1;
                self.settle(*change);
            }
        }
        if self.live != found {
            let lost: Vec<_> = self.live.iter().filter(|(id, state)| found.get(id) != Some(*state)).collect();
            let wrong: Vec<_> =
                found.iter().filter(|(id, state)| self.live.get(id) != Some(*state)).collect();
            return Err(format!("lost {lost:?}, found {wrong:?}").into());
        }
        for (id, version) in &self.gone {
            for digest in record(*id, *version).digests() {
                if !store.is_spent(&digest)? {
                    return Err(format!("a digest of the deleted {id} is not spent").into());
                }
            }
        }
        drop(store);
        // Of the secrets that were replaced none leads anywhere, and every order has every token once.
        let findings = check(&self.folder, &mut |_, _, _| {})?;
        if findings.is_whole() { Ok(()) } else { Err(format!("the store is not whole: {findings:?}").into()) }
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
        store.load(&mut |token| tokens.push(token.to_record()))?;
        let state = |token: TokenRecord| -> Outcome<(TokenId, State)> {
            let uses = store.usage(token.id)?.map_or(0, |usage| usage.count);
            Ok((token.id, State { version: version(&token), uses }))
        };
        let tokens = tokens.into_iter().map(state).collect::<Outcome<Vec<_>>>()?;
        let clients = Self { store, next: AtomicU64::new(u64::from(std::process::id()) << 20) };
        say("open")?;
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let mine = tokens.iter().copied().filter(|(id, _)| id.get() % CLIENTS == client).collect();
                let clients = &clients;
                scope.spawn(move || {
                    clients.change(client, mine).or_else(|error| say(&format!("failed: {error}")))
                });
            }
        });
        Ok(())
    }

    fn change(&self, client: u64, mut mine: Vec<(TokenId, State)>) -> Outcome<()> {
        let mut random = scramble(u64::from(std::process::id()) * CLIENTS + client);
        loop {
            random = scramble(random);
            let at = usize::try_from(random)? % mine.len().max(1);
            let what = if mine.len() > KEEP { 0 } else { random / 64 % 8 };
            match (what, mine.get_mut(at)) {
                (0..=1, Some(&mut (id, _))) => {
                    mine.swap_remove(at);
                    say(&format!("try delete {id} 0"))?;
                    if !self.store.delete(id, AfterDelete::RefuseDigest)? {
                        return Err(format!("{id} was not there to be deleted").into());
                    }
                    say(&format!("done delete {id} 0"))?;
                }
                (2..=4, Some((id, state))) => {
                    let (before, after) = (record(*id, state.version), record(*id, state.version + 1));
                    state.version += 1;
                    say(&format!("try update {id} {}", state.version))?;
                    match self.store.update(&before, &after, Names::MayRepeat)? {
                        Update::Done => {}
                        other => return Err(format!("{id} was not updated: {other:?}").into()),
                    }
                    say(&format!("done update {id} {}", state.version))?;
                }
                (5, Some((id, state))) => {
                    state.uses += 1;
                    say(&format!("try use {id} {}", state.uses))?;
                    let usage = Usage { last_used: Timestamp::EPOCH, count: 1, routes: Vec::new() };
                    self.store.record_uses(&[TokenUse { id: *id, usage }])?;
                    say(&format!("done use {id} {}", state.uses))?;
                }
                _ => {
                    let Some(id) = self.new_id() else { continue };
                    say(&format!("try create {id} 0"))?;
                    match self.store.insert(&record(id, 0), Names::MayRepeat)? {
                        Insertion::Inserted => {}
                        other => return Err(format!("{id} was not created: {other:?}").into()),
                    }
                    say(&format!("done create {id} 0"))?;
                    mine.push((id, State::default()));
                }
            }
        }
    }

    /// A number that no process used before, as far as 8 random-looking digits go.
    fn new_id(&self) -> Option<TokenId> {
        let number = scramble(self.next.fetch_add(1, Ordering::Relaxed));
        TokenId::new(TokenId::MIN + number % (TokenId::MAX - TokenId::MIN))
    }
}

/// All of a version of the token with this id follows from both numbers, so that every byte of it can be checked. The
/// versions come from a rotation with grace, a disabling, an enabling, a renaming and a rotation without grace in turn.
fn record(id: TokenId, version: u64) -> TokenRecord {
    let (turn, step) = (version / 5, version % 5);
    // Two rotations in five versions.
    let rotations = turn * 2 + u64::from(step > 0);
    let created = Timestamp::from_millis(i64::try_from(id.get()).unwrap_or(0));
    let updated = Timestamp::from_millis(created.as_millis().saturating_add_unsigned(version));
    let former =
        || FormerSecret { digest: digest(id, rotations - 1), kind: SecretKind::Generated, expires: updated };
    let renamed = turn + u64::from(step == 4);
    let length = usize::try_from(scramble(id.get()) % 256).unwrap_or(0);
    TokenRecord {
        id,
        digest: digest(id, rotations),
        kind: SecretKind::Generated,
        origin: TokenOrigin::Api,
        name: format!("token {id} of turn {renamed}"),
        description: (id.get() + renamed).is_multiple_of(2).then(|| "x".repeat(length)),
        roles: RoleName::parse("guest").into_iter().collect(),
        dedicated_subject: None,
        disabled: (step == 2).then_some(updated),
        former: (step > 0).then(former),
        created,
        updated,
        expires: id.get().is_multiple_of(3).then_some(created),
    }
}

/// Which version a token says it is.
fn version(token: &TokenRecord) -> u64 {
    u64::try_from(token.updated.as_millis().saturating_sub(token.created.as_millis())).unwrap_or(u64::MAX)
}

/// The digest of the secret that a token has after so many rotations.
fn digest(id: TokenId, rotations: u64) -> TokenDigest {
    let mut digest = [0; 32];
    for (chunk, salt) in digest.chunks_exact_mut(8).zip(0..) {
        let number = scramble(id.get()).wrapping_add(rotations * 4 + salt);
        chunk.copy_from_slice(&scramble(number).to_le_bytes());
    }
    TokenDigest::from_bytes(digest)
}

/// Reads `try create 123 0`, `done update 123 4` and their like.
fn read_line(line: &str) -> Option<(&str, Change)> {
    let mut words = line.split(' ');
    let (stage, what) = (words.next()?, words.next()?);
    let (id, number) = (TokenId::new(words.next()?.parse().ok()?)?, words.next()?.parse().ok()?);
    match what {
        "create" => Some((stage, Change::Create(id))),
        "update" => Some((stage, Change::Update(id, number))),
        "use" => Some((stage, Change::Use(id, number))),
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
