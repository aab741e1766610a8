//! The way in: each token is compared with what is kept, and what does not fit is told and left alone.

use super::super::change::ChangeError;
use super::super::commit::{By, Changed, CommitError};
use super::super::content::{check_content, refuse_unknown_role};
use super::super::lifecycle::{refuse_configured, refuse_expired};
use super::super::{Engine, Permit};
use crate::audit::{Actor, AuditEvent, Change};
use crate::bootstrap::Step;
use crate::store::{Names, Spending};
use crate::time::Timestamp;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use std::panic::resume_unwind;
use std::thread;

/// How many tokens are written at the same time: a store that commits them together is waited for less often.
const WRITERS: usize = 32;
/// How often a token is compared anew when somebody else changes it at the same moment.
const TRIES_MAX: usize = 8;

/// What is to be imported.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Tokens as they are to be.
    pub tokens: Vec<TokenRecord>,
    /// Digests that no token may ever have again.
    pub spent: Vec<TokenDigest>,
    /// Whether a token that is kept otherwise is replaced; it is left alone when not.
    pub replaces: bool,
    /// Whether nothing is to be changed, and only told what would be.
    pub is_dry_run: bool,
}

/// What came of an import, in its order.
#[derive(Debug, Default)]
pub struct Imported {
    /// Of the tokens.
    pub tokens: Vec<ImportOutcome>,
    /// Of the spent digests.
    pub spent: Vec<ImportOutcome>,
}

/// What came of one token or digest; in a dry run, what would.
#[derive(Debug)]
pub enum ImportOutcome {
    /// It was not there, and is now.
    Created,
    /// It was there otherwise, and is now as it was asked for.
    Replaced,
    /// It was there as it was asked for.
    Unchanged,
    /// It was left alone.
    Conflict(ImportConflict),
}

/// Why a token is left alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportConflict {
    /// The token with this id is another one here.
    #[error("the token is kept with other content ({})", fields.join(", "))]
    Differs {
        /// What differs.
        fields: Vec<&'static str>,
    },
    /// Another token has the secret.
    #[error("the token {by} has the same secret")]
    DigestTaken {
        /// That token.
        by: TokenId,
    },
    /// A token with this secret was deleted for good.
    #[error("a token with this secret was deleted here for good")]
    DigestSpent,
    /// Somebody else changed the token again and again.
    #[error("the token was changed by somebody else at the same moment")]
    Busy,
    /// No token may be so, or not by this request.
    #[error(transparent)]
    Refused(ChangeError),
}

/// An import under way.
#[derive(Clone, Copy)]
struct Importing<'a> {
    engine: &'a Engine,
    /// Of the request; `None` when the program itself imports.
    permit: Option<&'a Permit>,
    import: &'a Import,
    now: Timestamp,
}

/// What has to be done for a token.
enum Wanted {
    Step(Step),
    Nothing,
    Refused(ImportConflict),
}

impl Engine {
    /// Imports tokens for a request. None of them reaches further than the token of the request, unless that may grant
    /// any role. What the configuration rules, and roles that no policy defines, are left to who has the files.
    ///
    /// # Errors
    /// When the request was permitted to nobody in particular, its token is no longer live, and when a change cannot
    /// be audited or stored. Tokens that were imported before stay.
    pub fn import(&self, permit: &Permit, import: &Import, now: Timestamp) -> Result<Imported, ChangeError> {
        let imported = Importing { engine: self, permit: Some(permit), import, now }.run();
        self.noting_refusal(permit, Change::Import, None, now, imported)
    }

    /// Imports tokens for the operator, who has the files of the store anyway: all that a store may keep.
    ///
    /// # Errors
    /// When a change cannot be audited or stored. Tokens that were imported before stay.
    pub fn restore(&self, import: &Import, now: Timestamp) -> Result<Imported, ChangeError> {
        Importing { engine: self, permit: None, import, now }.run()
    }
}

impl Imported {
    /// How many tokens and digests changed, or would.
    pub fn changes(&self) -> usize {
        let all = self.tokens.iter().chain(&self.spent);
        all.filter(|outcome| matches!(outcome, ImportOutcome::Created | ImportOutcome::Replaced)).count()
    }
}

