//! The life of a token between its creation and its deletion: who it is, another secret, disabled and enabled, other words
//! and roles.

use super::commit::{By, Changed};
use super::content::check_new;
use super::{ChangeError, CreatedToken, Engine, Permit};
use crate::audit::Change;
use crate::bootstrap::Step;
use crate::store::page::{Page, PageQuery};
use crate::store::{Names, StoreError};
use crate::time::Timestamp;
use crate::token::{FormerSecret, RoleName, Secret, SecretKind, TokenId, TokenOrigin, TokenRecord};
use std::time::Duration;

/// The longest time for which a secret lives on after its rotation.
pub const GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a change is tried again that another process came before.
const TRIES_MAX: usize = 3;

/// What is to be changed of a token. `None` leaves a thing as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenChanges {
    /// Another name.
    pub name: Option<String>,
    /// Another description, or none.
    pub description: Option<Option<String>>,
    /// Other roles.
    pub roles: Option<Vec<RoleName>>,
    /// Another expiry, or none.
    pub expires: Option<Option<Timestamp>>,
    /// Whether the new name must be that of no other token.
    pub unique: bool,
}

impl Engine {
    /// Some of the tokens, in an order, with their use up to this moment. A permit is needed to see them.
    ///
    /// # Errors
    /// When the store cannot be read; when unused tokens are asked for, also when it cannot be written.
    pub fn page(&self, _permit: &Permit, query: &PageQuery) -> Result<Page, StoreError> {
        if query.filter.unused_since.is_some() {
            // The store looks at what is written.
            self.flush_uses()?;
        }
        let mut page = self.store.page(query)?;
        self.uses.add_to(&mut page.tokens);
        Ok(page)
    }

    /// Gives a token another secret. The old one lives on for `grace`, but not past the token's expiry; without
    /// grace, when this returns, nobody authenticates by it any more, and no change is under way that was permitted
    /// to it. A secret that was still living on from a rotation before ends now in any case.
    ///
    /// # Errors
    /// When the grace is longer than [`GRACE_MAX`], there is no such token, the configuration rules it, it has expired,
    /// it reaches further than the token of the request, or the change cannot be audited or stored.
    pub fn rotate(
        &self,
        permit: &Permit,
        id: TokenId,
        grace: Duration,
        now: Timestamp,
    ) -> Result<CreatedToken, ChangeError> {
        let secret = Secret::generate().map_err(|error| ChangeError::Generate(error.to_string()))?;
        let rotate = |before: &TokenRecord| {
            refuse_configured(before)?;
            refuse_expired(before, now)?;
            if !permit.is_of(before) {
                self.refuse_beyond(permit, before, now)?;
            }
            let end = now.saturating_add(grace);
            let former = (!grace.is_zero()).then(|| FormerSecret {
                digest: before.digest,
                kind: before.kind,
                expires: before.expires.map_or(end, |expires| expires.min(end)),
            });
            Ok(TokenRecord {
                digest: secret.digest(),
                kind: SecretKind::Generated,
                former,
                updated: now,
                ..before.clone()
            })
        };
        let rotated = match grace > GRACE_MAX {
            true => Err(ChangeError::Grace),
            false => self.change_kept(permit, id, Names::MayRepeat, now, rotate),
        };
        self.wait_for_changes();
        let rotated = self.noting_refusal(permit, Change::Rotate, Some(id), now, rotated);
        Ok(CreatedToken { record: rotated?, secret })
    }

    /// Disables a token, or enables it again. When this returns, nobody authenticates by a token that is disabled, and no
    /// change is under way that was permitted to it. A token that is already as asked for is left alone.
    ///
    /// # Errors
    /// When there is no such token, it is to be enabled and has expired or reaches further than the token of the
    /// request, or the change cannot be audited or stored.
    pub fn set_enabled(
        &self,
        permit: &Permit,
        id: TokenId,
        is_enabled: bool,
        now: Timestamp,
    ) -> Result<TokenRecord, ChangeError> {
        let changed = self.change_kept(permit, id, Names::MayRepeat, now, |before| {
            if is_enabled {
                refuse_expired(before, now)?;
            }
            if before.disabled.is_none() == is_enabled {
                return Ok(before.clone());
            }
            if is_enabled {
                self.refuse_beyond(permit, before, now)?;
            }
            Ok(TokenRecord { disabled: (!is_enabled).then_some(now), updated: now, ..before.clone() })
        });
        if !is_enabled {
            self.wait_for_changes();
        }
        let change = if is_enabled { Change::Enable } else { Change::Disable };
        self.noting_refusal(permit, change, Some(id), now, changed)
    }

