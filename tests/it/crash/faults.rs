//! Runs a process whose writes fail as told, by `strace --inject`, and compares what it left with what it had
//! acknowledged.
//!
//! The process changes tokens through the engine, over the embedded store and the audit log on disk, and knows what they
//! have to be: an error means that nothing happened, and all tokens can be read and authenticate all the while.

use super::driver::{Outcome, scramble};
use super::strace::Injection;
use rolegate::CanonicalPath;
use rolegate::audit::file::{FileAudit, verify};
use rolegate::bootstrap::{BootstrapBlock, Provision};
use rolegate::engine::{Answer, ChangeError, Engine, NewToken, Permit, TokenChanges};
use rolegate::policy::{PolicySet, RoleBindings, ScriptLimits, Source};
use rolegate::request::{Credential, Request};
use rolegate::store::Store as _;
use rolegate::store::embedded::{EmbeddedStore, FILE_NAME};
use rolegate::store::page::{Filter, Order, PageQuery};
use rolegate::time::Timestamp;
use rolegate::token::{RoleName, Secret, TokenOrigin, TokenRecord};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

const AUDIT: &str = "audit.jsonl";
const ADMIN: &str = "the-admin-token-of-the-fault-test";
const POLICY: &str = r#"role("admin").allow("ANY /**");"#;
/// How many changes are tried while faults come.
const CHANGES: u64 = 30;
/// A process recovers within so many tries once the faults are over.
const RECOVERY_TRIES: usize = 400;
/// How many tokens there may be before they are deleted more often than created.
const KEEP: usize = 6;
/// System calls that change one of the files.
const CALLS: [&str; 4] = ["pwrite64,write", "fdatasync", "ftruncate", "pwrite64,write,fdatasync,ftruncate"];
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EDQUOT"];

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The calls, as strace has them.
    calls: &'static str,
    /// With which error.
    error: &'static str,
    /// The first call that fails.
    first: u64,
    /// How many fail in a row; `None` is every so many from the first on, for ever.
    pattern: Pattern,
    /// Which files are hit.
    files: Files,
}

#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// So many calls in a row, and none after them.
    Row(u64),
    /// One of so many calls, to the end.
    Every(u64),
}

#[derive(Clone, Copy, Debug)]
enum Files {
    Store,
    Audit,
    Both,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultTally {
    /// Changes that were acknowledged.
    pub(crate) done: u64,
    /// Changes that were refused with an error.
    pub(crate) failed: u64,
}

impl Fault {
    /// The fault of this number: calls, errors, files, places and lengths in all their combinations, one after the other.
    pub(crate) fn of(number: u64) -> Self {
        let of = |choices: &[&'static str], number: u64| {
            let count = choices.len() as u64;
            choices.get(usize::try_from(number % count).unwrap_or(0)).copied().unwrap_or_default()
        };
        let random = scramble(number);
        Self {
            calls: of(&CALLS, number),
            error: of(&ERRORS, number / 4),
            // The first call of every kind, then the second, and so on.
            first: 1 + number / 12 % 40,
            pattern: match random % 5 {
                0 => Pattern::Every(3 + random / 5 % 60),
                1 => Pattern::Row(1),
                2 => Pattern::Row(2),
                3 => Pattern::Row(3),
                _ => Pattern::Row(4 + random / 5 % 30),
            },
            files: match random / 1000 % 3 {
                0 => Files::Store,
                1 => Files::Audit,
                _ => Files::Both,
            },
        }
    }

