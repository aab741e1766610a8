//! What a search found so far: findings by file and place, and what was read and what was not.

use super::super::super::console::Console;
use super::super::Failure;
use super::read::{Place, Seen, Sighting};
use super::report::{shown, size};
use super::source::{BATCH, Source};
use super::walk::{Event, PassedOver, Subject};
use crate::engine::KnownSecret;
use crate::token::candidates::Encoding;
use crate::token::{SecretState, TokenDigest};
use std::collections::HashMap;
use std::sync::Arc;

/// Findings that are kept of each kind. Further ones are counted.
pub(super) const FINDINGS_MAX: usize = 100_000;
/// Places that wait for a look-up, and digests that need no second one, at most.
const SPOTS_MAX: usize = 100_000;
const KNOWN_MAX: usize = 1_000_000;
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
    /// Whether it has the shape of a generated token; otherwise its operator chose it.
    pub(super) is_shaped: bool,
    pub(super) state: Found,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The checksum says that it is none.
    NoToken,
    /// It is a token, and nobody was asked about it.
    NotLookedUp(TokenDigest),
    /// It is a token by its checksum, and of none that is known: deleted, or of another installation.
    Unknown(TokenDigest),
    /// It is, or was, the secret of a token.
    Known(TokenDigest, Arc<KnownSecret>),
}

/// Where a digest was seen that is to be looked up.
struct Spot {
    subject: Arc<Subject>,
    place: Option<Place>,
    encoding: Encoding,
    /// Whether it has the shape of a generated token; otherwise it is any word.
    is_shaped: bool,
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
    pub(super) live: u64,
    pub(super) disabled: u64,
    pub(super) expired: u64,
    pub(super) former: u64,
    pub(super) unknown: u64,
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
    /// How many findings can still be kept: those that are live, and others.
    room: (usize, usize),
    /// Who is asked; `None` from the first failure on.
    source: Option<Source>,
    failure: Option<Failure>,
    waiting: HashMap<TokenDigest, Vec<Spot>>,
    spots: usize,
    /// What was looked up before.
    known: HashMap<TokenDigest, Option<Arc<KnownSecret>>>,
}

impl Collection {
    pub(super) fn new(source: Option<Source>, tells_all: bool) -> Self {
        Self {
            findings: Vec::new(),
            totals: Totals::default(),
            tells_all,
            told: (0, 0),
            room: (FINDINGS_MAX, FINDINGS_MAX),
            source,
            failure: None,
            waiting: HashMap::new(),
            spots: 0,
            known: HashMap::new(),
        }
    }

    pub(super) fn take(&mut self, event: Event, console: &mut Console<'_>) {
        match event {
            Event::Seen(subject, sightings) => {
                sightings.into_iter().for_each(|sighting| self.sighting(&subject, sighting));
            }
            Event::Named(subject, digest) => {
                self.digest(
                    digest,
                    Spot { subject, place: None, encoding: Encoding::Plain, is_shaped: true },
                );
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

    /// Looks up what is left, and puts the findings in the order in which the files were found, whoever read them
    /// first.
    pub(super) fn complete(&mut self) {
        self.look_up();
        self.findings.sort_by_key(|finding| (finding.subject.order, finding.place));
    }

    /// Whether anything was found that lets somebody in, or may.
    pub(super) const fn has_leaks(&self) -> bool {
        self.totals.live > 0 || self.totals.not_looked_up > 0
    }

    /// Why not everything was looked up.
    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    fn sighting(&mut self, subject: &Arc<Subject>, sighting: Sighting) {
        let (subject, place) = (Arc::clone(subject), Some(sighting.place));
        match sighting.what {
            Seen::Token(digest, encoding) => {
                self.digest(digest, Spot { subject, place, encoding, is_shaped: true });
            }
            Seen::Word(digest, encoding) => {
                self.digest(digest, Spot { subject, place, encoding, is_shaped: false });
            }
            Seen::WrongChecksum(encoding) => {
                self.totals.wrong_checksums += 1;
                if self.tells_all {
                    let spot = Spot { subject, place, encoding, is_shaped: true };
                    self.keep(spot.finding(Found::NoToken));
                }
            }
        }
    }

    fn digest(&mut self, digest: TokenDigest, spot: Spot) {
        if self.source.is_none() {
            self.not_looked_up(digest, spot);
        } else if let Some(known) = self.known.get(&digest) {
            let known = known.clone();
            self.looked_up(digest, spot, known);
        } else {
            self.waiting.entry(digest).or_default().push(spot);
            self.spots += 1;
            if self.waiting.len() >= BATCH || self.spots >= SPOTS_MAX {
                self.look_up();
            }
        }
    }

    /// Looks up what waits for it.
    fn look_up(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.spots = 0;
        let Some(source) = self.source.as_ref().filter(|_| !waiting.is_empty()) else { return };
        let digests: Vec<TokenDigest> = waiting.keys().copied().collect();
        match source.look_up(&digests) {
            Ok(mut found) => {
                if self.known.len() > KNOWN_MAX {
                    self.known.clear();
                }
                for (digest, spots) in waiting {
                    let known = found.remove(&digest).map(Arc::new);
                    self.known.insert(digest, known.clone());
                    spots.into_iter().for_each(|spot| self.looked_up(digest, spot, known.clone()));
                }
            }
            Err(failure) => {
                // The search goes on: what has the shape of a token is told all the same.
                (self.failure, self.source) = (Some(failure), None);
                for (digest, spots) in waiting {
                    spots.into_iter().for_each(|spot| self.not_looked_up(digest, spot));
                }
            }
        }
    }

    fn not_looked_up(&mut self, digest: TokenDigest, spot: Spot) {
        if spot.is_shaped {
            self.totals.not_looked_up += 1;
            self.keep(spot.finding(Found::NotLookedUp(digest)));
        }
    }

    fn looked_up(&mut self, digest: TokenDigest, spot: Spot, known: Option<Arc<KnownSecret>>) {
        let Some(known) = known else {
            // A word that is nobody's secret is a word.
            if spot.is_shaped {
                self.totals.unknown += 1;
                self.keep(spot.finding(Found::Unknown(digest)));
            }
            return;
        };
        let totals = &mut self.totals;
        *match known.state {
            SecretState::Live { .. } | SecretState::InGrace { .. } => &mut totals.live,
            SecretState::Disabled { .. } => &mut totals.disabled,
            SecretState::Expired { .. } => &mut totals.expired,
            SecretState::Former { .. } => &mut totals.former,
        } += 1;
        self.keep(spot.finding(Found::Known(digest, known)));
    }

    fn keep(&mut self, finding: Finding) {
        // What is live has room of its own, so that nobody hides it behind much that is not.
        let room = if finding.state.is_live() { &mut self.room.0 } else { &mut self.room.1 };
        match room.checked_sub(1) {
            Some(left) => {
                *room = left;
                self.findings.push(finding);
            }
            None => self.totals.untold += 1,
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

impl Spot {
    fn finding(self, state: Found) -> Finding {
        let Self { subject, place, encoding, is_shaped } = self;
        Finding { subject, place, encoding, is_shaped, state }
    }
}

impl Found {
    /// Whether it lets somebody in, or may.
    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::NoToken | Self::Unknown(_) => false,
            Self::NotLookedUp(_) => true,
            Self::Known(_, known) => known.state.is_live(),
        }
    }
}
