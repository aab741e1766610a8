//! One token, packed: 80 bytes with its name, as long as that has no more than 23 bytes.

use crate::store::LentToken;
use crate::time::Timestamp;
use crate::token::{FormerSecret, SecretKind, TokenDigest, TokenId, TokenName};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bits of a token's number; the other six of its seven bytes are flags.
const ID_BITS: u32 = 50;
const CHOSEN: u8 = 1;
const DISABLED: u8 = 1 << 1;
const FORMER: u8 = 1 << 2;

/// Milliseconds in six bytes reach this far, to the year 6429; what lies beyond counts as this, which is early for
/// an expiry, and so on the safe side.
const MILLIS_MAX: i64 = (1 << 47) - 2;
const MILLIS_MIN: i64 = -MILLIS_MAX;
/// The expiry of a token that never expires.
const NEVER: [u8; 6] = [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];

/// Where a token is in the index. It names that token alone, for ever: a place that was given back gets
/// another generation, and a place whose generations are used up is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(super) slot: u32,
    pub(super) shard: u8,
    pub(super) generation: u8,
}

/// The number of a set of roles in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoleSetNumber([u8; 3]);

/// A token, a former secret of one, or nothing.
#[derive(Debug)]
pub(super) struct Slot {
    name: TokenName,
    digest: TokenDigest,
    id_and_flags: [u8; 7],
    /// When the token was created; of a former secret, where its token is.
    created: [u8; 6],
    expires: [u8; 6],
    roles: RoleSetNumber,
    generation: u8,
    /// Set when it is first seen expired and never cleared: a clock that jumps back does not revive it.
    seen_expired: AtomicBool,
}

/// Ten million of these are at most 100 bytes each, with their part of the table.
const _: () = assert!(size_of::<Slot>() == 80, "a token takes 80 bytes");

impl Handle {
    const fn to_bytes(self) -> [u8; 6] {
        let [a, b, c, d] = self.slot.to_le_bytes();
        [a, b, c, d, self.shard, self.generation]
    }

    const fn from_bytes([a, b, c, d, shard, generation]: [u8; 6]) -> Self {
        Self { slot: u32::from_le_bytes([a, b, c, d]), shard, generation }
    }
}

impl RoleSetNumber {
    /// The number; `None` when it has more than 24 bits.
    pub(super) fn new(number: usize) -> Option<Self> {
        match u32::try_from(number).ok()?.to_le_bytes() {
            [a, b, c, 0] => Some(Self([a, b, c])),
            _ => None,
        }
    }

    pub(super) const fn get(self) -> usize {
        let [a, b, c] = self.0;
        // As wide as any number that fits into three bytes.
        u32::from_le_bytes([a, b, c, 0]) as usize
    }
}

impl Slot {
    /// A token that was not seen expired.
    pub(super) fn token(token: &LentToken<'_>, roles: RoleSetNumber) -> Self {
        let disabled = if token.disabled.is_some() { DISABLED } else { 0 };
        Self {
            name: TokenName::from(token.name),
            digest: token.digest,
            id_and_flags: id_and_flags(token.id, kind_flag(token.kind) | disabled),
            created: pack(token.created),
            expires: token.expires.map_or(NEVER, pack),
            roles,
            generation: 0,
            seen_expired: AtomicBool::new(false),
        }
    }

    /// The former secret of a token that is at this place. All but its expiry is looked up there.
    pub(super) fn former(id: TokenId, former: &FormerSecret, token: Handle) -> Self {
        Self {
            name: TokenName::default(),
            digest: former.digest,
            id_and_flags: id_and_flags(id, kind_flag(former.kind) | FORMER),
            created: token.to_bytes(),
            expires: pack(former.expires),
            roles: RoleSetNumber([0; 3]),
            generation: 0,
            seen_expired: AtomicBool::new(false),
        }
    }

    /// Nothing.
    pub(super) fn vacant() -> Self {
        Self {
            name: TokenName::default(),
            digest: TokenDigest::from_bytes([0; 32]),
            id_and_flags: [0; 7],
            created: [0; 6],
            expires: [0; 6],
            roles: RoleSetNumber([0; 3]),
            generation: 0,
            seen_expired: AtomicBool::new(true),
        }
    }

    pub(super) fn with_generation(self, generation: u8) -> Self {
        Self { generation, ..self }
    }

    pub(super) const fn name(&self) -> &TokenName {
        &self.name
    }

    pub(super) const fn digest(&self) -> &TokenDigest {
        &self.digest
    }

    /// The token's id; `None` when nothing is here.
    pub(super) fn id(&self) -> Option<TokenId> {
        TokenId::new(self.number() & ((1 << ID_BITS) - 1))
    }

    pub(super) fn kind(&self) -> SecretKind {
        if self.has(CHOSEN) { SecretKind::Chosen } else { SecretKind::Generated }
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.has(DISABLED)
    }

    /// Of a former secret, where its token is.
    pub(super) fn token_of_former(&self) -> Option<Handle> {
        self.has(FORMER).then(|| Handle::from_bytes(self.created))
    }

    pub(super) fn created(&self) -> Timestamp {
        unpack(self.created)
    }

    pub(super) const fn roles(&self) -> RoleSetNumber {
        self.roles
    }

    pub(super) const fn generation(&self) -> u8 {
        self.generation
    }

