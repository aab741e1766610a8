//! A part of the index, with its own lock, its own slots and its own sets of roles.

use super::Unauthenticated;
use super::roles::RoleSets;
use super::slot::{Handle, Slot};
use crate::store::LentToken;
use crate::time::Timestamp;
use crate::token::{FormerSecret, Principal, RoleName, SecretKind, TokenDigest, TokenId};
use hashbrown::HashTable;

/// Slots are set aside this many at a time. A new piece moves none of those that there are, and what is
/// set aside and not used yet is little beside a shard of a large index.
const SLOTS_PER_PIECE: usize = 512;

/// The tokens whose digest ends in one byte.
#[derive(Debug, Default)]
pub(super) struct Shard {
    by_digest: HashTable<u32>,
    slots: Slots,
    roles: RoleSets,
    /// How many slots hold a former secret.
    formers: usize,
}

/// What comes into a slot.
pub(super) enum Content<'a> {
    Token(&'a LentToken<'a>),
    /// A former secret of the token with this id, which is at this place.
    Former(TokenId, &'a FormerSecret, Handle),
}

#[derive(Debug, Default)]
struct Slots {
    pieces: Vec<Vec<Slot>>,
    /// The slots that were given back.
    free: Vec<u32>,
}

impl Shard {
    /// The slot with this digest.
    // A probe takes a time that depends on the digest alone. Whoever guesses a secret does not choose the
    // bytes of its SHA-256, so how far a comparison went tells nothing about the secret.
    pub(super) fn find(&self, digest: &TokenDigest) -> Option<(u32, &Slot)> {
        let is_it = |number: &u32| self.slots.get(*number).is_some_and(|slot| slot.digest() == digest);
        let number = *self.by_digest.find(hash(digest), is_it)?;
        Some((number, self.slots.get(number)?))
    }

    /// What is at this place, unless it was given back since.
    pub(super) fn at(&self, handle: Handle) -> Option<&Slot> {
        self.slots.get(handle.slot).filter(|slot| slot.generation() == handle.generation)
    }

    /// Who the token in this slot is, if it is let in at `now`.
    pub(super) fn admit(&self, slot: &Slot, now: Timestamp) -> Result<Principal, Unauthenticated> {
        let id = slot.id().ok_or(Unauthenticated::Unknown)?;
        if slot.is_expired(now) {
            return Err(Unauthenticated::Expired(id));
        }
        if slot.is_disabled() {
            return Err(Unauthenticated::Disabled(id));
        }
        let roles = self.roles.get(slot.roles()).ok_or(Unauthenticated::Unknown)?.clone();
        Ok(Principal { id: id.into(), name: slot.name().clone(), roles, created: slot.created() })
    }