    /// The command under strace. `program` runs [`FaultClient::run`] over the folder.
    fn command(self, folder: &Path, program: &Command) -> Command {
        let when = match self.pattern {
            Pattern::Row(count) => format!("{}..{}", self.first, self.first + count - 1),
            Pattern::Every(step) => format!("{}+{step}", self.first),
        };
        let files: &[&str] = match self.files {
            Files::Store => &[FILE_NAME],
            Files::Audit => &[AUDIT],
            Files::Both => &[FILE_NAME, AUDIT],
        };
        let files = files.iter().map(|file| folder.join(file)).collect();
        let injection = Injection { calls: self.calls, error: self.error, when: Some(when), files };
        let mut command = injection.around(program);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A new folder, in memory where there is such a place: what fails is told by strace, and not by a disk.
pub(crate) fn folder() -> io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// Runs one process under the fault, in a folder that is new, and compares what it left.
pub(crate) fn round(fault: Fault, folder: &Path, program: &Command, tally: &mut FaultTally) -> Outcome<()> {
    // The files are there already, so that strace finds them, and hold something.
    drop(World::open(folder)?);
    let output = fault.command(folder, program).output();
    let output =
        output.map_err(|error| format!("cannot run strace: {error}; install it (`apt install strace`)"))?;
    let told = String::from_utf8(output.stdout)?;
    let problem = |what: String| -> Box<dyn Error + Send + Sync> {
        format!("{fault:?}: {what}\n{told}{}", String::from_utf8_lossy(&output.stderr)).into()
    };
    if !output.status.success() || !told.contains("\nover\n") {
        return Err(problem(format!("the process ended with {}", output.status)));
    }
    let (mut expected, mut least_entries) = (Vec::new(), 0);
    for line in told.lines() {
        match line.split_once(' ') {
            Some(("token", record)) => expected.push(record.to_owned()),
            Some(("done", _)) => least_entries += 1,
            Some(("failed", _)) => tally.failed += 1,
            _ => {}
        }
    }
    tally.done += least_entries;
    let store = EmbeddedStore::open(folder)?;
    let mut found = Vec::new();
    store.load(&mut |record| found.push(format!("{:?}", record.to_record())))?;
    found.sort();
    if found != expected {
        return Err(problem(format!("expected {expected:#?}\nfound {found:#?}")));
    }
    let entries = verify(&folder.join(AUDIT)).map_err(|error| problem(error.to_string()))?.entries;
    if entries < least_entries {
        return Err(problem(format!("{entries} audit entries of {least_entries} changes")));
    }
    Ok(())
}

/// The engine over the files of a folder, as the process under faults has it.
struct World {
    engine: Engine,
    folder: PathBuf,
}

/// What the tokens have to be, with the secrets that have to work.
#[derive(Default)]
struct Model {
    tokens: BTreeMap<u64, (TokenRecord, Vec<Secret>)>,
    /// Secrets that must not work any more.
    gone: Vec<Secret>,
}

/// The process that faults are made in.
#[derive(Debug)]
pub(crate) struct FaultClient;

impl FaultClient {
    /// Changes tokens, and checks after each change, or error, that all is as it has to be.
    pub(crate) fn run(folder: &Path) -> Outcome<()> {
        let mut world = World::open(folder);
        for _ in 0..RECOVERY_TRIES {
            let Err(error) = &world else { break };
            has_place(&error.to_string(), folder)?;
            world = World::open(folder);
        }
        let world = world?;
        let mut model = Model::default();
        say("\n")?;
        for number in 0..CHANGES {
            let changed = world.change(&mut model, number)?;
            say(&format!("{} {number}\n", if changed { "done" } else { "failed" }))?;
        }
        // Faults that come in a row are over by now, or soon; those that come for ever are not.
        let mut recovered = 0;
        for number in (CHANGES..).take(RECOVERY_TRIES) {
            recovered = if world.change(&mut model, number)? { recovered + 1 } else { 0 };
            if recovered == 3 {
                break;
            }
        }
        let mut lines: Vec<String> = model.tokens.values().map(|(record, _)| format!("{record:?}")).collect();
        lines.push(format!("{:?}", world.bootstrap()?));
        lines.sort();
        lines.iter().try_for_each(|line| say(&format!("token {line}\n")))?;
        say("over\n")?;
        if recovered == 3 {
            // As by a kill: what was acknowledged needs no orderly end.
            exit(0);
        }
        Ok(())
    }
}

impl World {
    fn open(folder: &Path) -> Outcome<Self> {
        let source = Source { name: "policy.rhai".into(), text: POLICY.to_owned() };
        let policies = PolicySet::load(&[source], &RoleBindings::default(), &ScriptLimits::default())
            .map_err(|error| error.to_string())?;
        let store = EmbeddedStore::open(folder)?;
        let audit = FileAudit::open(&folder.join(AUDIT))?;
        let engine = Engine::open(Box::new(store), Box::new(audit), policies, now(0))?;
        let (secret, kind) = Secret::parse(ADMIN)?;
        let roles = vec![RoleName::parse("admin")?];
        let bootstrap = Some(BootstrapBlock { digest: secret.digest(), kind, roles, ttl: None });
        engine.provision(&Provision { bootstrap, declared: Vec::new() }, now(0))?;
        Ok(Self { engine, folder: folder.to_owned() })
    }

    fn permit(&self, secret: &str) -> Option<Permit> {
        let path = CanonicalPath::parse("/api/security/tokens").ok()?;
        let mut parts = Request::new(http::Method::GET, path).into_parts();
        parts.credential = Credential::read(secret);
        match self.engine.check(&Request::from(parts), now(0)) {
            Answer::Permitted(permit) => Some(permit),
            Answer::Forbidden(_) | Answer::Unauthenticated(_) => None,
        }
    }

    fn list(&self) -> Outcome<Vec<TokenRecord>> {
        let permit = self.permit(ADMIN).ok_or("the administrator was turned away")?;
        let query =
            PageQuery { order: Order::default(), filter: Filter::default(), after: None, limit: 1000 };
        Ok(self.engine.page(&permit, &query)?.tokens.into_iter().map(|listed| listed.record).collect())
    }

    fn bootstrap(&self) -> Outcome<TokenRecord> {
        let found = self.list()?.into_iter().find(|record| record.origin == TokenOrigin::Bootstrap);
        found.ok_or_else(|| "the bootstrap token is gone".into())
    }

    /// Tries one change; whether it was acknowledged. Whatever came of it, all has to be as the model says then.
    fn change(&self, model: &mut Model, number: u64) -> Outcome<bool> {
        let permit = self.permit(ADMIN).ok_or("the administrator was turned away")?;
        let changed = match self.try_change(&permit, model, number) {
            Ok(()) => true,
            Err(ChangeError::Commit(error)) => {
                has_place(&error.to_string(), &self.folder)?;
                false
            }
            Err(other) => return Err(other.into()),
        };
        self.compare(model).map_err(|error| format!("change {number}, {changed}: {error}"))?;
        Ok(changed)
    }

    fn try_change(&self, permit: &Permit, model: &mut Model, number: u64) -> Result<(), ChangeError> {
        let (random, at) = (scramble(number), now(number));
        let chosen = usize::try_from(random / 100).unwrap_or(0) % model.tokens.len().max(1);
        let Some((&key, _)) = model.tokens.iter().nth(chosen).filter(|_| !random.is_multiple_of(3)) else {
            let roles = RoleName::parse("admin").into_iter().collect();
            let new = NewToken { name: format!("token {number}"), roles, ..NewToken::default() };
            let created = self.engine.create(permit, new, at)?;
            model.tokens.insert(created.record.id.get(), (created.record, vec![created.secret]));
            return Ok(());
        };
        let Some((record, secrets)) = model.tokens.get_mut(&key) else { return Ok(()) };
        let id = record.id;
        match if model.gone.len() > 20 || random / 7 % 9 == 0 { 0 } else { random / 7 % 5 } {
            0 => {
                self.engine.delete(permit, id, at)?;
                let gone = model.tokens.remove(&key).map(|(_, secrets)| secrets);
                model.gone.extend(gone.into_iter().flatten());
            }
            1 => *record = self.engine.set_enabled(permit, id, record.disabled.is_some(), at)?,
            2 => {
                let changes =
                    TokenChanges { name: Some(format!("name {number}")), ..TokenChanges::default() };
                *record = self.engine.change(permit, id, &changes, at)?;
            }
            grace => {
                let rotated = self.engine.rotate(permit, id, Duration::from_secs((grace - 3) * 3600), at)?;
                *record = rotated.record;
                secrets.push(rotated.secret);
                let kept = if record.former.is_some() { 2 } else { 1 };
                model.gone.extend(secrets.drain(..secrets.len().saturating_sub(kept)));
            }
        }
        model.gone.drain(..model.gone.len().saturating_sub(KEEP));
        Ok(())
    }

    /// What is listed, and who gets in, against the model.
    fn compare(&self, model: &Model) -> Outcome<()> {
        let listed: BTreeMap<u64, TokenRecord> = self
            .list()?
            .into_iter()
            .filter(|record| record.origin == TokenOrigin::Api)
            .map(|record| (record.id.get(), record))
            .collect();
        let expected: BTreeMap<u64, TokenRecord> =
            model.tokens.iter().map(|(id, (record, _))| (*id, record.clone())).collect();
        if listed != expected {
            return Err(format!("expected {expected:#?}, listed {listed:#?}").into());
        }
        for (record, secrets) in model.tokens.values() {
            for secret in secrets {
                if self.permit(secret.expose()).is_some() != record.disabled.is_none() {
                    return Err(format!("a secret of {record:?} is answered wrongly").into());
                }
            }
        }
        if model.gone.iter().any(|secret| self.permit(secret.expose()).is_some()) {
            return Err("a secret that is gone gets in".into());
        }
        Ok(())
    }
}

/// An error names the file it is about.
fn has_place(error: &str, folder: &Path) -> Outcome<()> {
    let names = [FILE_NAME, AUDIT].map(|name| format!("`{}`", folder.join(name).display()));
    if names.iter().any(|name| error.contains(name.as_str())) {
        return Ok(());
    }
    Err(format!("the error does not name its file: {error}").into())
}

/// One second a change, so that every record is told from the one before.
fn now(number: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).saturating_add(Duration::from_secs(number))
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