impl ImportOutcome {
    /// The name of the outcome.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Conflict(_) => "conflict",
        }
    }
}

impl<'a> Importing<'a> {
    fn run(self) -> Result<Imported, ChangeError> {
        let by = self.by()?;
        let would = Imported {
            tokens: self.import.tokens.iter().map(|token| self.look(token)).collect::<Result<_, _>>()?,
            spent: self
                .import
                .spent
                .iter()
                .map(|digest| self.look_spent(digest))
                .collect::<Result<_, _>>()?,
        };
        if self.import.is_dry_run || would.changes() == 0 {
            return Ok(would);
        }
        self.engine.record_transfer(AuditEvent::TokensImported { count: would.changes() as u64 }, by)?;
        let done = self.write();
        // A secret that was replaced lets nobody in from here on.
        self.engine.wait_for_changes();
        done
    }

    fn write(self) -> Result<Imported, ChangeError> {
        let spent = self.import.spent.iter().map(|digest| self.spend(digest)).collect::<Result<_, _>>()?;
        let share = self.import.tokens.len().div_ceil(WRITERS).max(1);
        let tokens: Result<Vec<Vec<ImportOutcome>>, ChangeError> = thread::scope(|scope| {
            let start = |share| {
                let writer = thread::Builder::new().spawn_scoped(scope, move || self.put_all(share));
                // Where the system has no thread to give, this one does the work.
                writer.map_err(|_| self.put_all(share))
            };
            let writers: Vec<_> = self.import.tokens.chunks(share).map(start).collect();
            let done = writers.into_iter().map(|writer| match writer {
                Ok(writer) => writer.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(done) => done,
            });
            done.collect()
        });
        Ok(Imported { tokens: tokens?.into_iter().flatten().collect(), spent })
    }

    fn put_all(self, tokens: &[TokenRecord]) -> Result<Vec<ImportOutcome>, ChangeError> {
        tokens.iter().map(|token| self.put(token)).collect()
    }