    /// All slots, those in which nothing is among them.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.all()
    }

    /// Puts a token or a former secret into a slot, and tells its number and generation, and what it displaced:
    /// what had the same digest. Of the same token that is replaced in place, and handles of it stay good.
    /// `None` when the shard is full, with 2^24 sets of roles.
    pub(super) fn put(&mut self, content: &Content<'_>) -> Option<(u32, u8, Option<Slot>)> {
        let slot = match content {
            Content::Token(token) => Slot::token(token, self.roles.hold(token.roles)?),
            Content::Former(id, former, token) => {
                self.formers += 1;
                Slot::former(*id, former, *token)
            }
        };
        let known = self.find(slot.digest()).map(|(number, known)| (number, known.id() == slot.id()));
        match known {
            Some((number, true)) => self.replace(number, slot),
            Some((number, false)) => {
                let displaced = self.vacate(number);
                let (number, generation) = self.add(slot)?;
                Some((number, generation, displaced))
            }
            None => self.add(slot).map(|(number, generation)| (number, generation, None)),
        }
    }

    /// Empties the slot with this digest, if it is one of this token. No handle of it finds anything any more,
    /// whatever comes into it later.
    pub(super) fn take(&mut self, digest: &TokenDigest, id: TokenId) -> Option<Slot> {
        let (number, _) = self.find(digest).filter(|(_, slot)| slot.id() == Some(id))?;
        self.vacate(number)
    }

    /// How many tokens there are.
    pub(super) fn tokens(&self) -> usize {
        self.by_digest.len() - self.formers
    }

    /// Looks at each role that `is_sought` of each token that has not expired at `now`.
    pub(super) fn each_role(
        &self,
        is_sought: &impl Fn(&RoleName) -> bool,
        now: Timestamp,
        look: &mut impl FnMut(&RoleName),
    ) {
        // The sets are few. Tokens are only looked at where there is something to tell of them.
        if !self.roles.held().flatten().any(is_sought) {
            return;
        }
        let tokens = self.slots.all().filter(|slot| slot.token_of_former().is_none());
        let live = tokens.filter(|slot| !slot.would_be_expired(now));
        let roles = live.filter_map(|slot| self.roles.get(slot.roles())).flat_map(|roles| roles.iter());
        roles.filter(|role| is_sought(role)).for_each(look);
    }

    fn add(&mut self, slot: Slot) -> Option<(u32, u8)> {
        let hash_of_it = hash(slot.digest());
        let (number, generation) = self.slots.add(slot)?;
        let slots = &self.slots;
        let hasher = |number: &u32| slots.get(*number).map_or(0, |slot| hash(slot.digest()));
        self.by_digest.insert_unique(hash_of_it, number, hasher);
        Some((number, generation))
    }

    fn replace(&mut self, number: u32, slot: Slot) -> Option<(u32, u8, Option<Slot>)> {
        let kept = self.slots.get_mut(number)?;
        let generation = kept.generation();
        let slot = slot.with_generation(generation);
        // Where a token gets its former secret back, that may have expired, but the token has not.
        let is_returned = kept.token_of_former().is_some() && slot.token_of_former().is_none();
        if kept.was_seen_expired() && !is_returned {
            slot.see_expired();
        }
        let displaced = std::mem::replace(kept, slot);
        self.forget(&displaced);
        Some((number, generation, Some(displaced)))
    }

    fn vacate(&mut self, number: u32) -> Option<Slot> {
        let digest = *self.slots.get(number)?.digest();
        if let Ok(entry) = self.by_digest.find_entry(hash(&digest), |known| *known == number) {
            entry.remove();
        }
        let slot = self.slots.take(number)?;
        self.forget(&slot);
        Some(slot)
    }

    /// Takes from the counts what a slot added to them.
    fn forget(&mut self, slot: &Slot) {
        if slot.token_of_former().is_some() {
            self.formers -= 1;
        } else {
            self.roles.release(slot.roles());
        }
    }
}

impl Content<'_> {
    pub(super) const fn digest(&self) -> &TokenDigest {
        match self {
            Self::Token(token) => &token.digest,
            Self::Former(_, former, _) => &former.digest,
        }
    }

    pub(super) const fn kind(&self) -> SecretKind {
        match self {
            Self::Token(token) => token.kind,
            Self::Former(_, former, _) => former.kind,
        }
    }
}

impl Slots {
    fn get(&self, number: u32) -> Option<&Slot> {
        let (piece, at) = place(number);
        self.pieces.get(piece)?.get(at)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let (piece, at) = place(number);
        self.pieces.get_mut(piece)?.get_mut(at)
    }

    fn all(&self) -> impl Iterator<Item = &Slot> {
        self.pieces.iter().flatten()
    }

    fn add(&mut self, slot: Slot) -> Option<(u32, u8)> {
        if let Some(number) = self.free.pop() {
            let kept = self.get_mut(number)?;
            let generation = kept.generation();
            *kept = slot.with_generation(generation);
            return Some((number, generation));
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == SLOTS_PER_PIECE) {
            self.pieces.push(Vec::with_capacity(SLOTS_PER_PIECE));
        }
        let full = self.pieces.len().saturating_sub(1) * SLOTS_PER_PIECE;
        let piece = self.pieces.last_mut()?;
        let number = u32::try_from(full + piece.len()).ok()?;
        piece.push(slot);
        Some((number, 0))
    }

    fn take(&mut self, number: u32) -> Option<Slot> {
        let kept = self.get_mut(number)?;
        let next = kept.generation().checked_add(1);
        // A slot whose generations are used up stays empty: 80 bytes for 256 removals.
        let vacant = Slot::vacant().with_generation(next.unwrap_or(u8::MAX));
        let taken = std::mem::replace(kept, vacant);
        if next.is_some() {
            self.free.push(number);
        }
        Some(taken)
    }
}

fn place(number: u32) -> (usize, usize) {
    let number = number as usize;
    (number / SLOTS_PER_PIECE, number % SLOTS_PER_PIECE)
}

/// The first bytes of a digest are as random as any: nobody chooses a token by them.
fn hash(digest: &TokenDigest) -> u64 {
    digest.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}
