//! The way in: each token is compared with what is kept, and what does not fit is told and left alone.

use super::super::change::ChangeError;
use super::super::commit::{By, Changed};
use super::super::content::{check_content, refuse_long_former, refuse_unknown_role};
use super::super::lifecycle::{refuse_configured, refuse_expired};
use super::super::{Engine, Permit};
use super::import::{Import, ImportConflict, ImportOutcome, Imported};
use crate::audit::{Actor, AuditEvent, Change};
use crate::bootstrap::Step;
use crate::store::{Names, Put};
use crate::time::Timestamp;
use crate::token::{TokenDigest, TokenId, TokenRecord};
use std::collections::{HashMap, HashSet};

/// How often a token is compared anew when somebody else changes it at the same moment.
const TRIES_MAX: usize = 8;

/// An import under way.
#[derive(Clone, Copy)]
struct Importing<'a> {
    engine: &'a Engine,
    /// Of the request; `None` when the program itself imports.
    permit: Option<&'a Permit>,
    import: &'a Import,
    now: Timestamp,
}

/// What the import itself will have changed before a token or digest: it is judged by that and by what is kept.
#[derive(Default)]
struct Before {
    ids: HashSet<TokenId>,
    digests: HashMap<TokenDigest, TokenId>,
    spent: HashSet<TokenDigest>,
}

/// What has to be done for a token or digest.
enum Wanted {
    Step(Box<Step>),
    Spend(TokenDigest),
    Nothing,
    Refused(ImportConflict),
}

impl Engine {
    /// Imports tokens for a request. None of them reaches further than the token of the request, unless that may grant
    /// any role. What the configuration rules, and roles that no policy defines, are left to who has the files.
    ///
    /// # Errors
    /// When the request was permitted to nobody in particular, its token is no longer live, and when a change cannot
    /// be audited or stored. Others of the same import may have been made then.
    pub fn import(&self, permit: &Permit, import: &Import, now: Timestamp) -> Result<Imported, ChangeError> {
        let imported = Importing { engine: self, permit: Some(permit), import, now }.run();
        self.noting_refusal(permit, Change::Import, None, now, imported)
    }

    /// Imports tokens for the operator, who has the files of the store anyway: all that a store may keep.
    ///
    /// # Errors
    /// When a change cannot be audited or stored. Others of the same import may have been made then.
    pub fn restore(&self, import: &Import, now: Timestamp) -> Result<Imported, ChangeError> {
        Importing { engine: self, permit: None, import, now }.run()
    }
}

impl<'a> Importing<'a> {
    fn run(self) -> Result<Imported, ChangeError> {
        if self.import.is_dry_run {
            self.by()?;
            let (spent, tokens) = self.plan()?;
            let would = |wanted: Vec<Wanted>| wanted.into_iter().map(Wanted::outcome).collect();
            return Ok(Imported { tokens: would(tokens), spent: would(spent) });
        }
        let made = self.make();
        // A secret that was replaced lets nobody in from here on.
        self.engine.wait_for_changes();
        made
    }

    /// Makes all changes at once. Nobody else changes one of the tokens meanwhile, and a deletion of the token of the request
    /// waits for the end.
    fn make(self) -> Result<Imported, ChangeError> {
        let _under_way = self.engine.under_way.read();
        let by = self.by()?;
        let _turns = self.engine.turns.take_all(self.import.tokens.iter().map(|token| token.id));
        let (spent, tokens) = self.plan()?;
        let puts: Vec<Put<'_>> = spent.iter().chain(&tokens).filter_map(Wanted::put).collect();
        let mut made = if puts.is_empty() {
            Vec::new()
        } else {
            let heading = AuditEvent::TokensImported { count: puts.len() as u64 };
            self.engine.commit_all(heading, &puts, by)?
        }
        .into_iter();
        // What became of a change that was asked for; `None` where none was.
        let mut next = |wanted: &Wanted| wanted.put().and_then(|_| made.next());
        let [spent_made, tokens_made]: [Vec<_>; 2] =
            [&spent, &tokens].map(|all| all.iter().map(&mut next).collect());
        let spent =
            spent.into_iter().zip(spent_made).zip(&self.import.spent).map(|((wanted, made), digest)| {
                match made {
                    None | Some(Changed::Done) => Ok(wanted.outcome()),
                    Some(_) => self.look_spent(digest, &mut Before::default()).map(|wanted| match wanted {
                        Wanted::Spend(_) => ImportOutcome::Conflict(ImportConflict::Busy),
                        other => other.outcome(),
                    }),
                }
            });
        let spent = spent.collect::<Result<_, _>>()?;
        let tokens = tokens.into_iter().zip(tokens_made).zip(&self.import.tokens);
        let tokens = tokens.map(|((wanted, made), token)| match (wanted, made) {
            (Wanted::Refused(conflict), _) => Ok(ImportOutcome::Conflict(self.noted(token.id, conflict))),
            (wanted, None | Some(Changed::Done)) => Ok(wanted.outcome()),
            (_, Some(_)) => self.put(token, by),
        });
        Ok(Imported { tokens: tokens.collect::<Result<_, _>>()?, spent })
    }

