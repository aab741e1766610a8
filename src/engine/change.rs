//! Changes to tokens. Each is audited, then stored, then in force, then answered; whatever fails on the
//! way refuses the change.

use super::commit::{By, Changed, CommitError};
use super::content::{check_new, refuse_unknown_roles};
use super::lifecycle::GRACE_MAX;
use super::reach::{BeyondReach, GRANT_ANY_ROLE};
use super::{Engine, Permit};
use crate::audit::{Actor, Change};
use crate::bootstrap::{Asked, Notice, PlanError, Provision, Step, plan};
use crate::policy::within::WithinError;
use crate::store::{AfterDelete, Names, StoreError};
use crate::time::Timestamp;
use crate::token::{
    NAME_MAX_BYTES, ROLES_PER_TOKEN_MAX, RoleName, Secret, SecretKind, TokenId, TokenOrigin, TokenRecord,
};
use std::collections::BTreeSet;
use std::fmt;

/// How often another id is drawn when one is taken. With a million tokens, one draw in 10^9 is.
const ID_DRAWS_MAX: usize = 8;

/// A token to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewToken {
    /// Its name; names may repeat, and may be empty.
    pub name: String,
    /// Free text about it.
    pub description: Option<String>,
    /// The roles that it will hold.
    pub roles: Vec<RoleName>,
    /// When it expires; `None` is never.
    pub expires: Option<Timestamp>,
    /// A subject that exists for this token alone.
    pub dedicated_subject: Option<String>,
    /// Whether the name must be that of no other token.
    pub unique: bool,
}

/// A token that has just been created: the only moment at which its secret is known.
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct CreatedToken {
    /// What is kept of it.
    pub record: TokenRecord,
    /// The secret, to be shown once.
    pub secret: Secret,
}

/// Why a token is not created, changed or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The request was permitted to nobody in particular, or to somebody without a token.
    #[error("tokens are changed by holders of a token only, and the request carries none")]
    Anonymous,
    /// The token that the request was permitted to is no longer live.
    #[error("the token of the request was deleted, disabled or has expired meanwhile")]
    Revoked,
    /// The request was permitted by other policies, or to a token with other roles or another name, than there are now.
    #[error(
        "the policies, or the token of the request, changed while the request was under way: send it again"
    )]
    Outdated,
    /// There is no token with this id.
    #[error("no service token has the id {0}")]
    Unknown(TokenId),
    /// The configuration says what the token is.
    #[error(
        "the token {id} (`{name}`) is ruled by the configuration of the server: change it there, and start again"
    )]
    Configured {
        /// The token.
        id: TokenId,
        /// Its name.
        name: String,
    },
    /// The token has expired, which nothing undoes.
    #[error("the token {0} has expired and can only be deleted: create another one")]
    Expired(TokenId),
    /// A text is too long, or has control characters.
    #[error("the {field} has more than {NAME_MAX_BYTES} bytes, or a control character")]
    Text {
        /// Which one.
        field: &'static str,
    },
    /// More roles than a token may hold.
    #[error("a token has at most {ROLES_PER_TOKEN_MAX} roles")]
    TooManyRoles,
    /// A role that no policy defines.
    #[error("no policy defines the role `{role}`; the roles are {known}")]
    UnknownRole {
        /// The role.
        role: RoleName,
        /// Those that there are, as a list.
        known: String,
    },
    /// The token would have expired already.
    #[error("the expiry date lies in the past")]
    ExpiryPast,
    /// A secret would live on for longer than it may.
    #[error("a secret lives on for at most {} days after its rotation", GRACE_MAX.as_secs() / 86_400)]
    Grace,
    /// The former secret is no other one, or would outlive its token.
    #[error("the former secret of a token is another one, and expires with the token at the latest")]
    Former,
    /// The former secret would live on for longer than any may.
    #[error(
        "the former secret of the token would live on for more than {} days from now: set the clock right if it is \
         behind, or rotate the token where it comes from and export it again",
        GRACE_MAX.as_secs() / 86_400
    )]
    FormerTooLong,
    /// The token reaches further than that of the request.
    #[error("{0}")]
    BeyondReach(BeyondReach),
    /// Whether it does cannot be told.
    #[error("{0}; until then, only holders of the permission `{GRANT_ANY_ROLE}` grant such roles")]
    Incomparable(WithinError),
    /// Another token has the name, and names were not to repeat.
    #[error("another service token has the name `{name}`")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Other processes changed the token again and again.
    #[error("the token {0} was changed by somebody else meanwhile: look at it, and try again")]
    Conflict(TokenId),
    /// No free id or no randomness.
    #[error("cannot make a token: {0}")]
    Generate(String),
    /// The change cannot be audited or stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why a token is not told of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no token with this id.
    #[error("no service token has the id {0}")]
    Unknown(TokenId),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a configured token. Shown, it is one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provisioned {
    /// A token was created, updated or deleted.
    Changed(Step),
    /// Nothing was changed, and why.
    Noted(Notice),
}