    /// Whether it has expired at `now`, or was seen expired before.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        // Both are cheap; what is seen is only written once, so that readers do not fight for the line.
        if self.was_seen_expired() {
            return true;
        }
        let is_expired = self.expires != NEVER && unpack(self.expires) <= now;
        if is_expired {
            self.see_expired();
        }
        is_expired
    }

    /// The same, without taking note of it.
    pub(super) fn would_be_expired(&self, now: Timestamp) -> bool {
        self.was_seen_expired() || self.expires != NEVER && unpack(self.expires) <= now
    }

    pub(super) fn was_seen_expired(&self) -> bool {
        self.seen_expired.load(Ordering::Relaxed)
    }

    pub(super) fn see_expired(&self) {
        // The lock of the shard orders this with every change of the slot.
        self.seen_expired.store(true, Ordering::Relaxed);
    }

    fn has(&self, flags: u8) -> bool {
        self.number() >> ID_BITS & u64::from(flags) != 0
    }

    const fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g] = self.id_and_flags;
        u64::from_le_bytes([a, b, c, d, e, f, g, 0])
    }
}

const fn kind_flag(kind: SecretKind) -> u8 {
    match kind {
        SecretKind::Generated => 0,
        SecretKind::Chosen => CHOSEN,
    }
}

fn id_and_flags(id: TokenId, flags: u8) -> [u8; 7] {
    let [a, b, c, d, e, f, g, _] = (id.get() | u64::from(flags) << ID_BITS).to_le_bytes();
    [a, b, c, d, e, f, g]
}

fn pack(time: Timestamp) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = time.as_millis().clamp(MILLIS_MIN, MILLIS_MAX).to_le_bytes();
    [a, b, c, d, e, f]
}

const fn unpack([a, b, c, d, e, f]: [u8; 6]) -> Timestamp {
    // Two bytes too high, and shifted down again: so the sign comes along.
    Timestamp::from_millis(i64::from_le_bytes([0, 0, a, b, c, d, e, f]) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenOrigin;
    use proptest::prelude::*;

    fn token(id: u64, times: (i64, Option<i64>), kind: SecretKind) -> LentToken<'static> {
        LentToken {
            id: TokenId::new(id).unwrap(),
            digest: TokenDigest::from_bytes([3; 32]),
            kind,
            origin: TokenOrigin::Api,
            name: "ci",
            description: None,
            roles: &[],
            dedicated_subject: None,
            created: Timestamp::from_millis(times.0),
            updated: Timestamp::EPOCH,
            expires: times.1.map(Timestamp::from_millis),
            disabled: None,
            former: None,
        }
    }

    fn slot(token: &LentToken<'_>) -> Slot {
        Slot::token(token, RoleSetNumber::new(0).unwrap())
    }

    proptest! {
        #[test]
        fn slot_tells_what_was_put_into_it(
            id in TokenId::MIN..=TokenId::MAX,
            created in MILLIS_MIN..=MILLIS_MAX,
            expires in proptest::option::of(MILLIS_MIN..=MILLIS_MAX),
            facts in (any::<bool>(), any::<bool>()),
            numbers in (0..1_usize << 24, any::<u8>()),
        ) {
            let kind = if facts.0 { SecretKind::Chosen } else { SecretKind::Generated };
            let disabled = facts.1.then_some(Timestamp::EPOCH);
            let token = LentToken { disabled, ..token(id, (created, expires), kind) };
            let slot = Slot::token(&token, RoleSetNumber::new(numbers.0).unwrap()).with_generation(numbers.1);
            prop_assert_eq!(slot.id(), Some(token.id));
            prop_assert_eq!((slot.kind(), slot.is_disabled(), slot.token_of_former()), (kind, facts.1, None));
            prop_assert_eq!((slot.created(), &**slot.name()), (token.created, "ci"));
            prop_assert_eq!((slot.roles().get(), slot.generation()), numbers);
            match expires {
                None => prop_assert!(!slot.is_expired(Timestamp::from_millis(i64::MAX))),
                Some(at) => {
                    prop_assert!(!slot.is_expired(Timestamp::from_millis(at - 1)));
                    prop_assert!(slot.is_expired(Timestamp::from_millis(at)));
                }
            }
        }

        #[test]
        fn former_secret_tells_its_token(slot in any::<u32>(), shard in any::<u8>(), generation in any::<u8>()) {
            let (id, handle) = (TokenId::LEAST, Handle { slot, shard, generation });
            let digest = TokenDigest::from_bytes([1; 32]);
            let former = FormerSecret { digest, kind: SecretKind::Chosen, expires: Timestamp::from_millis(7) };
            let slot = Slot::former(id, &former, handle);
            prop_assert_eq!((slot.token_of_former(), slot.id()), (Some(handle), Some(id)));
            prop_assert_eq!((slot.kind(), slot.is_disabled()), (SecretKind::Chosen, false));
            prop_assert!(!slot.is_expired(Timestamp::from_millis(6)) && slot.is_expired(former.expires));
        }
    }

    #[test]
    fn times_that_six_bytes_cannot_tell_count_as_the_nearest_that_they_can() {
        for (given, kept) in [
            (MILLIS_MAX, MILLIS_MAX),
            (MILLIS_MAX + 1, MILLIS_MAX),
            (i64::MAX, MILLIS_MAX),
            (MILLIS_MIN, MILLIS_MIN),
            (MILLIS_MIN - 1, MILLIS_MIN),
            (i64::MIN, MILLIS_MIN),
        ] {
            let slot = slot(&token(TokenId::MIN, (given, Some(given)), SecretKind::Chosen));
            assert_eq!(slot.created().as_millis(), kept);
            assert!(!slot.is_expired(Timestamp::from_millis(kept - 1)), "{given}");
            assert!(slot.is_expired(Timestamp::from_millis(kept)), "{given}");
        }
    }

    #[test]
    fn nothing_has_no_id_and_is_expired() {
        let vacant = Slot::vacant();
        assert!(vacant.id().is_none() && vacant.is_expired(Timestamp::from_millis(i64::MIN)));
        assert_eq!(RoleSetNumber::new(1 << 24), None);
    }
}
