//! Finds the files, and reads them on a few threads.

use super::read::{Reader, Sighting};
use crate::token::TokenDigest;
use crate::token::candidates::Finder;
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use walkdir::{DirEntry, WalkDir};

/// The name by which standard input is read.
pub(super) const STANDARD_INPUT: &str = "-";
/// Threads that read, at most: a disk has no use for more.
const THREADS_MAX: usize = 8;
/// Files that wait to be read, and events that wait to be looked at.
const QUEUE_MAX: usize = 256;

/// A file, and which one in the order in which files are found.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) order: u64,
    pub(super) path: PathBuf,
}

/// What comes of searching.
pub(super) enum Event {
    /// Something was seen in a file.
    Seen(Arc<Subject>, Vec<Sighting>),
    /// The name of a file or folder is, or holds, a token.
    Named(Arc<Subject>, TokenDigest),
    /// A file was read to its end.
    Read { bytes: u64, is_compressed: bool },
    /// A file or folder cannot be read.
    Failed { path: PathBuf, reason: String },
    /// Something is not read.
    PassedOver(PassedOver),
    /// The history of a repository, which is compressed.
    Repository,
}

/// Why something is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassedOver {
    /// It is a link: where it leads is searched when it lies below a path that was named.
    Link,
    /// It is a pipe, a socket or a device.
    Special,
}

/// Searches these paths and hands on what comes of it, in no particular order between files.
pub(super) fn search(paths: &[PathBuf], finds_words: bool, mut each: impl FnMut(Event)) {
    let (jobs, waiting) = sync_channel::<Arc<Subject>>(QUEUE_MAX);
    let (events, told) = sync_channel(QUEUE_MAX);
    let waiting = Mutex::new(waiting);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    thread::scope(|scope| {
        let walking = events.clone();
        scope.spawn(move || Walk { jobs, events: walking, finder: Finder::new(), order: 0 }.all(paths));
        for _ in 0..threads {
            let (waiting, events) = (&waiting, events.clone());
            scope.spawn(move || read_all(waiting, &events, finds_words));
        }
        // The loop ends when every thread has ended.
        drop(events);
        told.iter().for_each(&mut each);
    });
}

/// The way through all paths. Whoever listens does so to the end, so that nothing is lost by sending.
struct Walk {
    jobs: SyncSender<Arc<Subject>>,
    events: SyncSender<Event>,
    finder: Finder,
    order: u64,
}

impl Walk {
    fn all(mut self, paths: &[PathBuf]) {
        for path in paths {
            if path.as_os_str() == STANDARD_INPUT {
                self.read(path);
                continue;
            }
            self.look_at_name(path, path.as_os_str());
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => self.folder(path),
                // Whatever is named is read, be it a pipe.
                Ok(_) => self.read(path),
                Err(reason) => self.fail(path, &reason.to_string()),
            }
        }
    }

    fn folder(&mut self, path: &Path) {
        for entry in WalkDir::new(path).min_depth(1).sort_by_file_name() {
            match entry {
                Ok(entry) => self.entry(&entry),
                Err(error) => {
                    let reason = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                    self.fail(error.path().unwrap_or(path), &reason);
                }
            }
        }
    }

    fn entry(&mut self, entry: &DirEntry) {
        self.look_at_name(entry.path(), entry.file_name());
        let kind = entry.file_type();
        if kind.is_file() {
            self.read(entry.path());
        } else if kind.is_dir() {
            if entry.file_name() == ".git" {
                self.tell(Event::Repository);
            }
        } else if kind.is_symlink() {
            self.tell(Event::PassedOver(PassedOver::Link));
        } else {
            self.tell(Event::PassedOver(PassedOver::Special));
        }
    }

    fn look_at_name(&mut self, path: &Path, name: &OsStr) {
        let name = name.as_encoded_bytes();
        for digest in self.finder.find(name, name.len()).into_iter().filter_map(|found| found.digest) {
            let subject = self.subject(path);
            self.tell(Event::Named(subject, digest));
        }
    }

    fn read(&mut self, path: &Path) {
        let subject = self.subject(path);
        let _ended = self.jobs.send(subject);
    }

    fn subject(&mut self, path: &Path) -> Arc<Subject> {
        self.order += 1;
        Arc::new(Subject { order: self.order, path: path.to_owned() })
    }

    fn fail(&self, path: &Path, reason: &str) {
        self.tell(Event::Failed { path: path.to_owned(), reason: reason.to_owned() });
    }

    fn tell(&self, event: Event) {
        let _ended = self.events.send(event);
    }
}

/// Reads files as long as there are any.
fn read_all(waiting: &Mutex<Receiver<Arc<Subject>>>, events: &SyncSender<Event>, finds_words: bool) {
    let mut reader = Reader::new(finds_words);
    let next = || waiting.lock().recv();
    while let Ok(subject) = next() {
        let event = match read(&subject, &mut reader, events) {
            Ok(event) => event,
            Err(reason) => Event::Failed { path: subject.path.clone(), reason: reason.to_string() },
        };
        let _ended = events.send(event);
    }
}

fn read(subject: &Arc<Subject>, reader: &mut Reader, events: &SyncSender<Event>) -> io::Result<Event> {
    let mut stream: Box<dyn Read> = if subject.path.as_os_str() == STANDARD_INPUT {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&subject.path)?)
    };
    let extent = reader.read(&mut *stream, &mut |sightings| {
        let _ended = events.send(Event::Seen(Arc::clone(subject), sightings));
    })?;
    Ok(Event::Read { bytes: extent.bytes, is_compressed: extent.is_compressed })
}
