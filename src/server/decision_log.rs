//! The decision log: a line of JSON for each decision that was asked for, written by a thread of its own, so that
//! a request neither waits for a disk nor fails with it. What cannot be kept is counted.

mod find;
mod line;
mod sample;
mod writer;

pub use find::{FindError, Found, Past, find};
pub use line::LINE_MAX_BYTES;
pub use sample::Sampled;
pub use writer::older;

use self::line::Entry;
use self::sample::{Choice, Samples};
use self::writer::{Message, Shared};
use super::metrics::Metrics;
use crate::engine::Answer;
use crate::front::Observe;
use crate::policy::PolicySet;
use crate::request::{Malformed, Request};
use http::HeaderName;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Decisions that wait to be written, at most. Further ones are lost and counted.
pub const ENTRIES_MAX: usize = 8192;
/// The longest value of a header field or query parameter that is kept, in bytes. A longer one is left out.
pub const VALUE_MAX_BYTES: usize = 256;
/// The most header fields, and the most query parameters, whose values are kept.
pub const NAMES_MAX: usize = 16;
/// How long the end of a program waits for the last entries to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What is written where.
#[derive(Clone, Debug)]
pub struct DecisionLogOptions {
    /// The file. It is created, readable by its owner alone.
    pub file: PathBuf,
    /// Whether decisions that allow are written as well, and not denials alone.
    pub allowed: bool,
    /// The most bytes of the file. When it is full, it is renamed to the same name with `.1`, and a new one begun.
    pub max_bytes: u64,
    /// The header fields whose values are written: the first [`NAMES_MAX`], and none that carries credentials.
    pub headers: Vec<HeaderName>,
    /// The query parameters whose values are written: the first [`NAMES_MAX`].
    pub query: Vec<Arc<str>>,
    /// The rules of whose decisions only some are written. Such an entry says of how many it is one.
    pub sampling: Vec<Sampled>,
}

/// Why a decision log cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecisionLogError {
    /// The operating system refused.
    #[error("cannot {action} the decision log `{}`: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write`, `rename`, `start`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("the decision log `{}` is in use: one process at a time may write it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// An observer that writes decisions down. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    messages: SyncSender<Message>,
    shared: Arc<Shared>,
    what: Arc<What>,
}

/// What an entry holds.
#[derive(Debug)]
struct What {
    allowed: bool,
    headers: Vec<HeaderName>,
    query: Vec<Arc<str>>,
    samples: Samples,
}

impl DecisionLog {
    /// Opens the log, or creates it, and starts the thread that writes it.
    ///
    /// # Errors
    /// When the operating system refuses, and when another process writes the log.
    pub fn open(options: DecisionLogOptions) -> Result<Self, DecisionLogError> {
        let DecisionLogOptions { file, allowed, max_bytes, mut headers, mut query, sampling } = options;
        headers.truncate(NAMES_MAX);
        query.truncate(NAMES_MAX);
        let (messages, received) = sync_channel(ENTRIES_MAX);
        let shared = Arc::new(Shared::default());
        let writer = writer::Writer::open(file.clone(), max_bytes, Arc::clone(&shared))?;
        let started =
            std::thread::Builder::new().name("decision-log".to_owned()).spawn(move || writer.run(&received));
        started.map_err(|source| DecisionLogError::Io { action: "start", path: file, source })?;
        Ok(Self {
            messages,
            shared,
            what: Arc::new(What { allowed, headers, query, samples: Samples::new(sampling) }),
        })
    }

    /// How many decisions were lost: they came faster than the disk took them, or it took none.
    pub fn lost(&self) -> u64 {
        self.shared.lost.get()
    }

    /// The names among those that are sampled that no rule of these policies has: most likely they are spelled wrong,
    /// and all decisions of the rules that are meant are written.
    pub fn unknown_samples(&self, policies: &PolicySet) -> Vec<Arc<str>> {
        self.what.samples.unknown(policies)
    }

    /// Counts among these metrics what is written and what is lost.
    pub fn count_in(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let (written, lost) = (self.shared.written.clone(), self.shared.lost.clone());
            registry.register("decision_log_written", "Decisions written to the decision log", written);
            let left_out = self.shared.left_out.clone();
            registry.register("decision_log_left_out", "Decisions that another entry stands for", left_out);
            registry.register("decision_log_lost", "Decisions that the decision log could not keep", lost);
        });
    }

    /// Waits until everything so far is written, for as long as the end of a program may take.
    pub fn flush(&self) {
        let (written, answered) = sync_channel(1);
        // A queue that is full has a disk that stalls, and waiting would not help.
        if self.messages.try_send(Message::Flush(written)).is_ok() {
            let _late = answered.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Observe for DecisionLog {
    fn decided(&self, request: &Request, answer: &Answer, policies: &Arc<PolicySet>) {
        if matches!(answer, Answer::Permitted(_)) && !self.what.allowed {
            return;
        }
        let decision = match answer {
            Answer::Permitted(permit) => permit.decision(),
            Answer::Forbidden(denied) => &denied.decision,
            Answer::Unauthenticated(denied) => &denied.decision,
        };
        let Choice::Written(one_in) = self.what.samples.choose(request, decision, policies) else {
            self.shared.left_out.inc();
            return;
        };
        let entry = Entry::of(request, answer, policies, &self.what).one_in(one_in);
        let Err(refused) = self.messages.try_send(Message::Entry(Box::new(entry))) else { return };
        self.shared.lost.inc();
        if !self.shared.is_losing.swap(true, Ordering::Relaxed) {
            let reason = match refused {
                TrySendError::Full(_) => "they come faster than they can be written",
                TrySendError::Disconnected(_) => "nobody writes them any more",
            };
            tracing::warn!(reason, "the decision log loses decisions");
        }
    }

    /// Nothing was decided.
    fn refused(&self, _: &Malformed) {}
}

#[cfg(test)]
mod tests;
