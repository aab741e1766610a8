//! Candidate policies from disk: loaded at the start and whenever they change, and never in the way of the server.

use super::policies::{Configured, summary};
use super::reload::hear;
use super::watch::{Pace, Watch};
use crate::config::Config;
use crate::policy::Source;
use crate::server::Shadow;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// How long the server waits at its start for its candidates. It goes on without them, and they come when they come.
const START_MAX: Duration = Duration::from_secs(5);

/// Loads candidate policies, on a thread of its own.
pub(super) struct ShadowLoader {
    /// What it loads from.
    places: Vec<PathBuf>,
    shadow: Arc<Shadow>,
    /// Wakes the thread, which ends with it.
    asked: SyncSender<()>,
}

/// What the thread works with.
struct Candidates {
    configured: Configured,
    shadow: Arc<Shadow>,
    /// What was compiled last.
    sources: Option<Vec<Source>>,
    /// What the log was told last: it is looked every few seconds, and nobody wants to read it as often.
    told: Option<String>,
}

impl ShadowLoader {
    /// Loads the candidate that the configuration names; `None` when it names none.
    pub(super) fn start(config: &Config) -> io::Result<Option<Arc<Self>>> {
        if config.shadow_policies.is_empty() {
            return Ok(None);
        }
        let (configured, shadow) = (Configured::shadow_of(config), Arc::new(Shadow::start()?));
        let places = configured.paths();
        let (asked, asking) = sync_channel(1);
        let (began, begun) = sync_channel(1);
        let mut candidates =
            Candidates { configured, shadow: Arc::clone(&shadow), sources: None, told: None };
        let run = move || {
            candidates.look();
            // Nobody may wait for it any more.
            let _ = began.try_send(());
            while asking.recv().is_ok() {
                candidates.look();
            }
        };
        std::thread::Builder::new().name("shadow-loader".to_owned()).spawn(run)?;
        let _ = begun.recv_timeout(START_MAX);
        Ok(Some(Arc::new(Self { places, shadow, asked })))
    }

    pub(super) fn shadow(&self) -> &Arc<Shadow> {
        &self.shadow
    }

    /// What it loads from, in words.
    pub(super) fn places(&self) -> String {
        self.places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Looks again whenever something may have changed, as long as what this gives is kept.
    pub(super) fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let own = Arc::clone(self);
        Watch::start(self.places.clone(), Pace::default(), move || own.look_soon())
    }

    /// Has the candidate loaded again; waits for nothing.
    pub(super) fn look_soon(&self) {
        // Who waits already will do, and read what is there now.
        let _ = self.asked.try_send(());
    }
}

impl Candidates {
    /// Loads the candidate, unless it is the one that was loaded last. What is wrong with it is told by the log and
    /// by the shadow's report.
    fn look(&mut self) {
        // A panic ends this attempt, and not the thread.
        if catch_unwind(AssertUnwindSafe(|| self.load())).is_err() {
            self.sources = None;
            self.refuse(&"loading the candidate policies ended in a panic; the log has it");
        }
    }

    fn load(&mut self) {
        let sources = match self.configured.read() {
            Ok(sources) => sources,
            Err(error) => {
                self.sources = None;
                self.refuse(&error);
                return;
            }
        };
        if self.sources.as_ref() == Some(&sources) {
            return;
        }
        match self.configured.compile(&sources, hear) {
            Ok(policies) => {
                let candidate = summary(&policies);
                self.shadow.replace(Some(policies));
                self.told = None;
                tracing::info!(candidate, "candidate policies decide beside those in force");
            }
            Err(errors) => self.refuse(&errors),
        }
        self.sources = Some(sources);
    }

    fn refuse(&mut self, cause: &impl fmt::Display) {
        let cause = cause.to_string();
        let first = cause.lines().take(2).collect::<Vec<_>>().join(" ");
        // Whoever reads the log finds what it says in the report.
        self.shadow.refuse(cause.clone());
        if self.told.as_ref() != Some(&cause) {
            tracing::warn!(cause = first, "the candidate policies cannot be loaded");
            self.told = Some(cause);
        }
    }
}