/// Why the configured tokens are not provided. Nothing was changed when it is not the store or the audit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// A role that no policy defines.
    #[error(
        "the configured token `{token}` has the role `{role}`, which no policy defines; the roles are {known}"
    )]
    UnknownRole {
        /// The token's name.
        token: String,
        /// The role.
        role: RoleName,
        /// Those that there are, as a list.
        known: String,
    },
    /// The configuration does not fit together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The id that was drawn is taken.
    #[error("the random id of a token is taken; start again")]
    IdTaken,
    /// A change cannot be audited or stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Engine {
    /// Creates a token. Its secret is in the answer, and nowhere else ever after.
    ///
    /// # Errors
    /// When the token is not as a token may be, it would reach further than the token of the request, or the change
    /// cannot be audited or stored.
    pub fn create(
        &self,
        permit: &Permit,
        new: NewToken,
        now: Timestamp,
    ) -> Result<CreatedToken, ChangeError> {
        let created = self.create_by(permit, new, now);
        self.noting_refusal(permit, Change::Create, None, now, created)
    }

    /// Deletes a token. When this returns, nobody authenticates by it any more, and no change is under way that
    /// was permitted to it.
    ///
    /// # Errors
    /// When there is no such token, or the change cannot be audited or stored.
    pub fn delete(&self, permit: &Permit, id: TokenId, now: Timestamp) -> Result<(), ChangeError> {
        let deleted = self.delete_by(permit, id, now);
        self.wait_for_changes();
        self.noting_refusal(permit, Change::Delete, Some(id), now, deleted)
    }

    /// Brings the tokens to what the configuration asks for; see [`crate::bootstrap`].
    ///
    /// # Errors
    /// When the configuration does not fit the policies or itself, or a change cannot be audited or stored.
    pub fn provision(
        &self,
        provision: &Provision,
        now: Timestamp,
    ) -> Result<Vec<Provisioned>, ProvisionError> {
        refuse_unknown_roles(provision, &self.policies())?;
        let concerned = self.concerned(provision).map_err(CommitError::from)?;
        let planned = plan(provision, &concerned, |digest| self.store.is_spent(digest), now)?;
        let mut report = Vec::new();
        for step in planned.steps {
            let outcome =
                self.commit(&step, Names::MayRepeat, By { actor: Actor::Program, permit: None, at: now })?;
            report.push(match (outcome, step) {
                (Changed::DigestTaken, Step::Create(record)) => {
                    Provisioned::Noted(Notice::CreatedElsewhere(record))
                }
                (Changed::DigestSpent, Step::Create(record)) => {
                    Provisioned::Noted(Notice::Deleted(Asked::of(&record)))
                }
                (Changed::IdTaken, _) => return Err(ProvisionError::IdTaken),
                (_, step) => Provisioned::Changed(step),
            });
        }
        self.wait_for_changes();
        report.extend(planned.notices.into_iter().map(Provisioned::Noted));
        Ok(report)
    }

    /// The tokens that the configuration asked for, and those that have what it asks for now.
    fn concerned(&self, provision: &Provision) -> Result<Vec<TokenRecord>, StoreError> {
        let bootstrap = provision.bootstrap.iter().map(|block| block.digest);
        let asked = bootstrap.chain(provision.declared.iter().map(|token| token.digest));
        let ids: BTreeSet<TokenId> = asked
            .filter_map(|digest| self.tokens.id_of(&digest))
            .chain(self.tokens.configured_ids())
            .collect();
        let records = ids.into_iter().filter_map(|id| self.store.get(id).transpose());
        let mut records = records.collect::<Result<Vec<_>, _>>()?;
        // What is reported of them is, too, the oldest first.
        records.sort_by_key(|record| (record.created, record.id));
        Ok(records)
    }

    fn create_by(&self, permit: &Permit, new: NewToken, now: Timestamp) -> Result<CreatedToken, ChangeError> {
        let _under_way = self.under_way.read();
        let by = By { actor: self.changer(permit, now)?, permit: Some(permit), at: now };
        let names = if new.unique { Names::Unique } else { Names::MayRepeat };
        for _ in 0..ID_DRAWS_MAX {
            let secret = Secret::generate().map_err(|error| ChangeError::Generate(error.to_string()))?;
            let id = TokenId::generate_at(now).map_err(|error| ChangeError::Generate(error.to_string()))?;
            let record = new.clone().into_record(id, &secret, now);
            check_new(&record, &self.policies(), now)?;
            self.refuse_beyond(permit, &record, now)?;
            match self.commit(&Step::Create(record.clone()), names, by)? {
                Changed::Done => return Ok(CreatedToken { record, secret }),
                Changed::NameTaken => return Err(ChangeError::NameTaken { name: record.name }),
                _ => {}
            }
        }
        Err(ChangeError::Generate(format!("{ID_DRAWS_MAX} ids in a row are taken")))
    }

    fn delete_by(&self, permit: &Permit, id: TokenId, now: Timestamp) -> Result<(), ChangeError> {
        let _under_way = self.under_way.read();
        let by = By { actor: self.changer(permit, now)?, permit: Some(permit), at: now };
        let _turn = self.turns.take(id);
        let record = self.store.get(id)?.ok_or(ChangeError::Unknown(id))?;
        // What the configuration asks for must not come back with the next start.
        let after = match record.origin {
            TokenOrigin::Bootstrap | TokenOrigin::Declared => AfterDelete::RefuseDigest,
            TokenOrigin::Api => AfterDelete::ForgetDigest,
        };
        match self.commit(&Step::Delete(record, after), Names::MayRepeat, by)? {
            Changed::Done => Ok(()),
            _ => Err(ChangeError::Unknown(id)),
        }
    }

    /// Who changes tokens by this permit, which may be as old as a client takes to send a body.
    pub(super) fn changer<'p>(&self, permit: &'p Permit, now: Timestamp) -> Result<Actor<'p>, ChangeError> {
        let principal =
            permit.principal().filter(|it| it.id.token().is_some()).ok_or(ChangeError::Anonymous)?;
        let holder = self.holder(permit, now).ok_or(ChangeError::Revoked)?;
        // Who sends a body byte by byte must not keep what was taken from the token, or from its roles, meanwhile.
        let is_as_permitted =
            holder == *principal && permit.decision.policy == self.policies.load().version();
        if is_as_permitted { Ok(Actor::Principal(principal)) } else { Err(ChangeError::Outdated) }
    }

    /// Returns when every change has ended that is under way now.
    pub(super) fn wait_for_changes(&self) {
        drop(self.under_way.write());
    }
}

impl NewToken {
    fn into_record(self, id: TokenId, secret: &Secret, now: Timestamp) -> TokenRecord {
        TokenRecord {
            id,
            digest: secret.digest(),
            kind: SecretKind::Generated,
            origin: TokenOrigin::Api,
            name: self.name,
            description: self.description,
            roles: self.roles,
            dedicated_subject: self.dedicated_subject,
            created: now,
            updated: now,
            expires: self.expires,
            disabled: None,
            former: None,
        }
    }
}

impl fmt::Display for Provisioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(step) => step.fmt(f),
            Self::Noted(notice) => notice.fmt(f),
        }
    }
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Commit(error.into())
    }
}