    /// Changes the words, the roles or the expiry of a token. They are in force when this returns.
    ///
    /// # Errors
    /// When there is no such token, the configuration rules it, it has expired, it would not be as a token may be, it
    /// reaches further than the token of the request or would, or the change cannot be audited or stored.
    pub fn change(
        &self,
        permit: &Permit,
        id: TokenId,
        changes: &TokenChanges,
        now: Timestamp,
    ) -> Result<TokenRecord, ChangeError> {
        let names = if changes.unique { Names::Unique } else { Names::MayRepeat };
        let changed = self.change_kept(permit, id, names, now, |before| {
            refuse_configured(before)?;
            refuse_expired(before, now)?;
            let after = changes.apply(before);
            if after == *before {
                return Ok(after);
            }
            check_new(&after, &self.policies(), now)?;
            if !permit.is_of(before) {
                self.refuse_beyond(permit, before, now)?;
            }
            // A condition can ask for a name.
            if !permit.is_of(before) || after.name != before.name || after.roles != before.roles {
                self.refuse_beyond(permit, &after, now)?;
            }
            Ok(TokenRecord { updated: now, ..after })
        });
        self.wait_for_changes();
        self.noting_refusal(permit, Change::Update, Some(id), now, changed)
    }

    /// Puts another record in the place of the one that is kept. What `change` gives back unchanged is not written.
    fn change_kept(
        &self,
        permit: &Permit,
        id: TokenId,
        names: Names,
        now: Timestamp,
        change: impl Fn(&TokenRecord) -> Result<TokenRecord, ChangeError>,
    ) -> Result<TokenRecord, ChangeError> {
        let _under_way = self.under_way.read();
        let by = By { actor: self.changer(permit, now)?, permit: Some(permit), at: now };
        let _turn = self.turns.take(id);
        for _ in 0..TRIES_MAX {
            let before = self.store.get(id)?.ok_or(ChangeError::Unknown(id))?;
            let after = change(&before)?;
            if after == before {
                return Ok(after);
            }
            let step = Step::Update { before: Box::new(before), after: Box::new(after.clone()) };
            match self.commit(&step, names, by)? {
                Changed::Done => return Ok(after),
                Changed::Conflict => {}
                Changed::Gone => return Err(ChangeError::Unknown(id)),
                Changed::NameTaken => return Err(ChangeError::NameTaken { name: after.name }),
                Changed::IdTaken | Changed::DigestTaken | Changed::DigestSpent => {
                    return Err(ChangeError::Generate("the new secret is taken".to_owned()));
                }
            }
        }
        Err(ChangeError::Conflict(id))
    }
}

impl TokenChanges {
    fn apply(&self, before: &TokenRecord) -> TokenRecord {
        let mut after = before.clone();
        if let Some(name) = &self.name {
            after.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            after.description.clone_from(description);
        }
        if let Some(roles) = &self.roles {
            after.roles.clone_from(roles);
        }
        if let Some(expires) = self.expires {
            after.expires = expires;
        }
        // The former secret must not outlive its token.
        if let (Some(former), Some(expires)) = (&mut after.former, after.expires) {
            former.expires = former.expires.min(expires);
        }
        after
    }
}

/// The next start would bring back what the configuration says.
pub(super) fn refuse_configured(record: &TokenRecord) -> Result<(), ChangeError> {
    match record.origin {
        TokenOrigin::Api => Ok(()),
        TokenOrigin::Bootstrap | TokenOrigin::Declared => {
            Err(ChangeError::Configured { id: record.id, name: record.name.clone() })
        }
    }
}

/// What has expired stays so, whatever anybody writes.
pub(super) fn refuse_expired(record: &TokenRecord, now: Timestamp) -> Result<(), ChangeError> {
    if record.is_expired(now) { Err(ChangeError::Expired(record.id)) } else { Ok(()) }
}
