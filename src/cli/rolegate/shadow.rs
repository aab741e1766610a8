//! Candidate policies from disk: loaded at the start and whenever they change, and never in the way of the server.

use super::policies::{Configured, summary};
use super::reload::hear;
use super::watch::{Pace, Watch};
use crate::config::Config;
use crate::policy::Source;
use crate::server::Shadow;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Loads candidate policies.
pub(super) struct ShadowLoader {
    configured: Configured,
    shadow: Arc<Shadow>,
    /// What was compiled last.
    sources: Mutex<Option<Vec<Source>>>,
}

impl ShadowLoader {
    /// Loads the candidate that the configuration names; `None` when it names none.
    pub(super) fn start(config: &Config) -> io::Result<Option<Arc<Self>>> {
        if config.shadow_policies.is_empty() {
            return Ok(None);
        }
        let (configured, shadow) = (Configured::shadow_of(config), Arc::new(Shadow::start()?));
        let loader = Self { configured, shadow, sources: Mutex::new(None) };
        loader.look();
        Ok(Some(Arc::new(loader)))
    }

    pub(super) fn shadow(&self) -> &Arc<Shadow> {
        &self.shadow
    }

    /// What it loads from, in words.
    pub(super) fn places(&self) -> String {
        let paths = self.configured.paths();
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Looks again whenever something may have changed, as long as what this gives is kept.
    pub(super) fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let own = Arc::clone(self);
        Watch::start(self.configured.paths(), Pace::default(), move || {
            own.look();
        })
    }

    /// Loads the candidate, unless it is the one that was loaded last. What is wrong with it is told by the log and
    /// by the shadow's report.
    pub(super) fn look(&self) {
        let mut known = self.sources.lock();
        let sources = match self.configured.read() {
            Ok(sources) => sources,
            Err(error) => {
                *known = None;
                self.refuse(&error);
                return;
            }
        };
        if known.as_ref() == Some(&sources) {
            return;
        }
        match self.configured.compile(&sources, hear) {
            Ok(policies) => {
                let candidate = summary(&policies);
                self.shadow.replace(Some(policies));
                tracing::info!(candidate, "candidate policies decide beside those in force");
            }
            Err(errors) => self.refuse(&errors),
        }
        *known = Some(sources);
    }

    fn refuse(&self, cause: &impl fmt::Display) {
        let cause = cause.to_string();
        let first = cause.lines().take(2).collect::<Vec<_>>().join(" ");
        tracing::warn!(cause = first, "the candidate policies cannot be loaded");
        self.shadow.refuse(cause);
    }
}
