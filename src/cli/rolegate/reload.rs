//! Loading the policies of a running server anew: from its configured files, whenever they change or a signal asks.

use super::policies::{Configured, LoadError};
use super::service;
use super::shadow::ShadowLoader;
use super::tls::TlsLoader;
use super::watch::{Pace, Watch};
use crate::engine::Engine;
use crate::policy::{PolicyErrors, PolicySet, Source};
use crate::server::{Clock, PolicySource, Reloader, SourceError, Trigger};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio::sync::Semaphore;

/// The policies that the configuration names. It is read once: what it adds to them stays as it is.
pub(super) struct Disk(pub(super) Configured);

/// What asks for reloads while the server runs.
pub(super) struct Reloading {
    reloader: Arc<Reloader>,
    shadow: Option<Arc<ShadowLoader>>,
    tls: Option<Arc<TlsLoader>>,
    hang_up: Signal,
    /// Whose audit log goes on in a new file when the old one was moved away, and what time it is.
    audited: Option<(Arc<Engine>, Clock)>,
    /// Taken by the reload that a signal asked for: until it ends, further signals are one.
    turn: Arc<Semaphore>,
    /// Kept, since they end when they are dropped.
    _watches: [Option<Watch>; 2],
    _tls_watch: Option<Watch>,
}

impl PolicySource for Disk {
    fn read(&self) -> Result<Vec<Source>, SourceError> {
        self.0.read().map_err(|error| match error {
            LoadError::Unreadable { .. }
            | LoadError::EmptyFolder { .. }
            | LoadError::NoFile { .. }
            | LoadError::Restless => SourceError::Unreadable(error.to_string()),
            LoadError::FullFolder { .. } | LoadError::Content { .. } | LoadError::Policy(_) => {
                SourceError::Refused(error.to_string())
            }
        })
    }

    fn compile(&self, sources: &[Source]) -> Result<PolicySet, PolicyErrors> {
        self.0.compile(sources, hear)
    }
}

impl Reloading {
    /// Follows the signal, and watches these files and folders when there are any. What has changed since it was
    /// read at the start is loaded at once.
    pub(super) fn start(
        reloader: Arc<Reloader>,
        shadow: Option<Arc<ShadowLoader>>,
        hang_up: Signal,
        watched: Option<Vec<PathBuf>>,
    ) -> io::Result<Self> {
        let watch = watched.map(|places| {
            let watching = Arc::clone(&reloader);
            Watch::start(places, Pace::default(), move || {
                watching.look();
            })
        });
        let watch = watch.transpose()?;
        let shadow_watch =
            shadow.as_ref().filter(|_| watch.is_some()).map(ShadowLoader::watch).transpose()?;
        if watch.is_some() {
            let looking = Arc::clone(&reloader);
            tokio::task::spawn_blocking(move || looking.look());
        }
        let turn = Arc::new(Semaphore::new(1));
        let _watches = [watch, shadow_watch];
        Ok(Self { reloader, shadow, tls: None, hang_up, audited: None, turn, _watches, _tls_watch: None })
    }

    /// The same, with certificates that are loaded anew as well. Their files are watched in any case: whoever renews
    /// them knows nothing of this program.
    pub(super) fn with_tls(self, tls: Option<Arc<TlsLoader>>) -> io::Result<Self> {
        let _tls_watch = tls.as_ref().map(TlsLoader::watch).transpose()?;
        Ok(Self { tls, _tls_watch, ..self })
    }

    /// The same, with an audit log that is looked at on every signal before anything is loaded.
    pub(super) fn with_audit(self, engine: Arc<Engine>, clock: Clock) -> Self {
        Self { audited: Some((engine, clock)), ..self }
    }

    /// Waits for the next signal, and starts what it asks for.
    pub(super) async fn next(&mut self) {
        // First, so that no signal is lost when this future is dropped. Nobody closes the semaphore.
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        if self.hang_up.recv().await.is_none() {
            // No more signals will come, and nobody may wait for them in a circle.
            std::future::pending::<()>().await;
        }
        service::reloading();
        if let Some(shadow) = &self.shadow {
            shadow.look_soon();
        }
        let (reloader, audited, tls) = (Arc::clone(&self.reloader), self.audited.clone(), self.tls.clone());
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if let Some(tls) = tls {
                tls.reload();
            }
            if let Some((engine, clock)) = audited {
                reopen(&engine, &clock);
            }
            // Without a permit there is nobody whom the engine could refuse; the outcome is in the log.
            let _ = reloader.reload(Trigger::Signal);
            service::reloaded();
        });
    }
}

/// Has the audit log go on in a new file when the old one was moved away.
fn reopen(engine: &Engine, clock: &Clock) {
    match engine.reopen_audit(clock()) {
        Ok(false) => {}
        Ok(true) => tracing::info!("the audit log goes on in a new file: the old one was moved away"),
        Err(error) => tracing::error!(%error, "the audit log cannot go on in a new file"),
    }
}

/// What a policy prints.
pub(super) fn hear(line: &str) {
    tracing::info!(line, "a policy prints");
}