    /// Who imports. It is asked for each token: the token of the request may be deleted meanwhile.
    fn by(self) -> Result<By<'a>, ChangeError> {
        let actor = match self.permit {
            Some(permit) => self.engine.changer(permit, self.now)?,
            None => Actor::Program,
        };
        Ok(By { actor, permit: self.permit, at: self.now })
    }

    /// What would come of a token.
    fn look(self, token: &TokenRecord) -> Result<ImportOutcome, ChangeError> {
        Ok(match self.wanted(token)? {
            Wanted::Step(Step::Create(_)) => ImportOutcome::Created,
            Wanted::Step(_) => ImportOutcome::Replaced,
            Wanted::Nothing => ImportOutcome::Unchanged,
            Wanted::Refused(conflict) => self.left_alone(token, conflict),
        })
    }

    fn put(self, token: &TokenRecord) -> Result<ImportOutcome, ChangeError> {
        let _under_way = self.engine.under_way.read();
        let by = self.by()?;
        let _turn = self.engine.turns.take(token.id);
        for _ in 0..TRIES_MAX {
            let step = match self.wanted(token)? {
                Wanted::Step(step) => step,
                Wanted::Nothing => return Ok(ImportOutcome::Unchanged),
                // It was noted when the token was looked at.
                Wanted::Refused(conflict) => return Ok(ImportOutcome::Conflict(conflict)),
            };
            if self.engine.commit(&step, Names::MayRepeat, by)? == Changed::Done {
                let is_new = matches!(step, Step::Create(_));
                return Ok(if is_new { ImportOutcome::Created } else { ImportOutcome::Replaced });
            }
        }
        Ok(ImportOutcome::Conflict(ImportConflict::Busy))
    }

    fn wanted(self, token: &TokenRecord) -> Result<Wanted, ChangeError> {
        let kept = self.engine.store.get(token.id)?;
        if kept.as_ref() == Some(token) {
            return Ok(Wanted::Nothing);
        }
        if let Some(conflict) = self.conflict(kept.as_ref(), token)? {
            return Ok(Wanted::Refused(conflict));
        }
        match self.refuse(kept.as_ref(), token) {
            Ok(()) => {}
            Err(error @ (ChangeError::Commit(_) | ChangeError::Revoked | ChangeError::Anonymous)) => {
                return Err(error);
            }
            Err(error) => return Ok(Wanted::Refused(ImportConflict::Refused(error))),
        }
        Ok(Wanted::Step(match kept {
            Some(before) => Step::Update { before: Box::new(before), after: Box::new(token.clone()) },
            None => Step::Create(token.clone()),
        }))
    }

    /// What stands in the way of a token here, whoever imports it.
    fn conflict(
        self,
        kept: Option<&TokenRecord>,
        token: &TokenRecord,
    ) -> Result<Option<ImportConflict>, ChangeError> {
        if let Some(kept) = kept.filter(|_| !self.import.replaces) {
            return Ok(Some(ImportConflict::Differs { fields: differing(kept, token) }));
        }
        for digest in token.digests() {
            if let Some(by) = self.engine.tokens.id_of(&digest).filter(|holder| *holder != token.id) {
                return Ok(Some(ImportConflict::DigestTaken { by }));
            }
            if self.engine.store.is_spent(&digest)? {
                return Ok(Some(ImportConflict::DigestSpent));
            }
        }
        Ok(None)
    }

    /// Refuses what no token may be, and what this request may not make of one.
    fn refuse(self, kept: Option<&TokenRecord>, token: &TokenRecord) -> Result<(), ChangeError> {
        check_content(token)?;
        let Some(permit) = self.permit else { return Ok(()) };
        refuse_unknown_role(token, &self.engine.policies())?;
        refuse_configured(token)?;
        self.engine.refuse_beyond(permit, token)?;
        if let Some(kept) = kept {
            refuse_configured(kept)?;
            refuse_expired(kept, self.now)?;
            self.engine.refuse_beyond(permit, kept)?;
        }
        Ok(())
    }

    fn left_alone(self, token: &TokenRecord, conflict: ImportConflict) -> ImportOutcome {
        let conflict = match (conflict, self.permit) {
            (ImportConflict::Refused(error), Some(permit)) if !self.import.is_dry_run => {
                let refused = self.engine.noting_refusal(
                    permit,
                    Change::Import,
                    Some(token.id),
                    self.now,
                    Err::<(), _>(error),
                );
                match refused {
                    Err(error) => ImportConflict::Refused(error),
                    Ok(()) => ImportConflict::Busy,
                }
            }
            (conflict, _) => conflict,
        };
        ImportOutcome::Conflict(conflict)
    }

    fn look_spent(self, digest: &TokenDigest) -> Result<ImportOutcome, ChangeError> {
        if let Some(by) = self.engine.tokens.id_of(digest) {
            return Ok(ImportOutcome::Conflict(ImportConflict::DigestTaken { by }));
        }
        let is_spent = self.engine.store.is_spent(digest)?;
        Ok(if is_spent { ImportOutcome::Unchanged } else { ImportOutcome::Created })
    }

    fn spend(self, digest: &TokenDigest) -> Result<ImportOutcome, ChangeError> {
        let _under_way = self.engine.under_way.read();
        self.by()?;
        Ok(match self.engine.store.spend(digest).map_err(CommitError::from)? {
            Spending::Done => ImportOutcome::Created,
            Spending::Spent => ImportOutcome::Unchanged,
            Spending::Taken => match self.look_spent(digest)? {
                conflict @ ImportOutcome::Conflict(_) => conflict,
                _ => ImportOutcome::Conflict(ImportConflict::Busy),
            },
        })
    }
}

/// The names of the fields that differ.
fn differing(one: &TokenRecord, other: &TokenRecord) -> Vec<&'static str> {
    let fields = [
        ("digest", one.digest != other.digest || one.kind != other.kind),
        ("origin", one.origin != other.origin),
        ("name", one.name != other.name),
        ("description", one.description != other.description),
        ("roles", one.roles != other.roles),
        ("dedicated subject", one.dedicated_subject != other.dedicated_subject),
        ("created", one.created != other.created),
        ("updated", one.updated != other.updated),
        ("expiry", one.expires != other.expires),
        ("disabled", one.disabled != other.disabled),
        ("former secret", one.former != other.former),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
