//! Watches files and folders for changes of what they hold, through symbolic links, renames and folders that vanish
//! and come back.
//!
//! An event is only a reason to look again: what counts is the contents that are found then. So that nothing is
//! missed where the system tells of nothing (a network file system, or no watches left), it is looked at now and
//! then all the same.

mod trail;

use crate::config::read;
use crate::policy::Limits;
use crate::policy::cases::CASES_MAX_BYTES;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tokio::time::Instant;
use trail::Trail;

/// How often the links of a place may move while watches are set on its folders.
const ARM_ATTEMPTS_MAX: usize = 5;
/// The most entries of a folder that take part in a fingerprint.
const FOLDER_MAX_ENTRIES: usize = 10_000;

/// Looks again whenever something may have changed, until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    events: SyncSender<()>,
    is_stopped: Arc<AtomicBool>,
}

/// When it is looked again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long no event must have come: files are often written in several steps.
    pub(super) quiet: Duration,
    /// After so long it is looked even if events keep coming.
    pub(super) quiet_max: Duration,
    /// How often it is looked without an event, where every folder is watched.
    pub(super) backstop: Duration,
    /// How often it is looked without an event, where some folder cannot be watched.
    pub(super) poll: Duration,
}

/// What files hold, as one number: the same only while nothing was changed, added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// The watches that are set.
struct Armed {
    trail: Arc<Trail>,
    /// Gives the watches back when it is dropped.
    _watcher: Option<RecommendedWatcher>,
    /// Why not every folder is watched.
    trouble: Option<String>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(100),
            quiet_max: Duration::from_secs(1),
            backstop: Duration::from_secs(30),
            poll: Duration::from_secs(2),
        }
    }
}

impl Watch {
    /// Calls `look` after anything may have changed at these files and folders. Every change that is made once
    /// this has returned is followed by a call.
    ///
    /// # Errors
    /// When the system gives no thread. Watches that it does not give are done without.
    pub(super) fn start(
        places: Vec<PathBuf>,
        pace: Pace,
        mut look: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (events, received) = sync_channel(1);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let watch = Self { events: events.clone(), is_stopped: Arc::clone(&is_stopped) };
        let mut armed = Armed::set(&places, &events);
        armed.tell_trouble(None);
        let run = move || {
            while wait(&received, &armed, pace) && !is_stopped.load(Ordering::Relaxed) {
                armed = armed.again(&places, &events);
                look();
            }
        };
        std::thread::Builder::new().name("watch".to_owned()).spawn(run)?;
        Ok(watch)
    }

    /// Calls `tell` whenever the contents have changed of these files, or of the files of these folders whose
    /// name ends in one of the suffixes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn on_change(
        places: Vec<PathBuf>,
        suffixes: &'static [&'static str],
        mut tell: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let mut known = Fingerprint::of(&places, suffixes);
        Self::start(places.clone(), Pace::default(), move || {
            let found = Fingerprint::of(&places, suffixes);
            if found != known {
                known = found;
                tell();
            }
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // A full queue wakes the thread as well.
        let _ = self.events.try_send(());
    }
}

impl Fingerprint {
    /// Reads these files, and the files of these folders whose name ends in one of the suffixes.
    pub(super) fn of(places: &[PathBuf], suffixes: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for place in places {
            if place.is_dir() {
                let files = entries(place, suffixes).unwrap_or_default();
                hash.update(files.len().to_le_bytes());
                files.iter().for_each(|file| take(&mut hash, file));
            } else {
                take(&mut hash, place);
            }
        }
        Self(hash.finalize().into())
    }
}

fn entries(folder: &Path, suffixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(FOLDER_MAX_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if suffixes.iter().any(|suffix| name.ends_with(suffix)) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Adds the name and the contents of a file, or that it has none.
fn take(hash: &mut Sha256, file: &Path) {
    let limit_bytes = CASES_MAX_BYTES.max(Limits::SOURCE_MAX_BYTES);
    let name = file.as_os_str().as_encoded_bytes();
    hash.update(name.len().to_le_bytes());
    hash.update(name);
    match read(file, limit_bytes) {
        Ok(contents) => {
            hash.update(contents.bytes.len().to_le_bytes());
            hash.update(&*contents.bytes);
        }
        Err(error) => hash.update(error.to_string()),
    }
}

/// Waits until it is time to look again; `false` when nobody can ask for it any more.
fn wait(received: &Receiver<()>, armed: &Armed, pace: Pace) -> bool {
    let patience = if armed.trouble.is_none() { pace.backstop } else { pace.poll };
    match received.recv_timeout(patience) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
    }
    let first = Instant::now();
    while first.elapsed() < pace.quiet_max {
        match received.recv_timeout(pace.quiet) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

impl Armed {
    /// Sets watches on all folders in which something could change what the places hold.
    fn set(places: &[PathBuf], events: &SyncSender<()>) -> Self {
        let mut trail = Trail::of(places);
        for _ in 0..ARM_ATTEMPTS_MAX {
            let armed = Self::on(trail, events);
            // What changed before its folder was watched has told nobody.
            trail = Trail::of(places);
            if trail == *armed.trail {
                return armed;
            }
        }
        Self::on(trail, events)
    }

    fn on(trail: Trail, events: &SyncSender<()>) -> Self {
        let trail = Arc::new(trail);
        let (own, events) = (Arc::clone(&trail), events.clone());
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| is_change(event) && concerns(event, &own)) {
                // One that waits already will do.
                let _ = events.try_send(());
            }
        });
        let mut watcher = match made {
            Ok(watcher) => watcher,
            Err(error) => return Self { trail, _watcher: None, trouble: Some(error.to_string()) },
        };
        let mut trouble = None;
        for (folder, interest) in trail.folders() {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if interest.is_essential => trouble = Some(error.to_string()),
                Ok(()) | Err(_) => {}
            }
        }
        Self { trail, _watcher: Some(watcher), trouble }
    }

    /// Sets the watches anew. A folder of the same name may be another one, which an old watch would not tell.
    fn again(self, places: &[PathBuf], events: &SyncSender<()>) -> Self {
        let before = self.trouble.clone();
        drop(self);
        let armed = Self::set(places, events);
        armed.tell_trouble(before.as_deref());
        armed
    }

    fn tell_trouble(&self, before: Option<&str>) {
        match (before, self.trouble.as_deref()) {
            (before, Some(cause)) if before != Some(cause) => {
                tracing::warn!(cause, "cannot watch all folders: they are looked at every few seconds");
            }
            (Some(_), None) => tracing::info!("all folders are watched again"),
            _ => {}
        }
    }
}

fn concerns(event: &notify::Event, trail: &Trail) -> bool {
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| trail.has(path))
}

/// Reading is no change; it is what looking does.
fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
