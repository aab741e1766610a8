//! Policies loaded anew while the server runs: all of them or none, at most one load at a time, and the last good
//! ones stay.

mod gains;
mod status;

pub(super) use status::bounded;
pub use status::{PolicyState, PolicyStatus};

use gains::UnnamedGains;

use super::metrics::Metrics;
use crate::audit::AuditOutcome;
use crate::decision::PolicyVersion;
use crate::engine::{Engine, Permit, ReplaceError};
use crate::front::Clock;
use crate::policy::opening::Openings;
use crate::policy::{PolicyErrors, PolicySet, Source};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many undefined roles are told by name after a reload.
const ROLES_TOLD_MAX: usize = 10;

/// Where policies come from when they are loaded anew.
pub trait PolicySource: Send + Sync + 'static {
    /// Reads the policies as they are now. May wait for the disk.
    ///
    /// # Errors
    /// When they cannot be read, or what is there can be no policies.
    fn read(&self) -> Result<Vec<Source>, SourceError>;

    /// Compiles what was read.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    fn compile(&self, sources: &[Source]) -> Result<PolicySet, PolicyErrors>;
}

/// Why there is nothing to compile.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing could be read.
    #[error("{0}")]
    Unreadable(String),
    /// Something was read, and can be no policies.
    #[error("{0}")]
    Refused(String),
}

/// What a reload is asked for by.
#[derive(Clone, Copy, Debug)]
pub enum Trigger<'a> {
    /// A request that the policies permit.
    Request(&'a Permit),
    /// A signal to the program.
    Signal,
    /// Something has changed where the policies come from.
    Change,
}

/// What a reload may open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadGuard {
    /// Whatever the policies say.
    #[default]
    Off,
    /// What a line of the policies says that it opens; see [`Openings`].
    RefuseGains,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Whether other policies are in force, and why not.
    pub outcome: ReloadOutcome,
    /// The version that was in force before.
    pub before: PolicyVersion,
    /// The version that is in force now.
    pub version: PolicyVersion,
    /// What is wrong with the policies that are not in force.
    pub message: Option<Arc<str>>,
}

/// The ways in which a reload ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Other policies are in force.
    Loaded,
    /// The policies are those that are in force.
    Unchanged,
    /// The policies are wrong.
    Refused,
    /// The policies open what no line of theirs says that they open.
    Guarded,
    /// The policies cannot be read.
    Unreadable,
    /// The reload cannot be audited.
    Unaudited,
}

/// Loads policies anew into an engine, from one source.
pub struct Reloader {
    engine: Arc<Engine>,
    source: Box<dyn PolicySource>,
    clock: Clock,
    metrics: Arc<Metrics>,
    guard: ReloadGuard,
    /// How many loads have begun.
    begun: AtomicU64,
    turn: Mutex<Turn>,
    status: Mutex<PolicyStatus>,
}

/// What is known to whoever loads.
struct Turn {
    /// The number of the last load, and what came of it.
    last: Option<(u64, Reloaded)>,
    /// What the policies in force were made of.
    in_force: (PolicyVersion, Contents),
    /// What the policies in force say that they open.
    openings: Openings,
    /// What was found last: the contents, or why there are none.
    seen: Option<Result<Contents, String>>,
}

/// All sources as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents([u8; 32]);

/// Why the policies that are there are not in force.
enum Trouble {
    Source(SourceError),
    Policies(PolicyErrors),
    Gains(UnnamedGains),
    Panic,
    Replace(ReplaceError),
}

impl Reloader {
    /// A reloader for an engine, whose policies were made of `sources`.
    pub fn new(
        engine: Arc<Engine>,
        source: Box<dyn PolicySource>,
        sources: &[Source],
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let contents = Contents::of(sources);
        let version = engine.policies().version();
        let status = Mutex::new(PolicyStatus::loaded(version, clock()));
        let turn = Turn {
            last: None,
            in_force: (version, contents),
            openings: Openings::of(sources),
            seen: Some(Ok(contents)),
        };
        Self {
            engine,
            source,
            clock,
            metrics,
            guard: ReloadGuard::Off,
            begun: AtomicU64::new(0),
            turn: Mutex::new(turn),
            status,
        }
    }

    /// The same reloader with a limit to what a reload may open.
    #[must_use]
    pub const fn with_guard(mut self, guard: ReloadGuard) -> Self {
        self.guard = guard;
        self
    }

