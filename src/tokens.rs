//! The index: what authentication needs of every token, in memory, so that it never waits for a store.

mod roles;
mod shard;
mod slot;

pub use self::slot::Handle;

use self::shard::{Content, Shard};
use self::slot::Slot;
use crate::authenticator::ForeignRefusal;
use crate::request::{Credential, Unusable};
use crate::store::{LentToken, Store, StoreError};
use crate::time::Timestamp;
use crate::token::{Principal, RoleName, SecretKind, TokenDigest, TokenId, TokenOrigin, TokenRecord};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One for each value of a digest's last byte. So many that threads seldom meet in one, and that the growth of one holds
/// nobody up for long.
const SHARDS: usize = 256;

/// What authentication needs of the tokens of one store. A token takes up to 100 bytes as long as its name has no
/// more than 23; the rest of it is in the store.
#[derive(Debug)]
pub struct TokenIndex {
    shards: Box<[Padded; SHARDS]>,
    /// How many secrets operators chose: while there is none, no chosen text needs a look-up.
    chosen: AtomicUsize,
    /// The tokens that the configuration asked for. Held by whoever changes anything; authentication does without.
    configured: Mutex<BTreeSet<TokenId>>,
}

/// Who presents a service token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Who it is.
    pub principal: Principal,
    /// By which the token is found again without a search.
    pub handle: Handle,
}

/// Why a credential is no live token. The client is told none of it; the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// There was no credential.
    #[error("the request carries no token")]
    Missing,
    /// The credential cannot be a live token, whatever tokens there are.
    #[error(transparent)]
    Unusable(Unusable),
    /// There is no such token.
    #[error("the token is not known")]
    Unknown,
    /// The token has expired.
    #[error("the token {0} has expired")]
    Expired(TokenId),
    /// The token is disabled.
    #[error("the token {0} is disabled")]
    Disabled(TokenId),
    /// The token got another secret, and the time is over in which this one was still good.
    #[error("the secret of the token {0} was replaced")]
    Rotated(TokenId),
    /// The credential is of another kind than a service token, and its authenticator refuses it.
    #[error(transparent)]
    Foreign(ForeignRefusal),
}

/// A shard by itself in its cache lines, so that threads in neighbouring ones do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(RwLock<Shard>);

