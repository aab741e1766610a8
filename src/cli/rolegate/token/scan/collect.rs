//! What a search found so far: findings by file and place, and what was read and what was not.

use super::super::super::console::Console;
use super::read::{Place, Seen, Sighting};
use super::report::{shown, size};
use super::walk::{Event, PassedOver, Subject};
use crate::token::TokenDigest;
use crate::token::candidates::Encoding;
use std::sync::Arc;

/// Findings that are kept of each kind. Further ones are counted.
pub(super) const FINDINGS_MAX: usize = 100_000;
/// How many files and bytes pass between two words about the progress.
const PROGRESS_FILES: u64 = 500;
const PROGRESS_BYTES: u64 = 64 * 1024 * 1024;

/// Something that is told.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) subject: Arc<Subject>,
    /// `None` in the name of a file.
    pub(super) place: Option<Place>,
    pub(super) encoding: Encoding,
    pub(super) state: Found,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The checksum says that it is none.
    NoToken,
    /// It is a token, and nobody was asked about it.
    NotLookedUp(TokenDigest),
}

/// What was read and what was not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) unread: u64,
    pub(super) links: u64,
    pub(super) special: u64,
    pub(super) compressed: u64,
    pub(super) repositories: u64,
    pub(super) not_looked_up: u64,
    pub(super) wrong_checksums: u64,
    /// Findings beyond those that are kept.
    pub(super) untold: u64,
}

/// Findings and totals.
pub(super) struct Collection {
    pub(super) findings: Vec<Finding>,
    pub(super) totals: Totals,
    /// Whether what is no token is told, too.
    pub(super) tells_all: bool,
    /// Files and bytes at the last word about the progress.
    told: (u64, u64),
}

impl Collection {
    pub(super) fn new(tells_all: bool) -> Self {
        Self { findings: Vec::new(), totals: Totals::default(), tells_all, told: (0, 0) }
    }

    pub(super) fn take(&mut self, event: Event, console: &mut Console<'_>) {
        match event {
            Event::Seen(subject, sightings) => {
                sightings.into_iter().for_each(|sighting| self.sighting(&subject, sighting));
            }
            Event::Named(subject, digest) => {
                self.token(Arc::clone(&subject), None, Encoding::Plain, digest);
            }
            Event::Read { bytes, is_compressed } => {
                self.totals.files += 1;
                self.totals.bytes += bytes;
                self.totals.compressed += u64::from(is_compressed);
                self.progress(console);
            }
            Event::Failed { path, reason } => {
                self.totals.unread += 1;
                console.progress("");
                console.error(format_args!("cannot read `{}`: {}", shown(&path), reason));
            }
            Event::PassedOver(PassedOver::Link) => self.totals.links += 1,
            Event::PassedOver(PassedOver::Special) => self.totals.special += 1,
            Event::Repository => self.totals.repositories += 1,
        }
    }

    /// Puts the findings in the order in which the files were found, whoever read them first.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| (finding.subject.order, finding.place));
    }

    /// Whether anything was found that lets somebody in, or may.
    pub(super) const fn has_leaks(&self) -> bool {
        self.totals.not_looked_up > 0
    }

    fn sighting(&mut self, subject: &Arc<Subject>, sighting: Sighting) {
        let place = Some(sighting.place);
        match sighting.what {
            Seen::Token(digest, encoding) => self.token(Arc::clone(subject), place, encoding, digest),
            Seen::WrongChecksum(encoding) => {
                self.totals.wrong_checksums += 1;
                if self.tells_all {
                    self.keep(Finding {
                        subject: Arc::clone(subject),
                        place,
                        encoding,
                        state: Found::NoToken,
                    });
                }
            }
            Seen::Word(..) => {}
        }
    }

    fn token(
        &mut self,
        subject: Arc<Subject>,
        place: Option<Place>,
        encoding: Encoding,
        digest: TokenDigest,
    ) {
        self.totals.not_looked_up += 1;
        self.keep(Finding { subject, place, encoding, state: Found::NotLookedUp(digest) });
    }

    fn keep(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.totals.untold += 1;
        }
    }

    fn progress(&mut self, console: &mut Console<'_>) {
        let Totals { files, bytes, .. } = self.totals;
        if files - self.told.0 >= PROGRESS_FILES || bytes - self.told.1 >= PROGRESS_BYTES {
            self.told = (files, bytes);
            console.progress(format_args!("{files} files, {}", size(bytes)));
        }
    }
}