    /// How the policies are.
    pub fn status(&self) -> PolicyStatus {
        self.status.lock().clone()
    }

    /// Loads the policies anew. What is read is read after this was called; several calls at once may share one
    /// load. Waits for the disk and for other loads, so that it is called where waiting holds nobody up.
    ///
    /// # Errors
    /// When the permit of the request is nobody's, or its token is no longer live.
    pub fn reload(&self, trigger: Trigger<'_>) -> Result<Reloaded, ReplaceError> {
        let asked = self.begun.load(Ordering::SeqCst);
        self.engine.may_replace(trigger.permit(), (self.clock)())?;
        let mut turn = self.turn.lock();
        if let Some((number, reloaded)) = &turn.last
            && *number > asked
        {
            return Ok(reloaded.clone());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let read = self.read();
        self.load(&mut turn, number, trigger, read)
    }

    /// Loads the policies anew if they are not what was found last time.
    pub fn look(&self) -> Option<Reloaded> {
        let mut turn = self.turn.lock();
        // Before anything is read: whoever asks from here on must not be content with what is read now.
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let read = self.read();
        if turn.seen.as_ref() == Some(&seen(&read)) {
            return None;
        }
        // Nobody asks for this one whom the engine could refuse.
        self.load(&mut turn, number, Trigger::Change, read).ok()
    }

    fn read(&self) -> Result<Vec<Source>, Trouble> {
        let read = catch_unwind(AssertUnwindSafe(|| self.source.read()));
        read.map_err(|_| Trouble::Panic)?.map_err(Trouble::Source)
    }

    fn load(
        &self,
        turn: &mut Turn,
        number: u64,
        trigger: Trigger<'_>,
        read: Result<Vec<Source>, Trouble>,
    ) -> Result<Reloaded, ReplaceError> {
        let before = self.engine.policies().version();
        turn.seen = Some(seen(&read));
        let done = read.and_then(|sources| {
            // Whoever watches the source must not end with one load that panics.
            let put = AssertUnwindSafe(|| self.put_in_force(turn, before, trigger, &sources));
            catch_unwind(put).unwrap_or(Err(Trouble::Panic))
        });
        let (outcome, trouble) = match done {
            Ok(outcome) => (outcome, None),
            Err(Trouble::Replace(error @ (ReplaceError::Anonymous | ReplaceError::Revoked))) => {
                // The policies have not been judged.
                turn.seen = None;
                return Err(error);
            }
            Err(trouble) => (trouble.outcome(), Some(trouble)),
        };
        if outcome == ReloadOutcome::Unaudited {
            turn.seen = None;
        }
        let message = trouble.as_ref().map(|trouble| bounded(trouble.to_string()));
        let version = self.engine.policies().version();
        let reloaded = Reloaded { outcome, before, version, message };
        self.status.lock().follow(&reloaded, (self.clock)());
        self.metrics.reloaded(outcome);
        self.record_kept(outcome, trigger, trouble.as_ref());
        self.log(&reloaded, trigger, trouble.as_ref());
        turn.last = Some((number, reloaded.clone()));
        Ok(reloaded)
    }

    fn put_in_force(
        &self,
        turn: &mut Turn,
        before: PolicyVersion,
        trigger: Trigger<'_>,
        sources: &[Source],
    ) -> Result<ReloadOutcome, Trouble> {
        let contents = Contents::of(sources);
        if turn.in_force == (before, contents) {
            return Ok(ReloadOutcome::Unchanged);
        }
        let policies = self.source.compile(sources).map_err(Trouble::Policies)?;
        let version = policies.version();
        let openings = Openings::of(sources);
        if version != before {
            self.guard(turn, before, &policies, &openings)?;
            let replaced = self.engine.replace_policies(policies, trigger.permit(), (self.clock)());
            replaced.map_err(Trouble::Replace)?;
        }
        turn.in_force = (version, contents);
        turn.openings = openings;
        Ok(if version == before { ReloadOutcome::Unchanged } else { ReloadOutcome::Loaded })
    }

    /// Refuses policies that open what no new line of theirs says.
    fn guard(
        &self,
        turn: &Turn,
        before: PolicyVersion,
        policies: &PolicySet,
        openings: &Openings,
    ) -> Result<(), Trouble> {
        if self.guard == ReloadGuard::Off {
            return Ok(());
        }
        // Policies that somebody else put in force say nothing here.
        let known = if turn.in_force.0 == before { &turn.openings } else { &Openings::default() };
        gains::refuse_unnamed(&self.engine.policies(), policies, known, openings).map_err(Trouble::Gains)
    }

    /// Tells the audit log of a reload that replaced nothing. Nothing follows from an entry that cannot be written.
    fn record_kept(&self, outcome: ReloadOutcome, trigger: Trigger<'_>, trouble: Option<&Trouble>) {
        let kept = match outcome {
            ReloadOutcome::Loaded | ReloadOutcome::Unaudited => return,
            ReloadOutcome::Unchanged => AuditOutcome::Done,
            ReloadOutcome::Refused | ReloadOutcome::Guarded => AuditOutcome::Refused,
            ReloadOutcome::Unreadable => AuditOutcome::Failed,
        };
        let reason = trouble.map_or_else(|| "they are those in force".to_owned(), Trouble::first);
        let recorded = self.engine.record_kept(trigger.permit(), kept, &bounded(reason), (self.clock)());
        if let Err(error) = recorded {
            tracing::warn!(%error, "a reload has no entry in the audit log");
        }
    }

    fn log(&self, reloaded: &Reloaded, trigger: Trigger<'_>, trouble: Option<&Trouble>) {
        let (before, version) = (reloaded.before, reloaded.version);
        let (outcome, by) = (reloaded.outcome.name(), trigger.name());
        match trouble {
            Some(trouble) => {
                let (cause, problems) = (trouble.first(), trouble.count());
                tracing::warn!(%version, outcome, by, cause, problems, "the policies in force stay: others cannot be loaded");
            }
            None => tracing::info!(%before, %version, outcome, by, "policies reloaded"),
        }
        if reloaded.outcome == ReloadOutcome::Loaded {
            for (role, tokens) in self.engine.undefined_roles((self.clock)()).iter().take(ROLES_TOLD_MAX) {
                tracing::warn!(%role, tokens, "a role of live tokens is defined by no policy any more and permits nothing");
            }
        }
    }
}

impl Trigger<'_> {
    const fn permit(&self) -> Option<&Permit> {
        match self {
            Self::Request(permit) => Some(permit),
            Self::Signal | Self::Change => None,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Signal => "signal",
            Self::Change => "change",
        }
    }
}