impl TokenIndex {
    /// An index without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// An index of all that the store holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let index = Self::new();
        let mut configured = index.configured.lock();
        store.load(&mut |token| drop(index.place(&token, &mut configured)))?;
        drop(configured);
        Ok(index)
    }

    /// Who presents this credential.
    ///
    /// # Errors
    /// When it is no live token at `now`; see [`Unauthenticated`].
    pub fn authenticate(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Authenticated, Unauthenticated> {
        let (secret, kind) = match credential {
            Credential::Missing => return Err(Unauthenticated::Missing),
            Credential::Unusable(why) => return Err(Unauthenticated::Unusable(*why)),
            Credential::Token(secret, kind) => (secret, *kind),
        };
        if kind == SecretKind::Chosen && self.chosen.load(Ordering::Acquire) == 0 {
            return Err(Unauthenticated::Unknown);
        }
        self.admit(&secret.digest(), now)
    }

    /// The id of the token that a secret with this digest would be let in as at `now`. To know a digest proves nothing.
    pub fn live_id_of(&self, digest: &TokenDigest, now: Timestamp) -> Option<TokenId> {
        self.admit(digest, now).ok()?.principal.id.token()
    }

    /// Who a secret with this digest would be let in as at `now`. To know a digest proves nothing.
    ///
    /// # Errors
    /// When it would not be let in; see [`Unauthenticated`].
    #[cfg(feature = "server")]
    pub(crate) fn principal_by(
        &self,
        digest: &TokenDigest,
        now: Timestamp,
    ) -> Result<Principal, Unauthenticated> {
        self.admit(digest, now).map(|known| known.principal)
    }

    /// The id of the token whose secret, or former secret, has this digest, be it live or not.
    pub fn id_of(&self, digest: &TokenDigest) -> Option<TokenId> {
        self.shard(shard_of(digest)).read().find(digest)?.1.id()
    }

    /// Whether whoever got this handle would be let in at `now`, by the same secret.
    pub fn is_live(&self, handle: Handle, now: Timestamp) -> bool {
        self.principal_of(handle, now).is_some()
    }

    /// Who whoever got this handle would be let in as at `now`, by the same secret; `None` when not at all.
    pub fn principal_of(&self, handle: Handle, now: Timestamp) -> Option<Principal> {
        let shard = self.shard(handle.shard).read();
        let slot = shard.at(handle)?;
        match slot.token_of_former() {
            None => shard.admit(slot, now).ok(),
            Some(_) if slot.is_expired(now) => None,
            Some(token) => {
                drop(shard);
                self.admit_for_former(token, now).ok()
            }
        }
    }

    /// Adds a token; one that has the same digest makes room for it. The store has seen to it that no other token
    /// has its id.
    pub fn insert(&self, record: &TokenRecord) {
        self.place(&LentToken::from(record), &mut self.configured.lock());
    }

    /// Puts `after` in the place of `before`, which has the same id; `false` when no token has that id. A token
    /// that keeps its digest is known all the while; one that gets another is known by the new one before the
    /// old one ends, or becomes its former one. A token that was seen expired stays so, whatever `after` says.
    ///
    /// Updates of one token must come in the order in which the store made them.
    pub fn update(&self, before: &TokenRecord, after: &TokenRecord) -> bool {
        let configured = &mut *self.configured.lock();
        let Some(known_by) = self.known_by(before) else { return false };
        let Some((handle, displaced)) = self.place(&LentToken::from(after), configured) else {
            return false;
        };
        let old = [known_by].into_iter().chain(before.digests());
        let ended = old.filter(|old| !after.digests().any(|new| new == *old));
        let taken = ended.filter_map(|digest| self.take(&digest, before.id)).collect::<Vec<_>>();
        // Up to here a request may have seen the token expired by its old digest.
        let mut were_it = displaced.iter().chain(&taken).filter(|slot| slot.token_of_former().is_none());
        if were_it.any(Slot::was_seen_expired) {
            let shard = self.shard(handle.shard).read();
            shard.at(handle).into_iter().for_each(Slot::see_expired);
        }
        true
    }

    /// Removes a token; `false` when none has its id. When this returns, the token authenticates nobody any more.
    pub fn remove(&self, record: &TokenRecord) -> bool {
        let configured = &mut *self.configured.lock();
        let Some(known_by) = self.known_by(record) else { return false };
        for digest in [known_by].into_iter().chain(record.digests()) {
            self.take(&digest, record.id);
        }
        configured.remove(&record.id);
        true
    }

    /// The ids of the tokens that the configuration asked for.
    pub fn configured_ids(&self) -> Vec<TokenId> {
        self.configured.lock().iter().copied().collect()
    }

    /// How many tokens that have not expired at `now` hold each role that `is_sought`; those that none holds are
    /// left out.
    pub fn count_roles(
        &self,
        is_sought: impl Fn(&RoleName) -> bool,
        now: Timestamp,
    ) -> BTreeMap<RoleName, usize> {
        let mut counts = BTreeMap::new();
        for shard in &*self.shards {
            shard.0.read().each_role(&is_sought, now, &mut |role| match counts.get_mut(role) {
                Some(count) => *count += 1,
                None => drop(counts.insert(role.clone(), 1)),
            });
        }
        counts
    }

    /// How many tokens there are, the expired ones among them.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().tokens()).sum()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn admit(&self, digest: &TokenDigest, now: Timestamp) -> Result<Authenticated, Unauthenticated> {
        let number = shard_of(digest);
        let shard = self.shard(number).read();
        let (slot_number, slot) = shard.find(digest).ok_or(Unauthenticated::Unknown)?;
        let handle = Handle { slot: slot_number, shard: number, generation: slot.generation() };
        let Some(token) = slot.token_of_former() else {
            return Ok(Authenticated { principal: shard.admit(slot, now)?, handle });
        };
        let id = slot.id().ok_or(Unauthenticated::Unknown)?;
        if slot.is_expired(now) {
            return Err(Unauthenticated::Rotated(id));
        }
        // One lock at a time: two readers with two each and a writer could wait for each other.
        drop(shard);
        Ok(Authenticated { principal: self.admit_for_former(token, now)?, handle })
    }

    /// Who the token is that a former secret leads to.
    fn admit_for_former(&self, token: Handle, now: Timestamp) -> Result<Principal, Unauthenticated> {
        let shard = self.shard(token.shard).read();
        let slot = shard.at(token).ok_or(Unauthenticated::Unknown)?;
        match slot.token_of_former() {
            None => shard.admit(slot, now),
            // It was replaced as well, which ends the secret before it.
            Some(_) => Err(Unauthenticated::Unknown),
        }
    }

    /// Puts a token and its former secret into slots. Tells where the token is now, and what the former secret
    /// displaced.
    fn place(
        &self,
        token: &LentToken<'_>,
        configured: &mut BTreeSet<TokenId>,
    ) -> Option<(Handle, Option<Slot>)> {
        let (handle, _) = self.put(&Content::Token(token))?;
        if token.origin == TokenOrigin::Api {
            configured.remove(&token.id);
        } else {
            configured.insert(token.id);
        }
        let former = token.former.as_ref();
        let former = former.and_then(|former| self.put(&Content::Former(token.id, former, handle)));
        Some((handle, former.and_then(|(_, displaced)| displaced)))
    }

    fn put(&self, content: &Content<'_>) -> Option<(Handle, Option<Slot>)> {
        // Counted before it is there, so that it is looked for as soon as it is.
        if content.kind() == SecretKind::Chosen {
            self.chosen.fetch_add(1, Ordering::SeqCst);
        }
        let number = shard_of(content.digest());
        let put = self.shard(number).write().put(content);
        let Some((slot, generation, displaced)) = put else {
            self.forget(content.kind());
            return None;
        };
        displaced.iter().for_each(|slot| self.forget(slot.kind()));
        Some((Handle { slot, shard: number, generation }, displaced))
    }

    /// Empties the slot that this token has for a digest.
    fn take(&self, digest: &TokenDigest, id: TokenId) -> Option<Slot> {
        let taken = self.shard(shard_of(digest)).write().take(digest, id)?;
        self.forget(taken.kind());
        Some(taken)
    }

    /// By which digest the token of a record is known. That is the record's, unless the record is outdated: then
    /// all slots are looked at, so that no token outlives its removal.
    fn known_by(&self, record: &TokenRecord) -> Option<TokenDigest> {
        let is_it = |slot: &Slot| slot.id() == Some(record.id) && slot.token_of_former().is_none();
        if self
            .shard(shard_of(&record.digest))
            .read()
            .find(&record.digest)
            .is_some_and(|(_, slot)| is_it(slot))
        {
            return Some(record.digest);
        }
        let find =
            |shard: &Padded| shard.0.read().slots().find(|slot| is_it(slot)).map(|slot| *slot.digest());
        self.shards.iter().find_map(find)
    }

    fn forget(&self, kind: SecretKind) {
        if kind == SecretKind::Chosen {
            self.chosen.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "there is a shard for every byte")]
    fn shard(&self, number: u8) -> &RwLock<Shard> {
        &self.shards[usize::from(number)].0
    }
}

impl Default for TokenIndex {
    fn default() -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Padded::default())),
            chosen: AtomicUsize::new(0),
            configured: Mutex::default(),
        }
    }
}

/// Which shard a digest belongs to. The bytes at its other end tell where it is there.
const fn shard_of(digest: &TokenDigest) -> u8 {
    let [.., last] = digest.as_bytes();
    *last
}

#[cfg(test)]
mod tests;