    /// Who imports. It is asked anew: the token of the request may be deleted meanwhile.
    fn by(self) -> Result<By<'a>, ChangeError> {
        let actor = match self.permit {
            Some(permit) => self.engine.changer(permit, self.now)?,
            None => Actor::Program,
        };
        Ok(By { actor, permit: self.permit, at: self.now })
    }

    /// What has to be done for the digests, and then for the tokens. A dry run tells it, any other does it.
    fn plan(self) -> Result<(Vec<Wanted>, Vec<Wanted>), ChangeError> {
        let mut before = Before::default();
        let spent = self.import.spent.iter().map(|digest| self.look_spent(digest, &mut before));
        let spent = spent.collect::<Result<_, _>>()?;
        let tokens = self.import.tokens.iter().map(|token| self.look(token, &mut before));
        Ok((spent, tokens.collect::<Result<_, _>>()?))
    }

    /// A token that another process changed at the same moment.
    fn put(self, token: &TokenRecord, by: By<'_>) -> Result<ImportOutcome, ChangeError> {
        for _ in 0..TRIES_MAX {
            let wanted = self.look(token, &mut Before::default())?;
            match &wanted {
                Wanted::Step(step) if self.engine.commit(step, Names::MayRepeat, by)? != Changed::Done => {}
                _ => return Ok(wanted.outcome()),
            }
        }
        Ok(ImportOutcome::Conflict(ImportConflict::Busy))
    }

    fn look(self, token: &TokenRecord, before: &mut Before) -> Result<Wanted, ChangeError> {
        if !before.ids.insert(token.id) {
            return Ok(Wanted::Refused(ImportConflict::Twice));
        }
        let kept = self.engine.store.get(token.id)?;
        if kept.as_ref() == Some(token) {
            return Ok(Wanted::Nothing);
        }
        if let Some(conflict) = self.conflict(kept.as_ref(), token, before)? {
            return Ok(Wanted::Refused(conflict));
        }
        match self.refuse(kept.as_ref(), token) {
            Ok(()) => {}
            Err(error @ (ChangeError::Commit(_) | ChangeError::Revoked | ChangeError::Anonymous)) => {
                return Err(error);
            }
            Err(error) => return Ok(Wanted::Refused(ImportConflict::Refused(error))),
        }
        before.digests.extend(token.digests().map(|digest| (digest, token.id)));
        Ok(Wanted::Step(Box::new(match kept {
            Some(before) => Step::Update { before: Box::new(before), after: Box::new(token.clone()) },
            None => Step::Create(token.clone()),
        })))
    }

    /// What stands in the way of a token here, whoever imports it.
    fn conflict(
        self,
        kept: Option<&TokenRecord>,
        token: &TokenRecord,
        before: &Before,
    ) -> Result<Option<ImportConflict>, ChangeError> {
        if let Some(kept) = kept.filter(|_| !self.import.replaces) {
            return Ok(Some(ImportConflict::Differs { fields: differing(kept, token) }));
        }
        for digest in token.digests() {
            let holder = self.engine.tokens.id_of(&digest).filter(|holder| *holder != token.id);
            if let Some(by) = holder.or_else(|| before.digests.get(&digest).copied()) {
                return Ok(Some(ImportConflict::DigestTaken { by }));
            }
            if before.spent.contains(&digest) || self.engine.store.is_spent(&digest)? {
                return Ok(Some(ImportConflict::DigestSpent));
            }
        }
        Ok(None)
    }

    /// Refuses what no token may be, and what this request may not make of one.
    fn refuse(self, kept: Option<&TokenRecord>, token: &TokenRecord) -> Result<(), ChangeError> {
        check_content(token)?;
        refuse_long_former(token, self.now)?;
        let Some(permit) = self.permit else { return Ok(()) };
        refuse_unknown_role(token, &self.engine.policies())?;
        refuse_configured(token)?;
        self.engine.refuse_beyond(permit, token, self.now)?;
        if let Some(kept) = kept {
            refuse_configured(kept)?;
            refuse_expired(kept, self.now)?;
            self.engine.refuse_beyond(permit, kept, self.now)?;
        }
        Ok(())
    }

    /// Has the audit log tell what a request was refused.
    fn noted(self, id: TokenId, conflict: ImportConflict) -> ImportConflict {
        match (conflict, self.permit) {
            (ImportConflict::Refused(error), Some(permit)) => {
                let error = Err::<(), _>(error);
                let refused = self.engine.noting_refusal(permit, Change::Import, Some(id), self.now, error);
                refused.map_or_else(ImportConflict::Refused, |()| ImportConflict::Busy)
            }
            (conflict, _) => conflict,
        }
    }

    fn look_spent(self, digest: &TokenDigest, before: &mut Before) -> Result<Wanted, ChangeError> {
        if let Some(by) = self.engine.tokens.id_of(digest) {
            return Ok(Wanted::Refused(ImportConflict::DigestTaken { by }));
        }
        if self.engine.store.is_spent(digest)? || !before.spent.insert(*digest) {
            return Ok(Wanted::Nothing);
        }
        Ok(Wanted::Spend(*digest))
    }
}

impl Wanted {
    fn put(&self) -> Option<Put<'_>> {
        match self {
            Self::Step(step) => match &**step {
                Step::Create(record) => Some(Put::Insert(record)),
                Step::Update { before, after } => Some(Put::Update { before, after }),
                // No import deletes a token.
                Step::Delete(..) => None,
            },
            Self::Spend(digest) => Some(Put::Spend(digest)),
            Self::Nothing | Self::Refused(_) => None,
        }
    }

    /// What comes of it when it is done.
    fn outcome(self) -> ImportOutcome {
        match self {
            Self::Step(step) if matches!(*step, Step::Create(_)) => ImportOutcome::Created,
            Self::Step(_) => ImportOutcome::Replaced,
            Self::Spend(_) => ImportOutcome::Created,
            Self::Nothing => ImportOutcome::Unchanged,
            Self::Refused(conflict) => ImportOutcome::Conflict(conflict),
        }
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