impl ReloadOutcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Loaded, Self::Unchanged, Self::Refused, Self::Guarded, Self::Unreadable, Self::Unaudited];

    /// The name as logs and metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Guarded => "guarded",
            Self::Unreadable => "unreadable",
            Self::Unaudited => "unaudited",
        }
    }
}

impl Contents {
    fn of(sources: &[Source]) -> Self {
        let mut hash = Sha256::new();
        for part in sources.iter().flat_map(|source| [&*source.name, &source.text]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }
}

impl Trouble {
    const fn outcome(&self) -> ReloadOutcome {
        match self {
            Self::Source(SourceError::Unreadable(_)) => ReloadOutcome::Unreadable,
            Self::Source(SourceError::Refused(_)) | Self::Policies(_) | Self::Panic => ReloadOutcome::Refused,
            Self::Gains(_) => ReloadOutcome::Guarded,
            Self::Replace(_) => ReloadOutcome::Unaudited,
        }
    }

    /// The first thing that is wrong, in one line.
    fn first(&self) -> String {
        match self {
            Self::Policies(errors) => {
                let first = errors.problems().first();
                first.map(|problem| format!("{}: {}", problem.location, problem.message)).unwrap_or_default()
            }
            Self::Gains(gains) => gains.first(),
            other => other.to_string(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Policies(errors) => errors.problems().len(),
            Self::Gains(gains) => gains.count(),
            _ => 1,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Policies(errors) => errors.fmt(f),
            Self::Gains(gains) => gains.fmt(f),
            Self::Panic => f.write_str("loading the policies ended in a panic; the log has it"),
            Self::Replace(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("status", &self.status.lock()).finish_non_exhaustive()
    }
}

fn seen(read: &Result<Vec<Source>, Trouble>) -> Result<Contents, String> {
    match read {
        Ok(sources) => Ok(Contents::of(sources)),
        Err(trouble) => Err(trouble.to_string()),
    }
}
